// Tokens of one trace compared with those of another.

import { products } from "./products.ts";
import { norms } from "./similarity.ts";

/**
 * Cosine of every row of `tokens` (N, D) with row `index` of `others` (M, D), as (N); 0 for a row of zeros, NaN for one
 * not finite.
 */
export function cosineAcross(
  tokens: Float32Array,
  N: number,
  D: number,
  others: Float32Array,
  M: number,
  index: number,
): Float32Array {
  const out = new Float32Array(N);
  const lengths = norms(tokens, N, D);
  const length = norms(others, M, D)[index];
  const dots = products(tokens, 0, N, D, others, index);
  for (let i = 0; i < N; i++) {
    const size = lengths[i] * length;
    out[i] = size === 0 ? 0 : Math.min(Math.max(dots[i] / size, -1), 1);
  }
  return out;
}

/** Index of the greatest finite value from `from` on; -1 where there is none. */
export function greatest(values: Float32Array, from = 0): number {
  let best = -1;
  for (let i = from; i < values.length; i++) {
    if (Number.isFinite(values[i]) && (best < 0 || values[i] > values[best])) best = i;
  }
  return best;
}
