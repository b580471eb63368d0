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
  overlay: Overlay;
}

export type Cursor = { readonly [Name in keyof Point]: ReadonlySignal<Point[Name]> } & {
  /** Moves the cursor, here at once and in the kernel when there is one. */
  move(to: Partial<Point>): void;
};

const NAMES = ["layer", "token", "head", "neuron", "neuron_space", "patches", "overlay"] as const;

export function openCursor(model: AnyModel<Point>, until: AbortSignal): Cursor {
  const signals = Object.fromEntries(NAMES.map((name) => [name, signal(model.get(name))]));
  for (const name of NAMES) {
    const follow = () => {
      signals[name].value = model.get(name);
    };
    model.on(`change:${name}`, follow);
    until.addEventListener("abort", () => model.off(`change:${name}`, follow));
  }
  return {
    ...(signals as unknown as { [Name in keyof Point]: ReadonlySignal<Point[Name]> }),
    move(to) {
      batch(() => {
        for (const name of NAMES) {
          if (name in to) model.set(name, to[name] as never);
        }
      });
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page moves on by itself.
      }
    },
  };
}
