// The traits of a token map's own model as signals; vitwidgets/widgets/token_map.py documents them.

import type { RenderProps } from "@anywidget/types";
import { computed } from "@preact/signals-core";
import { decode } from "../data/codec.ts";
import type { Facts } from "../data/facts.ts";
import { type Groups, type GroupsState, openGroups } from "../data/groups.ts";
import { type Fitted, fitPoints } from "../math/layout.ts";
import type { PanelState } from "./context.ts";
import { openTraits, type Traits } from "./traits.ts";

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
}

interface Told extends Choices {
  progress: number;
  notes: string[];
  cluster_note: string;
}

type Packets = {
  pca: DataView;
  tsne: DataView;
  received: DataView;
  labels: DataView;
};

type All = PanelState & Told & Packets & { groups: string };

/** The traits of a token map's model. */
export type MapModel = { [Name in keyof All]: All[Name] };

export type MapState = Traits<MapModel, keyof Told> & {
  groups: Groups;
  /** Where the tokens of a layer are to be drawn, and by which method; null where they have no layout. */
  layout(layer: number): (Fitted & { method: string }) | null;
  /** Attention that each token of a layer receives; null where it is not known. */
  received(layer: number): Float32Array | null;
  /** Cluster of each patch of a layer, -1 for none; null where it is not known. */
  labels(layer: number): Float32Array | null;
};

const TOLD = [
  "color_by",
  "projection",
  "tween",
  "pixels",
  "cluster_method",
  "cluster_count",
  "cluster_eps",
  "progress",
  "notes",
  "cluster_note",
] as const;

/** Opens the state of a map, and the groups that it refers to. */
export async function openMap(
  { model, host, signal: until }: RenderProps<MapModel>,
  facts: Facts,
): Promise<MapState> {
  const groups = openGroups(await host.getModel<GroupsState>(model.get("groups")), until);
  const told = openTraits(model, TOLD, until);
  const packets = openTraits(model, ["pca", "tsne", "received", "labels"], until);
  const patches = facts.grids.map(([rows, cols]) => rows * cols);
  const tokens = patches.map((count) => facts.prefix.length + count);

  /** A packet's numbers by layer; null until it has come. */
  const perLayer = (name: keyof Packets, counts: readonly number[], width: number) => {
    const layers = computed(() => {
      const packet = packets[name].value;
      if (!((packet?.byteLength ?? 0) > 0)) return null;
      const { values } = decode(packet);
      let end = 0;
      return counts.map((count) => {
        end += count * width;
        return values.subarray(end - count * width, end);
      });
    });
    return (layer: number) => {
      const values = layers.value?.[layer];
      return values?.some((value) => !Number.isNaN(value)) ? values : null;
    };
  };
  const pca = perLayer("pca", tokens, 2);
  const tsne = perLayer("tsne", tokens, 2);
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
    received: perLayer("received", tokens, 1),
    labels: perLayer("labels", patches, 1),
  };
}
