// Hide, shuffle, ablate: the original and what became of it side by side, with both predictions.

import type { RenderProps } from "@anywidget/types";
import { computed } from "@preact/signals-core";
import { alone } from "../data/alone.ts";
import { openTraits, type Traits } from "../data/traits.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import { brush } from "./brush.ts";
import type { Context } from "./context.ts";
import { type Compared, differences } from "./differences.ts";
import { type Intervention, interventionBar } from "./interventions.ts";
import { layerStrip } from "./layer_strip.ts";
import type { Look } from "./look.ts";
import { type PairState, pair } from "./pair.ts";
import { liveText, note } from "./parts.ts";

type Mode = "painted" | "random" | "salient" | "non_salient";
type Fill = "black" | "mean" | "blur";

/** The traits of the lab; vitwidgets/widgets/perturb_lab.py documents them. */
export interface LabState extends PairState {
  mode: Mode;
  fill: Fill;
  rate: number;
  seed: number;
  grid: number;
  grids: number[];
  interventions: Intervention[];
  progress: number | null;
  problem: string;
  comparison: Compared[];
  has_donor: boolean;
}

type Lab = Traits<LabState, (typeof NAMES)[number]>;

const NAMES = [
  "mode",
  "fill",
  "rate",
  "seed",
  "grid",
  "grids",
  "interventions",
  "progress",
  "problem",
  "comparison",
  "has_donor",
] as const;

const MODES: readonly (readonly [Mode, string])[] = [
  ["painted", "Painted"],
  ["random", "Random"],
  ["salient", "Salient"],
  ["non_salient", "Non-salient"],
];
const FILLS: readonly (readonly [Fill, string])[] = [
  ["black", "Black"],
  ["mean", "Mean"],
  ["blur", "Blur"],
];

export function perturbLab(context: Context, look: Look, props: RenderProps<LabState>): HTMLElement {
  const { facts, cursor, until } = context;
  const lab = openTraits(props.model, NAMES, until);

  const modes = segmented("which patches are hidden", MODES, (mode) => lab.change({ mode }));
  const rate = slider("share of the patches that is hidden", 0, 1, 0.05, (value) =>
    lab.change({ rate: value }),
  );
  const fills = segmented("what takes their place", FILLS, (fill) => lab.change({ fill }));
  const clear = h(
    "button",
    "vw-button",
    { type: "button", click: () => cursor.move({ patches: [] }) },
    "Bring all back",
  );
  const hiding = group("Hide", modes.element, rate.element, fills.element, clear);

  const tiles = slider("tiles each way", 0, Math.max(0, lab.grids.value.length - 1), 1, (place) =>
    lab.change({ grid: lab.grids.value[place] }),
  );
  const seed = h("input", "vw-input", {
    type: "number",
    min: 0,
    step: 1,
    "aria-label": "seed",
    change: () => {
      const value = Number(seed.value);
      if (Number.isSafeInteger(value) && value >= 0) lab.change({ seed: value });
      else seed.value = String(lab.seed.value);
    },
  });
  const again = h(
    "button",
    "vw-button",
    { type: "button", title: "another seed", click: () => lab.change({ seed: lab.seed.value + 1 }) },
    "Draw again",
  );
  const drawing = h("span", "vw-label", {}, h("label", "vw-label", {}, "Seed", seed), again);
  const shuffling = group("Shuffle", tiles.element, drawing);

  const state = h("span", "vw-hint vw-run-state");
  const done = h("div", "vw-run-done");
  const running = h("div", "vw-run", { "aria-hidden": "true" }, done);
  const problem = h("p", "vw-error", { role: "alert", hidden: true });
  const live = liveText();

  const { element: pictures } = pair(context, look, props as unknown as RenderProps<PairState>, () => ({
    hint: () => "drag to hide patches, Alt-drag to bring them back",
    adapt: (side, index) => onlyPainted(side, lab, index),
    dress(element, side, index) {
      if (index === 0)
        brush(element, side, () => lab.mode.value !== "painted" && lab.change({ mode: "painted" }));
    },
  }));

  let busy = false;
  perFrame(until, () => {
    const mode = lab.mode.value;
    modes.show(mode);
    fills.show(lab.fill.value);
    const patches = facts.rows * facts.cols;
    const painted = cursor.patches.value.length;
    const share = mode === "painted" ? painted / patches : lab.rate.value;
    rate.show(share, `${Math.round(share * patches)} of ${patches}`, mode === "painted");
    clear.disabled = mode !== "painted" || painted === 0;
    const { grid, grids } = lab;
    tiles.show(grids.value.indexOf(grid.value), grid.value === 1 ? "off" : `${grid.value} × ${grid.value}`);
    shuffling.hidden = grids.value.length < 2;
    seed.value = String(lab.seed.value);
  });
  perFrame(until, () => {
    const share = lab.progress.value;
    running.classList.toggle("vw-run-on", share !== null);
    done.style.transform = `scaleX(${share ?? 0})`;
    note(state, share === null ? "" : "the model is running…");
    if (share === null && alone(props.model)) note(state, "in this saved page the model does not run");
    note(problem, lab.problem.value);
    if (busy && share === null) live.say(spoken(lab.comparison.value, lab.problem.value));
    busy = share !== null;
  });

  return h(
    "div",
    "vw-lab",
    {},
    h(
      "header",
      "vw-masthead",
      {},
      h("span", "vw-model", {}, facts.model),
      h("span", "vw-faint", {}, "perturbation lab"),
      h("span", "vw-status", {}, state),
    ),
    running,
    h("div", "vw-lab-controls", {}, hiding, shuffling),
    problem,
    pictures,
    layerStrip(context, look),
    h(
      "div",
      "vw-lab-foot",
      {},
      differences(lab.comparison, facts.no_top, until),
      interventionBar(context, lab.interventions, lab.has_donor, (interventions) =>
        lab.change({ interventions }),
      ),
    ),
    live.element,
  );
}

/** `side`, its selection shown only where it is what is hidden, and where it still lies there. */
function onlyPainted(side: Context, { mode, grid }: Pick<Lab, "mode" | "grid">, index: 0 | 1): Context {
  const { patches } = side.cursor;
  const there = () => mode.value === "painted" && (index === 0 || grid.value === 1);
  return { ...side, cursor: { ...side.cursor, patches: computed(() => (there() ? patches.value : NONE)) } };
}

const NONE: number[] = [];

/** Controls with a name before them. */
function group(name: string, ...controls: HTMLElement[]): HTMLElement {
  return h(
    "div",
    "vw-lab-group",
    { role: "group", "aria-label": name },
    h("span", "vw-lab-group-name", {}, name),
    ...controls,
  );
}

/** A slider with its value in words beside it. */
function slider(name: string, min: number, max: number, step: number, choose: (value: number) => void) {
  const input = h("input", "vw-range", {
    type: "range",
    min,
    max,
    step,
    "aria-label": name,
    input: () => choose(Number(input.value)),
  });
  const words = h("span", "vw-number");
  return {
    element: h("label", "vw-label", {}, input, words),
    show(value: number, text: string, disabled = false) {
      input.value = String(value);
      input.disabled = disabled;
      input.setAttribute("aria-valuetext", text);
      words.textContent = text;
    },
  };
}

/** What a screen reader hears when the model has run. */
function spoken([first]: readonly Compared[], problem: string): string {
  if (problem) return problem;
  if (first === undefined) return "the model has run";
  const [name, before, after] = first;
  const percent = (value: number | null) =>
    value === null ? "not a number" : `${(value * 100).toFixed(1)} percent`;
  return `${name}: from ${percent(before)} to ${percent(after)}`;
}
