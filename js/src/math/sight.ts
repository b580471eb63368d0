// What one neuron sees of the picture before tokens mix it, and what is left of that in a token.
// vitwidgets/analysis/views.py has the formulas; here only what changes is worked out anew.
import { type Pixels, type Scale, scaleOf, sizesOf } from "./views.ts";

/** One filter over the picture, with what a change of shares needs to know of every patch. */
export interface Sight {
  pixels: Pixels;
  /** (p, q, C). */
  kernel: Float32Array;
  /** Sum of filter times patch. */
  sums: Float64Array;
  /** Of the finite magnitudes in filter times patch: the largest, their sum and the sum of their squares. */
  peaks: Float32Array;
  totals: Float64Array;
  squares: Float64Array;
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
  const totals = new Float64Array(sums.length);
  const squares = new Float64Array(sums.length);
  const run = q * channels;
  for (let y = 0, at = 0; y < height; y++) {
    const start = (y % p) * run;
    const first = Math.floor(y / p) * cols;
    for (let col = 0; col < cols; col++) {
      let sum = 0;
      let total = 0;
      let square = 0;
      let peak = peaks[first + col];
      // Without a branch for what is not finite: that is looked for once in a run, and then left out.
      for (let k = start; k < start + run; k++, at++) {
        const seen = Math.fround(data[at] * kernel[k]);
        const size = Math.abs(seen);
        sum += seen;
        total += size;
        square += seen * seen;
        if (size > peak) peak = size;
      }
      if (!(total < Number.POSITIVE_INFINITY)) {
        const seen = data.slice(at - run, at).map((value, k) => value * kernel[start + k]);
        ({ peak, total, squares: square } = sizesOf(seen));
        peak = Math.max(peak, peaks[first + col]);
      }
      sums[first + col] += sum;
      totals[first + col] += total;
      squares[first + col] += square;
      peaks[first + col] = peak;
    }
  }
  let small: Sight | null = null;
  const sight: Sight = {
    pixels,
    kernel,
    sums,
    peaks,
    totals,
    squares,
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

/** `viewScale` of the view with `shares` (null: all 1), as far as numbers are finite, without composing it. */
export function sightScale({ peaks, totals, squares }: Sight, shares: Float32Array | null): Scale {
  const sizes = { peak: 0, total: 0, squares: 0 };
  for (let k = 0; k < peaks.length; k++) {
    const share = shares === null ? 1 : Math.abs(shares[k]);
    if (!(share < Number.POSITIVE_INFINITY)) continue;
    sizes.peak = Math.max(sizes.peak, Math.fround(share * peaks[k]));
    sizes.total += share * totals[k];
    sizes.squares += share * share * squares[k];
  }
  return scaleOf(sizes);
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
