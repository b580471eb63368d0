// Predictions before and after: two bars a class, and by how much probability and logit have changed.

import type { ReadonlySignal } from "@preact/signals-core";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";

/** A class: its name, probability before and after, logit before and after; null for what is not finite. */
export type Compared = [string, number | null, number | null, number | null, number | null];

export function differences(
  classes: ReadonlySignal<readonly Compared[]>,
  noTop: string | null,
  until: AbortSignal,
): HTMLElement {
  const list = h("tbody", "");
  const table = h(
    "table",
    "vw-differences",
    {},
    h(
      "thead",
      "",
      {},
      h(
        "tr",
        "",
        {},
        h("th", "", { scope: "col" }, "class"),
        h("th", "", { scope: "col" }, key("before"), key("after")),
        h("th", "vw-number", { scope: "col" }, "before"),
        h("th", "vw-number", { scope: "col" }, "after"),
        h("th", "vw-number", { scope: "col", title: "percentage points" }, "Δ points"),
        h("th", "vw-number", { scope: "col" }, "Δ logit"),
      ),
    ),
    list,
  );
  perFrame(until, () => list.replaceChildren(...classes.value.map(row)));
  return h(
    "section",
    "vw-region vw-predictions",
    { "aria-label": "predictions before and after" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Predictions")),
    noTop ? h("p", "vw-hint", {}, noTop) : table,
  );
}

function key(which: "before" | "after"): HTMLElement {
  return h("span", "vw-key", {}, h("span", `vw-swatch vw-${which}`, { "aria-hidden": "true" }), which);
}

function row([name, before, after, logitBefore, logitAfter]: Compared): HTMLElement {
  const bar = (which: "before" | "after", value: number | null) => {
    const fill = h("span", `vw-two-fill vw-${which}`);
    fill.style.width = `${(value ?? 0) * 100}%`;
    return fill;
  };
  return h(
    "tr",
    "",
    {},
    h("th", "vw-class-name", { scope: "row", title: name }, name),
    h("td", "vw-two", { "aria-hidden": "true" }, bar("before", before), bar("after", after)),
    h("td", "vw-number", {}, percent(before)),
    h("td", "vw-number", {}, percent(after)),
    h(
      "td",
      "vw-number",
      {},
      change(before, after, (value) => (value * 100).toFixed(1)),
    ),
    h(
      "td",
      "vw-number",
      {},
      change(logitBefore, logitAfter, (value) => value.toFixed(2)),
    ),
  );
}

function percent(value: number | null): string {
  return value === null ? "NaN" : `${(value * 100).toFixed(1)} %`;
}

/** By how much a number has changed, with its sign; nothing where it has not. */
export function change(
  before: number | null,
  after: number | null,
  write: (value: number) => string,
): string {
  if (before === null || after === null) return "NaN";
  const text = write(Math.abs(after - before));
  if (Number(text) === 0) return "0";
  return `${after > before ? "+" : "−"}${text}`;
}
