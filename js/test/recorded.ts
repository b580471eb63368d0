import type { Facts } from "../src/data/facts.ts";
import { sourceOf } from "../src/data/source.ts";
import type { Source } from "../src/math/overlay.ts";
import { flat, type Recorded } from "./vectors.ts";

/** A recorded trace, as if it came from a store; without the packets in `absent`, with reasons for some. */
export function source(
  { sizes, trace, whole = {} }: Recorded,
  absent: string[] = [],
  failures: Record<string, string> = {},
): Source {
  const arrays = new Map<string, Float32Array>();
  trace.forEach((layer, l) => {
    for (const name in layer) {
      // Python reads the weights; here they come as queries and keys, where there are some.
      if (name !== "attention" || !("q" in layer)) arrays.set(`${name}_${l}`, flat(layer[name]));
    }
  });
  for (const name in whole) arrays.set(name, flat(whole[name]));
  const names = { packets: [...arrays.keys()], on_demand: [] };
  return sourceOf({
    facts: { ...sizes, channels: 3, ...names } as unknown as Facts,
    array: (name) => (absent.includes(name) ? null : (arrays.get(name) ?? null)),
    failure: (name) => failures[name] ?? "",
  });
}
