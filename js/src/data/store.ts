// The page's side of TraceStore: fetches packets from the kernel, decodes each once, for all panels.

import type { AnyModel } from "@anywidget/types";
import { decode } from "./codec.ts";
import type { Facts } from "./facts.ts";

/** What panels get of a store; plain functions, because every panel is a module of its own. */
export interface Store {
  facts: Facts;
  /** The array of a packet, or null while it is on its way. */
  array(name: string): Float32Array | null;
  /** Asks for packets before all others. */
  want(names: readonly string[]): void;
  /** The original picture, decoded. */
  picture(): Promise<ImageBitmap>;
  /** Calls back after packets arrived, until the returned function is called. */
  onArrival(callback: () => void): () => void;
  /** How many packets there are, how many of them have arrived, and whether the kernel has left a question open. */
  progress(): { arrived: number; total: number; silent: boolean };
}

// biome-ignore lint/suspicious/noExplicitAny: packets are traits whose names are known only at run time
type State = Record<string, any>;

const BATCH = 4; // packets a question: a few whole messages, with room between them for a reader's clicks
const PATIENCE_MS = 10_000; // a busy kernel answers late, one that is gone never

/** Opens the store on its model. Nothing is awaited: arrays are decoded when first read. */
export function openStore(model: AnyModel<State>, signal: AbortSignal): Store {
  const facts: Facts = model.get("facts");
  const decoded = new Map<string, Float32Array>();
  const listeners = new Set<() => void>();
  const arrived = new Set<string>();
  let urgent: string[] = [];
  let asked: string[] = [];
  let picture: Promise<ImageBitmap> | undefined;
  let silent = false;
  let patience = 0;

  const tell = () => {
    for (const listener of listeners) listener();
  };
  const take = (name: string) => {
    if ((model.get(name)?.byteLength ?? 0) > 0) arrived.add(name);
    else arrived.delete(name);
  };
  facts.packets.forEach(take);

  /** Asks for the next few packets, unless an answer is still awaited. */
  const ask = () => {
    if (signal.aborted || asked.some((name) => !arrived.has(name))) return;
    const missing = (names: readonly string[]) => names.filter((name) => !arrived.has(name));
    urgent = missing(urgent);
    asked = (urgent.length > 0 ? urgent : missing(facts.packets)).slice(0, BATCH);
    if (asked.length === 0) return;
    window.clearTimeout(patience);
    patience = window.setTimeout(() => {
      silent = true;
      tell();
    }, PATIENCE_MS);
    try {
      model.set("wanted", asked);
      model.save_changes();
    } catch {
      asked = []; // No kernel: what has arrived is all there is.
    }
  };

  for (const name of facts.packets) {
    model.on(`change:${name}`, () => {
      take(name);
      decoded.delete(name);
      queueMicrotask(() => {
        silent = false;
        window.clearTimeout(patience);
        tell();
        ask();
      });
    });
  }
  signal.addEventListener("abort", () => {
    window.clearTimeout(patience);
    decoded.clear();
    listeners.clear();
    picture?.then((bitmap) => bitmap.close());
    // JupyterLab keeps the model of a closed widget for as long as the kernel lives: leave it nothing to keep.
    for (const name of [...facts.packets, "picture"]) model.set(name, null);
  });

  return {
    facts,
    array(name) {
      const known = decoded.get(name);
      if (known) return known;
      if (!arrived.has(name)) return null;
      const { values } = decode(model.get(name));
      decoded.set(name, values);
      return values;
    },
    want(names) {
      urgent = [...new Set([...names, ...urgent])];
      ask();
    },
    picture() {
      picture ??= createImageBitmap(new Blob([model.get("picture")]));
      return picture;
    },
    onArrival(callback) {
      listeners.add(callback);
      ask();
      return () => listeners.delete(callback);
    },
    progress: () => ({ arrived: arrived.size, total: facts.packets.length, silent }),
  };
}
