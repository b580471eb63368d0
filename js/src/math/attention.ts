// Attention of one layer, as it arrives, and what one token gives and gets of it.
import { products } from "./products.ts";

/**
 * Queries (the scale multiplied in) and keys, (heads, N, headDim), with the log-sum-exp of each row of scores,
 * (heads, N): attention[h, i, j] = exp(q[h, i] . k[h, j] - lse[h, i]). Or the weights themselves, (heads, N, N),
 * where they are not the softmax of such scores.
 */
export type Attention = { q: Float32Array; k: Float32Array; lse: Float32Array } | { weights: Float32Array };

/**
 * Attention from token `index` to every token, or from every token to it, as (N): of one head, or the mean of
 * all where `head` is null.
 */
export function attentionLine(
  attention: Attention,
  way: "from" | "to",
  heads: number,
  N: number,
  head: number | null,
  index: number,
  out: Float32Array = new Float32Array(N),
): Float32Array {
  out.fill(0);
  const from = way === "from";
  const share = head === null ? 1 / heads : 1;
  const end = head === null ? heads : head + 1;
  for (let h = head ?? 0; h < end; h++) {
    const at = h * N + index;
    if ("weights" in attention) {
      const { weights } = attention;
      const start = from ? at * N : h * N * N + index;
      const step = from ? 1 : N;
      for (let i = 0; i < N; i++) out[i] += share * weights[start + i * step];
    } else {
      const { q, k, lse } = attention;
      const scores = products(from ? k : q, h * N, N, q.length / (heads * N), from ? q : k, at);
      const start = from ? at : h * N;
      const step = from ? 0 : 1;
      for (let i = 0; i < N; i++) out[i] += share * Math.exp(scores[i] - lse[start + i * step]);
    }
  }
  return out;
}
