/** Remembers, for each array, what `compute` made of it, for as long as the array lives. */
export function perArray<Rest extends unknown[], Result>(
  compute: (array: Float32Array, ...rest: Rest) => Result,
): (array: Float32Array, ...rest: Rest) => Result {
  const known = new WeakMap<Float32Array, Result>();
  return (array, ...rest) => {
    let result = known.get(array);
    if (result === undefined) {
      result = compute(array, ...rest);
      known.set(array, result);
    }
    return result;
  };
}
