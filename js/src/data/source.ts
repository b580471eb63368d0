// A store's arrays and sizes, layer by layer, as the overlay functions want them.

import { cellAt, type Grid, sameGrid, tokenName } from "../math/frame.ts";
import type { Kind, Source } from "../math/overlay.ts";
import type { Store } from "./store.ts";

/** The packets that a layer's `Kind` is made of. */
const FIELDS: Record<Kind, string[]> = {
  tokens: ["tokens"],
  attention: ["q", "k", "lse", "attention", "attention_mean"],
  mlp: ["mlp"],
  rollout: ["rollout"],
};

export function sourceOf({ facts, array, failure }: Pick<Store, "facts" | "array" | "failure">): Source {
  const { prefix } = facts;
  const finest: Grid = facts;
  const grids = facts.grids.map(([rows, cols]): Grid => ({ rows, cols }));
  const packets = new Set(facts.packets);
  const field = (name: string) => (layer: number) => array(`${name}_${layer}`);
  const grid = (layer: number) => grids[layer] ?? finest;
  const meanOnly = (layer: number) => packets.has(`attention_mean_${layer}`);

  /** What stands at a layer for a patch: the cell that holds its centre. */
  const cell = (layer: number, token: number) => cellAt(token - prefix.length, finest, grid(layer));
  return {
    tokens: field("tokens"),
    mlp: field("mlp"),
    rollout: field("rollout"),
    attention(layer) {
      const names = FIELDS.attention.map((name) => `${name}_${layer}`).filter((name) => packets.has(name));
      const arrays = names.map(array);
      const absent = names.filter((_, index) => arrays[index] === null);
      if (absent.length > 0) return absent;
      const [first, k, lse] = arrays as Float32Array[];
      return names.length === 1 ? { weights: first } : { q: first, k, lse };
    },
    meanOnly,
    layers: facts.layers,
    count: prefix.length + finest.rows * finest.cols,
    grid,
    prefix: prefix.length,
    width: (layer) => facts.widths[layer] ?? 0,
    heads: (layer) => facts.heads[layer] ?? 0,
    hidden: (layer) => facts.hidden[layer] ?? 0,
    row: (layer, token) => (token < prefix.length ? token : prefix.length + cell(layer, token)),
    tokenName(layer, token) {
      const own = grid(layer);
      if (token < prefix.length || sameGrid(own, finest)) return tokenName(token, prefix, finest.cols);
      return tokenName(prefix.length + cell(layer, token), prefix, own.cols, "cell");
    },
    whyNot(kind, layer) {
      const failed = FIELDS[kind].map((name) => failure(`${name}_${layer}`));
      return facts.missing[kind]?.[layer] ?? failed.find((reason) => reason !== "") ?? "";
    },
  };
}
