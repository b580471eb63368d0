// Which tokens are far longer than the others of their layer. vitwidgets/analysis/norms.py says the same in Python,
// with the reasons and the source.

const DEVIATIONS = 6;
const RATIO = 1.75;
const MAD_TO_STD = 1.4826; // median absolute deviation to standard deviation, of normally distributed values

/** Rows of the patch tokens (from `prefix` on) of high norm. */
export function highNorms(norms: ArrayLike<number>, prefix: number): number[] {
  const finite: number[] = [];
  for (let i = prefix; i < norms.length; i++) if (Number.isFinite(norms[i])) finite.push(norms[i]);
  if (finite.length === 0) return [];
  const middle = median(finite);
  const spread = MAD_TO_STD * median(finite.map((norm) => Math.abs(norm - middle)));
  const limit = Math.max(middle + DEVIATIONS * spread, RATIO * middle);
  const marked: number[] = [];
  for (let i = prefix; i < norms.length; i++) {
    if (norms[i] > limit && norms[i] < Number.POSITIVE_INFINITY) marked.push(i);
  }
  return marked;
}

function median(values: number[]): number {
  const ordered = [...values].sort((a, b) => a - b);
  const middle = ordered.length >> 1;
  return ordered.length % 2 === 1 ? ordered[middle] : (ordered[middle - 1] + ordered[middle]) / 2;
}
