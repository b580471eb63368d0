// Attention arrives as queries (the scale multiplied in), keys and the log-sum-exp of each row of scores:
// attention[h, i, j] = exp(q[h, i] . k[h, j] - lse[h, i]).
import { products } from "./products.ts";

/**
 * Attention from token `index` to every token, as (N): of one head, or the mean of all where `head` is null.
 * `q` and `k` are (heads, N, headDim), `lse` is (heads, N).
 */
export function attentionRow(
  q: Float32Array,
  k: Float32Array,
  lse: Float32Array,
  heads: number,
  N: number,
  headDim: number,
  head: number | null,
  index: number,
  out: Float32Array = new Float32Array(N),
): Float32Array {
  out.fill(0);
  const weight = head === null ? 1 / heads : 1;
  const end = head === null ? heads : head + 1;
  for (let h = head ?? 0; h < end; h++) {
    const row = h * N + index;
    const scores = products(k, h * N, N, headDim, q, row);
    for (let j = 0; j < N; j++) out[j] += weight * Math.exp(scores[j] - lse[row]);
  }
  return out;
}

/** Attention from every token to token `index`, as (N); otherwise like `attentionRow`. */
export function attentionColumn(
  q: Float32Array,
  k: Float32Array,
  lse: Float32Array,
  heads: number,
  N: number,
  headDim: number,
  head: number | null,
  index: number,
  out: Float32Array = new Float32Array(N),
): Float32Array {
  out.fill(0);
  const weight = head === null ? 1 / heads : 1;
  const end = head === null ? heads : head + 1;
  for (let h = head ?? 0; h < end; h++) {
    const scores = products(q, h * N, N, headDim, k, h * N + index);
    for (let i = 0; i < N; i++) out[i] += weight * Math.exp(scores[i] - lse[h * N + i]);
  }
  return out;
}
