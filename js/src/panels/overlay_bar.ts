// Which overlay is shown, which of its kind, and how it lies on the image.

import type { Overlay } from "../math/overlay.ts";
import type { ViewMode } from "../math/views.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { type Option, segmented, segmentedGroups } from "../ui/segmented.ts";
import type { Context } from "./context.ts";
import type { Look } from "./look.ts";
import { neuronPicker } from "./neuron_picker.ts";
import { remark } from "./parts.ts";

/** In groups: of a token, of a neuron, of a class, of the layer, nothing. */
const OVERLAYS: readonly Option<Overlay>[][] = [
  [
    ["similarity", "Similarity", "how like the pinned token each token is"],
    ["attention_from", "Attention from", "what the pinned token attends to"],
    ["attention_to", "Attention to", "which tokens attend to the pinned one"],
    ["rollout", "Rollout", "how much of each patch is in the pinned token"],
  ],
  [
    ["neuron", "Neuron", "the activation of one neuron"],
    ["view", "View", "what one neuron sees of the picture from the pinned token"],
  ],
  [["evidence", "Evidence", "what the head reads for a class from each token"]],
  [
    ["norm", "Norm", "how long each token is"],
    ["colours", "Colours", "three principal components of the tokens"],
  ],
  [["none", "Photo", "no overlay"]],
];
const MODES: readonly Option<ViewMode>[] = [
  ["signed", "Signed"],
  ["positive", "Positive"],
  ["magnitude", "Magnitude"],
];

export function overlayBar(context: Context, look: Look): HTMLElement {
  const { facts, store, source, cursor, arrivals, until } = context;
  const kinds = segmentedGroups("overlay", OVERLAYS, (overlay) => cursor.move({ overlay }));

  const head = h("select", "vw-select", {
    "aria-label": "attention head",
    change: () => cursor.move({ head: head.value === "" ? null : Number(head.value) }),
  });
  head.append(h("option", "", { value: "" }, "head mean"));
  for (let index = 0; index < Math.max(...facts.heads); index++) {
    head.append(h("option", "", { value: index }, `head ${index}`));
  }
  const neuron = neuronPicker(context);
  const mode = segmented("signs of the view", MODES, (view_mode) => look.change({ view_mode }));

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
    neuron.hidden = overlay !== "neuron" && overlay !== "view";
    mode.element.hidden = overlay !== "view";
    mode.show(look.mode.value);
    opacity.value = String(look.opacity.value);
    smooth.checked = look.smooth.value;
  });
  perFrame(until, () => {
    arrivals.value;
    const { silent } = store.progress();
    // Only then: to ask for a field fetches what it is made of.
    kinds.without((overlay) => (silent && remark(context.field({ overlay })) === silent ? silent : ""));
  });
  return h(
    "div",
    "vw-bar",
    {},
    kinds.element,
    head,
    neuron,
    mode.element,
    h(
      "div",
      "vw-look",
      {},
      h("label", "vw-label", {}, "Opacity", opacity),
      h("label", "vw-label", {}, smooth, "Smooth"),
    ),
  );
}
