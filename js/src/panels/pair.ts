// Two traces side by side under one cursor: two stores, two images, one bar of overlays.

import type { AnyModel, RenderProps } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";
import { openTraits } from "../data/traits.ts";
import { type Shown, shown } from "../math/overlay.ts";
import { sharedLimit } from "../math/views.ts";
import { h } from "../ui/dom.ts";
import { now, perFrame } from "../ui/effects.ts";
import { type Context, openContext, type PanelState } from "./context.ts";
import type { Look } from "./look.ts";
import { mount } from "./mount.ts";
import { overlayBar } from "./overlay_bar.ts";
import { note } from "./parts.ts";
import { patchView } from "./patch_view.ts";

/** The traits that a pair has besides a panel's; vitwidgets/widgets/pair.py documents them. */
export interface PairState extends PanelState {
  other: string;
  shared_scale: boolean;
  titles: [string, string];
}

const PATIENCE_MS = 1500; // a picture that takes longer is shown as it comes

interface Entry<State> {
  render(props: RenderProps<State & PairState>): Promise<void>;
}

/** An anywidget that shows the element which `panel` builds. */
export function mountPair<State extends PairState>(
  panel: (left: Context, look: Look, props: RenderProps<State>) => HTMLElement,
): Entry<State> {
  return {
    render: (props) => (mount((left, look) => panel(left, look, props)) as Entry<State>).render(props),
  };
}

/** What is special about a kind of pair. */
export interface Special {
  /** Changes what a side's panels see of its trace and of the cursor. */
  adapt?(side: Context, index: 0 | 1): Context;
  /** Puts more into a side; called again whenever the right one shows another trace. */
  dress?(element: HTMLElement, side: Context, index: 0 | 1): void;
  /** What can be done, on the left; empty where there is nothing to say. */
  hint?(): string;
  /** Stands at the end of the bar. */
  tools?: HTMLElement[];
}

export interface Pair {
  element: HTMLElement;
  /** What the right side shows; null until it is there. */
  right: ReadonlySignal<Context | null>;
}

export function pair(
  left: Context,
  look: Look,
  props: RenderProps<PairState>,
  special: (right: ReadonlySignal<Context | null>) => Special = () => ({}),
): Pair {
  const { until } = left;
  const { shared_scale, titles, change } = openTraits(props.model, ["shared_scale", "titles"], until);
  const right = signal<Context | null>(null);
  const shownSides = [signal<Context | null>(null), signal<Context | null>(null)] as const;
  const { adapt = (side) => side, dress = () => {}, hint = () => "", tools = [] } = special(right);

  const together = h("input", "", {
    type: "checkbox",
    change: () => change({ shared_scale: together.checked }),
  });
  const bar = h(
    "div",
    "vw-pair-bar",
    {},
    overlayBar(left, look),
    h(
      "label",
      "vw-label",
      { title: "the same colour means the same value on both sides" },
      together,
      "One scale",
    ),
    ...tools,
  );
  const shared = h("div", "vw-remarks");
  const places = [h("div", "vw-side-body"), h("div", "vw-side-body")] as const;
  const names = [h("h3", "vw-title"), h("h3", "vw-title")] as const;
  const remarks = [h("span", "vw-hint"), h("span", "vw-hint")] as const;
  const sides = places.map((place, index) =>
    h("div", "vw-side", {}, h("header", "vw-head vw-side-head", {}, names[index], remarks[index]), place),
  );
  perFrame(until, () => {
    together.checked = shared_scale.value;
    titles.value.forEach((title, index) => {
      names[index].textContent = title;
    });
    const [here, there] = [left.facts.notes, right.value?.facts.notes ?? []];
    const both = here.filter((text) => there.includes(text)); // is said once
    note(shared, both.join(" · "));
    remarks.forEach((remark, index) => {
      const own = [here, there][index].filter((text) => !both.includes(text));
      remark.textContent = remark.title = own.join(" · ") || (index === 0 ? hint() : "");
    });
  });

  const show = (side: Context, index: 0 | 1) => {
    const adapted = adapt(side, index);
    shownSides[index].value = adapted;
    const own = comparable(adapted, left, shownSides[1 - index], shared_scale);
    const view = patchView(own, look);
    exchange(places[index], view);
    dress(view, own, index);
  };
  show(left, 0);
  followOther(props, until, (context) => {
    right.value = context;
    show(context, 1);
  });
  return { element: h("div", "vw-pair", {}, bar, shared, h("div", "vw-sides", {}, ...sides)), right };
}

/**
 * `own`, its colours on a scale that reaches as far as the other side's, where `together`; and with evidence for
 * the class that leads on the left, whatever leads here.
 */
function comparable(
  own: Context,
  left: Context,
  other: ReadonlySignal<Context | null>,
  together: ReadonlySignal<boolean>,
): Context {
  const leads = left.facts.leading[0] ?? -1;
  const target = leads >= 0 && own.facts.classes[leads] === left.facts.classes[leads] ? leads : null;
  const known = new WeakMap<Shown, { there: Shown; widened: Shown }>();
  return {
    ...own,
    field(change = {}) {
      const same = own.cursor.target.value ?? target;
      const asked = { ...(same === null ? {} : { target: same }), ...change };
      const outcome = own.field(asked);
      if (!together.value || "token" in change) return outcome;
      const [here, there] = [shown(outcome), other.value && shown(other.value.field(asked))];
      if (!here || !there) return outcome;
      const before = known.get(here);
      if (before?.there === there) return before.widened; // the painter knows a picture by its identity
      const widened = widen(here, there);
      known.set(here, { there, widened });
      return widened;
    },
  };
}

/** `here`, its scale reaching as far as that of `there` where they are of one kind. */
export function widen(here: Shown, there: Shown): Shown {
  if (here.kind === "view" && there.kind === "view") {
    return { ...here, limit: sharedLimit([here, there]) };
  }
  if (here.kind !== "field" || there.kind !== "field" || here.diverging !== there.diverging) return here;
  return { ...here, low: Math.min(here.low, there.low), high: Math.max(here.high, there.high) };
}

/** Opens what the model's `other` refers to, again whenever that changes, and shows it once it has a picture. */
function followOther(
  props: RenderProps<PairState>,
  until: AbortSignal,
  show: (context: Context) => void,
): void {
  let shown: AbortController | null = null;
  let turn = 0;
  const open = async () => {
    turn += 1;
    const mine = turn;
    const life = new AbortController();
    until.addEventListener("abort", () => life.abort(), { signal: life.signal });
    try {
      const context = await openContext({
        ...props,
        model: seenAs(props.model),
        signal: life.signal,
      } as unknown as RenderProps<PanelState>);
      await hasPicture(context);
      if (mine !== turn || until.aborted) return life.abort();
      show(context);
      shown?.abort();
      shown = life;
    } catch (error) {
      life.abort();
      if (mine === turn && !until.aborted) reportError(error);
    }
  };
  props.model.on("change:other", open);
  until.addEventListener("abort", () => props.model.off("change:other", open));
  open();
}

/** The model, with the other store in the place of its own. */
function seenAs(model: AnyModel<PairState>): Pick<AnyModel<PanelState>, "get"> {
  return { get: (name) => model.get(name === "store" ? "other" : name) } as Pick<AnyModel<PanelState>, "get">;
}

/** Resolves when a side can be painted at once: no frame is to show it half empty. */
async function hasPicture(context: Context): Promise<void> {
  await context.store.picture().catch(() => {}); // the panel itself says so
  await new Promise<void>((resolve) => {
    const enough = new AbortController();
    const end = () => {
      enough.abort();
      resolve();
    };
    const timer = window.setTimeout(end, PATIENCE_MS);
    enough.signal.addEventListener("abort", () => window.clearTimeout(timer));
    context.until.addEventListener("abort", end, { signal: enough.signal });
    now(enough.signal, () => {
      if (context.field().kind !== "loading") queueMicrotask(end);
    });
  });
}

/** Puts `element` in the place of what `place` holds: nothing jumps, and the focus stays where it was. */
function exchange(place: HTMLElement, element: HTMLElement): void {
  const focused = place.contains(document.activeElement);
  place.style.minHeight = `${place.offsetHeight}px`;
  place.replaceChildren(element);
  if (focused) element.querySelector("canvas")?.focus({ preventScroll: true });
  requestAnimationFrame(() => {
    place.style.minHeight = "";
  });
}
