// What the colours mean, and the tokens that have no place in the image.

import { cssColor, diverging, sequential } from "../math/colormap.ts";
import { sameGrid } from "../math/frame.ts";
import type { View } from "../math/overlay.ts";
import { paintRamp } from "../ui/canvas.ts";
import { figure, h, magnitude } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import type { Look } from "./look.ts";
import { note } from "./parts.ts";

/** The colour scale: what is shown, from which value to which, in which unit. */
export function legend(context: Context, look: Look): HTMLElement {
  const { facts, cursor } = context;
  const title = h("span", "vw-legend-title");
  const ramp = h("canvas", "vw-ramp", { "aria-hidden": "true" });
  const low = h("span", "vw-number");
  const high = h("span", "vw-number");
  const unit = h("span", "vw-faint");
  const marks = h("span", "vw-high-norm", { hidden: true });
  const scale = h("div", "vw-scale", {}, low, ramp, high, unit);
  const element = h("div", "vw-legend", {}, title, marks, scale);
  let painted = "";
  perFrame(context.until, () => {
    const outcome = context.field();
    const idle = outcome.kind === "loading" || outcome.kind === "missing";
    element.classList.toggle("vw-idle", idle);
    if (idle) return;
    const { grid } = outcome;
    const size = sameGrid(grid, facts) ? "" : ` · ${grid.rows} × ${grid.cols}`;
    title.textContent = `${outcome.title} · layer ${cursor.layer.value}${size}`;
    note(marks, outcome.kind === "field" ? highNorm(outcome.marked) : "");
    low.hidden = high.hidden = ramp.hidden = outcome.kind === "colours";
    if (outcome.kind === "colours") {
      unit.textContent = `like colours: like tokens, ${outcome.alike ?? "in all layers"}`;
      return;
    }
    const kind = outcome.kind === "view" ? look.mode.value : outcome.diverging ? "diverging" : "sequential";
    if (outcome.kind === "view") {
      const end = magnitude(outcome.limit);
      low.textContent = look.mode.value === "signed" ? `−${end}` : "0";
      high.textContent = end;
      unit.textContent = viewUnit(outcome);
    } else {
      low.textContent = figure(outcome.low);
      high.textContent = figure(outcome.high);
      unit.textContent = outcome.unit;
    }
    if (painted !== kind) paintRamp(ramp, kind);
    painted = kind;
  });
  return element;
}

/** What the numbers are, and how far they go where the ends of the colours do not show it. */
function viewUnit({ limit, peak }: View): string {
  return `filter × pixel${peak > limit ? ` · clipped, up to ${magnitude(peak)}` : ""}`;
}

function highNorm(marked: readonly number[] | undefined): string {
  if (marked === undefined || marked.length === 0) return "";
  return `${marked.length} high-norm ${marked.length === 1 ? "token" : "tokens"}`;
}

/** The prefix tokens as chips with their values, and how many patches are selected. */
export function chips(context: Context): HTMLElement {
  const { facts, cursor, until } = context;
  const buttons = facts.prefix.map((name) => {
    const swatch = h("span", "vw-swatch", { "aria-hidden": "true" });
    const value = h("span", "vw-number");
    const button = h(
      "button",
      "vw-chip",
      { type: "button", click: () => cursor.move({ token: name }), "data-token": name },
      swatch,
      name,
      value,
    );
    return { name, button, swatch, value };
  });
  const selected = h("button", "vw-chip vw-chip-selection", {
    type: "button",
    title: "clear the selection",
    click: () => cursor.move({ patches: [] }),
  });
  const element = h("div", "vw-chips", {}, ...buttons.map(({ button }) => button), selected);
  perFrame(until, () => {
    const outcome = context.field();
    buttons.forEach(({ name, button, swatch, value }, row) => {
      button.setAttribute("aria-pressed", String(cursor.token.value === name));
      if (outcome.kind === "field") {
        const map = outcome.diverging ? diverging : sequential;
        swatch.style.background = cssColor(outcome.values[row], outcome.low, outcome.high, map);
        value.textContent = figure(outcome.values[row]);
      } else {
        swatch.style.background = "";
        value.textContent = "";
      }
    });
    const count = cursor.patches.value.length;
    note(selected, count === 0 ? "" : `${count} ${count === 1 ? "patch" : "patches"} selected ✕`);
  });
  return element;
}
