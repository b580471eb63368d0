// Canvases as sharp as the screen, and heat maps on them.

import { colorize, diverging, sequential } from "../math/colormap.ts";
import type { Grid } from "../math/frame.ts";

/** The values of one map (those of its grid come last) and what the ends of its colours stand for. */
export interface Heat {
  values: Float32Array;
  grid: Grid;
  low: number;
  high: number;
  diverging: boolean;
}

/** Gives `canvas` a size in CSS pixels; returns its context, scaled so that one unit is one CSS pixel. */
export function sized(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = window.devicePixelRatio || 1;
  const pixels: [number, number] = [
    Math.max(1, Math.round(width * ratio)),
    Math.max(1, Math.round(height * ratio)),
  ];
  if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
    [canvas.width, canvas.height] = pixels;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser offers no 2D canvas");
  context.setTransform(pixels[0] / width, 0, 0, pixels[1] / height, 0, 0);
  return context;
}

interface Small {
  canvas: HTMLCanvasElement;
  context: CanvasRenderingContext2D;
  image: ImageData;
}

/** Paints maps; holds, for each size of grid, the one small canvas that they are scaled up from. */
export class HeatPainter {
  readonly #sizes = new Map<string, Small>();

  /** Paints `heat` into a rectangle of `on`, one square a patch, or blended where `smooth`. */
  paint(
    heat: Heat,
    on: CanvasRenderingContext2D,
    [left, top, width, height]: readonly [number, number, number, number],
    smooth = false,
  ): void {
    const { canvas, context, image } = this.#small(heat.grid);
    const map = heat.diverging ? diverging : sequential;
    const skip = heat.values.length - image.width * image.height;
    colorize(heat.values, heat.low, heat.high, map, image.data, skip);
    context.putImageData(image, 0, 0);
    on.imageSmoothingEnabled = smooth;
    on.imageSmoothingQuality = "high";
    on.drawImage(canvas, left, top, width, height);
  }

  #small({ rows, cols }: Grid): Small {
    const size = `${rows} ${cols}`;
    const known = this.#sizes.get(size);
    if (known) return known;
    const canvas = document.createElement("canvas");
    canvas.width = cols;
    canvas.height = rows;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser offers no 2D canvas");
    const small = { canvas, context, image: context.createImageData(cols, rows) };
    this.#sizes.set(size, small);
    return small;
  }
}

/** Paints the colour scale from left to right over the whole of `canvas`. */
export function paintRamp(canvas: HTMLCanvasElement, isDiverging: boolean): void {
  const map = isDiverging ? diverging : sequential;
  canvas.width = 256;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    image.data.set([map[3 * i], map[3 * i + 1], map[3 * i + 2], 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}
