// A row of choices of which one holds: a radio group that looks like one control.

import { h } from "./dom.ts";

export interface Segmented<Value extends string> {
  element: HTMLElement;
  show(value: Value): void;
  /** Marks a choice behind which there is nothing, and says why when pointed at; empty where there is. */
  without(reason: (value: Value) => string): void;
}

/** A value, its label, and what it says when pointed at. */
export type Option<Value extends string> = readonly [value: Value, label: string, title?: string];

/** Arrow keys choose, as in any radio group. */
export function segmented<Value extends string>(
  name: string,
  options: readonly Option<Value>[],
  choose: (value: Value) => void,
): Segmented<Value> {
  return segmentedGroups(name, [options], choose);
}

/** The same for options in groups, each in a frame of its own, of all of which one holds. */
export function segmentedGroups<Value extends string>(
  name: string,
  groups: readonly (readonly Option<Value>[])[],
  choose: (value: Value) => void,
): Segmented<Value> {
  const options = groups.flat();
  const buttons = options.map(([value, label, title]) =>
    h(
      "button",
      "vw-segment",
      { type: "button", role: "radio", click: () => choose(value), "data-value": value, title },
      label,
    ),
  );
  let next = 0;
  const frames = groups.map((group) => {
    next += group.length;
    return h("div", "vw-segmented", {}, ...buttons.slice(next - group.length, next));
  });
  const element = frames.length === 1 ? frames[0] : h("div", "vw-groups", {}, ...frames);
  element.setAttribute("role", "radiogroup");
  element.setAttribute("aria-label", name);
  element.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const next = (at + step + buttons.length) % buttons.length;
    choose(options[next][0]);
    buttons[next].focus();
  });
  return {
    element,
    show(value) {
      options.forEach(([option], index) => {
        const on = option === value;
        buttons[index].setAttribute("aria-checked", String(on));
        buttons[index].setAttribute("tabindex", on ? "0" : "-1");
      });
    },
    without(reason) {
      options.forEach(([option, , title], index) => {
        const why = reason(option);
        buttons[index].classList.toggle("vw-without", why !== "");
        buttons[index].title = why || (title ?? "");
      });
    },
  };
}
