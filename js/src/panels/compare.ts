// Two traces side by side; a patch clicked in one finds its best match in the other.

import type { RenderProps } from "@anywidget/types";
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { decode } from "../data/codec.ts";
import { openTraits } from "../data/traits.ts";
import { cosineAcross, greatest } from "../math/across.ts";
import { type Frame, patchBox } from "../math/frame.ts";
import { type Colours, type Field, type Outcome, type Spec, tokensOf } from "../math/overlay.ts";
import { range } from "../math/range.ts";
import { figure, h } from "../ui/dom.ts";
import { now, perFrame } from "../ui/effects.ts";
import { watchWidth } from "../ui/width.ts";
import type { Context } from "./context.ts";
import { layerStrip } from "./layer_strip.ts";
import type { Look } from "./look.ts";
import { type PairState, pair } from "./pair.ts";

type Side = "left" | "right";
const SIDES: readonly [Side, Side] = ["left", "right"];
const DRAG = 4; // pixels that a hand may tremble in a click

/** The traits of a comparison; vitwidgets/widgets/compare.py documents them. */
export interface CompareState extends PairState {
  side: Side;
  shared_colours: boolean;
  palette: [DataView, DataView];
}

export function compare(left: Context, look: Look, props: RenderProps<CompareState>): HTMLElement {
  const { until, cursor } = left;
  const state = openTraits(props.model, ["side", "shared_colours", "palette", "titles"], until);
  const { side, shared_colours } = state;
  /** Whether a side shows what is like the token that is pinned on the other one. */
  const answers = (index: 0 | 1) => cursor.overlay.value === "similarity" && side.value !== SIDES[index];

  const together = h("input", "", {
    type: "checkbox",
    change: () => state.change({ shared_colours: together.checked }),
  });
  const oneSet = h(
    "label",
    "vw-label",
    { title: "principal components of both together: equal colours mean alike tokens" },
    together,
    "Shared components",
  );
  const models = h("span", "vw-faint");
  const painted = SIDES.map((_, index) => shared(state.palette, index));

  /** What a side shows by itself, in the colours of both together where the reader wants that. */
  const seen = (own: Context, index: 0 | 1, change: Partial<Spec>): Outcome => {
    const colours = (change.overlay ?? cursor.overlay.value) === "colours" && shared_colours.value;
    const both = colours ? painted[index](own, change.layer ?? cursor.layer.value) : null;
    return both ?? own.field(change);
  };

  const { element, right } = pair(left, look, props as unknown as RenderProps<PairState>, (other) => ({
    tools: [oneSet],
    hint: () =>
      cursor.overlay.value === "similarity"
        ? "click a patch: its best match is outlined on the other side"
        : "",
    adapt(own, index) {
      const beside = () => (index === 0 ? other.value : left);
      const match = matchField(own, beside, () => state.titles.value[1 - index]);
      return {
        ...own,
        cursor: { ...own.cursor, token: computed(() => (answers(index) ? null : own.cursor.token.value)) },
        field(change = {}) {
          const overlay = change.overlay ?? cursor.overlay.value;
          const layer = change.layer ?? cursor.layer.value;
          if (overlay === "similarity" && answers(index) && !("token" in change)) return match(layer);
          return seen(own, index, change);
        },
      };
    },
    dress(view, own, index) {
      takeSide(view, () => side.value !== SIDES[index] && state.change({ side: SIDES[index] }), own.until);
      outlineMatch(view, own, () => answers(index));
    },
  }));
  perFrame(until, () => {
    together.checked = shared_colours.value;
    oneSet.hidden = cursor.overlay.value !== "colours";
    models.textContent = [...new Set([left, right.value ?? left].map(({ facts }) => facts.model))].join(
      " · ",
    );
  });
  const strip = h("div", "");
  now(until, () => {
    if (right.value === null) return;
    const facts = { ...left.facts, layers: Math.min(left.facts.layers, right.value.facts.layers) };
    const both = { ...left, facts, field: (change = {}) => seen(left, 0, change) };
    strip.replaceChildren(layerStrip(both, look));
  });
  return h(
    "div",
    "vw-compare",
    {},
    h("header", "vw-masthead", {}, h("span", "vw-model", {}, "Compare"), models),
    element,
    strip,
  );
}

/** What of `own` is like the token that is pinned in the other trace, of a layer. */
function matchField(
  own: Context,
  other: () => Context | null,
  title: () => string,
): (layer: number) => Outcome {
  let known: { key: string; there: Float32Array; field: Field } | null = null;
  return (layer) => {
    const from = other();
    if (from === null) return { kind: "loading", needs: [] };
    const at = from.place(from.cursor.token.value);
    if (at === null) return { kind: "missing", reason: "pin a token to see this" };
    const [D, width] = [own.source.width(layer), from.source.width(layer)];
    const why = own.source.whyNot("tokens", layer) || from.source.whyNot("tokens", layer);
    if (why) return { kind: "missing", reason: `no tokens at layer ${layer}: ${why}` };
    if (D !== width) {
      return {
        kind: "missing",
        reason: `no match: tokens of ${D} numbers here, of ${width} on the other side`,
      };
    }
    const [here, there] = [tokens(own, layer), tokens(from, layer)];
    if (here === null || there === null) return { kind: "loading", needs: [] };
    const row = from.source.row(layer, at);
    const key = `${layer} ${row} ${title()}`;
    if (known?.key === key && known.there === there) return known.field;
    const N = tokensOf(own.source, layer);
    const values = cosineAcross(here, N, D, there, tokensOf(from.source, layer), row);
    const field: Field = {
      kind: "field",
      values,
      grid: own.source.grid(layer),
      ...range(values, "span", own.source.prefix),
      title: `similarity to ${from.source.tokenName(layer, at)} of ${title()}`,
      unit: "cosine",
    };
    known = { key, there, field };
    return field;
  };
}

/** Tokens of a layer; asks for them where they have not arrived. */
function tokens({ source, store, arrivals }: Context, layer: number): Float32Array | null {
  const values = source.tokens(layer);
  if (values === null) {
    arrivals.value; // read again when they are there
    store.want([`tokens_${layer}`]);
  }
  return values;
}

/** The colours of one side of a palette, by layer; null while there are none. */
function shared(
  palette: ReadonlySignal<[DataView, DataView]>,
  index: number,
): (own: Context, layer: number) => Colours | null {
  const all = computed(() => {
    const packet = palette.value[index];
    return packet.byteLength > 0 ? decode(packet).values : null;
  });
  const known = new WeakMap<Float32Array, Map<number, Colours>>();
  return ({ facts, source }, layer) => {
    const values = all.value;
    if (values === null) return null;
    const byLayer = known.get(values) ?? new Map<number, Colours>();
    known.set(values, byLayer);
    const before = byLayer.get(layer);
    if (before) return before;
    const size = ([rows, cols]: readonly [number, number]) => 3 * rows * cols;
    const start = facts.grids.slice(0, layer).reduce((sum, grid) => sum + size(grid), 0);
    const rgb = values.subarray(start, start + size(facts.grids[layer]));
    if (rgb.length === 0) return null;
    const colours: Colours = {
      kind: "colours",
      rgb,
      grid: source.grid(layer),
      title: "shared components",
      alike: "on both sides",
    };
    byLayer.set(layer, colours);
    return colours;
  };
}

/** Calls `take` when a token is about to be pinned in `view`, by pointer or by key. */
function takeSide(view: HTMLElement, take: () => void, signal: AbortSignal): void {
  let from: PointerEvent | null = null;
  const on = { capture: true, signal };
  view.addEventListener(
    "pointerdown",
    (event) => {
      from = event;
    },
    on,
  );
  view.addEventListener(
    "pointerup",
    (event) => {
      const plain = event.button === 0 && !event.shiftKey && !event.altKey;
      if (plain && from && Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) <= DRAG)
        take();
      from = null;
    },
    on,
  );
  view.addEventListener("keydown", (event) => event.key === "Enter" && take(), on);
}

/** Outlines the patch of `view` that is most like the token pinned on the other side, with its value. */
function outlineMatch(view: HTMLElement, own: Context, asked: () => boolean): void {
  const canvas = view.querySelector<HTMLCanvasElement>(".vw-image");
  const stage = canvas?.parentElement;
  if (!canvas || !stage) return;
  const value = h("span", "vw-match-value");
  const box = h("div", "vw-match", { "aria-hidden": "true", hidden: true }, value);
  stage.append(box);
  const { facts, source, until } = own;
  const frame: Frame = { original: facts.original, input: facts.input, box: facts.box };
  const width = watchWidth(stage, until);
  perFrame(until, () => {
    width.value;
    const outcome = asked() ? own.field() : null;
    const best = outcome?.kind === "field" ? greatest(outcome.values, source.prefix) : -1;
    box.hidden = best < 0;
    if (outcome?.kind !== "field" || best < 0) return;
    const { rows, cols } = outcome.grid;
    const cell = patchBox(best - source.prefix, frame, rows, cols);
    const [x0, y0] = [Math.min(0, frame.box[0]), Math.min(0, frame.box[1])];
    const scale = canvas.offsetWidth / (Math.max(frame.original[0], frame.box[2]) - x0);
    box.style.left = `${canvas.offsetLeft + (cell.left - x0) * scale}px`;
    box.style.top = `${canvas.offsetTop + (cell.top - y0) * scale}px`;
    box.style.width = `${(cell.right - cell.left) * scale}px`;
    box.style.height = `${(cell.bottom - cell.top) * scale}px`;
    value.textContent = figure(outcome.values[best]);
    value.classList.toggle("vw-match-below", cell.top - y0 < 24 / scale);
  });
}
