// Painting patches with the pointer: over an image panel, which keeps its clicks and its keys.

import { type Frame, patchAt } from "../math/frame.ts";
import type { Context } from "./context.ts";

const DRAG = 4; // pixels that a hand may tremble in a click

/**
 * Makes a drag over the image in `element` add the patches that it crosses to the cursor's selection; with Alt
 * or the right button it takes them away. Calls `painted` whenever the selection was changed from here,
 * by a key too.
 */
export function brush(element: HTMLElement, { facts, cursor, until }: Context, painted: () => void): void {
  const canvas = element.querySelector<HTMLCanvasElement>(".vw-image");
  const stage = canvas?.parentElement;
  if (!canvas || !stage) return;
  const frame: Frame = { original: facts.original, input: facts.input, box: facts.box };
  let from: Point | null = null;
  let last: Point | null = null; // of the stroke under way
  let erasing = false;

  const place = (event: PointerEvent): Point => [event.clientX, event.clientY];
  const patchUnder = ([x, y]: Point) => {
    const bounds = canvas.getBoundingClientRect();
    return patchAt(
      ...toOriginal(frame, x - bounds.left, y - bounds.top, bounds.width),
      frame,
      facts.rows,
      facts.cols,
    );
  };
  const stroke = (to: Point) => {
    const chosen = new Set(cursor.patches.value);
    for (const at of between(last ?? to, to)) {
      const patch = patchUnder(at);
      if (patch !== null) chosen[erasing ? "delete" : "add"](patch);
    }
    last = to;
    cursor.move({ patches: [...chosen].sort((a, b) => a - b) });
    painted();
  };
  const end = (event: PointerEvent) => {
    if (last !== null || event.button === 2) event.stopPropagation();
    if (last === null && from !== null && erasing && event.button === 2) stroke(from); // a click takes one away
    from = last = null;
  };
  const on = <Name extends keyof HTMLElementEventMap>(
    name: Name,
    listener: (event: HTMLElementEventMap[Name]) => void,
  ) => stage.addEventListener(name, listener as EventListener, { capture: true, signal: until });

  on("pointerdown", (event) => {
    if (event.button !== 0 && event.button !== 2) return;
    from = place(event);
    erasing = event.button === 2 || event.altKey;
    if (event.button === 2) canvas.setPointerCapture(event.pointerId);
  });
  on("pointermove", (event) => {
    if (from === null) return;
    const at = place(event);
    if (last === null) {
      if (Math.hypot(at[0] - from[0], at[1] - from[1]) <= DRAG) return;
      // The image panel had begun to follow the pointer: it is to forget that.
      canvas.dispatchEvent(new PointerEvent("pointercancel", { pointerId: event.pointerId }));
      canvas.dispatchEvent(new PointerEvent("pointerleave", { pointerId: event.pointerId }));
      last = from;
    }
    event.stopPropagation();
    stroke(at);
  });
  on("pointerup", end);
  on("contextmenu", (event) => {
    event.preventDefault();
    event.stopPropagation();
  });
  // What the image panel itself does to the selection, with Shift-click, Space and Shift-arrows.
  for (const name of ["pointerup", "keydown"] as const) {
    let before: readonly number[] = [];
    on(name, () => {
      before = cursor.patches.value;
    });
    stage.addEventListener(
      name,
      () => {
        if (cursor.patches.value !== before) painted();
      },
      { signal: until },
    );
  }
}

type Point = [x: number, y: number];

/** Points on the way from `a` to `b`, close enough to miss no patch; `b` is the last. */
export function between(a: Point, b: Point, step = 3): Point[] {
  const count = Math.max(1, Math.ceil(Math.hypot(b[0] - a[0], b[1] - a[1]) / step));
  return Array.from({ length: count }, (_, i): Point => {
    const part = (i + 1) / count;
    return [a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])];
  });
}

/** From a canvas `width` wide that shows the picture, and what the model saw beyond it, to the picture's pixels. */
export function toOriginal({ original, box }: Frame, x: number, y: number, width: number): Point {
  const left = Math.min(0, box[0]);
  const top = Math.min(0, box[1]);
  const scale = width / (Math.max(original[0], box[2]) - left);
  return [x / scale + left, y / scale + top];
}
