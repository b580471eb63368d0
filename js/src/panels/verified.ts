// Whether what is shown is what the model computed: a button that asks, then a small mark with the figure.

import type { Check } from "../data/store.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";

export function verified({ store, arrivals, until }: Context): HTMLElement {
  const button = h(
    "button",
    "vw-verify",
    {
      type: "button",
      title: "Run the model once more and compare it with what is shown here",
      click: () => store.verify(),
    },
    "verify",
  );
  const mark = h("span", "vw-verified", { role: "status" });
  perFrame(until, () => {
    arrivals.value;
    const check = store.check();
    button.hidden = check !== null;
    const { text, title, state } = said(check);
    mark.hidden = check === null;
    mark.textContent = text;
    mark.title = title;
    mark.dataset.state = state;
  });
  return h("span", "vw-check", {}, button, mark);
}

/** The words of the mark. */
export function said(check: Check | "running" | "silent" | null): {
  text: string;
  title: string;
  state: string;
} {
  if (check === null) return { text: "", title: "", state: "" };
  if (check === "running") return { text: "verifying…", title: "", state: "waiting" };
  if (check === "silent") {
    return { text: "not verified: the kernel does not answer", title: "", state: "waiting" };
  }
  const { passed, attention, logits, text } = check;
  if (passed === null) return { text: `not verified: ${text}`, title: "", state: "waiting" };
  if (!passed) return { text: `differs: ${text}`, title: "", state: "differs" };
  const error = attention ?? logits;
  const figure = error === null ? "" : ` · ${error === 0 ? "exact" : error.toExponential(0)}`;
  return { text: `✓ verified${figure}`, title: text, state: "passed" };
}
