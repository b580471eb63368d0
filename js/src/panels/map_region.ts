// The token map within the workbench: a widget of its own, made by the kernel when the region is first opened.

import type { RenderProps } from "@anywidget/types";
import { alone } from "../data/alone.ts";
import { h } from "../ui/dom.ts";
import { note } from "./parts.ts";

export interface MapRegionState {
  show_map: boolean;
  token_map: string | null;
}

export function mapRegion<State extends MapRegionState>(props: RenderProps<State>): HTMLElement {
  const model = props.model as unknown as RenderProps<MapRegionState>["model"];
  const { host, signal } = props;
  const button = h("button", "vw-button", { type: "button" });
  const hint = h("span", "vw-hint");
  const body = h("div", "vw-map-region-body");
  const name = h("span", "vw-title", {}, "Token map"); // the map has a title of its own
  const title = h("header", "", {}, name, button, hint);
  const element = h("section", "vw-region vw-map-region", { "aria-label": "token map" }, title, body);
  let shown = "";

  async function follow(): Promise<void> {
    const open = model.get("show_map");
    const reference = model.get("token_map") ?? "";
    button.textContent = open ? "Close the map" : "Open";
    button.setAttribute("aria-expanded", String(open));
    body.hidden = !open;
    name.hidden = open && shown !== "";
    note(
      hint,
      open
        ? reference
          ? ""
          : alone(model)
            ? "not in this saved page: run the notebook, or open the map before it is saved"
            : "the kernel lays out the tokens…"
        : "the tokens of a layer as points: alike ones lie close",
    );
    if (!open || !reference || reference === shown) return;
    shown = reference;
    const map = await host.getWidget(reference);
    if (signal.aborted) return;
    await map.render({ el: body, signal });
    name.hidden = open;
  }

  button.addEventListener("click", () => {
    model.set("show_map", !model.get("show_map"));
    try {
      model.save_changes();
    } catch {
      // Without a kernel a map that was opened before still opens.
    }
  });
  for (const trait of ["show_map", "token_map"] as const) {
    model.on(`change:${trait}`, follow);
    signal.addEventListener("abort", () => model.off(`change:${trait}`, follow));
  }
  follow();
  return element;
}
