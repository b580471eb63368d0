// The neurons that set the pinned token, or the selected patches, apart most at this layer.

import { sameGrid } from "../math/frame.ts";
import { contrast, moments, strongest } from "../math/neurons.ts";
import { type Overlay, tokensOf } from "../math/overlay.ts";
import { type Cell, cellGrid } from "../ui/cells.ts";
import { figure, h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import { neuronPicker, overlayOfNeuron } from "./neuron_picker.ts";
import { note, remark, smallMap, watchTheme } from "./parts.ts";

const SIDE = 76;
const SHOWN = 12;
const NEURON: ReadonlySet<Overlay> = new Set<Overlay>(["neuron", "view"]);

export function neuronGallery(context: Context): HTMLElement {
  const { source, cursor, until } = context;
  const grid = cellGrid("neurons", (key) =>
    cursor.move({ neuron: Number(key), overlay: overlayOfNeuron(cursor.overlay.value) }),
  );
  const place = h("span", "vw-count");
  const hint = h("span", "vw-hint");
  const theme = watchTheme(until);

  perFrame(until, () => {
    theme.value;
    const layer = cursor.layer.value;
    const space = cursor.neuron_space.value;
    const width = space === "mlp" ? source.hidden(layer) : source.width(layer);
    const rows = basis(context);
    place.textContent = describe(context, rows.length);

    // Asking for any neuron's field fetches the array that all of them are columns of.
    const any = context.field({ overlay: "neuron", neuron: 0, space });
    const values = space === "mlp" ? source.mlp(layer) : source.tokens(layer);
    note(hint, any.kind !== "field" ? remark(any) : rows.length === 0 ? "pin a token or select patches" : "");
    if (any.kind !== "field" || values === null || rows.length === 0) return grid.show([]);

    const N = tokensOf(source, layer);
    const scores = contrast(values, N, width, moments(values, N, width), rows);
    const cells = strongest(scores, SHOWN).map((neuron): Cell => {
      const outcome = context.field({ overlay: "neuron", neuron, space });
      const score = `${scores[neuron] > 0 ? "+" : ""}${figure(scores[neuron])}`;
      return {
        key: String(neuron),
        label: `#${neuron}`,
        note: score,
        spoken: `${space === "mlp" ? "MLP " : ""}neuron ${neuron}, ${score} standard deviations`,
        chosen: NEURON.has(cursor.overlay.value) && cursor.neuron.value === neuron,
        paint: (canvas) => smallMap(context, canvas, outcome, SIDE),
      };
    });
    grid.show(cells);
  });
  return h(
    "section",
    "vw-region vw-neurons",
    { "aria-label": "neurons" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Neurons"), place, hint, neuronPicker(context)),
    grid.element,
  );
}

/** The rows that are compared with the rest: the selected patches or, without any, the pinned token. */
function basis({ facts, source, cursor, place }: Context): number[] {
  const layer = cursor.layer.value;
  const patches = cursor.patches.value.filter((patch) => patch >= 0 && patch < facts.rows * facts.cols);
  const places = (patches.length > 0 ? patches : [cursor.token.value]).map(place);
  const rows = places.filter((at) => at !== null).map((at) => source.row(layer, at));
  return [...new Set(rows)]; // several patches may lie in one cell of a coarse layer
}

function describe({ facts, cursor, place, source }: Context, count: number): string {
  const layer = cursor.layer.value;
  const kind = sameGrid(source.grid(layer), facts) ? "patch" : "cell";
  if (cursor.patches.value.length > 0) {
    const many = kind === "patch" ? "patches" : "cells";
    return `what sets ${count === 1 ? `the selected ${kind}` : `${count} selected ${many}`} apart, in σ`;
  }
  const pinned = place(cursor.token.value);
  return pinned === null ? "" : `what sets ${source.tokenName(layer, pinned)} apart, in σ`;
}
