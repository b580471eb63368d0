// Canvases as sharp as the screen, and heat maps on them.

import { colorize, diverging, sequential } from "../math/colormap.ts";

/** The values of one map and what the ends of its colours stand for. */
export interface Heat {
  values: Float32Array;
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

/** Paints maps of one grid; holds the one small canvas that they are scaled up from. */
export class HeatPainter {
  readonly #canvas = document.createElement("canvas");
  readonly #context: CanvasRenderingContext2D;
  readonly #image: ImageData;

  constructor(
    readonly rows: number,
    readonly cols: number,
    /** Values before the first patch. */
    readonly skip: number,
  ) {
    this.#canvas.width = cols;
    this.#canvas.height = rows;
    const context = this.#canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser offers no 2D canvas");
    this.#context = context;
    this.#image = context.createImageData(cols, rows);
  }

  /** Paints `heat` into a rectangle of `on`, one square a patch, or blended where `smooth`. */
  paint(
    heat: Heat,
    on: CanvasRenderingContext2D,
    [left, top, width, height]: readonly [number, number, number, number],
    smooth = false,
  ): void {
    const map = heat.diverging ? diverging : sequential;
    colorize(heat.values, heat.low, heat.high, map, this.#image.data, this.skip);
    this.#context.putImageData(this.#image, 0, 0);
    on.imageSmoothingEnabled = smooth;
    on.imageSmoothingQuality = "high";
    on.drawImage(this.#canvas, left, top, width, height);
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
