// Two colour maps, curves through control points in OKLab. The same maps, and why they look as they do:
// vitwidgets/colormap.py. Shared test vectors keep the two equal.

type Lab = [lightness: number, a: number, b: number];

// Control points, evenly spaced along each curve.
const SEQUENTIAL: Lab[] = [
  [0.23, 0.025, -0.115],
  [0.4, -0.015, -0.11],
  [0.57, -0.07, -0.035],
  [0.74, -0.08, 0.075],
  [0.91, -0.012, 0.14],
];
const BLUE: Lab[] = [
  [0.94, 0, 0.002],
  [0.8, -0.034, -0.058],
  [0.66, -0.047, -0.115],
  [0.52, -0.035, -0.165],
];
const ORANGE: Lab[] = [
  [0.94, 0, 0.002],
  [0.8, 0.05, 0.062],
  [0.66, 0.105, 0.108],
  [0.52, 0.13, 0.102],
];

/** A Catmull-Rom spline at `where` in 0..1; its ends go on in a straight line. */
function curve(points: Lab[], where: number): Lab {
  const spans = points.length - 1;
  const span = Math.min(Math.floor(where * spans), spans - 1);
  const t = where * spans - span;
  return [0, 1, 2].map((axis) => {
    const b = points[span][axis];
    const c = points[span + 1][axis];
    const a = span > 0 ? points[span - 1][axis] : 2 * b - c;
    const d = span + 2 <= spans ? points[span + 2][axis] : 2 * c - b;
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  }) as Lab;
}

function srgb([L, a, b]: Lab): number[] {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((linear) => {
    const c = Math.min(Math.max(linear, 0), 1);
    return Math.floor((c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055) * 255 + 0.5);
  });
}

function table(colour: (i: number) => Lab): Uint8Array {
  return Uint8Array.from(Array.from({ length: 256 }, (_, i) => srgb(colour(i))).flat());
}

/** 256 x 3 bytes: from dark indigo over teal to warm yellow, lightness strictly rising. */
export const sequential: Uint8Array = table((i) => curve(SEQUENTIAL, i / 255));
/** 256 x 3 bytes: deep blue, near-neutral light grey, deep orange; lightness symmetric about the middle. */
export const diverging: Uint8Array = table((i) =>
  i < 128 ? curve(BLUE, (255 - 2 * i) / 255) : curve(ORANGE, (2 * i - 255) / 255),
);
/** The colour of NaN and infinity, which no map contains. */
export const nonFinite: readonly [number, number, number] = [214, 51, 132];

/** Row of a map that shows `value` where its ends stand for `low` and `high`; -1 for NaN and infinity. */
export function colorIndex(value: number, low: number, high: number): number {
  if (!Number.isFinite(value)) return -1;
  const position = (value - low) / (high - low);
  return Math.floor(Math.min(Math.max(position, 0), 1) * 255 + 0.5);
}

/** `colorIndex` as a CSS colour, for chips and bars. */
export function cssColor(value: number, low: number, high: number, map: Uint8Array): string {
  const i = colorIndex(value, low, high);
  const [r, g, b] = i < 0 ? nonFinite : map.subarray(3 * i, 3 * i + 3);
  return `rgb(${r}, ${g}, ${b})`;
}

/** Writes the colours of `values` from index `from` on into `rgba` (four bytes each, opaque), and returns it. */
export function colorize(
  values: Float32Array,
  low: number,
  high: number,
  map: Uint8Array,
  rgba: Uint8ClampedArray,
  from = 0,
): Uint8ClampedArray {
  for (let v = from, o = 0; o < rgba.length; v++, o += 4) {
    const i = colorIndex(values[v], low, high);
    rgba[o] = i < 0 ? nonFinite[0] : map[3 * i];
    rgba[o + 1] = i < 0 ? nonFinite[1] : map[3 * i + 1];
    rgba[o + 2] = i < 0 ? nonFinite[2] : map[3 * i + 2];
    rgba[o + 3] = 255;
  }
  return rgba;
}
