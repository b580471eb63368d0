// The whole workbench: its regions under one cursor.

import type { ReadonlySignal } from "@preact/signals-core";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import { headGrid } from "./head_grid.ts";
import { layerStrip } from "./layer_strip.ts";
import type { Look } from "./look.ts";
import { neuronCard } from "./neuron_card.ts";
import { neuronGallery } from "./neuron_gallery.ts";
import { note } from "./parts.ts";
import { patchView } from "./patch_view.ts";
import { predictions } from "./predictions.ts";
import type { Outlined } from "./stage.ts";
import { verified } from "./verified.ts";

export function explorer(
  context: Context,
  look: Look,
  outlined: ReadonlySignal<Outlined>,
  map: HTMLElement,
): HTMLElement {
  const { facts, store, arrivals, until } = context;
  const loading = h("span", "vw-hint");
  const remarks = h("div", "vw-remarks", {}, ...facts.notes.map((text) => h("div", "", {}, text)));
  remarks.hidden = facts.notes.length === 0;
  perFrame(until, () => {
    arrivals.value;
    const { arrived, total, silent } = store.progress();
    const state = silent
      ? `${arrived} of ${total} loaded · the rest is ${silent}`
      : `loading ${arrived} of ${total}`;
    note(loading, arrived < total ? state : "");
  });
  return h(
    "div",
    "vw-explorer",
    {},
    h(
      "header",
      "vw-masthead",
      {},
      h("span", "vw-model", {}, facts.model),
      h("span", "vw-faint", {}, sizes(context)),
      h("span", "vw-status", {}, loading, verified(context)),
    ),
    remarks,
    h("div", "vw-left", {}, patchView(context, look, outlined), neuronCard(context, look)),
    h("div", "vw-right", {}, predictions(context), headGrid(context), neuronGallery(context)),
    layerStrip(context, look),
    map,
  );
}

function sizes({ facts }: Context): string {
  const { rows, cols, prefix, layers, grids, widths, heads } = facts;
  const last = grids[layers];
  const narrower = last[0] === rows && last[1] === cols ? "" : ` → ${last[0]} × ${last[1]}`;
  const names = prefix.length > 0 ? ` + ${prefix.join(", ")}` : "";
  const attention = heads.some((count) => count > 0) ? ` · ${course(heads)} heads` : "";
  return `${rows} × ${cols}${narrower} patches${names} · ${layers} layers · width ${course(widths)}${attention}`;
}

/** From which number to which the layers go, without those that have none. */
function course(counts: readonly number[]): string {
  const some = counts.filter((count) => count > 0);
  const [first, last] = [some[0], some[some.length - 1]];
  return first === last ? String(first) : `${first} → ${last}`;
}
