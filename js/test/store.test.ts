import type { AnyModel } from "@anywidget/types";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openStore } from "../src/data/store.ts";

/** A model whose kernel is a list of the questions it was asked. */
class FakeModel {
  readonly asked: string[][] = [];
  readonly #listeners = new Map<string, () => void>();
  readonly #state: Record<string, unknown>;

  constructor(packets: string[], on_demand: string[], layout?: object) {
    this.#state = { facts: { packets, on_demand }, layout };
  }
  get(name: string) {
    return this.#state[name];
  }
  set(name: string, value: unknown) {
    this.#state[name] = value;
  }
  on(event: string, callback: () => void) {
    this.#listeners.set(event, callback);
  }
  save_changes() {
    this.asked.push(this.#state.wanted as string[]);
  }
  answer(name: string, value: unknown = new DataView(new ArrayBuffer(8))) {
    this.#state[name] = value;
    this.#listeners.get(`change:${name}`)?.();
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function opened(packets = ["tokens_0", "tokens_1"], onDemand: string[] = [], layout?: object) {
  const model = new FakeModel(packets, onDemand, layout);
  const store = openStore(model as unknown as AnyModel, new AbortController().signal);
  const heard = vi.fn();
  store.onArrival(heard);
  return { model, store, heard };
}

test("a kernel that does not answer is said to be silent, and no longer once it does", async () => {
  const { model, store, heard } = opened();
  expect(store.progress()).toEqual({ arrived: 0, total: 2, silent: "" });
  vi.advanceTimersByTime(10_001);
  expect(store.progress().silent).toBe("not loaded yet: the kernel does not answer");
  expect(heard).toHaveBeenCalledTimes(1);
  model.answer("tokens_0");
  await Promise.resolve();
  expect(store.progress()).toEqual({ arrived: 1, total: 2, silent: "" });
});

const SAVED = "not in this saved page: run the notebook, or save it with offline=True";

test("a saved page says at once that what it lacks will not come, and asks nobody", () => {
  const { model, store, heard } = opened(["tokens_0"], ["filters"], { comm_live: false });
  store.want(["filters"]);
  expect(store.progress()).toEqual({ arrived: 0, total: 1, silent: SAVED });
  expect(model.asked).toEqual([]);
  store.verify();
  expect(store.check()).toBe("silent");
  expect(heard).toHaveBeenCalledTimes(1);
});

test("a kernel that is lost while the page is open is no saved page", () => {
  const layout = { comm_live: true };
  const { store } = opened(["tokens_0"], ["filters"], layout);
  layout.comm_live = false;
  store.want(["filters"]);
  vi.advanceTimersByTime(10_001);
  expect(store.progress().silent).toBe("not loaded yet: the kernel does not answer");
});

test("a kernel that answers in time is never silent", async () => {
  const { model, store } = opened();
  model.answer("tokens_0");
  model.answer("tokens_1");
  await Promise.resolve();
  vi.advanceTimersByTime(60_000);
  expect(store.progress()).toEqual({ arrived: 2, total: 2, silent: "" });
});

test("nothing is asked for twice", async () => {
  const { model, store } = opened();
  expect(model.asked).toEqual([["tokens_0", "tokens_1"]]);
  model.answer("tokens_0");
  model.answer("tokens_1");
  await Promise.resolve();
  store.want(["tokens_1"]);
  expect(model.asked).toHaveLength(1);
});

test("large packets are asked for one by one", async () => {
  const { model } = opened(["tokens_0", "attention_1", "attention_2"]);
  expect(model.asked).toEqual([["tokens_0", "attention_1", "attention_2"]]);
  const alone = opened(["attention_1", "attention_2"]).model;
  expect(alone.asked).toEqual([["attention_1"]]);
  alone.answer("attention_1");
  await Promise.resolve();
  expect(alone.asked).toEqual([["attention_1"], ["attention_2"]]);
});

test("a packet that will not come says why, and holds up nothing", async () => {
  const { model, store } = opened();
  const reason = new TextEncoder().encode("VWE1no memory");
  model.answer("tokens_0", new DataView(reason.buffer));
  model.answer("tokens_1");
  await Promise.resolve();
  expect(store.failure("tokens_0")).toBe("no memory");
  expect(store.array("tokens_0")).toBeNull();
  expect(store.failure("tokens_1")).toBe("");
  expect(store.progress()).toEqual({ arrived: 2, total: 2, silent: "" });
});

test("the check is asked for once it is wanted, and its result is told", async () => {
  const { model, store, heard } = opened();
  expect(store.check()).toBeNull();
  store.verify();
  expect(model.asked.at(-1)).toEqual(["check"]);
  expect(store.check()).toBe("running");
  expect(heard).toHaveBeenCalledTimes(1);
  const found = { passed: true, attention: 3e-7, logits: 0, text: "well" };
  model.answer("check", found);
  await Promise.resolve();
  expect(heard).toHaveBeenCalledTimes(2);
  expect(store.check()).toBe(found);
  vi.advanceTimersByTime(60_000);
  expect(store.check()).toBe(found);
});

test("a check without an answer is said to be without one", () => {
  const { store, heard } = opened();
  store.verify();
  vi.advanceTimersByTime(10_001);
  expect(store.check()).toBe("silent");
  expect(heard).toHaveBeenCalled();
});

test("what is fetched on demand is fetched when it is wanted, and not counted", async () => {
  const { model, store } = opened(["tokens_0"], ["filters", "pixels"]);
  expect(model.asked).toEqual([["tokens_0"]]);
  model.answer("tokens_0");
  await Promise.resolve();
  expect(model.asked).toEqual([["tokens_0"]]);
  store.want(["filters"]);
  expect(model.asked).toEqual([["tokens_0"], ["filters"]]);
  expect(store.progress()).toEqual({ arrived: 1, total: 1, silent: "" });
  model.answer("filters", new TextEncoder().encode("VWE1the model has changed"));
  await Promise.resolve();
  expect(store.failure("filters")).toBe("the model has changed");
  expect(store.progress()).toEqual({ arrived: 1, total: 1, silent: "" });
});
