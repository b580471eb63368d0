import { tokenName } from "../src/math/frame.ts";
import type { Source } from "../src/math/overlay.ts";
import { flat, recorded } from "./vectors.ts";

/** The recorded trace, without the packets named in `absent`. */
export function source(absent: string[] = []): Source {
  const { sizes, trace } = recorded;
  const arrays = new Map<string, Float32Array>();
  trace.forEach((layer, l) => {
    for (const name in layer) arrays.set(`${name}_${l}`, flat(layer[name]));
  });
  for (const name of absent) arrays.delete(name);
  const get = (name: string) => (layer: number) => arrays.get(`${name}_${layer}`) ?? null;
  return {
    ...sizes,
    tokens: get("tokens"),
    q: get("q"),
    k: get("k"),
    lse: get("lse"),
    mlp: get("mlp"),
    rollout: get("rollout"),
    count: sizes.prefix.length + sizes.rows * sizes.cols,
    prefix: sizes.prefix.length,
    tokenName: (index) => tokenName(index, sizes.prefix, sizes.cols),
  };
}
