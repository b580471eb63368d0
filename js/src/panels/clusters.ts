// Clusters of a layer's tokens: on the map that asked for them, and on the images of the same cursor.

import type { AnyModel, RenderProps } from "@anywidget/types";
import { computed, type ReadonlySignal, signal } from "@preact/signals-core";
import { openTraits } from "../data/traits.ts";
import { type Grid, patchesOf } from "../math/frame.ts";
import { categorical } from "../math/palette.ts";
import { now } from "../ui/effects.ts";
import type { Context, PanelState } from "./context.ts";

/** Patches that belong together: a group, or a cluster; one without a colour is what belongs nowhere. */
export interface Class {
  name: string;
  colour: string;
  /** In the finest grid. */
  patches: readonly number[];
}

export function clusterName(label: number): string {
  return label < 0 ? "in no cluster" : `cluster ${label + 1}`;
}

/** The clusters of one layer, from the label of each cell of its grid; what is in none comes last. */
export function clustersOf(labels: readonly number[], grid: Grid, finest: Grid): Class[] {
  const numbers = [...new Set(labels)].sort((a, b) => (a < 0 ? 1 : b < 0 ? -1 : a - b));
  return numbers.map((label) => ({
    name: clusterName(label),
    colour: label < 0 ? "" : categorical(label),
    patches: patchesOf((cell) => labels[cell] === label, grid, finest),
  }));
}

/** What of a token map's traits an image needs. */
interface Clustered {
  store: string;
  color_by: string;
  labels: number[][];
}

/** The clusters of the present layer, while the token map on the same cursor and trace is coloured by them. */
export function shownClusters(
  { model, host }: RenderProps<PanelState>,
  { facts, source, cursor, until }: Context,
): ReadonlySignal<readonly Class[]> {
  const shown = signal<(layer: number) => readonly number[] | null>(() => null);
  let life = new AbortController();
  until.addEventListener("abort", () => life.abort());
  now(until, () => {
    life.abort();
    life = new AbortController();
    const mine = life.signal;
    shown.value = () => null;
    const reference = cursor.token_map.value;
    if (reference === null) return;
    host.getModel<Clustered>(reference).then((map) => {
      if (mine.aborted || until.aborted || map.get("store") !== model.get("store")) return;
      const { color_by, labels } = openTraits(map as AnyModel<Clustered>, ["color_by", "labels"], mine);
      shown.value = (layer) => (color_by.value === "cluster" ? (labels.value[layer] ?? null) : null);
    }, reportError);
  });
  return computed(() => {
    const layer = cursor.layer.value;
    const labels = shown.value(layer);
    if (labels === null) return [];
    return clustersOf(labels, source.grid(layer), facts).filter(({ colour }) => colour !== "");
  });
}
