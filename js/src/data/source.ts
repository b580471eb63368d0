// A store's arrays and sizes, layer by layer, as the overlay functions want them.

import { cellAt, type Grid, sameGrid, tokenName } from "../math/frame.ts";
import { memoLast } from "../math/memo.ts";
import type { Kind, Source } from "../math/overlay.ts";
import { type Sight, sightOf } from "../math/sight.ts";
import type { Pixels } from "../math/views.ts";
import type { Store } from "./store.ts";

const ATTENTION = ["q", "k", "lse", "attention", "attention_mean"];

/** The packets that a layer's `Kind` is made of. */
const PACKETS: Record<Kind, (layer: number) => string[]> = {
  tokens: (layer) => [`tokens_${layer}`],
  attention: (layer) => ATTENTION.map((name) => `${name}_${layer}`),
  mlp: (layer) => [`mlp_${layer}`],
  rollout: (layer) => [`rollout_${layer}`],
  view: (layer) => ["filters", "pixels", ...(layer > 0 ? [`rollout_${layer}`] : [])],
  evidence: (layer) => ["readout", `tokens_${layer}`],
  colours: (layer) => [`colours_${layer}`],
};

const SIGHTS = 16; // neurons whose filter is kept multiplied with the picture

export function sourceOf({ facts, array, failure }: Pick<Store, "facts" | "array" | "failure">): Source {
  const { prefix } = facts;
  const finest: Grid = facts;
  const grids = facts.grids.map(([rows, cols]): Grid => ({ rows, cols }));
  const packets = new Set([...facts.packets, ...facts.on_demand]);
  const field = (name: string) => (layer: number) => array(`${name}_${layer}`);
  const grid = (layer: number) => grids[layer] ?? finest;
  const meanOnly = (layer: number) => packets.has(`attention_mean_${layer}`);

  /** What stands at a layer for a patch: the cell that holds its centre. */
  const cell = (layer: number, token: number) => cellAt(token - prefix.length, finest, grid(layer));

  const sight = memoLast(SIGHTS, (neuron: number, filters: Float32Array, data: Float32Array): Sight => {
    const [height, width] = facts.input;
    const pixels: Pixels = { data, height, width, channels: facts.channels, patch: facts.patch };
    const size = facts.patch[0] * facts.patch[1] * facts.channels;
    return sightOf(pixels, filters.subarray(neuron * size, (neuron + 1) * size));
  });
  return {
    tokens: field("tokens"),
    mlp: field("mlp"),
    rollout: field("rollout"),
    attention(layer) {
      const names = PACKETS.attention(layer).filter((name) => packets.has(name));
      const arrays = names.map(array);
      const absent = names.filter((_, index) => arrays[index] === null);
      if (absent.length > 0) return absent;
      const [first, k, lse] = arrays as Float32Array[];
      return names.length === 1 ? { weights: first } : { q: first, k, lse };
    },
    sight(neuron) {
      const absent = ["filters", "pixels"].filter((name) => array(name) === null);
      if (absent.length > 0) return absent;
      return sight(neuron, array("filters") as Float32Array, array("pixels") as Float32Array);
    },
    readout: () => array("readout"),
    colours: field("colours"),
    eps: facts.eps,
    classes: facts.classes,
    leading: facts.leading[0] ?? 0,
    channels: facts.channels,
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
      const failed = PACKETS[kind](layer).map(failure);
      return facts.missing[kind]?.[layer] ?? failed.find((reason) => reason !== "") ?? "";
    },
  };
}
