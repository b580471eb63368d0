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

/** Remembers what `compute` made of the last `count` keys, as long as the other arguments stay the same. */
export function memoLast<Rest extends unknown[], Result>(
  count: number,
  compute: (key: number, ...rest: Rest) => Result,
): (key: number, ...rest: Rest) => Result {
  const known = new Map<number, { rest: Rest; result: Result }>();
  return (key, ...rest) => {
    const found = known.get(key);
    if (found && rest.every((one, index) => one === found.rest[index])) return found.result;
    known.delete(key);
    if (known.size >= count) known.delete(known.keys().next().value as number);
    const result = compute(key, ...rest);
    known.set(key, { rest, result });
    return result;
  };
}
