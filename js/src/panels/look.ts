// How the overlay lies on the image: the panel's own traits, kept in step with its sliders.

import type { AnyModel } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { ViewMode } from "../math/views.ts";
import type { PanelState } from "./context.ts";

const NAMES = ["opacity", "smooth", "view_mode"] as const;

export interface Look {
  /** 0 (only the photo) to 1 (only the overlay). */
  opacity: ReadonlySignal<number>;
  /** Blend between patches. */
  smooth: ReadonlySignal<boolean>;
  /** How a neuron's view is coloured. */
  mode: ReadonlySignal<ViewMode>;
  change(to: Partial<Pick<PanelState, (typeof NAMES)[number]>>): void;
}

export function openLook(model: AnyModel<PanelState>, until: AbortSignal): Look {
  const opacity = signal(model.get("opacity"));
  const smooth = signal(model.get("smooth"));
  const mode = signal(modeOf(model));
  const follow = () => {
    opacity.value = model.get("opacity");
    smooth.value = model.get("smooth");
    mode.value = modeOf(model);
  };
  for (const name of NAMES) {
    model.on(`change:${name}`, follow);
    until.addEventListener("abort", () => model.off(`change:${name}`, follow));
  }
  return {
    opacity,
    smooth,
    mode,
    change(to) {
      for (const name of NAMES) {
        if (to[name] !== undefined) model.set(name, to[name]);
      }
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page goes on by itself.
      }
    },
  };
}

/** What the model says; panels without the photo have no say in it. */
function modeOf(model: AnyModel<PanelState>): ViewMode {
  const mode = model.get("view_mode");
  return mode === "positive" || mode === "magnitude" ? mode : "signed";
}
