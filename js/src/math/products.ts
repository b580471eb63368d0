let shared = new Float64Array(0);

/**
 * Inner product of each of `count` rows of `matrix`, from number `first` on, with row `at` of `vectors`; all rows
 * are `width` long. What it returns is used again: read it before the next call.
 */
export function products(
  matrix: Float32Array,
  first: number,
  count: number,
  width: number,
  vectors: Float32Array,
  at: number,
): Float64Array {
  if (shared.length < count) shared = new Float64Array(count);
  const found = shared;
  const start = at * width;
  const end = (first + count) * width;
  let row = first * width;
  let i = 0;
  // Four rows at once: one sum alone would make each addition wait for the one before.
  for (; i + 4 <= count; i += 4, row += 4 * width) {
    const row1 = row + width;
    const row2 = row1 + width;
    const row3 = row2 + width;
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (let j = 0; j < width; j++) {
      const v = vectors[start + j];
      s0 += matrix[row + j] * v;
      s1 += matrix[row1 + j] * v;
      s2 += matrix[row2 + j] * v;
      s3 += matrix[row3 + j] * v;
    }
    found[i] = s0;
    found[i + 1] = s1;
    found[i + 2] = s2;
    found[i + 3] = s3;
  }
  for (; row < end; i++, row += width) {
    let sum = 0;
    for (let j = 0; j < width; j++) sum += matrix[row + j] * vectors[start + j];
    found[i] = sum;
  }
  return found;
}
