// The token map within the workbench: a widget of its own, made by the kernel when the region is first opened.

import type { RenderProps } from "@anywidget/types";
import { alone } from "../data/alone.ts";
import { openTraits } from "../data/traits.ts";
import { h } from "../ui/dom.ts";
import { now } from "../ui/effects.ts";
import { note } from "./parts.ts";

export interface MapRegionState {
  show_map: boolean;
  token_map: string | null;
}

export function mapRegion<State extends MapRegionState>(props: RenderProps<State>): HTMLElement {
  const model = props.model as unknown as RenderProps<Record<string, unknown> & MapRegionState>["model"];
  const { host, signal } = props;
  const { show_map, token_map, change } = openTraits(model, ["show_map", "token_map"], signal);
  const click = () => change({ show_map: !show_map.value }); // a map that was opened before needs no kernel
  const button = h("button", "vw-button", { type: "button", click });
  const hint = h("span", "vw-hint");
  const body = h("div", "vw-map-region-body");
  const name = h("span", "vw-title", {}, "Token map"); // the map has a title of its own
  const title = h("header", "", {}, name, button, hint);
  const element = h("section", "vw-region vw-map-region", { "aria-label": "token map" }, title, body);
  let shown = "";

  now(signal, () => {
    const open = show_map.value;
    const reference = token_map.value ?? "";
    button.textContent = open ? "Close the map" : "Open";
    button.setAttribute("aria-expanded", String(open));
    body.hidden = !open;
    name.hidden = open && shown !== "";
    const waiting = alone(model)
      ? "not in this saved page: run the notebook, or save it with the map open"
      : "the kernel lays out the tokens…";
    const closed = "the tokens of a layer as points: alike ones lie close";
    note(hint, open ? (reference ? "" : waiting) : closed);
    if (!open || !reference || reference === shown) return;
    shown = reference;
    host.getWidget(reference).then(async (map) => {
      if (signal.aborted) return;
      await map.render({ el: body, signal });
      name.hidden = show_map.value;
    }, reportError);
  });
  return element;
}
