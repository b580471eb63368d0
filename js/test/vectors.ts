// Test vectors that the Python tests read too; tests/vectors/make.py writes them.
import colormapFile from "../../tests/vectors/colormap.json";
import frameFile from "../../tests/vectors/frame.json";
import overlayFile from "../../tests/vectors/overlay.json";
import packetFile from "../../tests/vectors/packets.json";
import stagesFile from "../../tests/vectors/stages.json";
import type { Facts } from "../src/data/facts.ts";
import type { Frame } from "../src/math/frame.ts";
import type { Spec } from "../src/math/overlay.ts";

/** Numbers, nested as the array's shape has it; "NaN", "-0" and the like are strings. */
export type Numbers = (number | string | Numbers)[];

export const packets = packetFile as {
  good: { name: string; shape: number[]; values: Numbers; packet: string }[];
  damaged: { name: string; packet: string; says: string }[];
};

export const colours = colormapFile as Record<"sequential" | "diverging", number[][]> & {
  colorize: {
    map: "sequential" | "diverging";
    low: number;
    high: number;
    values: Numbers;
    colours: number[][];
  }[];
};

export const frames = frameFile as unknown as {
  rows: number;
  cols: number;
  prefix: string[];
  frame: Frame;
  boxes: number[][];
  points: { x: number; y: number; patch: number | null }[];
  rects: { rect: [number, number, number, number]; patches: number[] }[];
  names: string[];
  cells: { from: [number, number]; to: [number, number]; cells: number[] }[];
};

/** A small trace and what it must show. */
export interface Recorded {
  sizes: Pick<
    Facts,
    | "rows"
    | "cols"
    | "prefix"
    | "layers"
    | "grids"
    | "widths"
    | "heads"
    | "hidden"
    | "missing"
    | "patch"
    | "input"
    | "classes"
    | "leading"
    | "eps"
  >;
  trace: Record<string, Numbers>[];
  /** Arrays of the trace as a whole. */
  whole?: Record<string, Numbers>;
  cases: {
    spec: Spec;
    field?: { values: Numbers; low: number; high: number; diverging: boolean; title: string; unit: string };
    view?: {
      view: Numbers;
      values: Numbers;
      limit: number;
      peak: number;
      title: string;
      unit: string;
    };
    colours?: { rgb: Numbers; title: string };
    missing?: string;
  }[];
}

/** 3 x 4 patches at every layer, 2 prefix tokens. */
export const recorded = overlayFile as unknown as Recorded & {
  contrast: {
    space: "mlp" | "tokens";
    layer: number;
    selected: number[];
    values: Numbers;
    strongest: number[];
  }[];
  high_norm: { norms: Numbers; prefix: number; marked: number[] }[];
};

/** From 4 x 6 patches to 1 x 2; attention comes as weights, negative ones among them. */
export const stages = stagesFile as unknown as Recorded;

/** Nested numbers as one float32 array. */
export function flat(nested: Numbers): Float32Array {
  const all: unknown[] = nested;
  return Float32Array.from(all.flat(Number.POSITIVE_INFINITY), Number);
}

/** Where two arrays differ by more than `tolerance` of their size; NaN, infinities and -0 must be the same. */
export function differences(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance = 2e-6,
): string[] {
  if (found.length !== expected.length) return [`${found.length} numbers, not ${expected.length}`];
  return Array.from(expected, (value, i) => ({ value, i }))
    .filter(({ value, i }) => {
      if (tolerance === 0 || !Number.isFinite(value)) return !Object.is(found[i], value);
      return !(Math.abs(found[i] - value) <= tolerance * (Math.abs(value) + 0.1));
    })
    .map(({ value, i }) => `[${i}]: ${found[i]}, not ${value}`);
}
