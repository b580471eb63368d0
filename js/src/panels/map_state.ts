// The traits of a token map's own model as signals; vitwidgets/widgets/token_map.py documents them.

import type { RenderProps } from "@anywidget/types";
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { byLayer } from "../data/by_layer.ts";
import type { Facts } from "../data/facts.ts";
import { type Groups, type GroupsState, openGroups } from "../data/groups.ts";
import { openTraits, type Traits } from "../data/traits.ts";
import { type Fitted, fitPoints } from "../math/layout.ts";
import type { PanelState } from "./context.ts";

export type ColorBy = "group" | "cluster" | "similarity" | "attention" | "norm" | "image";
export type ClusterMethod = "kmeans" | "agglomerative" | "dbscan";

/** What a reader may change. */
export interface Choices {
  color_by: ColorBy;
  projection: "tsne" | "pca";
  tween: boolean;
  pixels: boolean;
  cluster_method: ClusterMethod;
  cluster_count: number;
  cluster_eps: number;
  computing: boolean;
}

interface Told extends Choices {
  progress: number;
  notes: string[];
  cluster_note: string;
  labels: number[][];
}

type Packets = {
  pca: DataView;
  tsne: DataView;
  received: DataView;
};

type All = PanelState & Told & Packets & { groups: string };

/** The traits of a token map's model. */
export type MapModel = { [Name in keyof All]: All[Name] };

export type MapState = Traits<MapModel, keyof Told> & {
  groups: Groups;
  /** Where the tokens of a layer are to be drawn, and by which method; null where they have no layout. */
  layout(layer: number): (Fitted & { method: string }) | null;
  /** How many layers have a t-SNE layout, of those that have any. */
  laidOut: ReadonlySignal<{ done: number; of: number }>;
  /** Attention that each token of a layer receives; null where it is not known. */
  received(layer: number): Float32Array | null;
};

const TOLD = [
  "color_by",
  "projection",
  "tween",
  "pixels",
  "cluster_method",
  "cluster_count",
  "cluster_eps",
  "computing",
  "progress",
  "notes",
  "cluster_note",
  "labels",
] as const;

/** Opens the state of a map, and the groups that it refers to. */
export async function openMap(
  { model, host, signal: until }: RenderProps<MapModel>,
  facts: Facts,
): Promise<MapState> {
  const groups = openGroups(await host.getModel<GroupsState>(model.get("groups")), until);
  const told = openTraits(model, TOLD, until);
  const packets = openTraits(model, ["pca", "tsne", "received"], until);
  const tokens = facts.grids.map(([rows, cols]) => facts.prefix.length + rows * cols);

  const pairs = tokens.map((count) => 2 * count);
  const pca = byLayer(packets.pca, pairs);
  const tsne = byLayer(packets.tsne, pairs);
  const laidOut = computed(() => {
    const count = (layout: typeof pca) => tokens.filter((_, layer) => layout(layer) !== null).length;
    return { done: count(tsne), of: count(pca) };
  });
  const fitted = new WeakMap<Float32Array, Fitted>();
  return {
    ...told,
    groups,
    layout(layer) {
      const better = told.projection.value === "tsne" ? tsne(layer) : null;
      const points = better ?? pca(layer);
      if (points === null) return null;
      const known = fitted.get(points) ?? fitPoints(points);
      fitted.set(points, known);
      return { ...known, method: better ? "t-SNE" : "PCA" };
    },
    laidOut,
    received: byLayer(packets.received, tokens),
  };
}
