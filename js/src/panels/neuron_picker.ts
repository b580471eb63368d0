// A box that jumps to a neuron by its number, and the choice of where neurons live.

import type { Overlay, Spec } from "../math/overlay.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import type { Context } from "./context.ts";

/** What shows a neuron that was just chosen: its view where a view is shown, otherwise its activation. */
export function overlayOfNeuron(present: Overlay): Overlay {
  return present === "view" ? "view" : "neuron";
}

export function neuronPicker({ source, cursor, until }: Context): HTMLElement {
  /** How many neurons the layer has; the input counts like the first block. */
  const count = (space: Spec["space"]) => {
    const layer = cursor.layer.value;
    return space === "mlp" ? source.hidden(Math.max(layer, 1)) : source.width(layer);
  };
  const space = segmented(
    "where neurons live",
    [
      ["residual", "Residual"],
      ["mlp", "MLP"],
    ],
    (neuron_space) => {
      const last = Math.max(count(neuron_space) - 1, 0);
      cursor.move({ neuron_space, neuron: Math.min(cursor.neuron.value, last) });
    },
  );
  const box = h("input", "vw-input", {
    type: "number",
    min: 0,
    step: 1,
    "aria-label": "neuron number",
    change: () => jump(),
    keydown: (event) => {
      if ((event as KeyboardEvent).key === "Enter") jump(); // not every browser calls that a change
    },
  });
  const jump = () => {
    const neuron = Number(box.value);
    const valid = box.value !== "" && Number.isInteger(neuron) && neuron >= 0 && neuron <= Number(box.max);
    if (valid) cursor.move({ neuron, overlay: overlayOfNeuron(cursor.overlay.value) });
    else box.value = String(cursor.neuron.value);
  };
  perFrame(until, () => {
    space.show(cursor.neuron_space.value);
    box.max = String(count(cursor.neuron_space.value) - 1);
    box.title = `0 to ${box.max}`;
    box.value = String(cursor.neuron.value);
  });
  return h("div", "vw-picker", {}, space.element, h("label", "vw-label", {}, "#", box));
}
