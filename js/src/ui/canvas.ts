// Canvases as sharp as the screen, and heat maps on them.

import { colorize, diverging, sequential } from "../math/colormap.ts";
import type { Grid } from "../math/frame.ts";
import type { Colours, View } from "../math/overlay.ts";
import { sightScale } from "../math/sight.ts";
import { composeView, type ViewMode, viewColours } from "../math/views.ts";

/** The values of one map (those of its grid come last) and what the ends of its colours stand for. */
export interface Heat {
  kind?: "field";
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
  /** What it shows, so that what is drawn again, under a moving pointer, is not worked out again. */
  holds: unknown;
  mode: ViewMode;
}

/** How something is painted. */
export interface How {
  /** Blend between patches, or between pixels of a view. */
  smooth?: boolean;
  mode?: ViewMode;
  /** On a small map, where a view need not have all its pixels. */
  small?: boolean;
}

/** Paints maps; holds, for each number of pixels, the one canvas that they are scaled up from. */
export class HeatPainter {
  readonly #sizes = new Map<number, Small>();
  #view = new Float32Array(0);

  /** Paints into a rectangle of `on`: numbers and colours one square a patch, a view pixel by pixel. */
  paint(
    what: Heat | View | Colours,
    on: CanvasRenderingContext2D,
    [left, top, width, height]: readonly [number, number, number, number],
    { smooth = false, mode = "signed", small = false }: How = {},
  ): void {
    const sight = what.kind !== "view" ? null : small ? what.sight.small() : what.sight;
    const map = sight
      ? this.#small(sight.pixels.height, sight.pixels.width)
      : this.#small(what.grid.rows, what.grid.cols);
    if (map.holds !== what || map.mode !== mode) {
      const { data } = map.image;
      if (what.kind === "view" && sight) {
        const { pixels, kernel } = sight;
        if (this.#view.length !== pixels.data.length) this.#view = new Float32Array(pixels.data.length);
        const limit = small ? sightScale(sight, what.shares).limit : what.limit;
        composeView(pixels, kernel, what.shares, this.#view);
        viewColours(this.#view, pixels.channels, mode, limit, data);
      } else if (what.kind === "colours") {
        for (let i = 0, o = 0; o < data.length; i += 3, o += 4) {
          data[o] = what.rgb[i];
          data[o + 1] = what.rgb[i + 1];
          data[o + 2] = what.rgb[i + 2];
          data[o + 3] = 255;
        }
      } else if (what.kind !== "view") {
        const skip = what.values.length - map.image.width * map.image.height;
        colorize(what.values, what.low, what.high, what.diverging ? diverging : sequential, data, skip);
      }
      map.context.putImageData(map.image, 0, 0);
      map.holds = what;
      map.mode = mode;
    }
    on.imageSmoothingEnabled = smooth || (small && sight !== null);
    on.imageSmoothingQuality = "high";
    on.drawImage(map.canvas, left, top, width, height);
  }

  #small(rows: number, cols: number): Small {
    const size = rows * 65536 + cols;
    const known = this.#sizes.get(size);
    if (known) return known;
    const canvas = document.createElement("canvas");
    canvas.width = cols;
    canvas.height = rows;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser offers no 2D canvas");
    const image = context.createImageData(cols, rows);
    const small: Small = { canvas, context, image, holds: null, mode: "signed" };
    this.#sizes.set(size, small);
    return small;
  }
}

/** The colours of a scale: of numbers, or of a view in one of its modes. */
export type Ramp = "sequential" | "diverging" | ViewMode;

/** Paints the colour scale from left to right over the whole of `canvas`. */
export function paintRamp(canvas: HTMLCanvasElement, ramp: Ramp): void {
  const map = ramp === "diverging" ? diverging : sequential;
  canvas.width = 256;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(256, 1);
  if (ramp === "sequential" || ramp === "diverging") {
    for (let i = 0; i < 256; i++) {
      image.data.set([map[3 * i], map[3 * i + 1], map[3 * i + 2], 255], 4 * i);
    }
  } else {
    const values = Float32Array.from({ length: 256 }, (_, i) => (ramp === "signed" ? i - 127.5 : i));
    viewColours(values, 1, ramp, ramp === "signed" ? 127.5 : 255, image.data);
  }
  context.putImageData(image, 0, 0);
}
