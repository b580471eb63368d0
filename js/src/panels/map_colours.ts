// What the colours of a token map mean: one colour for each token of a layer, and a legend.

import { colorIndex, diverging, nonFinite, sequential } from "../math/colormap.ts";
import { cellAt, type Frame, type Grid, sameGrid } from "../math/frame.ts";
import { tokensOf } from "../math/overlay.ts";
import { categorical } from "../math/palette.ts";
import { type Range, range } from "../math/range.ts";
import { figure } from "../ui/dom.ts";
import { mix, type Pixels, pack, packHex } from "../ui/raster.ts";
import { type Class, clusterName, clustersOf } from "./clusters.ts";
import type { Context } from "./context.ts";
import type { MapState } from "./map_state.ts";

export interface Colouring {
  /** A packed colour for each token; 0 for one that has none. */
  fills: Uint32Array;
  /** What a token's colour says, for people. */
  read(token: number): string;
  /** What the colours say altogether; empty where the classes do. */
  title: string;
  scale: (Range & { unit: string }) | null;
  classes: Class[];
  /** Why there are no colours; empty where there are. */
  missing: string;
}

/** How every token of a layer is coloured. Reads signals; asks for packets that it lacks. */
export function colouring(context: Context, map: MapState, patchColours: PatchColours): Colouring {
  const { source, cursor } = context;
  const layer = cursor.layer.value;
  const count = tokensOf(source, layer);
  switch (map.color_by.value) {
    case "group":
      return byGroup(context, map, layer, count);
    case "cluster":
      return byCluster(context, map, layer, count);
    case "similarity":
    case "norm": {
      const outcome = context.field({ overlay: map.color_by.value, layer });
      if (outcome.kind !== "field") {
        return nothing(count, outcome.kind === "missing" ? outcome.reason : "loading…");
      }
      return byValue(outcome.values, outcome, outcome.title, outcome.unit);
    }
    case "attention": {
      if (layer === 0) return nothing(count, "layer 0 is the input: no attention yet");
      const received = map.received(layer);
      if (received === null) return nothing(count, noAttention(context, layer));
      const title = "attention received · mean of heads and tokens";
      return byValue(received, range(received, "weights", source.prefix), title, "attention");
    }
    case "image":
      return byImage(context, layer, count, patchColours);
  }
}

function noAttention({ source }: Context, layer: number): string {
  return source.whyNot("attention", layer) || "attention received is not computed yet";
}

function nothing(count: number, missing: string): Colouring {
  return {
    fills: new Uint32Array(count),
    read: () => "",
    title: "",
    scale: null,
    classes: [],
    missing,
  };
}

function byValue(values: Float32Array, ends: Range, title: string, unit: string): Colouring {
  const colours = ends.diverging ? diverging : sequential;
  const fills = Uint32Array.from(values, (value) => {
    const at = 3 * colorIndex(value, ends.low, ends.high);
    return at < 0 ? pack(...nonFinite) : pack(colours[at], colours[at + 1], colours[at + 2]);
  });
  const scale = { low: ends.low, high: ends.high, diverging: ends.diverging, unit };
  const read = (token: number) => `${figure(values[token])} ${unit}`;
  return { fills, read, title, scale, classes: [], missing: "" };
}

/** Each cell of a layer's grid takes the last group that its middle lies in. */
function byGroup({ facts, source }: Context, { groups }: MapState, layer: number, count: number): Colouring {
  const all = groups.all.value;
  const owner = new Int32Array(facts.rows * facts.cols).fill(-1);
  all.forEach(({ patches }, number) => {
    for (const patch of patches) owner[patch] = number;
  });
  const grid = source.grid(layer);
  const number = (token: number) =>
    token < source.prefix ? -1 : owner[cellAt(token - source.prefix, grid, facts)];
  const colours = all.map(({ colour }) => packHex(colour));
  const fills = Uint32Array.from({ length: count }, (_, token) => colours[number(token)] ?? 0);
  return {
    fills,
    read: (token) => all[number(token)]?.name ?? "",
    title: "",
    scale: null,
    classes: [],
    missing: all.length > 0 ? "" : "no groups yet: drag around points and keep the selection",
  };
}

function byCluster({ facts, source }: Context, map: MapState, layer: number, count: number): Colouring {
  const labels = map.labels.value[layer];
  if (labels === undefined) return nothing(count, map.cluster_note.value || "no clusters at this layer");
  const of = (token: number) => labels[token - source.prefix];
  const fill = (token: number) =>
    token < source.prefix || of(token) < 0 ? 0 : packHex(categorical(of(token)));
  return {
    fills: Uint32Array.from({ length: count }, (_, token) => fill(token)),
    read: (token) => (token < source.prefix ? "" : clusterName(of(token))),
    title: "",
    scale: null,
    classes: clustersOf(labels, source.grid(layer), facts),
    missing: "",
  };
}

function byImage({ source }: Context, layer: number, count: number, patchColours: PatchColours): Colouring {
  const colours = patchColours(source.grid(layer));
  if (colours === null) return nothing(count, "loading…");
  const fills = new Uint32Array(count);
  fills.set(colours, source.prefix);
  return {
    fills,
    read: () => "",
    title: "mean colour of each patch",
    scale: null,
    classes: [],
    missing: "",
  };
}

/** The mean colour of each cell of a grid, packed, 0 outside of the picture; null while that is not decoded. */
export type PatchColours = (grid: Grid) => Uint32Array | null;

/** What the model saw, `side` pixels a cell: the patches that a map draws are cut out of it. */
export function atlas(photo: ImageBitmap, frame: Frame, grid: Grid, side: number): Pixels {
  const canvas = document.createElement("canvas");
  canvas.width = grid.cols * side;
  canvas.height = grid.rows * side;
  const [left, top, right, bottom] = frame.box;
  const across = canvas.width / (right - left);
  const down = canvas.height / (bottom - top);
  const on = canvas.getContext("2d", { willReadFrequently: true });
  if (!on) throw new Error("this browser offers no 2D canvas");
  on.imageSmoothingQuality = "high";
  const [width, height] = frame.original;
  on.drawImage(photo, -left * across, -top * down, width * across, height * down);
  const { data } = on.getImageData(0, 0, canvas.width, canvas.height);
  return { width: canvas.width, values: new Uint32Array(data.buffer) };
}

/** `pixels`, of which what is translucent is laid on a colour, `share` of the way to that colour. */
export function veil({ width, values }: Pixels, colour: number, share: number): Pixels {
  const laid = values.map((pixel) => mix(pixel, colour, 1 - ((1 - share) * (pixel >>> 24)) / 255));
  return { width, values: laid };
}

const SAMPLE = 6; // pixels across a patch of which the mean is taken

/** Mean colours of the patches of `photo`, remembered for each grid. */
export function meanColours(photo: () => ImageBitmap | null, frame: Frame): PatchColours {
  let known: { grid: Grid; colours: Uint32Array } | null = null;
  return (grid) => {
    const picture = photo();
    if (picture === null) return null;
    if (known && sameGrid(known.grid, grid)) return known.colours;
    const { width, values } = atlas(picture, frame, grid, SAMPLE);
    const sums = new Float64Array(4 * grid.rows * grid.cols);
    values.forEach((pixel, i) => {
      if (pixel >>> 24 === 0) return;
      const cell = Math.floor(i / width / SAMPLE) * grid.cols + Math.floor((i % width) / SAMPLE);
      for (const at of [0, 8, 16]) sums[4 * cell + at / 8] += (pixel >>> at) & 255;
      sums[4 * cell + 3] += 1;
    });
    const colours = Uint32Array.from({ length: grid.rows * grid.cols }, (_, cell) => {
      const [red, green, blue, seen] = sums.subarray(4 * cell, 4 * cell + 4);
      return seen === 0 ? 0 : pack(Math.round(red / seen), Math.round(green / seen), Math.round(blue / seen));
    });
    known = { grid, colours };
    return colours;
  };
}
