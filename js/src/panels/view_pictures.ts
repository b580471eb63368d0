// Views of neurons, and the photo beside them, drawn on canvases.

import type { Packet } from "../data/codec.ts";
import type { Facts, Token } from "../data/facts.ts";
import { patchBox } from "../math/frame.ts";
import { sightOf, sightScale } from "../math/sight.ts";
import {
  composeView,
  type Pixels,
  type Scale,
  sharedLimit,
  type ViewMode,
  viewColours,
} from "../math/views.ts";
import type { Cell } from "./view_plan.ts";

export interface Views {
  /** Where the colours of all views end, where they share a scale. */
  limit: number;
  scaleOf(cell: Cell): Scale;
  /** Draws a view on a canvas of the model input's size, which is used again. */
  draw(cell: Cell, mode: ViewMode, limit: number): HTMLCanvasElement;
}

export function viewsOf(facts: Facts, data: Float32Array, kernels: Packet, shares: Packet): Views {
  const [height, width] = facts.input;
  const [count, p, q, channels] = kernels.shape;
  const [tokens, heads, layers, patches] = shares.shape;
  const pixels: Pixels = { data, height, width, channels, patch: [p, q] };
  const size = kernels.values.length / count;
  const sights = Array.from({ length: count }, (_, neuron) =>
    sightOf(pixels, kernels.values.subarray(neuron * size, (neuron + 1) * size)),
  );
  const row = ({ token, neuron, layer }: Cell) => {
    const start = ((token * heads + Math.min(neuron, heads - 1)) * layers + layer) * patches;
    return shares.values.subarray(start, start + patches);
  };
  const scaleOf = (cell: Cell) => sightScale(sights[cell.neuron], row(cell));
  const scales: Scale[] = [];
  for (let token = 0; token < tokens; token++) {
    for (let neuron = 0; neuron < count; neuron++) {
      for (let layer = 0; layer < layers; layer++) scales.push(scaleOf({ token, neuron, layer }));
    }
  }
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const on = canvas.getContext("2d", { willReadFrequently: true });
  if (!on) throw new Error("this browser offers no 2D canvas");
  const image = on.createImageData(width, height);
  const view = new Float32Array(data.length);
  return {
    limit: sharedLimit(scales),
    scaleOf,
    draw(cell, mode, scale) {
      composeView(pixels, sights[cell.neuron].kernel, row(cell), view);
      viewColours(view, channels, mode, scale, image.data);
      on.putImageData(image, 0, 0);
      return canvas;
    },
  };
}

/** What the model saw of the picture, with one patch outlined. */
export function drawSeen(
  on: CanvasRenderingContext2D,
  { original, input, box, rows, cols }: Facts,
  photo: ImageBitmap,
  width: number,
  height: number,
  token: Token,
): void {
  const [left, top, right, bottom] = box;
  const across = width / (right - left);
  const down = height / (bottom - top);
  on.imageSmoothingQuality = "high";
  on.drawImage(photo, -left * across, -top * down, original[0] * across, original[1] * down);
  if (typeof token !== "number") return;
  const patch = patchBox(token, { original, input, box }, rows, cols);
  const outline = (colour: string, line: number) => {
    on.strokeStyle = colour;
    on.lineWidth = line;
    on.strokeRect(
      (patch.left - left) * across,
      (patch.top - top) * down,
      (patch.right - patch.left) * across,
      (patch.bottom - patch.top) * down,
    );
  };
  outline("#111", Math.max(3, width / 50));
  outline("#fff", Math.max(1.5, width / 100));
}
