import type { AnyModel } from "@anywidget/types";
import { describe, expect, test } from "vitest";
import { type GroupsState, openGroups } from "../src/data/groups.ts";
import { nextColour, PALETTE } from "../src/math/palette.ts";

/** A model that has no kernel behind it. */
function model(entries: unknown): AnyModel<GroupsState> {
  const state: Record<string, unknown> = { entries };
  const listeners = new Map<string, () => void>();
  return {
    get: (name: string) => state[name],
    set: (name: string, value: unknown) => {
      state[name] = value;
      listeners.get(`change:${name}`)?.();
    },
    on: (event: string, listener: () => void) => listeners.set(event, listener),
    off: (event: string) => listeners.delete(event),
    save_changes: () => {
      throw new Error("no kernel");
    },
  } as unknown as AnyModel<GroupsState>;
}

describe("openGroups", () => {
  test("keeps, renews and removes groups without a kernel", () => {
    const groups = openGroups(model([]), new AbortController().signal);
    groups.keep(" dog ", [1, 2]);
    groups.keep("cat", [5]);
    groups.keep("dog", [7]);
    expect(groups.all.value).toEqual([
      { name: "dog", colour: PALETTE[0], patches: [7] },
      { name: "cat", colour: PALETTE[1], patches: [5] },
    ]);
    groups.remove("dog");
    expect(groups.all.value.map(({ name }) => name)).toEqual(["cat"]);
  });

  test("what is no group, in a file that somebody edited, is left out", () => {
    const good = { name: "a", colour: "#0072b2", patches: [0, 3] };
    const entries = [
      good,
      null,
      3,
      {},
      { ...good, colour: "url(x)" },
      { ...good, patches: [-1] },
      { ...good, name: 2 },
    ];
    expect(openGroups(model(entries), new AbortController().signal).all.value).toEqual([good]);
    expect(openGroups(model("nonsense"), new AbortController().signal).all.value).toEqual([]);
  });
});

test("the next colour is the first that is taken least often", () => {
  expect(nextColour([])).toBe(PALETTE[0]);
  expect(nextColour([PALETTE[0], PALETTE[2]])).toBe(PALETTE[1]);
  expect(nextColour([...PALETTE, PALETTE[0]])).toBe(PALETTE[1]);
});
