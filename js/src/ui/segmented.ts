// A row of choices of which one holds: a radio group that looks like one control.

import { h } from "./dom.ts";

export interface Segmented<Value extends string> {
  element: HTMLElement;
  show(value: Value): void;
}

/** `options` are pairs of a value and its label. Arrow keys choose, as in any radio group. */
export function segmented<Value extends string>(
  name: string,
  options: readonly (readonly [Value, string])[],
  choose: (value: Value) => void,
): Segmented<Value> {
  const buttons = options.map(([value, label]) =>
    h(
      "button",
      "vw-segment",
      { type: "button", role: "radio", click: () => choose(value), "data-value": value },
      label,
    ),
  );
  const element = h("div", "vw-segmented", { role: "radiogroup", "aria-label": name }, ...buttons);
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
  };
}
