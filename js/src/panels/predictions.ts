// The model's five most probable classes.

import { h } from "../ui/dom.ts";
import type { Context } from "./context.ts";

export function predictions({ facts }: Context): HTMLElement {
  const rows = facts.top.map(([label, probability]) => {
    const bar = h("span", "vw-bar-fill", { "aria-hidden": "true" });
    bar.style.width = `${(probability ?? 0) * 100}%`;
    return h(
      "li",
      "vw-class",
      {},
      h("span", "vw-class-name", { title: label }, label),
      h("span", "vw-class-bar", {}, bar),
      h("span", "vw-number", {}, probability === null ? "NaN" : `${(probability * 100).toFixed(1)} %`),
    );
  });
  return h(
    "section",
    "vw-region vw-predictions",
    { "aria-label": "predictions" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Predictions")),
    facts.no_top ? h("p", "vw-hint", {}, facts.no_top) : h("ol", "vw-classes", {}, ...rows),
  );
}
