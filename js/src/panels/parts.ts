// Small pieces that several panels are made of.

import { type ReadonlySignal, signal } from "@preact/signals-core";
import { type Outcome, shown } from "../math/overlay.ts";
import type { ViewMode } from "../math/views.ts";
import { sized } from "../ui/canvas.ts";
import { h } from "../ui/dom.ts";
import type { Class } from "./clusters.ts";
import type { Context } from "./context.ts";

/** Shows a remark, or hides its element where there is nothing to say. */
export function note(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text; // to write the same again lays out the page anew
  if (element.hidden !== (text === "")) element.hidden = text === "";
}

/** Why there is no picture, in words; empty where there is one. */
export function remark(outcome: Outcome): string {
  if (outcome.kind === "loading") return "loading…";
  return outcome.kind === "missing" ? outcome.reason : "";
}

/** Paints `outcome` as one small map, `side` CSS pixels wide; an empty frame where there is none. */
export function smallMap(
  { facts, painter }: Context,
  canvas: HTMLCanvasElement,
  outcome: Outcome,
  side: number,
  mode: ViewMode = "signed",
) {
  const height = Math.round((side * facts.rows) / facts.cols);
  const context = sized(canvas, side, height);
  context.clearRect(0, 0, side, height); // the colour of nothing is translucent: no other map may show through
  const map = shown(outcome);
  if (map) {
    painter.paint(map, context, [0, 0, side, height], { mode, small: true });
  } else {
    context.fillStyle = getComputedStyle(canvas).getPropertyValue("--vw-empty");
    context.fillRect(0, 0, side, height);
  }
}

/** Name, colour and size of a class; a click selects its patches. */
export function classChip(
  { name, colour, patches }: Class,
  select: (patches: readonly number[]) => void,
): HTMLElement {
  const swatch = h("span", "vw-swatch", { "aria-hidden": "true" });
  swatch.style.background = colour;
  const click = () => select(patches);
  const title = "select these patches";
  return h(
    "button",
    "vw-chip",
    { type: "button", click, title },
    swatch,
    name,
    h("span", "vw-number vw-faint", {}, String(patches.length)),
  );
}

/** A region that announces to screen readers what `say` is called with. */
export function liveText(): { element: HTMLElement; say(text: string): void } {
  const element = h("div", "vw-sr", { "aria-live": "polite", role: "status" });
  return {
    element,
    say(text) {
      if (element.textContent !== text) element.textContent = text;
    },
  };
}

/** Which colours the page shows, as a signal that changes when the theme does. */
export function watchTheme(until: AbortSignal): ReadonlySignal<number> {
  const changes = signal(0);
  const observer = new MutationObserver(() => {
    changes.value += 1;
  });
  for (const element of [document.body, document.documentElement]) {
    observer.observe(element, {
      attributeFilter: ["class", "data-jp-theme-light", "data-jp-theme-name", "data-theme"],
    });
  }
  until.addEventListener("abort", () => observer.disconnect());
  return changes;
}
