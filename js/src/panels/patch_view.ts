// The photo with its patch grid, one overlay and its colour scale.

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import { cellAt, type Frame, type Grid, patchAt, sameGrid } from "../math/frame.ts";
import { type Outcome, type Overlay, shown } from "../math/overlay.ts";
import { HeatPainter, sized } from "../ui/canvas.ts";
import { figure, h, listen } from "../ui/dom.ts";
import { now, perFrame } from "../ui/effects.ts";
import { watchWidth } from "../ui/width.ts";
import type { Context } from "./context.ts";
import { chips, legend } from "./legend.ts";
import type { Look } from "./look.ts";
import { overlayBar } from "./overlay_bar.ts";
import { classChip, liveText, note, remark, smallMap, watchTheme } from "./parts.ts";
import { backdrop, drawStage, type Layout, layOut, type Outlined, patchesIn } from "./stage.ts";

const MAX_HEIGHT = 560;
const PREVIEW = 112;
/** What another pinned token would show otherwise. */
const OF_A_TOKEN: ReadonlySet<Overlay> = new Set<Overlay>([
  "similarity",
  "attention_from",
  "attention_to",
  "rollout",
  "view",
]);
const DRAG = 4; // pixels that a hand may tremble in a click

export function patchView(
  context: Context,
  look: Look,
  outlined: ReadonlySignal<Outlined> | null = null,
): HTMLElement {
  const { facts, source, cursor, store, until } = context;
  const { rows, cols } = facts;
  const painter = new HeatPainter(); // of its own: under a moving pointer it paints the same again and again
  const frame: Frame = { original: facts.original, input: facts.input, box: facts.box };

  const canvas = h("canvas", "vw-image", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "patch grid",
  });
  const tip = tooltip(context, look);
  const message = h("div", "vw-message", { hidden: true });
  const live = liveText();
  const stage = h("div", "vw-stage", {}, canvas, tip.element, message);
  const element = h(
    "section",
    "vw-region vw-patch-view",
    { "aria-label": "image" },
    overlayBar(context, look),
    stage,
    chips(context),
    ...(outlined ? [classChips(context, outlined)] : []),
    legend(context, look),
    live.element,
  );

  const width = watchWidth(stage, until);
  const theme = watchTheme(until);
  const photo = signal<ImageBitmap | null>(null);
  const undecoded = signal("");
  const pointed = signal<number | null>(null);
  const focused = signal<number | null>(null);
  const dragged = signal<ReadonlySet<number> | null>(null);
  const place = computed(() => (width.value === 0 ? null : layOut(frame, facts, width.value, MAX_HEIGHT)));
  const colours = computed(() => {
    theme.value;
    const style = getComputedStyle(canvas);
    return { shade: style.getPropertyValue("--vw-shade"), select: style.getPropertyValue("--vw-select") };
  });
  const back = computed(() => place.value && backdrop(photo.value, place.value, colours.value.shade));
  const selected = computed(() => dragged.value ?? new Set(cursor.patches.value));

  store.picture().then(
    (bitmap) => {
      photo.value = bitmap;
    },
    () => {
      undecoded.value = "the picture could not be decoded";
    },
  );

  now(until, () => {
    const layout = place.value;
    if (layout === null || back.value === null) return;
    const outcome = context.field();
    const token = cursor.token.value;
    const map = shown(outcome);
    const how = { smooth: look.smooth.value, mode: look.mode.value };
    drawStage(
      sized(canvas, layout.width, layout.height),
      layout,
      source.grid(cursor.layer.value),
      back.value,
      map && { map, painter, opacity: look.opacity.value, how },
      {
        pinned: typeof token === "number" && token < rows * cols ? token : null,
        pointed: pointed.value,
        focused: focused.value,
        selected: selected.value,
        outlined: outlined?.value ?? null,
      },
      colours.value,
    );
  });
  perFrame(until, () => note(message, remark(context.field()) || undecoded.value));

  perFrame(until, () => {
    const patch = pointed.value ?? focused.value;
    const layout = place.value;
    if (patch === null || layout === null || dragged.value) return tip.hide();
    const outcome = context.field();
    tip.show(patch, outcome, layout, canvas.offsetLeft);
    if (focused.value !== null) {
      const name = source.tokenName(cursor.layer.value, facts.prefix.length + patch);
      live.say(`${name} ${reading(outcome, patch, context)}`);
    }
  });
  perFrame(until, () => {
    const { rows, cols } = source.grid(cursor.layer.value);
    const keys = "Arrow keys move, Enter pins a patch, Space selects it, Escape clears.";
    canvas.setAttribute("aria-label", `${rows} by ${cols} patches. ${keys}`);
  });

  handlePointer(context, canvas, () => place.value, pointed, dragged, focused);
  handleKeys(context, canvas, focused);
  return element;
}

/** Names of what is outlined. */
function classChips({ cursor, until }: Context, outlined: ReadonlySignal<Outlined>): HTMLElement {
  const element = h("div", "vw-chips vw-outlined");
  const select = (patches: readonly number[]) => cursor.move({ patches: [...patches] });
  perFrame(until, () => {
    const { classes } = outlined.value;
    element.replaceChildren(...classes.map((one) => classChip(one, select)));
    element.hidden = classes.length === 0;
  });
  return element;
}

/** The value of `outcome` at a patch, with its unit; empty where there is none. */
function reading(outcome: Outcome, patch: number, { facts, source, cursor }: Context): string {
  if (outcome.kind !== "field" && outcome.kind !== "view") return "";
  const place = facts.prefix.length + patch;
  const row = sameGrid(outcome.grid, facts) ? place : source.row(cursor.layer.value, place);
  const high = outcome.kind === "field" && outcome.marked?.includes(row);
  return `${figure(outcome.values[row])} ${outcome.unit}${high ? " · high-norm token" : ""}`;
}

/** Name and value of the patch under the pointer, and what pinning it would show. */
function tooltip(context: Context, look: Look) {
  const { facts, source, cursor } = context;
  const name = h("strong", "");
  const value = h("span", "vw-tip-value");
  const canvas = h("canvas", "vw-map");
  const caption = h("span", "vw-faint");
  const preview = h("div", "vw-tip-preview", {}, canvas, caption);
  const element = h("div", "vw-tip", { hidden: true, "aria-hidden": "true" }, name, value, preview);
  return {
    element,
    hide() {
      element.hidden = true;
    },
    show(patch: number, outcome: Outcome, layout: Layout, offset: number) {
      const layer = cursor.layer.value;
      const place = facts.prefix.length + patch;
      name.textContent = source.tokenName(layer, place);
      value.textContent = reading(outcome, patch, context);
      const token = context.place(cursor.token.value);
      const pinned = token !== null && source.row(layer, token) === source.row(layer, place);
      const own = !pinned && OF_A_TOKEN.has(cursor.overlay.value);
      const there = own ? context.field({ token: place }) : null;
      preview.hidden = there === null || there.kind === "missing";
      if (there !== null && !preview.hidden) {
        smallMap(context, canvas, there, PREVIEW, look.mode.value);
        caption.textContent = remark(there) || "its own map · click to pin";
      }
      element.hidden = false;
      const grid = source.grid(layer);
      const [x, y, w, hgt] = layout.cell(cellAt(patch, facts, grid), grid);
      const beside = x + w + 10;
      const fits = beside + element.offsetWidth <= layout.width;
      const left = fits ? beside : Math.max(-offset, x - element.offsetWidth - 10);
      const top = Math.min(Math.max(0, y + hgt / 2 - 30), Math.max(0, layout.height - element.offsetHeight));
      element.style.transform = `translate(${Math.round(offset + left)}px, ${Math.round(top)}px)`;
    },
  };
}

function handlePointer(
  context: Context,
  canvas: HTMLCanvasElement,
  layout: () => Layout | null,
  pointed: Signal<number | null>,
  dragged: Signal<ReadonlySet<number> | null>,
  focused: Signal<number | null>,
): void {
  const { facts, cursor } = context;
  let from: [number, number] | null = null;

  const point = (event: PointerEvent): [number, number] => {
    const bounds = canvas.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  };
  const patchUnder = (at: [number, number]): number | null => {
    const here = layout();
    if (!here) return null;
    const { x, y } = here.toOriginal(...at);
    return patchAt(x, y, here.frame, facts.rows, facts.cols);
  };
  const selection = (event: PointerEvent, patches: number[]): Set<number> => {
    const kept = new Set(event.shiftKey || event.altKey ? cursor.patches.value : []);
    for (const patch of patches) {
      if (event.altKey) kept.delete(patch);
      else kept.add(patch);
    }
    return kept;
  };
  const select = (patches: ReadonlySet<number>) =>
    cursor.move({ patches: [...patches].sort((a, b) => a - b) });

  listen(canvas, {
    pointerdown(event) {
      if (event.button !== 0) return;
      focused.value = null;
      from = point(event);
      canvas.setPointerCapture(event.pointerId);
    },
    pointermove(event) {
      const at = point(event);
      pointed.value = patchUnder(at);
      const here = layout();
      if (from && here && (dragged.value || Math.hypot(at[0] - from[0], at[1] - from[1]) > DRAG)) {
        dragged.value = selection(event, patchesIn(here, from, at));
      }
    },
    pointerup(event) {
      if (!from) return;
      const patch = patchUnder(from);
      from = null;
      if (dragged.value) select(dragged.value);
      else if (patch !== null && (event.shiftKey || event.altKey)) select(selection(event, [patch]));
      else if (patch !== null) cursor.move({ token: patch });
      dragged.value = null;
    },
    pointercancel() {
      from = null;
      dragged.value = null;
    },
    pointerleave() {
      pointed.value = null;
    },
  });
}

function handleKeys(
  { facts, source, cursor }: Context,
  canvas: HTMLCanvasElement,
  focused: Signal<number | null>,
): void {
  const start = () => {
    const token = cursor.token.value;
    const { rows, cols } = facts;
    return typeof token === "number" ? token : Math.floor(rows / 2) * cols + Math.floor(cols / 2);
  };
  listen(canvas, {
    focus() {
      if (canvas.matches(":focus-visible")) focused.value = start();
    },
    blur() {
      focused.value = null;
    },
    keydown(event) {
      const at = focused.value ?? start();
      const grid = source.grid(cursor.layer.value);
      const cell = cellAt(at, facts, grid);
      const next = step(event.key, cell, grid);
      if (next !== null) {
        const target = next === cell ? at : cellAt(next, grid, facts);
        focused.value = target;
        if (event.shiftKey) cursor.move({ patches: toggled(cursor.patches.value, target, true) });
      } else if (event.key === "Enter") {
        cursor.move({ token: at });
      } else if (event.key === " ") {
        cursor.move({ patches: toggled(cursor.patches.value, at) });
      } else if (event.key === "Escape") {
        cursor.move(cursor.patches.value.length > 0 ? { patches: [] } : { token: null });
      } else {
        return;
      }
      event.preventDefault();
    },
  });
}

/** The cell that an arrow key, Home or End leads to from `cell`; null for another key. */
function step(key: string, cell: number, { rows, cols }: Grid): number | null {
  const row = Math.floor(cell / cols);
  const col = cell % cols;
  const target = {
    ArrowRight: Math.min(col + 1, cols - 1) + row * cols,
    ArrowLeft: Math.max(col - 1, 0) + row * cols,
    ArrowDown: Math.min(row + 1, rows - 1) * cols + col,
    ArrowUp: Math.max(row - 1, 0) * cols + col,
    Home: row * cols,
    End: row * cols + cols - 1,
  }[key];
  return target ?? null;
}

/** `patches` with `patch` added or, where it was already there and need not stay, taken away. */
function toggled(patches: readonly number[], patch: number, keep = false): number[] {
  const rest = patches.filter((other) => other !== patch);
  return keep || rest.length === patches.length ? [...rest, patch].sort((a, b) => a - b) : rest;
}
