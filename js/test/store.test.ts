import type { AnyModel } from "@anywidget/types";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openStore } from "../src/data/store.ts";

/** A model whose kernel is a list of the questions it was asked. */
class FakeModel {
  readonly asked: string[][] = [];
  readonly #listeners = new Map<string, () => void>();
  readonly #state: Record<string, unknown>;

  constructor(packets: string[]) {
    this.#state = { facts: { packets } };
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
  answer(name: string) {
    this.#state[name] = new DataView(new ArrayBuffer(8));
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

function opened() {
  const model = new FakeModel(["tokens_0", "tokens_1"]);
  const store = openStore(model as unknown as AnyModel, new AbortController().signal);
  const heard = vi.fn();
  store.onArrival(heard);
  return { model, store, heard };
}

test("a kernel that does not answer is said to be silent, and no longer once it does", async () => {
  const { model, store, heard } = opened();
  expect(store.progress()).toEqual({ arrived: 0, total: 2, silent: false });
  vi.advanceTimersByTime(10_001);
  expect(store.progress().silent).toBe(true);
  expect(heard).toHaveBeenCalledTimes(1);
  model.answer("tokens_0");
  await Promise.resolve();
  expect(store.progress()).toEqual({ arrived: 1, total: 2, silent: false });
});

test("a kernel that answers in time is never silent", async () => {
  const { model, store } = opened();
  model.answer("tokens_0");
  model.answer("tokens_1");
  await Promise.resolve();
  vi.advanceTimersByTime(60_000);
  expect(store.progress()).toEqual({ arrived: 2, total: 2, silent: false });
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
