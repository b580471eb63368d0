// The arrays of a store, by field and layer, as the overlay functions want them.

import { tokenName } from "../math/frame.ts";
import type { Source } from "../math/overlay.ts";
import type { Store } from "./store.ts";

export function sourceOf(store: Store): Source {
  const { facts } = store;
  const field = (name: string) => (layer: number) => store.array(`${name}_${layer}`);
  return {
    tokens: field("tokens"),
    q: field("q"),
    k: field("k"),
    lse: field("lse"),
    mlp: field("mlp"),
    rollout: field("rollout"),
    count: facts.prefix.length + facts.rows * facts.cols,
    prefix: facts.prefix.length,
    width: facts.width,
    heads: facts.heads,
    headDim: facts.head_dim,
    hidden: facts.hidden,
    layers: facts.layers,
    tokenName: (row) => tokenName(row, facts.prefix, facts.cols),
  };
}
