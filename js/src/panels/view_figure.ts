// The view grid as a figure for a file.

import type { Facts } from "../data/facts.ts";
import type { ViewMode } from "../math/views.ts";
import { magnitude } from "../ui/dom.ts";
import { type Figure, type Picture, type Text, textWidth } from "../ui/export.ts";
import { drawSeen, type Views } from "./view_pictures.ts";
import { type Plan, rowsOf, shortName } from "./view_plan.ts";

/** Longer side of a view, in the figure's own units, like all that follow. */
export const CELL = 160;
const GAP = 4;
const MARGIN = 16;
const GROUP = 10;
const INK = "#1f2328";
const FAINT = "#5f6670";

export function figureOf(
  facts: Facts,
  { tokens, neurons, layers, rollout }: Plan,
  photo: ImageBitmap | null,
  views: Views | null,
  mode: ViewMode,
  shared: boolean,
): Figure {
  if (views === null || photo === null) throw new Error("the figure is still loading");
  const [height, width] = facts.input;
  const wide = (CELL * width) / Math.max(height, width);
  const tall = (CELL * height) / Math.max(height, width);
  const label = Math.max(
    ...tokens.map((token) => textWidth(shortName(token), 16)),
    ...(neurons.length > 1 ? neurons.map((neuron) => textWidth(`neuron ${neuron}`, 14)) : []),
  );
  const left = MARGIN + Math.ceil(label) + 12;
  const top = MARGIN + 56;
  const texts: Text[] = [];
  const pictures: Picture[] = [];
  const write = (text: string, x: number, y: number, size: number, colour: string, middle = false) =>
    texts.push({ text, x, y, size, colour, anchor: middle ? "middle" : "start" });
  const which = neurons.length === 1 ? `neuron ${neurons[0]}` : `${neurons.length} neurons`;
  const scale = shared
    ? `one scale, clipped beyond ${magnitude(views.limit)}`
    : "each on its own scale, ends clipped";
  write(`${facts.model} · view of ${which} · ${rollout} · ${mode}, ${scale}`, MARGIN, MARGIN + 16, 16, INK);
  ["image", ...layers.map((layer) => `layer ${layer}`)].forEach((text, column) => {
    write(text, left + column * (wide + GAP) + wide / 2, top - 10, 14, FAINT, true);
  });
  rowsOf(tokens.length, neurons.length).forEach(({ token, neuron }, row) => {
    const y = top + row * (tall + GAP) + token * GROUP;
    if (neuron === 0) {
      write(shortName(tokens[token]), MARGIN, y + 15, 16, INK);
      pictures.push({
        x: left,
        y,
        width: wide,
        height: tall,
        draw() {
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [Math.max(width, 2 * wide), Math.max(height, 2 * tall)];
          const on = canvas.getContext("2d");
          if (on) drawSeen(on, facts, photo, canvas.width, canvas.height, tokens[token]);
          return canvas;
        },
      });
    }
    if (neurons.length > 1)
      write(`neuron ${neurons[neuron]}`, MARGIN, y + (neuron === 0 ? 36 : 14), 14, FAINT);
    layers.forEach((_, layer) => {
      const cell = { token, neuron, layer };
      pictures.push({
        x: left + (layer + 1) * (wide + GAP),
        y,
        width: wide,
        height: tall,
        draw: () => views.draw(cell, mode, shared ? views.limit : views.scaleOf(cell).limit),
      });
    });
  });
  const across = left + (layers.length + 1) * (wide + GAP) - GAP + MARGIN;
  const title = textWidth(texts[0].text, 16) + 2 * MARGIN;
  const rows = tokens.length * neurons.length;
  return {
    width: Math.ceil(Math.max(across, title)),
    height: Math.ceil(top + rows * (tall + GAP) - GAP + (tokens.length - 1) * GROUP + MARGIN),
    texts,
    pictures,
  };
}
