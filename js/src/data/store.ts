// The page's side of TraceStore: fetches packets from the kernel, decodes each once, for all panels.

import type { AnyModel } from "@anywidget/types";
import { alone } from "./alone.ts";
import { decode, refusal } from "./codec.ts";
import type { Facts } from "./facts.ts";

/** What a comparison of the trace with its model found; written by vitwidgets/widgets/store.py. */
export interface Check {
  /** null where nothing could be compared. */
  passed: boolean | null;
  /** The largest errors: of what the attentions put out, and of the logits. */
  attention: number | null;
  logits: number | null;
  /** What was compared and how it came out, or why not. */
  text: string;
}

/** What panels get of a store; plain functions, because every panel is a module of its own. */
export interface Store {
  facts: Facts;
  /** The array of a packet, or null while it is on its way. */
  array(name: string): Float32Array | null;
  /** Why a packet will not come; empty where nothing is known against it. */
  failure(name: string): string;
  /** Asks for packets before all others. */
  want(names: readonly string[]): void;
  /** The original picture, decoded. */
  picture(): Promise<ImageBitmap>;
  /** Calls back after packets arrived, until the returned function is called. */
  onArrival(callback: () => void): () => void;
  /** How many packets every page fetches, how many of them have arrived, and why no others will come (empty: they may). */
  progress(): { arrived: number; total: number; silent: string };
  /** What the check of this trace found, or how far it is: null where nobody asked for one. */
  check(): Check | "running" | "silent" | null;
  /** Asks for the check. */
  verify(): void;
}

// biome-ignore lint/suspicious/noExplicitAny: packets are traits whose names are known only at run time
type State = Record<string, any>;

const BATCH = 4; // packets a question: a few whole messages, with room between them for a reader's clicks
const LARGE = "attention"; // what these packets' names begin with: one a question
const PATIENCE_MS = 10_000; // a busy kernel answers late, one that is gone never
const SILENT = "not loaded yet: the kernel does not answer";
const SAVED = "not in this saved page: run the notebook, or save it with offline=True";

/** Opens the store on its model. Nothing is awaited: arrays are decoded when first read. */
export function openStore(model: AnyModel<State>, signal: AbortSignal): Store {
  const facts: Facts = model.get("facts");
  const decoded = new Map<string, Float32Array>();
  const listeners = new Set<() => void>();
  const arrived = new Set<string>();
  let urgent: string[] = [];
  let asked: string[] = [];
  let picture: Promise<ImageBitmap> | undefined;
  const failures = new Map<string, string>();
  let silent = alone(model) ? SAVED : "";
  let patience = 0;
  let checking: "running" | "silent" | null = null;

  const tell = () => {
    for (const listener of listeners) listener();
  };
  const take = (name: string) => {
    const packet = model.get(name);
    failures.delete(name);
    if ((packet?.byteLength ?? 0) > 0) {
      arrived.add(name);
      const reason = refusal(packet);
      if (reason) failures.set(name, reason);
    } else {
      arrived.delete(name);
    }
  };
  const names = [...facts.packets, ...facts.on_demand];
  names.forEach(take);

  /** Asks for the next few packets, unless an answer is still awaited. */
  const ask = () => {
    if (signal.aborted || asked.some((name) => !arrived.has(name))) return;
    const missing = (names: readonly string[]) => names.filter((name) => !arrived.has(name));
    urgent = missing(urgent);
    const next = urgent.length > 0 ? urgent : missing(facts.packets);
    asked = next.slice(0, next[0]?.startsWith(LARGE) ? 1 : BATCH);
    if (asked.length === 0) return;
    if (alone(model)) {
      asked = [];
      silent ||= SILENT;
      return;
    }
    window.clearTimeout(patience);
    patience = window.setTimeout(() => {
      silent = SILENT;
      tell();
    }, PATIENCE_MS);
    try {
      model.set("wanted", asked);
      model.save_changes();
    } catch {
      asked = []; // No kernel: what has arrived is all there is.
    }
  };

  for (const name of names) {
    model.on(`change:${name}`, () => {
      take(name);
      decoded.delete(name);
      queueMicrotask(() => {
        silent = "";
        window.clearTimeout(patience);
        tell();
        ask();
      });
    });
  }
  model.on("change:check", () => queueMicrotask(tell));
  signal.addEventListener("abort", () => {
    window.clearTimeout(patience);
    decoded.clear();
    listeners.clear();
    picture?.then((bitmap) => bitmap.close());
    // JupyterLab keeps the model of a closed widget for as long as the kernel lives: leave it nothing to keep.
    for (const name of [...names, "picture"]) model.set(name, null);
  });

  return {
    facts,
    array(name) {
      const known = decoded.get(name);
      if (known) return known;
      if (!arrived.has(name) || failures.has(name)) return null;
      const { values } = decode(model.get(name));
      decoded.set(name, values);
      return values;
    },
    failure: (name) => failures.get(name) ?? "",
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
    progress: () => ({
      arrived: facts.packets.filter((name) => arrived.has(name)).length,
      total: facts.packets.length,
      silent,
    }),
    check: () => model.get("check") ?? checking,
    verify() {
      checking = alone(model) ? "silent" : "running";
      if (checking === "silent") return tell();
      try {
        model.set("wanted", ["check"]);
        model.save_changes();
      } catch {
        checking = "silent";
      }
      window.setTimeout(() => {
        checking = "silent";
        tell();
      }, PATIENCE_MS);
      tell();
    },
  };
}
