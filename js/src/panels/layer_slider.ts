// A canvas across which the layers lie, side by side: dragging and keys move the cursor through them.

import { h, listen } from "../ui/dom.ts";
import type { Context } from "./context.ts";

export interface LayerSlider {
  canvas: HTMLCanvasElement;
  /** Goes to a layer, or to the end beyond which it lies. */
  to(layer: number): void;
  /** Tells readers of screens where the slider stands. */
  say(text: string): void;
}

/** `layerAt` names the layer under a place, in pixels from the canvas's left; `touched` hears of each drag. */
export function layerSlider(
  { facts, cursor }: Context,
  className: string,
  label: string,
  layerAt: (x: number, width: number) => number,
  touched = () => {},
): LayerSlider {
  const last = facts.layers;
  const to = (layer: number) => cursor.move({ layer: Math.max(0, Math.min(last, layer)) });
  const canvas = h("canvas", className, {
    tabindex: 0,
    role: "slider",
    "aria-label": label,
    "aria-valuemin": 0,
    "aria-valuemax": last,
    "aria-orientation": "horizontal",
  });
  const follow = (event: PointerEvent) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const { left, width } = canvas.getBoundingClientRect();
    to(layerAt(event.clientX - left, width));
  };
  listen(canvas, {
    pointerdown(event) {
      touched();
      canvas.setPointerCapture(event.pointerId);
      follow(event);
    },
    pointermove: follow,
    keydown(event) {
      const here = cursor.layer.value;
      const target = {
        ArrowRight: here + 1,
        ArrowUp: here + 1,
        ArrowLeft: here - 1,
        ArrowDown: here - 1,
        PageUp: here + 3,
        PageDown: here - 3,
        Home: 0,
        End: last,
      }[event.key];
      if (target === undefined) return;
      to(target);
      event.preventDefault();
    },
  });
  const say = (text: string) => {
    canvas.setAttribute("aria-valuenow", String(cursor.layer.value));
    canvas.setAttribute("aria-valuetext", text);
  };
  return { canvas, to, say };
}
