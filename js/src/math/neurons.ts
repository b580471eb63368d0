import { perArray } from "./memo.ts";

/** Mean and standard deviation (divided by N, not N - 1) of each neuron over all tokens. */
export interface Moments {
  mean: Float64Array;
  std: Float64Array;
}

/** Neuron `j` of `values` (N, F) at every token, as (N). */
export function column(
  values: Float32Array,
  N: number,
  F: number,
  j: number,
  out: Float32Array = new Float32Array(N),
): Float32Array {
  for (let i = 0; i < N; i++) out[i] = values[i * F + j];
  return out;
}

/** Moments of each column of `values` (N, F). Remembered for each array. */
export const moments = perArray((values: Float32Array, N: number, F: number): Moments => {
  const mean = new Float64Array(F);
  const std = new Float64Array(F);
  // Sums of d and d * d, d measured from the first row: exactly 0 for a neuron that never changes. Four rows at
  // once, because reading and writing the sums is what takes the time.
  let i = 1;
  for (; i + 4 <= N; i += 4) {
    const row = i * F;
    for (let j = 0; j < F; j++) {
      const zero = values[j];
      const a = values[row + j] - zero;
      const b = values[row + F + j] - zero;
      const c = values[row + 2 * F + j] - zero;
      const d = values[row + 3 * F + j] - zero;
      mean[j] += a + b + c + d;
      std[j] += a * a + b * b + c * c + d * d;
    }
  }
  for (; i < N; i++) {
    for (let j = 0; j < F; j++) {
      const d = values[i * F + j] - values[j];
      mean[j] += d;
      std[j] += d * d;
    }
  }
  for (let j = 0; j < F; j++) {
    const d = mean[j] / N;
    std[j] = Math.sqrt(Math.max(std[j] / N - d * d, 0));
    mean[j] = values[j] + d;
  }
  return { mean, std };
});

/**
 * How far the mean of the rows `selected` of `values` (N, F) lies from the mean of all rows, in standard
 * deviations of each neuron over all rows, as (F); 0 where the deviation is 0.
 */
export function contrast(
  values: Float32Array,
  N: number,
  F: number,
  { mean, std }: Moments,
  selected: ArrayLike<number>,
): Float32Array {
  if (selected.length === 0) throw new Error("contrast needs at least one selected token; got none");
  const sums = new Float64Array(F);
  for (let s = 0; s < selected.length; s++) {
    const row = selected[s];
    if (!(row >= 0 && row < N)) throw new Error(`selected tokens must lie in 0..${N - 1}; got ${row}`);
    for (let j = 0; j < F; j++) sums[j] += values[row * F + j];
  }
  const result = new Float32Array(F);
  for (let j = 0; j < F; j++) {
    result[j] = std[j] === 0 ? 0 : (sums[j] / selected.length - mean[j]) / std[j];
  }
  return result;
}

/** Indices of the `count` largest magnitudes, largest first; equal ones in order, NaN never. */
export function strongest(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  for (let j = 0; j < values.length; j++) {
    const size = Math.abs(values[j]);
    let place = best.length;
    while (place > 0 && Math.abs(values[best[place - 1]]) < size) place--;
    if (place < count && size >= 0) {
      best.splice(place, 0, j);
      if (best.length > count) best.pop();
    }
  }
  return best;
}
