// What every panel is given: the trace's numbers, the cursor, and when to stop.

import type { AnyModel, RenderProps } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";
import { type Cursor, openCursor, type Point } from "../data/cursor.ts";
import { type Facts, placeOf, type Token } from "../data/facts.ts";
import { sourceOf } from "../data/source.ts";
import type { Store } from "../data/store.ts";
import { type Outcome, overlayField, type Source, type Spec } from "../math/overlay.ts";
import type { ViewMode } from "../math/views.ts";
import { HeatPainter } from "../ui/canvas.ts";

/** The traits of a panel's own model. */
export interface PanelState {
  store: string;
  cursor: string;
  opacity: number;
  smooth: boolean;
  view_mode: ViewMode;
}

export interface Context {
  facts: Facts;
  store: Store;
  source: Source;
  cursor: Cursor;
  painter: HeatPainter;
  /** Counts arrivals of packets; read by whatever draws from them. */
  arrivals: ReadonlySignal<number>;
  /** Aborts when the view is closed. */
  until: AbortSignal;
  /** What the cursor asks to see, with some of it changed. Reads signals; asks for packets that it lacks. */
  field(change?: Partial<Spec>): Outcome;
  /** The place of a token in the cursor's sequence. */
  place(token: Token): number | null;
}

const KEPT = 256; // fields remembered: all layers and heads of some clicks

/** Opens the store and the cursor that a panel's model refers to. */
export async function openContext({ model, host, signal: until }: RenderProps<PanelState>): Promise<Context> {
  const [{ exports: store }, cursorModel] = await Promise.all([
    host.getWidget<Store>(model.get("store")),
    host.getModel<Point>(model.get("cursor")),
  ]);
  const { facts } = store;
  const source = sourceOf(store);
  const cursor = openCursor(cursorModel as AnyModel<Point>, until);
  const arrivals = signal(0);
  until.addEventListener(
    "abort",
    store.onArrival(() => {
      arrivals.value += 1;
    }),
  );
  const known = new Map<string, Outcome>();
  return {
    facts,
    store,
    source,
    cursor,
    painter: new HeatPainter(),
    arrivals,
    until,
    field(change = {}) {
      const spec: Spec = {
        overlay: cursor.overlay.value,
        layer: cursor.layer.value,
        token: placeOf(cursor.token.value, facts),
        head: cursor.head.value,
        neuron: cursor.neuron.value,
        space: cursor.neuron_space.value,
        target: cursor.target.value,
        ...change,
      };
      const key = keyOf(spec);
      const remembered = known.get(key);
      if (remembered) return remembered;
      const outcome = overlayField(spec, source);
      if (outcome.kind === "loading") {
        arrivals.value; // redraw when it has arrived
        store.want(outcome.needs);
        const { silent } = store.progress();
        if (silent) return { kind: "missing", reason: silent };
      } else {
        if (known.size >= KEPT) known.delete(known.keys().next().value as string);
        known.set(key, outcome);
      }
      return outcome;
    },
    place: (token) => placeOf(token, facts),
  };
}

/** Only what the overlay depends on, so that a change of head recomputes no similarity. */
function keyOf({ overlay, layer, token, head, neuron, space, target }: Spec): string {
  if (overlay === "none") return "none";
  if (overlay === "neuron") return `${overlay} ${layer} ${space} ${neuron}`;
  if (overlay === "view") return `${overlay} ${layer} ${space} ${neuron} ${token}`;
  if (overlay === "evidence") return `${overlay} ${layer} ${target}`;
  if (overlay === "norm" || overlay === "colours") return `${overlay} ${layer}`;
  const attention = overlay === "attention_from" || overlay === "attention_to";
  return `${overlay} ${layer} ${token} ${attention ? head : ""}`;
}
