// Mouse and keyboard on a token map.

import type { Signal } from "@preact/signals-core";
import { cellAt, patchesOf } from "../math/frame.ts";
import { nearest, towards, within } from "../math/layout.ts";
import type { Context } from "./context.ts";

/** What the pointer and the keys are doing; never leaves the page. Tokens are those of the present layer. */
export interface Doing {
  pointed: Signal<number | null>;
  focused: Signal<number | null>;
  /** Corners of the lasso on the canvas. */
  lasso: Signal<readonly number[]>;
  /** The patches that the selection would be if the lasso ended now. */
  lassoed: Signal<readonly number[] | null>;
}

export interface Hands {
  canvas: HTMLCanvasElement;
  doing: Doing;
  /** Where the tokens are on the canvas. */
  places(): Float32Array;
  /** How far from a token a click may miss it, in pixels. */
  reach(): number;
  /** Takes a selection that the reader made here. */
  select(patches: readonly number[]): void;
}

const DRAG = 4; // pixels that a hand may tremble in a click
const STEP = 5; // pixels between two corners of the lasso

/** A token of the present layer as the cursor names it. */
export function nameOf({ facts, source, cursor }: Context, token: number): number | string {
  if (token < facts.prefix.length) return facts.prefix[token];
  return cellAt(token - facts.prefix.length, source.grid(cursor.layer.value), facts);
}

/** The patches that some tokens of the present layer stand for. */
export function patchesUnder({ facts, source, cursor }: Context, tokens: readonly number[]): number[] {
  const chosen = new Set(tokens);
  return patchesOf((cell) => chosen.has(facts.prefix.length + cell), source.grid(cursor.layer.value), facts);
}

export function handlePointer(context: Context, { canvas, doing, places, reach, select }: Hands): void {
  const { cursor } = context;
  const { pointed, focused, lasso, lassoed } = doing;
  let from: [number, number] | null = null;

  const point = (event: PointerEvent): [number, number] => {
    const bounds = canvas.getBoundingClientRect();
    return [event.clientX - bounds.left, event.clientY - bounds.top];
  };
  const selection = (event: PointerEvent, tokens: readonly number[]): number[] => {
    const kept = new Set(event.shiftKey || event.altKey ? cursor.patches.value : []);
    for (const patch of patchesUnder(context, tokens)) {
      if (event.altKey) kept.delete(patch);
      else kept.add(patch);
    }
    return [...kept].sort((a, b) => a - b);
  };
  const end = () => {
    from = null;
    lasso.value = [];
    lassoed.value = null;
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    focused.value = null;
    from = point(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = point(event);
    const line = lasso.value;
    if (from === null) {
      pointed.value = nearest(places(), ...at, reach());
    } else if (line.length > 0 || Math.hypot(at[0] - from[0], at[1] - from[1]) > DRAG) {
      pointed.value = null;
      const [x, y] = line.length > 0 ? line.slice(-2) : from;
      if (Math.hypot(at[0] - x, at[1] - y) < STEP) return;
      lasso.value = line.length > 0 ? [...line, ...at] : [...from, ...at];
      lassoed.value = selection(event, within(places(), lasso.value));
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const token = nearest(places(), ...from, reach());
    if (lassoed.value !== null) select(lassoed.value);
    else if (token !== null && (event.shiftKey || event.altKey)) select(selection(event, [token]));
    else if (token !== null) cursor.move({ token: nameOf(context, token) });
    end();
  });
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => {
    pointed.value = null;
  });
}

const ARROWS: Record<string, [number, number]> = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowDown: [0, 1],
  ArrowUp: [0, -1],
};

export function handleKeys(context: Context, { canvas, doing, places, select }: Hands): void {
  const { source, cursor } = context;
  const { focused, lasso, lassoed } = doing;
  /** The pinned token, or the one nearest to the middle. */
  const start = (): number | null => {
    const token = context.place(cursor.token.value);
    if (token !== null) return source.row(cursor.layer.value, token);
    const { width, height } = canvas.getBoundingClientRect();
    return nearest(places(), width / 2, height / 2, Math.max(width, height));
  };
  canvas.addEventListener("focus", () => {
    if (canvas.matches(":focus-visible")) focused.value = start();
  });
  canvas.addEventListener("blur", () => {
    focused.value = null;
  });
  canvas.addEventListener("keydown", (event) => {
    const at = focused.value ?? start();
    const arrow = ARROWS[event.key];
    const selected = cursor.patches.value;
    if (event.key === "Escape") {
      if (lasso.value.length > 0) {
        lasso.value = [];
        lassoed.value = null;
      } else if (selected.length > 0) select([]);
      else cursor.move({ token: null });
    } else if (at === null) {
      return;
    } else if (arrow) {
      focused.value = towards(places(), at, ...arrow) ?? at;
      if (event.shiftKey) select(merged(selected, patchesUnder(context, [focused.value])));
    } else if (event.key === "Enter") {
      cursor.move({ token: nameOf(context, at) });
    } else if (event.key === " ") {
      const patches = patchesUnder(context, [at]);
      const all = patches.every((patch) => selected.includes(patch));
      select(all ? selected.filter((patch) => !patches.includes(patch)) : merged(selected, patches));
    } else {
      return;
    }
    event.preventDefault();
  });
}

function merged(one: readonly number[], other: readonly number[]): number[] {
  return [...new Set([...one, ...other])].sort((a, b) => a - b);
}
