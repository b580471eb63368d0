/** The ends of a colour scale, always `low < high`; `diverging`: they lie as far below 0 as above. */
export interface Range {
  low: number;
  high: number;
  diverging: boolean;
}

/** `weights`: 0 to greatest, or about 0 where one is negative; `symmetric`: about 0; `span`: least to greatest. */
export type RangeKind = "weights" | "symmetric" | "span";

/** Below this part of its size, a span (or what lies below 0) is noise of float16 packets, not a picture. */
const NOISE = 1e-4;

/**
 * What the two ends of a colour scale stand for: the finite numbers among `values` from index `from` on, without
 * the one at index `skip`. Where they are all but equal, `span` reaches to 0; where there is nothing but zeros
 * (or nothing at all), `span` and `weights` are 0..1 and `symmetric` -1..1.
 */
export function range(values: Float32Array, kind: RangeKind, from = 0, skip = -1): Range {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = from; i < values.length; i++) {
    const value = values[i];
    if (i === skip || !Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const size = Math.max(-low, high);
  if (kind === "symmetric" || (kind === "weights" && -low > NOISE * size)) {
    return size > 0 ? { low: -size, high: size, diverging: true } : { low: -1, high: 1, diverging: true };
  }
  if (kind === "span" && high - low > NOISE * size) return { low, high, diverging: false };
  if (kind === "span" && low <= high && high < 0) return { low, high: 0, diverging: false };
  return { low: 0, high: high > 0 ? high : 1, diverging: false };
}
