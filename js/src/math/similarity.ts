import { perArray } from "./memo.ts";
import { products } from "./products.ts";

/** Lengths of the rows of `tokens` (N, D), as (N). Remembered for each array. */
export const norms = perArray((tokens: Float32Array, N: number, D: number): Float64Array => {
  const lengths = new Float64Array(N);
  for (let i = 0; i < N; i++) {
    let sum = 0;
    for (let j = i * D; j < (i + 1) * D; j++) sum += tokens[j] * tokens[j];
    lengths[i] = Math.sqrt(sum);
  }
  return lengths;
});

/** Cosine of every row of `tokens` (N, D) with row `index`, as (N); 0 for a row of zeros, NaN for one not finite. */
export function cosineRow(
  tokens: Float32Array,
  N: number,
  D: number,
  index: number,
  out: Float32Array = new Float32Array(N),
): Float32Array {
  const lengths = norms(tokens, N, D);
  const dots = products(tokens, 0, N, D, tokens, index);
  for (let i = 0; i < N; i++) {
    const size = lengths[i] * lengths[index];
    out[i] = size === 0 ? 0 : Math.min(Math.max(dots[i] / size, -1), 1);
  }
  return out;
}
