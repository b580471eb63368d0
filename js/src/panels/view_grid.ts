// What neurons see from several tokens, layer after layer: the paper's figure.

import type { RenderProps } from "@anywidget/types";
import { computed, signal } from "@preact/signals-core";
import { decode } from "../data/codec.ts";
import { openCursor, type Point } from "../data/cursor.ts";
import type { Store } from "../data/store.ts";
import { openTraits } from "../data/traits.ts";
import type { ViewMode } from "../math/views.ts";
import { sized } from "../ui/canvas.ts";
import { h, magnitude } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { copyPicture, fileName, pngOf, saveFile, svgOf } from "../ui/export.ts";
import { segmented } from "../ui/segmented.ts";
import { slices } from "../ui/slices.ts";
import { watchWidth } from "../ui/width.ts";
import { note } from "./parts.ts";
import { CELL, figureOf } from "./view_figure.ts";
import { drawSeen, type Views, viewsOf } from "./view_pictures.ts";
import { type Cell, cellAtCursor, type Plan } from "./view_plan.ts";
import { tableOf } from "./view_table.ts";

/** The traits of the grid's model; vitwidgets/widgets/view_grid.py documents them. */
export interface ViewGridState extends Record<string, unknown> {
  store: string;
  cursor: string;
  plan: Plan;
  kernels: DataView;
  shares: DataView;
  mode: ViewMode;
  shared_scale: boolean;
}

const LABEL = 78; // CSS pixels
const GAP = 4; // as in the style sheet
const SMALLEST = 40;
const LARGEST = 240;

export async function viewGrid({
  model,
  host,
  signal: until,
}: RenderProps<ViewGridState>): Promise<HTMLElement> {
  const [{ exports: store }, cursorModel] = await Promise.all([
    host.getWidget<Store>(model.get("store")),
    host.getModel<Point>(model.get("cursor")),
  ]);
  const { facts } = store;
  const cursor = openCursor(cursorModel, until);
  const {
    mode,
    shared_scale: shared,
    plan,
    change,
  } = openTraits(model, ["mode", "shared_scale", "plan"], until);
  const pixels = arrivalOf(store, "pixels", until);
  const photo = signal<ImageBitmap | null>(null);
  store.picture().then((bitmap) => {
    photo.value = bitmap;
  }, reportError);

  const views = computed(() =>
    // The plan changes last, when kernels and shares are those of its rows and columns.
    plan.value && pixels.value
      ? viewsOf(facts, pixels.value, decode(model.get("kernels")), decode(model.get("shares")))
      : null,
  );
  const spoken = (cell: Cell) =>
    `${plan.value.names[cell.token]}, neuron ${plan.value.neurons[cell.neuron]}, layer ${plan.value.layers[cell.layer]}`;

  const place = h("span", "vw-count");
  const hint = h("span", "vw-hint");
  const modes = segmented<ViewMode>(
    "how views are drawn",
    [
      ["signed", "Signed"],
      ["positive", "Positive"],
      ["magnitude", "Magnitude"],
    ],
    (mode) => change({ mode }),
  );
  const scale = h("input", "", { type: "checkbox", change: () => change({ shared_scale: scale.checked }) });
  const reading = h("p", "vw-reading vw-faint", { "aria-live": "polite" });
  const table = h("div", "vw-views", { role: "grid", "aria-label": "views of neurons" });
  const box = h("div", "vw-views-box", {}, table);
  const width = watchWidth(box, until);
  const pointed = signal<Cell | null>(null);

  const figure = () => figureOf(facts, plan.value, photo.value, views.value, mode.value, shared.value);
  const name = (ending: string) => fileName(`${facts.model}_views`, ending);
  const native = Math.max(...facts.input) / CELL;
  const button = exportButtons(hint, {
    Copy: async () => copyPicture(pngOf(figure(), Math.max(2, native))),
    PNG: async () => saveFile(await pngOf(figure(), Math.max(2, native)), name("png")),
    SVG: async () => saveFile(new Blob([svgOf(figure())], { type: "image/svg+xml" }), name("svg")),
  });

  const grid = computed(() => tableOf(plan.value, cursor, pointed, spoken));
  perFrame(until, () => {
    table.replaceChildren(...grid.value.rows);
    const { neurons, rollout } = plan.value;
    const which = neurons.length === 1 ? `neuron ${neurons[0]}` : `${neurons.length} neurons`;
    place.textContent = `${which} · ${rollout}`;
  });
  const paintInSlices = slices(until);
  perFrame(until, () => {
    const columns = plan.value.layers.length + 1;
    const { photos, cells } = grid.value;
    const [seen, bitmap, how, isShared] = [views.value, photo.value, mode.value, shared.value];
    note(hint, seen === null ? (pixels.reason.value ?? "loading…") : "");
    if (width.value === 0) return;
    const room = Math.floor((width.value - LABEL - columns * GAP) / columns);
    const side = Math.min(Math.max(room, SMALLEST), LARGEST);
    const tall = Math.max(1, Math.round((side * facts.input[0]) / facts.input[1]));
    table.style.gridTemplateColumns = `${LABEL}px repeat(${columns}, ${side}px)`;
    table.dataset.small = String(side < 56);
    const limit = (views: Views, cell: Cell) => (isShared ? views.limit : views.scaleOf(cell).limit);
    paintInSlices([
      ...photos.map(({ canvas, token }) => () => {
        const on = sized(canvas, side, tall);
        on.clearRect(0, 0, side, tall);
        if (bitmap) drawSeen(on, facts, bitmap, side, tall, token);
      }),
      ...cells.map(({ canvas, cell }) => () => {
        const on = sized(canvas, side, tall);
        on.imageSmoothingQuality = "high";
        if (seen) on.drawImage(seen.draw(cell, how, limit(seen, cell)), 0, 0, side, tall);
        else on.clearRect(0, 0, side, tall);
      }),
    ]);
  });
  perFrame(until, () => {
    modes.show(mode.value);
    scale.checked = shared.value;
  });
  perFrame(until, () => {
    const at = cellAtCursor(plan.value, cursor);
    grid.value.mark(at);
    const cell = pointed.value ?? at;
    if (cell === null || views.value === null) {
      reading.textContent = "click a view to go to its layer, token and neuron";
      return;
    }
    const { limit, peak } = views.value.scaleOf(cell);
    const end = shared.value ? views.value.limit : limit;
    const scale = `${peak > end ? ", clipped beyond" : " on a scale of"} ±${magnitude(end)}`;
    const size = peak > 0 ? `up to ±${magnitude(peak)}${scale}` : "nothing of the picture yet";
    reading.textContent = `${spoken(cell)} · ${size}`;
  });

  return h(
    "section",
    "vw-region vw-view-grid",
    { "aria-label": "view grid" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Views"), place, hint),
    h(
      "div",
      "vw-bar",
      {},
      modes.element,
      h("label", "vw-label", {}, scale, "one scale for all"),
      h("div", "vw-exports", {}, ...button),
    ),
    box,
    reading,
  );
}

/** A packet of the store as a signal, fetched if it is not there; `reason` says why it will not come. */
function arrivalOf(store: Store, name: string, until: AbortSignal) {
  const value = Object.assign(signal(store.array(name)), { reason: signal<string | null>(null) });
  const take = () => {
    value.value = store.array(name);
    value.reason.value = store.failure(name) || null;
  };
  take();
  // Only then: to listen makes the store fetch all that it has of the trace.
  if (value.value === null) {
    store.want([name]);
    until.addEventListener("abort", store.onArrival(take));
  }
  return value;
}

/** Buttons that say in `hint` what became of what they do. */
function exportButtons(hint: HTMLElement, actions: Record<string, () => Promise<void>>): HTMLElement[] {
  return Object.entries(actions).map(([label, act]) =>
    h(
      "button",
      "vw-button",
      {
        type: "button",
        title: label === "Copy" ? "copy the figure as a picture" : `save the figure as ${label}`,
        click: () => {
          act().then(
            () => note(hint, label === "Copy" ? "copied" : ""),
            (error) => note(hint, error instanceof Error ? error.message : String(error)),
          );
        },
      },
      label,
    ),
  );
}
