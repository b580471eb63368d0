// The page's side of Cursor: the model's traits as signals, and one way to move it.

import type { AnyModel } from "@anywidget/types";
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";
import type { Overlay, Spec } from "../math/overlay.ts";
import type { Token } from "./facts.ts";

/** The cursor's traits; vitwidgets/widgets/cursor.py documents them. */
export interface Point {
  layer: number;
  token: Token;
  head: number | null;
  neuron: number;
  neuron_space: Spec["space"];
  patches: number[];
  target: number | null;
  overlay: Overlay;
  /** Refers to the map whose clusters the images show; the kernel's own. */
  token_map: string | null;
}

export type Cursor = { readonly [Name in keyof Point]: ReadonlySignal<Point[Name]> } & {
  /** Moves the cursor, here at once and in the kernel when there is one. */
  move(to: Partial<Point>): void;
};

const OVERLAYS: Overlay[] = [
  "none",
  "similarity",
  "attention_from",
  "attention_to",
  "rollout",
  "neuron",
  "view",
  "evidence",
  "norm",
  "colours",
];
const NAMES = [
  "layer",
  "token",
  "head",
  "neuron",
  "neuron_space",
  "patches",
  "target",
  "overlay",
  "token_map",
] as const;

const whole = (value: unknown) => Number.isSafeInteger(value);

/** What a trait may be: a model's state may come from a file that somebody edited, or from another widget. */
const VALID: { [Name in keyof Point]: (value: unknown) => boolean } = {
  layer: whole,
  token: (value) => value === null || typeof value === "string" || whole(value),
  head: (value) => value === null || whole(value),
  neuron: whole,
  neuron_space: (value) => value === "residual" || value === "mlp",
  patches: (value) => Array.isArray(value) && value.every(whole),
  target: (value) => value === null || whole(value),
  overlay: (value) => OVERLAYS.includes(value as Overlay),
  token_map: (value) => value === null || typeof value === "string",
};

const START: Point = {
  layer: 0,
  token: null,
  head: null,
  neuron: 0,
  neuron_space: "residual",
  patches: [],
  target: null,
  overlay: "none",
  token_map: null,
};

export function openCursor(model: AnyModel<Point>, until: AbortSignal): Cursor {
  const valid = (name: keyof Point, otherwise: unknown) =>
    VALID[name](model.get(name)) ? model.get(name) : otherwise;
  const signals = Object.fromEntries(NAMES.map((name) => [name, signal(valid(name, START[name]))]));
  for (const name of NAMES) {
    const follow = () => {
      signals[name].value = valid(name, signals[name].value);
    };
    model.on(`change:${name}`, follow);
    until.addEventListener("abort", () => model.off(`change:${name}`, follow));
  }
  let waiting = false;
  /** Tells the kernel, after the picture: a drag sends one message a frame at most. */
  const tell = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page moves on by itself.
      }
    });
  };
  return {
    ...(signals as unknown as { [Name in keyof Point]: ReadonlySignal<Point[Name]> }),
    move(to) {
      batch(() => {
        for (const name of NAMES) {
          if (name in to) model.set(name, to[name] as never);
        }
      });
      tell();
    },
  };
}
