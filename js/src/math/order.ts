// Orders of numbered things.

/** Indices of `keys`, greatest first; equal ones by index, NaN last. */
export function descending(keys: ArrayLike<number>): number[] {
  const all = ascending(keys.length);
  const numbers = all.filter((index) => !Number.isNaN(keys[index]));
  return [...numbers.sort((a, b) => keys[b] - keys[a]), ...all.filter((index) => Number.isNaN(keys[index]))];
}

/** 0..count-1. */
export function ascending(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** 1st, 2nd, 3rd... */
export function ordinal(place: number): string {
  const tens = place % 100;
  const ending = tens > 10 && tens < 14 ? "th" : (["th", "st", "nd", "rd"][place % 10] ?? "th");
  return `${place}${ending}`;
}
