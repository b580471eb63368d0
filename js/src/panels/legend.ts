// What the colours mean, and the tokens that have no place in the image.

import { cssColor, diverging, sequential } from "../math/colormap.ts";
import { sameGrid } from "../math/frame.ts";
import { paintRamp } from "../ui/canvas.ts";
import { figure, h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import { note } from "./parts.ts";

/** The colour scale: what is shown, from which value to which, in which unit. */
export function legend(context: Context): HTMLElement {
  const { facts, cursor } = context;
  const title = h("span", "vw-legend-title");
  const ramp = h("canvas", "vw-ramp", { "aria-hidden": "true" });
  const low = h("span", "vw-number");
  const high = h("span", "vw-number");
  const unit = h("span", "vw-faint");
  const element = h("div", "vw-legend", {}, title, h("div", "vw-scale", {}, low, ramp, high, unit));
  let painted: boolean | null = null;
  perFrame(context.until, () => {
    const outcome = context.field();
    element.classList.toggle("vw-idle", outcome.kind !== "field");
    if (outcome.kind !== "field") return;
    const { grid } = outcome;
    const size = sameGrid(grid, facts) ? "" : ` · ${grid.rows} × ${grid.cols}`;
    title.textContent = `${outcome.title} · layer ${cursor.layer.value}${size}`;
    low.textContent = figure(outcome.low);
    high.textContent = figure(outcome.high);
    unit.textContent = outcome.unit;
    if (painted !== outcome.diverging) {
      paintRamp(ramp, outcome.diverging);
      painted = outcome.diverging;
    }
  });
  return element;
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
