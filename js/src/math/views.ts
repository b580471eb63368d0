// What a neuron sees: its filter times the picture, as numbers and as colours. vitwidgets/analysis/views.py says
// the same in Python, with the formulas and where they come from.
import { nonFinite } from "./colormap.ts";

/** `signed`: zero is mid-grey; `positive`: what is negative is black, as in the paper; `magnitude`: without sign. */
export type ViewMode = "signed" | "positive" | "magnitude";

/** The model input, normalised: (height, width, channels) in C order, cut into patches of p x q pixels. */
export interface Pixels {
  data: Float32Array;
  height: number;
  width: number;
  channels: number;
  patch: readonly [p: number, q: number];
}

/**
 * The filter `kernel` (p, q, C) times every patch, patch k scaled by `shares[k]` (null: by 1), into `out`
 * (height, width, C). `shares` is a token's row of the rollout without the prefix tokens: use `subarray`.
 */
export function composeView(
  pixels: Pixels,
  kernel: Float32Array,
  shares: Float32Array | null,
  out: Float32Array,
): Float32Array {
  const { data, height, width, channels, patch } = pixels;
  const [p, q] = patch;
  expectLength("kernel", kernel, p * q * channels);
  expectLength("out", out, data.length);
  const cols = width / q;
  if (shares !== null) expectLength("shares", shares, (height / p) * cols);
  const run = q * channels; // one row of pixels of one patch
  for (let y = 0, at = 0; y < height; y++) {
    const start = (y % p) * run;
    const first = Math.floor(y / p) * cols;
    for (let col = 0; col < cols; col++) {
      const share = shares === null ? 1 : shares[first + col];
      // Rounded twice, as numpy does with two float32 products.
      for (let k = start; k < start + run; k++, at++) out[at] = Math.fround(data[at] * kernel[k]) * share;
    }
  }
  return out;
}

/** The filter `kernel` (p, q, C) times one patch, as (p, q, C). */
export function localView(pixels: Pixels, kernel: Float32Array, patch: number): Float32Array {
  const view = cutPatch(pixels, patch);
  expectLength("kernel", kernel, view.length);
  for (let i = 0; i < view.length; i++) view[i] *= kernel[i];
  return view;
}

/** A copy of one patch of the picture, (p, q, C). */
export function cutPatch({ data, width, channels, patch: [p, q] }: Pixels, patch: number): Float32Array {
  const cols = width / q;
  const row = Math.floor(patch / cols);
  const run = q * channels;
  const cut = new Float32Array(p * run);
  for (let y = 0; y < p; y++) {
    const start = ((row * p + y) * width + (patch % cols) * q) * channels;
    cut.set(data.subarray(start, start + run), y * run);
  }
  return cut;
}

/** Where the colours of a view end, and the largest magnitude in it: what lies between the two is clipped. */
export interface Scale {
  /** Greater than 0; 1 where there is nothing but zeros. */
  limit: number;
  peak: number;
}

/** Of the finite magnitudes of some numbers: the largest, their sum, and the sum of their squares. */
export interface Sizes {
  peak: number;
  total: number;
  squares: number;
}

export function sizesOf(view: Float32Array): Sizes {
  let peak = 0;
  let total = 0;
  let squares = 0;
  for (let i = 0; i < view.length; i++) {
    const size = Math.abs(view[i]);
    if (!(size < Number.POSITIVE_INFINITY)) continue;
    if (size > peak) peak = size;
    total += size;
    squares += size * size;
  }
  return { peak, total, squares };
}

export function scaleOf({ peak, total, squares }: Sizes): Scale {
  return { limit: total > 0 ? Math.min(peak, (2 * squares) / total) : 1, peak };
}

/** Where the colours of several views end that share a scale; one of nothing but zeros has no say. */
export function sharedLimit(scales: readonly Scale[]): number {
  return Math.max(0, ...scales.map(({ limit, peak }) => Math.min(limit, peak))) || 1;
}

/** The scale of a view, or of a filter. */
export function viewScale(view: Float32Array): Scale {
  return scaleOf(sizesOf(view));
}

/**
 * Writes the colours of `view` (..., C), four bytes a pixel, opaque, into `out`, and returns it. `limit`, positive,
 * gets full brightness. Of three channels each is shown by itself, one is grey; a pixel that is not finite has the
 * colour of what is not.
 */
export function viewColours(
  view: Float32Array,
  channels: number,
  mode: ViewMode,
  limit: number,
  out: Uint8ClampedArray,
): Uint8ClampedArray {
  if (channels !== 1 && channels !== 3) {
    throw new Error(`a picture has 1 or 3 channels; got ${channels}`);
  }
  expectLength("out", out, (view.length / channels) * 4);
  const zero = mode === "signed" ? 128.5 : 0.5; // the half makes whole numbers of what is cut off after it
  const gain = mode === "signed" ? 127 : 255;
  const least = mode === "positive" ? 0 : -1;
  const bent = mode === "magnitude";
  // Without branches: the signs of a view are as good as random, and to guess them wrong costs most of the time.
  const level = (value: number) => {
    const part = Math.min(1, Math.max(least, value / limit));
    return (zero + gain * (bent ? Math.abs(part) : part)) | 0;
  };
  for (let v = 0, o = 0; o < out.length; v += channels, o += 4) {
    const a = view[v];
    const b = channels === 1 ? a : view[v + 1];
    const c = channels === 1 ? a : view[v + 2];
    // A product with zero is zero, unless one of the three is not finite.
    if (a * 0 + b * 0 + c * 0 === 0) {
      out[o] = level(a);
      out[o + 1] = channels === 1 ? out[o] : level(b);
      out[o + 2] = channels === 1 ? out[o] : level(c);
    } else {
      out[o] = nonFinite[0];
      out[o + 1] = nonFinite[1];
      out[o + 2] = nonFinite[2];
    }
    out[o + 3] = 255;
  }
  return out;
}

function expectLength(name: string, array: ArrayLike<number>, length: number): void {
  if (array.length !== length) throw new Error(`${name} must have ${length} numbers; got ${array.length}`);
}
