// Interventions: what the cursor points at is taken out, or taken from another image; chips list what is active.

import type { ReadonlySignal } from "@preact/signals-core";
import type { Token } from "../data/facts.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import type { Context } from "./context.ts";

/** An Ablation or, where it has a source, a Transplant; vitwidgets/interventions.py documents the fields. */
export interface Intervention {
  /** In words; written by the kernel. */
  text?: string;
  layer: number;
  neuron?: number;
  unit?: number;
  head?: number;
  token?: Token;
  tokens?: Token[];
  fill?: "zero" | "mean";
  /** Which trace activations are taken from. */
  source?: number;
}

/** What can be done to what the cursor points at, as a button. */
export interface Offer {
  label: string;
  /** Why it cannot be done here; empty where it can. */
  why: string;
  what: Omit<Intervention, "fill" | "source">;
}

type How = "zero" | "mean" | "donor";

export function interventionBar(
  context: Context,
  active: ReadonlySignal<readonly Intervention[]>,
  hasDonor: ReadonlySignal<boolean>,
  change: (to: Intervention[]) => void,
): HTMLElement {
  const { until } = context;
  let how: How = "zero";
  const options: [How, string][] = [
    ["zero", "Set to 0"],
    ["mean", "Set to its mean"],
  ];
  if (hasDonor.value) options.push(["donor", "Take from the other image"]);
  const kinds = segmented("what is done", options, (to) => {
    how = to;
    kinds.show(to);
    draw();
  });
  kinds.show(how);

  const offers = h("div", "vw-lab-offers");
  const chips = h("div", "vw-chips");
  const add = (what: Offer["what"]) => {
    const { token, ...rest } = what;
    const one: Intervention =
      how !== "donor"
        ? { ...what, fill: how }
        : token === undefined
          ? { ...rest, source: 0 }
          : { ...rest, tokens: [token], source: 0 };
    if (!active.value.some((other) => sameAs(other, one))) change([...active.value, one]);
  };
  const draw = () => {
    const buttons = offersOf(context, how === "donor").map(({ label, why, what }) =>
      h(
        "button",
        "vw-button",
        { type: "button", disabled: why !== "", title: why || undefined, click: () => add(what) },
        label,
      ),
    );
    const focused = [...offers.children].indexOf(document.activeElement as HTMLElement);
    offers.replaceChildren(...buttons);
    buttons[focused]?.focus({ preventScroll: true });
  };
  perFrame(until, draw);
  perFrame(until, () => {
    const list = active.value;
    const clear = h("button", "vw-button", { type: "button", click: () => change([]) }, "Remove all");
    chips.replaceChildren(
      ...list.map((one, index) =>
        h(
          "button",
          "vw-chip vw-chip-selection",
          {
            type: "button",
            title: "remove",
            "aria-label": `remove: ${one.text ?? "intervention"}`,
            click: () => change(list.filter((_, other) => other !== index)),
          },
          `${one.text ?? "…"} ✕`,
        ),
      ),
      ...(list.length > 1 ? [clear] : []),
      ...(list.length === 0 ? [h("span", "vw-hint", {}, "none: the model computes as it always does")] : []),
    );
  });
  return h(
    "section",
    "vw-region vw-interventions",
    { "aria-label": "interventions" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Interventions")),
    h("div", "vw-bar", {}, kinds.element),
    offers,
    chips,
  );
}

/** What the cursor points at, and whether it can be taken out there, or taken from another image. */
export function offersOf({ facts, source, cursor, place }: Context, fromDonor: boolean): Offer[] {
  const layer = cursor.layer.value;
  const head = cursor.head.value;
  const neuron = cursor.neuron.value;
  const token = cursor.token.value;
  const mlp = cursor.neuron_space.value === "mlp";
  const input = layer === 0 ? "layer 0 is the input: it has none" : "";
  const none = (count: number, index: number) =>
    index < count ? "" : `layer ${layer} has none of this number`;
  const at = place(token);
  const offers: Offer[] = [
    mlp
      ? {
          label: `MLP neuron ${neuron}`,
          why: input || none(source.hidden(layer), neuron),
          what: { layer, unit: neuron },
        }
      : { label: `Neuron ${neuron}`, why: none(source.width(layer), neuron), what: { layer, neuron } },
    {
      label: at === null ? "Token" : short(source.tokenName(layer, at)),
      why: at === null ? "pin a token first" : "",
      what: { layer, token: at === null ? token : ofLayer(source.row(layer, at), facts.prefix) },
    },
  ];
  if (facts.heads.some((count) => count > 0)) {
    offers.push({
      label: head === null ? "Head" : `Head ${head}`,
      why:
        head === null
          ? "choose a head first: with an attention overlay"
          : input || none(source.heads(layer), head),
      what: { layer, head: head ?? 0 },
    });
  }
  return fromDonor ? [...offers, { label: "All tokens", why: "", what: { layer } }] : offers;
}

/** A token of a layer, whose patch grid may be coarser than the cursor's, as the kernel names it. */
function ofLayer(row: number, prefix: readonly string[]): Token {
  return prefix[row] ?? row - prefix.length;
}

/** A token's name without its row and column. */
function short(name: string): string {
  const text = name.replace(/ \(.*\)$/, "");
  return text.startsWith("patch") || text.startsWith("cell")
    ? text[0].toUpperCase() + text.slice(1)
    : `Token ${text}`;
}

/** Whether two interventions are the same, but for the words. */
export function sameAs(a: Intervention, b: Intervention): boolean {
  const bare = ({ text: _, ...rest }: Intervention) => JSON.stringify(Object.entries(rest).sort());
  return bare(a) === bare(b);
}
