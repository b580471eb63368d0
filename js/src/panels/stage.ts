// Drawing the image with its grid, its overlay and its marks. No events here.

import { cellAt, cellsInRect, type Frame, type Grid, patchBox, sameGrid } from "../math/frame.ts";
import type { Shown } from "../math/overlay.ts";
import { type HeatPainter, type How, sized } from "../ui/canvas.ts";
import type { Class } from "./clusters.ts";

export type Rectangle = readonly [left: number, top: number, width: number, height: number];

/** The picture and what the model saw of it, laid out on a canvas `width` wide. */
export interface Layout {
  frame: Frame;
  /** The patches that the cursor counts. */
  finest: Grid;
  width: number;
  height: number;
  /** The whole picture on the canvas. */
  picture: Rectangle;
  /** What the model saw. */
  seen: Rectangle;
  /** From the canvas to the original picture. */
  toOriginal(x: number, y: number): { x: number; y: number };
  /** A cell of a grid on the canvas. */
  cell(cell: number, grid: Grid): Rectangle;
}

/** Fits the picture, and what the model saw beyond it, into `width` x `maxHeight`. */
export function layOut(frame: Frame, finest: Grid, width: number, maxHeight: number): Layout {
  const [left, top, right, bottom] = frame.box;
  const x0 = Math.min(0, left);
  const y0 = Math.min(0, top);
  const across = Math.max(frame.original[0], right) - x0;
  const down = Math.max(frame.original[1], bottom) - y0;
  const scale = Math.min(width / across, maxHeight / down);
  const place = (l: number, t: number, r: number, b: number): Rectangle => [
    (l - x0) * scale,
    (t - y0) * scale,
    (r - l) * scale,
    (b - t) * scale,
  ];
  return {
    frame,
    finest,
    width: Math.round(across * scale),
    height: Math.round(down * scale),
    picture: place(0, 0, frame.original[0], frame.original[1]),
    seen: place(left, top, right, bottom),
    toOriginal: (x, y) => ({ x: x / scale + x0, y: y / scale + y0 }),
    cell(cell, { rows, cols }) {
      const box = patchBox(cell, frame, rows, cols);
      return place(box.left, box.top, box.right, box.bottom);
    },
  };
}

/** The patches under a rectangle that was drawn on the canvas. */
export function patchesIn(layout: Layout, from: [number, number], to: [number, number]): number[] {
  const a = layout.toOriginal(...from);
  const b = layout.toOriginal(...to);
  return cellsInRect(
    { left: a.x, top: a.y, right: b.x, bottom: b.y },
    layout.frame,
    layout.finest.rows,
    layout.finest.cols,
  );
}

/** Patches of the finest grid. */
export interface Marks {
  pinned: number | null;
  pointed: number | null;
  focused: number | null;
  selected: ReadonlySet<number>;
  outlined: Outlined | null;
}

/** Patches that are outlined in the colour of their class. */
export interface Outlined {
  classes: readonly Class[];
  /** Whether they are tinted too, where nothing lies between them and the photo. */
  tinted: boolean;
}

/** What lies over the picture, and how. */
export interface Overlaid {
  map: Shown;
  painter: HeatPainter;
  opacity: number;
  how: How;
}

/** Of the page's theme. */
export interface Theme {
  shade: string;
  select: string;
}

/**
 * All that does not change from click to click: the picture, veiled where the model did not see it. Drawn once: to
 * scale a picture well takes longer than all that a click draws.
 */
export function backdrop(photo: ImageBitmap | null, layout: Layout, shade: string): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  const on = sized(canvas, layout.width, layout.height);
  on.imageSmoothingQuality = "high";
  if (photo) on.drawImage(photo, ...layout.picture);
  on.fillStyle = shade;
  on.beginPath();
  on.rect(0, 0, layout.width, layout.height);
  on.rect(...layout.seen);
  on.fill("evenodd");
  return canvas;
}

/** Draws everything, back to front; `grid` is that of the layer, whose cells stand for the patches within. */
export function drawStage(
  on: CanvasRenderingContext2D,
  layout: Layout,
  grid: Grid,
  back: CanvasImageSource,
  overlay: Overlaid | null,
  marks: Marks,
  theme: Theme,
): void {
  on.globalCompositeOperation = "copy"; // takes the place of what was there: one pass less than to clear it first
  on.imageSmoothingEnabled = false; // it has the canvas's own size
  on.drawImage(back, 0, 0, layout.width, layout.height);
  on.globalCompositeOperation = "source-over";
  if (overlay && overlay.opacity > 0) {
    on.globalAlpha = overlay.opacity;
    overlay.painter.paint(overlay.map, on, layout.seen, overlay.how);
    on.globalAlpha = 1;
  }
  drawGrid(on, layout, grid);
  const { finest } = layout;
  const cell = (patch: number) => layout.cell(cellAt(patch, finest, grid), grid);
  if (overlay?.map.kind === "field" && overlay.map.marked) {
    const prefix = overlay.map.values.length - grid.rows * grid.cols;
    for (const row of overlay.map.marked) markHigh(on, layout.cell(row - prefix, grid));
  }
  const tint = marks.outlined?.tinted && !(overlay && overlay.opacity > 0) ? TINT : 0;
  for (const { colour, patches } of marks.outlined?.classes ?? []) {
    outlineInside(on, layout, new Set(patches), colour, tint);
  }
  if (marks.selected.size > 0) outlineSelection(on, layout, marks.selected, theme.select);
  if (marks.focused !== null) outline(on, cell(marks.focused), "#fff", [3, 3]);
  if (marks.pointed !== null) outline(on, cell(marks.pointed), "#fff");
  if (marks.pinned === null) return;
  pin(on, cell(marks.pinned));
  if (!sameGrid(finest, grid)) dot(on, layout.cell(marks.pinned, finest));
}

/** Faint lines between patches. */
function drawGrid(on: CanvasRenderingContext2D, { seen }: Layout, { rows, cols }: Grid): void {
  const [left, top, width, height] = seen;
  if (width / cols < 7) return; // lines closer than that would hide the picture
  on.fillStyle = "rgba(255, 255, 255, 0.2)";
  for (let col = 0; col <= cols; col++) {
    on.fillRect(Math.round(left + (col * width) / cols - 0.5), top, 1, height);
  }
  for (let row = 0; row <= rows; row++) {
    on.fillRect(left, Math.round(top + (row * height) / rows - 0.5), width, 1);
  }
}

/** A token of high norm: a small ring that reads on every colour of both maps. */
function markHigh(on: CanvasRenderingContext2D, [x, y, w, h]: Rectangle): void {
  on.beginPath();
  on.arc(x + w / 2, y + h / 2, Math.max(2, Math.min(w, h) * 0.22), 0, 2 * Math.PI);
  on.strokeStyle = "rgba(255, 255, 255, 0.95)";
  on.lineWidth = 3.5;
  on.stroke();
  on.strokeStyle = HIGH;
  on.lineWidth = 1.75;
  on.stroke();
}

/** The colour of the mark of high norm, which no map contains. */
export const HIGH = "#c2185b";

function outline(
  on: CanvasRenderingContext2D,
  [x, y, w, h]: Rectangle,
  colour: string,
  dash: number[] = [],
): void {
  on.strokeStyle = "rgba(0, 0, 0, 0.65)";
  on.lineWidth = 3;
  on.strokeRect(x, y, w, h);
  on.strokeStyle = colour;
  on.lineWidth = 1.5;
  on.setLineDash(dash);
  on.strokeRect(x, y, w, h);
  on.setLineDash([]);
}

/** The pinned token: a frame that reads on every colour of both maps. */
function pin(on: CanvasRenderingContext2D, [x, y, w, h]: Rectangle): void {
  on.lineJoin = "round";
  on.strokeStyle = "#111";
  on.lineWidth = 5;
  on.strokeRect(x, y, w, h);
  on.strokeStyle = "#fff";
  on.lineWidth = 2.5;
  on.strokeRect(x, y, w, h);
}

/** Where in its cell the pinned patch lies. */
function dot(on: CanvasRenderingContext2D, [x, y, w, h]: Rectangle): void {
  on.beginPath();
  on.arc(x + w / 2, y + h / 2, 3, 0, 2 * Math.PI);
  on.fillStyle = "#fff";
  on.fill();
  on.strokeStyle = "#111";
  on.lineWidth = 1.5;
  on.stroke();
}

const TINT = 0.4;

/** Some patches in their colour: the border within them, so that of two that touch each keeps its own. */
function outlineInside(
  on: CanvasRenderingContext2D,
  layout: Layout,
  patches: ReadonlySet<number>,
  colour: string,
  tint: number,
): void {
  on.save();
  on.beginPath();
  for (const patch of patches) on.rect(...layout.cell(patch, layout.finest));
  on.clip();
  on.fillStyle = colour;
  on.globalAlpha = tint;
  if (tint > 0) on.fill();
  on.globalAlpha = 1;
  border(on, layout, patches);
  stroke(on, "rgba(255, 255, 255, 0.9)", 7.5);
  stroke(on, colour, 5);
  on.restore();
}

/** The outline of the selection. */
function outlineSelection(
  on: CanvasRenderingContext2D,
  layout: Layout,
  selected: ReadonlySet<number>,
  colour: string,
): void {
  border(on, layout, selected);
  stroke(on, "rgba(255, 255, 255, 0.9)", 4.5);
  stroke(on, colour, 2.5);
}

function stroke(on: CanvasRenderingContext2D, colour: string, width: number): void {
  on.strokeStyle = colour;
  on.lineWidth = width;
  on.stroke();
}

/** Makes the border between some patches and the rest the path to be drawn. */
function border(on: CanvasRenderingContext2D, layout: Layout, patches: ReadonlySet<number>): void {
  const { rows, cols } = layout.finest;
  on.lineCap = "square";
  on.beginPath();
  for (const patch of patches) {
    const [x, y, w, h] = layout.cell(patch, layout.finest);
    const row = Math.floor(patch / cols);
    const col = patch % cols;
    const line = (x1: number, y1: number, x2: number, y2: number) => {
      on.moveTo(x1, y1);
      on.lineTo(x2, y2);
    };
    if (row === 0 || !patches.has(patch - cols)) line(x, y, x + w, y);
    if (row === rows - 1 || !patches.has(patch + cols)) line(x, y + h, x + w, y + h);
    if (col === 0 || !patches.has(patch - 1)) line(x, y, x, y + h);
    if (col === cols - 1 || !patches.has(patch + 1)) line(x + w, y, x + w, y + h);
  }
}
