// The model's most probable classes, one of which can be followed through the layers; and a box to find others.

import { h, listen } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import { lensCurve } from "./lens_curve.ts";
import { note } from "./parts.ts";

const OFFERED = 12; // classes that the box proposes

export function predictions(context: Context): HTMLElement {
  const { facts, cursor, until } = context;
  const rows = facts.top.map(([label, probability], index) => row(facts.leading[index], label, probability));
  const other = row(-1, "", null); // the class that is followed, where it is none of these
  const list = h("ol", "vw-classes", {}, ...rows.map(({ item }) => item));
  const hint = h("span", "vw-hint");

  function row(target: number, label: string, probability: number | null) {
    const bar = h("span", "vw-bar-fill", { "aria-hidden": "true" });
    bar.style.width = `${(probability ?? 0) * 100}%`;
    const name = h("span", "vw-class-name", {}, label);
    const button = h("button", "vw-class", { type: "button" }, name);
    const part = target < 0 ? "" : probability === null ? "NaN" : `${(probability * 100).toFixed(1)} %`;
    button.append(h("span", "vw-class-bar", {}, bar), h("span", "vw-number", {}, part));
    const one = { item: h("li", "", {}, button), button, name, target };
    button.addEventListener("click", () => follow(one.target));
    return one;
  }
  /** Shows the evidence for a class; the one that is followed is let go. */
  const follow = (target: number) =>
    cursor.move({ target: target === cursor.target.value ? null : target, overlay: "evidence" });
  perFrame(until, () => {
    const evidence = cursor.overlay.value === "evidence";
    const target = cursor.target.value ?? (evidence ? facts.leading[0] : null);
    other.target = target ?? -1;
    if (target === null || facts.leading.includes(target) || !(target in facts.classes)) other.item.remove();
    else list.append(other.item);
    other.name.textContent = facts.classes[other.target] ?? "";
    for (const { button, name, target: own } of [...rows, other]) {
      button.setAttribute("aria-pressed", String(own === target));
      name.title = `${name.textContent} · class ${own}`;
    }
    const why = context.source.whyNot("evidence", cursor.layer.value);
    note(hint, why ? "" : evidence ? "" : "click a class to see where it is read from");
  });
  return h(
    "section",
    "vw-region vw-predictions",
    { "aria-label": "predictions" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Predictions"), hint, finder(context)),
    facts.no_top ? h("p", "vw-hint", {}, facts.no_top) : list,
    lensCurve(context),
  );
}

/** A box that takes a class by its name or number. */
function finder({ facts, cursor }: Context): HTMLElement {
  const { classes } = facts;
  const offers = h("ul", "vw-offers", { hidden: true });
  const box = h("input", "vw-input vw-find", {
    type: "search",
    placeholder: "find a class",
    "aria-label": "find a class by name or number",
    autocomplete: "off",
  });
  const close = () => {
    offers.hidden = true;
  };
  const choose = (target: number) => {
    cursor.move({ target, overlay: "evidence" });
    box.value = "";
    close();
  };
  const offer = () => {
    offers.replaceChildren(
      ...classesLike(box.value, classes, OFFERED).map((target) =>
        h(
          "li",
          "",
          {},
          h(
            "button",
            "vw-offer",
            { type: "button", click: () => choose(target) },
            `${classes[target]}`,
            " ",
            h("span", "vw-faint", {}, String(target)),
          ),
        ),
      ),
    );
    offers.hidden = offers.childElementCount === 0;
  };
  const element = h("div", "vw-finder", {}, box, offers);
  element.hidden = classes.length <= facts.top.length;
  box.addEventListener("input", offer);
  listen(element, {
    keydown(event) {
      const buttons = [...offers.querySelectorAll("button")];
      const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
      if (event.key === "Enter" && document.activeElement === box && !offers.hidden) buttons[0].click();
      else if (event.key === "Escape") close();
      else if (event.key === "ArrowDown") buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
      else if (event.key === "ArrowUp") (at <= 0 ? box : buttons[at - 1]).focus();
      else return;
      event.preventDefault();
    },
    focusout({ relatedTarget }) {
      if (!element.contains(relatedTarget as Node | null)) close();
    },
  });
  return element;
}

/** The first `count` classes of a number or a part of a name; names that begin with it come first. */
export function classesLike(text: string, classes: readonly string[], count: number): number[] {
  const sought = text.trim().toLowerCase();
  if (sought === "") return [];
  const first: number[] = [];
  const later: number[] = [];
  classes.forEach((name, index) => {
    const at = name.toLowerCase().indexOf(sought);
    if (String(index) === sought) first.unshift(index);
    else if (at === 0) first.push(index);
    else if (at > 0) later.push(index);
  });
  return [...first, ...later].slice(0, count);
}
