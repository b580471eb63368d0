// How the overlay lies on the image: the panel's own traits, kept in step with its sliders.

import type { AnyModel } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { PanelState } from "./context.ts";

export interface Look {
  /** 0 (only the photo) to 1 (only the overlay). */
  opacity: ReadonlySignal<number>;
  /** Blend between patches. */
  smooth: ReadonlySignal<boolean>;
  change(to: Partial<Pick<PanelState, "opacity" | "smooth">>): void;
}

export function openLook(model: AnyModel<PanelState>, until: AbortSignal): Look {
  const opacity = signal(model.get("opacity"));
  const smooth = signal(model.get("smooth"));
  const follow = () => {
    opacity.value = model.get("opacity");
    smooth.value = model.get("smooth");
  };
  for (const event of ["change:opacity", "change:smooth"]) {
    model.on(event, follow);
    until.addEventListener("abort", () => model.off(event, follow));
  }
  return {
    opacity,
    smooth,
    change(to) {
      if (to.opacity !== undefined) model.set("opacity", to.opacity);
      if (to.smooth !== undefined) model.set("smooth", to.smooth);
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page goes on by itself.
      }
    },
  };
}
