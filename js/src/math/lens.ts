// What the model's head reads of a token of any layer ("logit lens"); vitwidgets/ends.py says the same in Python.
// `readout` is (classes, D + 1): the weights with the head's norm folded in, and the bias as a last column.
import { perArray } from "./memo.ts";
import { products } from "./products.ts";

interface Scale {
  mean: Float64Array;
  /** One over the standard deviation, `eps` added to the variance. */
  inverse: Float64Array;
}

/** What the head's norm makes of each row of `tokens` (N, D). Remembered for each array. */
const scales = perArray((tokens: Float32Array, N: number, D: number, eps: number): Scale => {
  const mean = new Float64Array(N);
  const inverse = new Float64Array(N);
  for (let i = 0; i < N; i++) {
    let sum = 0;
    for (let j = i * D; j < (i + 1) * D; j++) sum += tokens[j];
    mean[i] = sum / D;
    let squares = 0;
    for (let j = i * D; j < (i + 1) * D; j++) squares += (tokens[j] - mean[i]) ** 2;
    inverse[i] = 1 / Math.sqrt(squares / D + eps);
  }
  return { mean, inverse };
});

/** The logit of class `target` read from every token, as (N). */
export function evidence(
  tokens: Float32Array,
  N: number,
  D: number,
  readout: Float32Array,
  target: number,
  eps: number,
  out: Float32Array,
): Float32Array {
  const { mean, inverse } = scales(tokens, N, D, eps);
  const start = target * (D + 1);
  const weights = readout.subarray(start, start + D);
  let total = 0;
  for (let j = 0; j < D; j++) total += weights[j];
  const dots = products(tokens, 0, N, D, weights, 0);
  for (let i = 0; i < N; i++) out[i] = (dots[i] - mean[i] * total) * inverse[i] + readout[start + D];
  return out;
}

/** The probability of every class read from row `row` of `tokens` (N, D), as (classes). */
export function reading(
  tokens: Float32Array,
  N: number,
  D: number,
  readout: Float32Array,
  row: number,
  eps: number,
): Float32Array {
  const { mean, inverse } = scales(tokens, N, D, eps);
  const token = new Float32Array(D + 1);
  for (let j = 0; j < D; j++) token[j] = (tokens[row * D + j] - mean[row]) * inverse[row];
  token[D] = 1; // meets the bias
  const count = readout.length / (D + 1);
  const logits = products(readout, 0, count, D + 1, token, 0);
  let top = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < count; c++) if (logits[c] > top) top = logits[c];
  const result = new Float32Array(count);
  let sum = 0;
  for (let c = 0; c < count; c++) {
    const share = Math.exp(logits[c] - top);
    result[c] = share;
    sum += share;
  }
  for (let c = 0; c < count; c++) result[c] /= sum;
  return result;
}
