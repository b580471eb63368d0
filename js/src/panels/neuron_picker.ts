// A box that jumps to a neuron by its number, and the choice of where neurons live.

import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import type { Context } from "./context.ts";

export function neuronPicker({ facts, cursor, until }: Context): HTMLElement {
  const space = segmented(
    "where neurons live",
    [
      ["residual", "Residual"],
      ["mlp", "MLP"],
    ],
    (neuron_space) => {
      const count = neuron_space === "mlp" ? facts.hidden : facts.width;
      cursor.move({ neuron_space, neuron: Math.min(cursor.neuron.value, count - 1) });
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
    if (valid) cursor.move({ neuron, overlay: "neuron" });
    else box.value = String(cursor.neuron.value);
  };
  perFrame(until, () => {
    const mlp = cursor.neuron_space.value === "mlp";
    space.show(cursor.neuron_space.value);
    box.max = String((mlp ? facts.hidden : facts.width) - 1);
    box.title = `0 to ${box.max}`;
    box.value = String(cursor.neuron.value);
  });
  return h("div", "vw-picker", {}, space.element, h("label", "vw-label", {}, "#", box));
}
