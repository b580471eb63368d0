// Which overlay is shown, which of its kind, and how it lies on the image.

import type { Overlay } from "../math/overlay.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import type { Context } from "./context.ts";
import type { Look } from "./look.ts";
import { neuronPicker } from "./neuron_picker.ts";

const OVERLAYS: readonly (readonly [Overlay, string])[] = [
  ["similarity", "Similarity"],
  ["attention_from", "Attention from"],
  ["attention_to", "Attention to"],
  ["rollout", "Rollout"],
  ["neuron", "Neuron"],
  ["none", "Photo"],
];

export function overlayBar(context: Context, look: Look): HTMLElement {
  const { facts, source, cursor, until } = context;
  const kinds = segmented("overlay", OVERLAYS, (overlay) => cursor.move({ overlay }));

  const head = h("select", "vw-select", {
    "aria-label": "attention head",
    change: () => cursor.move({ head: head.value === "" ? null : Number(head.value) }),
  });
  head.append(h("option", "", { value: "" }, "head mean"));
  for (let index = 0; index < Math.max(...facts.heads); index++) {
    head.append(h("option", "", { value: index }, `head ${index}`));
  }
  const neuron = neuronPicker(context);

  const opacity = h("input", "vw-range", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.05,
    "aria-label": "opacity of the overlay",
    input: () => look.change({ opacity: Number(opacity.value) }),
  });
  const smooth = h("input", "", {
    type: "checkbox",
    change: () => look.change({ smooth: smooth.checked }),
  });
  perFrame(until, () => {
    const overlay = cursor.overlay.value;
    kinds.show(overlay);
    head.hidden = overlay !== "attention_from" && overlay !== "attention_to";
    const heads = source.heads(Math.max(cursor.layer.value, 1));
    [...head.options].forEach((option, index) => {
      option.hidden = index > heads; // the first is the mean
    });
    head.value = cursor.head.value === null ? "" : String(cursor.head.value);
    neuron.hidden = overlay !== "neuron";
    opacity.value = String(look.opacity.value);
    smooth.checked = look.smooth.value;
  });
  return h(
    "div",
    "vw-bar",
    {},
    kinds.element,
    head,
    neuron,
    h(
      "div",
      "vw-look",
      {},
      h("label", "vw-label", {}, "Opacity", opacity),
      h("label", "vw-label", {}, smooth, "Smooth"),
    ),
  );
}
