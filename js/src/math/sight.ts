// What one neuron sees of the picture before tokens mix it, and what is left of that in a token.
// vitwidgets/analysis/views.py has the formulas; here only what changes is worked out anew.
import type { Pixels } from "./views.ts";

/** One filter over the picture, with what a change of shares needs to know of every patch. */
export interface Sight {
  pixels: Pixels;
  /** (p, q, C). */
  kernel: Float32Array;
  /** Sum of filter times patch. */
  sums: Float64Array;
  /** Largest finite magnitude in filter times patch. */
  peaks: Float32Array;
  /** The same picture with fewer pixels a patch, for small maps; made when first asked for. */
  small(): Sight;
}

const SMALL_SIDE = 56; // pixels that a small map has at least, where the picture has them

export function sightOf(pixels: Pixels, kernel: Float32Array): Sight {
  const { data, height, width, channels, patch } = pixels;
  const [p, q] = patch;
  const cols = width / q;
  const sums = new Float64Array((height / p) * cols);
  const peaks = new Float32Array(sums.length);
  const run = q * channels;
  for (let y = 0, at = 0; y < height; y++) {
    const start = (y % p) * run;
    const first = Math.floor(y / p) * cols;
    for (let col = 0; col < cols; col++) {
      let sum = 0;
      let peak = peaks[first + col];
      for (let k = start; k < start + run; k++, at++) {
        const seen = Math.fround(data[at] * kernel[k]);
        sum += seen;
        const size = Math.abs(seen);
        if (size > peak && size < Number.POSITIVE_INFINITY) peak = size;
      }
      sums[first + col] += sum;
      peaks[first + col] = peak;
    }
  }
  let small: Sight | null = null;
  const sight: Sight = {
    pixels,
    kernel,
    sums,
    peaks,
    small() {
      small ??= reduced(sight);
      return small;
    },
  };
  return sight;
}

/** The sum over each patch of the view with `shares` (null: all 1), into `out` from index `from` on. */
export function patchSums(
  { sums }: Sight,
  shares: Float32Array | null,
  out: Float32Array,
  from: number,
): Float32Array {
  for (let k = 0; k < sums.length; k++) out[from + k] = shares === null ? sums[k] : sums[k] * shares[k];
  return out;
}

/** The largest finite magnitude in the view with `shares`, greater than 0; 1 where there is nothing but zeros. */
export function sightLimit({ peaks }: Sight, shares: Float32Array | null): number {
  let largest = 0;
  for (let k = 0; k < peaks.length; k++) {
    const size = shares === null ? peaks[k] : Math.fround(Math.abs(peaks[k] * shares[k]));
    if (size > largest && size < Number.POSITIVE_INFINITY) largest = size;
  }
  return largest || 1;
}

/**
 * The mean of filter times pixel over blocks of pixels, as a picture under a filter of ones. Shares scale whole
 * patches, and blocks lie within them: the view of the reduced picture is the reduced view.
 */
function reduced(sight: Sight): Sight {
  const { data, height, width, channels, patch } = sight.pixels;
  const [p, q] = patch;
  let block = 1;
  for (let side = 2; side <= Math.min(p, q); side++) {
    if (p % side === 0 && q % side === 0 && Math.max(height, width) / side >= SMALL_SIDE) block = side;
  }
  if (block === 1) return sight;
  const wide = width / block;
  const means = new Float32Array((height / block) * wide * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = (Math.floor(y / block) * wide + Math.floor(x / block)) * channels;
      const at = (y * width + x) * channels;
      const k = ((y % p) * q + (x % q)) * channels;
      for (let c = 0; c < channels; c++) {
        means[to + c] += (data[at + c] * sight.kernel[k + c]) / (block * block);
      }
    }
  }
  const size: [number, number] = [p / block, q / block];
  const pixels = { data: means, height: height / block, width: wide, channels, patch: size };
  return sightOf(pixels, new Float32Array(size[0] * size[1] * channels).fill(1));
}
