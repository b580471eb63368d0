// At the present layer, one small map per attention head for the pinned token.

import { type Cell, cellGrid } from "../ui/cells.ts";
import { figure, h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import { note, remark, smallMap, watchTheme } from "./parts.ts";

const SIDE = 76;

export function headGrid(context: Context): HTMLElement {
  const { source, cursor, until } = context;
  const grid = cellGrid("attention heads", (key) => {
    const overlay = cursor.overlay.value === "attention_to" ? "attention_to" : "attention_from";
    cursor.move({ head: key === "mean" ? null : Number(key), overlay });
  });
  const place = h("span", "vw-count");
  const hint = h("span", "vw-hint");
  const theme = watchTheme(until);

  perFrame(until, () => {
    theme.value;
    const overlay = cursor.overlay.value === "attention_to" ? "attention_to" : "attention_from";
    const layer = cursor.layer.value;
    const token = context.place(cursor.token.value);
    const name = token === null ? "" : source.tokenName(layer, token);
    const way = overlay === "attention_to" ? "to" : "from";
    const count = source.heads(Math.max(layer, 1)); // the input shows as many empty maps as the first block
    const heads = count === 0 ? [] : [null, ...Array.from({ length: count }, (_, head) => head)];
    const mean = context.field({ overlay, head: null });
    let reason = remark(mean);
    // A layer without attention keeps the place of its maps: nothing jumps under a hand that goes through the layers.
    const none = mean.kind === "missing";
    grid.element.style.visibility = none ? "hidden" : "";
    place.textContent = none ? "" : `attention ${way} ${name}, with its greatest weight`;
    const cells = heads.map((head): Cell => {
      const outcome = context.field({ overlay, head });
      reason ||= remark(outcome);
      const label = head === null ? "mean" : String(head);
      return {
        key: label,
        label,
        note: outcome.kind === "field" ? figure(outcome.high) : "",
        spoken: head === null ? "mean of all heads" : `head ${head}`,
        chosen: cursor.overlay.value === overlay && cursor.head.value === head,
        paint: (canvas) => smallMap(context, canvas, outcome, SIDE),
      };
    });
    note(hint, reason);
    grid.show(cells);
  });
  return h(
    "section",
    "vw-region vw-heads",
    { "aria-label": "heads" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Heads"), place, hint),
    grid.element,
  );
}
