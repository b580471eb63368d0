// The view grid as a table: one tab stop, arrow keys within, Enter or click to go there.

import type { Cursor } from "../data/cursor.ts";
import type { Token } from "../data/facts.ts";
import { h } from "../ui/dom.ts";
import { type Cell, type Plan, rowsOf, sameCell, shortName } from "./view_plan.ts";

export interface Table {
  rows: HTMLElement[];
  photos: { canvas: HTMLCanvasElement; token: Token }[];
  cells: { canvas: HTMLCanvasElement; cell: Cell }[];
  mark(chosen: Cell | null): void;
}

/** The rows of a plan, a photo at the left of each token's first. */
export function tableOf(
  { tokens, neurons, layers }: Plan,
  cursor: Cursor,
  pointed: { value: Cell | null },
  spoken: (cell: Cell) => string,
): Table {
  const photos: Table["photos"] = [];
  const cells: Table["cells"] = [];
  const buttons: HTMLButtonElement[] = [];
  const heads = layers.map((layer) =>
    h(
      "span",
      "vw-views-layer",
      { role: "columnheader" },
      h("span", "vw-views-word", {}, "layer "),
      String(layer),
    ),
  );
  const header = h(
    "div",
    "vw-views-row",
    { role: "row" },
    h("span", "", { role: "columnheader" }),
    h("span", "vw-views-layer", { role: "columnheader" }, "image"),
    ...heads,
  );
  let stop = 0;
  const focus = (index: number) => {
    buttons[stop].tabIndex = -1;
    stop = index;
    buttons[stop].tabIndex = 0;
    buttons[stop].focus();
  };
  const labels: HTMLElement[] = [];
  const rows = rowsOf(tokens.length, neurons.length).map(({ token, neuron }) => {
    const first = neuron === 0;
    const own = (className: string) => `${className}${first && token > 0 ? " vw-views-first" : ""}`;
    const canvas = h("canvas", "", { "aria-hidden": "true" });
    if (first) photos.push({ canvas, token: tokens[token] });
    const label = h(
      "span",
      own("vw-views-label"),
      { role: "rowheader" },
      ...(first ? [h("strong", "", {}, shortName(tokens[token]))] : []),
      ...(neurons.length > 1 ? [h("span", "vw-faint", {}, `neuron ${neurons[neuron]}`)] : []),
    );
    labels.push(label);
    const views = layers.map((_, layer) => {
      const cell = { token, neuron, layer };
      const canvas = h("canvas", "", { "aria-hidden": "true" });
      const index = buttons.length;
      const button = h(
        "button",
        own("vw-view"),
        {
          type: "button",
          role: "gridcell",
          tabindex: index === stop ? 0 : -1,
          "aria-label": spoken(cell),
          click: () => {
            focus(index);
            cursor.move({
              layer: layers[layer],
              token: tokens[token],
              neuron: neurons[neuron],
              neuron_space: "residual",
            });
          },
          focus: () => {
            pointed.value = cell;
          },
          blur: () => {
            pointed.value = null;
          },
          pointerenter: () => {
            pointed.value = cell;
          },
          pointerleave: () => {
            pointed.value = null;
          },
          keydown: (event) => {
            const next = step((event as KeyboardEvent).key, index, layers.length, buttons.length);
            if (next === null) return;
            event.preventDefault();
            focus(next);
          },
        },
        canvas,
      );
      buttons.push(button);
      cells.push({ canvas, cell });
      return button;
    });
    const image = h("span", own("vw-views-photo"), { role: "gridcell" }, ...(first ? [canvas] : []));
    return h("div", "vw-views-row", { role: "row" }, label, image, ...views);
  });
  return {
    rows: [header, ...rows],
    photos,
    cells,
    mark(chosen) {
      cells.forEach(({ cell }, index) => {
        const on = chosen !== null && sameCell(cell, chosen);
        buttons[index].setAttribute("aria-selected", String(on));
      });
      heads.forEach((head, layer) => {
        head.classList.toggle("vw-views-here", layers[layer] === cursor.layer.value);
      });
    },
  };
}

/** The cell that an arrow key, Home or End leads to; null for another key. */
function step(key: string, index: number, columns: number, count: number): number | null {
  const start = index - (index % columns);
  const target = {
    ArrowRight: Math.min(index + 1, start + columns - 1),
    ArrowLeft: Math.max(index - 1, start),
    ArrowDown: index + columns < count ? index + columns : index,
    ArrowUp: index >= columns ? index - columns : index,
    Home: start,
    End: start + columns - 1,
  }[key];
  return target ?? null;
}
