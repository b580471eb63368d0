// A packet that holds all layers of a trace, one after the other.

import { computed, type ReadonlySignal } from "@preact/signals-core";
import { decode } from "./codec.ts";

/** Reads such a packet, `sizes` numbers a layer: null before it has come, and for a layer that is all NaN. */
export function byLayer(
  packet: ReadonlySignal<DataView | undefined>,
  sizes: readonly number[],
): (layer: number) => Float32Array | null {
  const layers = computed(() => {
    if (!packet.value?.byteLength) return null;
    const { values } = decode(packet.value);
    let end = 0;
    return sizes.map((size) => {
      end += size;
      return values.subarray(end - size, end);
    });
  });
  return (layer) => {
    const values = layers.value?.[layer];
    return values?.some((value) => !Number.isNaN(value)) ? values : null;
  };
}
