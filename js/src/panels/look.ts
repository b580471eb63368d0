// How the overlay lies on the image: the panel's own traits, kept in step with its sliders.

import type { AnyModel } from "@anywidget/types";
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { openTraits, type Traits } from "../data/traits.ts";
import type { ViewMode } from "../math/views.ts";
import type { PanelState } from "./context.ts";

const NAMES = ["opacity", "smooth", "view_mode"] as const;

/** The opacity goes from 0 (only the photo) to 1 (only the overlay); smooth is to blend between patches. */
export interface Look extends Traits<PanelState, (typeof NAMES)[number]> {
  /** How a neuron's view is coloured; signed in panels without the photo, which have no say in it. */
  mode: ReadonlySignal<ViewMode>;
}

export function openLook(model: AnyModel<PanelState>, until: AbortSignal): Look {
  const look = openTraits(model, NAMES, until);
  const mode = computed(() => {
    const { value } = look.view_mode;
    return value === "positive" || value === "magnitude" ? value : "signed";
  });
  return { ...look, mode };
}
