// What the lab offers to change: what the cursor points at, as the kernel names it.
import { describe, expect, it } from "vitest";
import { cellAt } from "../src/math/frame.ts";
import type { Context } from "../src/panels/context.ts";
import { offersOf, sameAs } from "../src/panels/interventions.ts";

const FINE = { rows: 4, cols: 6 };
const COARSE = { rows: 2, cols: 3 };

interface Look {
  layer?: number;
  token?: number | string | null;
  head?: number | null;
  space?: string;
}

const row = (layer: number, place: number) =>
  place < 1 || layer < 2 ? place : 1 + cellAt(place - 1, FINE, COARSE);

/** A model with one prefix token; its second layer has a quarter of the patches. */
function context({ layer = 1, token = 9, head = 1, space = "residual" }: Look = {}): Context {
  const cursor = { layer, token, head, neuron: 5, neuron_space: space };
  const signals = Object.fromEntries(Object.entries(cursor).map(([name, value]) => [name, { value }]));
  return {
    cursor: signals,
    facts: { heads: [0, 2, 2], prefix: ["cls"] },
    place: (one: number | string | null) => (one === null ? null : one === "cls" ? 0 : Number(one) + 1),
    source: {
      width: () => 8,
      hidden: () => 4,
      heads: (at: number) => (at === 0 ? 0 : 2),
      row,
      tokenName: (at: number, place: number) =>
        place < 1 ? "cls" : `${at < 2 ? "patch" : "cell"} ${row(at, place) - 1} (row, column)`,
    },
  } as unknown as Context;
}

const offered = (look: Look, fromDonor = false) => {
  const offers = offersOf(context(look), fromDonor);
  return Object.fromEntries(offers.map(({ label, why, what }) => [label, why || what]));
};

describe("what is offered", () => {
  it("is the neuron, the token and the head that the cursor points at", () => {
    expect(offered({})).toEqual({
      "Neuron 5": { layer: 1, neuron: 5 },
      "Patch 9": { layer: 1, token: 9 },
      "Head 1": { layer: 1, head: 1 },
    });
  });
  it("is a head of the other image too", () => {
    expect(offered({ token: "cls" }, true)).toEqual({
      "Neuron 5": { layer: 1, neuron: 5 },
      "Token cls": { layer: 1, token: "cls" },
      "Head 1": { layer: 1, head: 1 },
      "All tokens": { layer: 1 },
    });
  });
  it("names the cell of a coarser layer that the pinned patch lies in", () => {
    expect(offered({ layer: 2, token: 9 })).toMatchObject({ "Cell 1": { layer: 2, token: 1 } });
    expect(offered({ layer: 2, token: 23 })).toMatchObject({ "Cell 5": { layer: 2, token: 5 } });
    expect(offered({ layer: 2, token: "cls" })).toMatchObject({ "Token cls": { layer: 2, token: "cls" } });
  });
  it("says why where there is nothing", () => {
    expect(offered({ token: null, head: null })).toMatchObject({
      Token: "pin a token first",
      Head: "choose a head first: with an attention overlay",
    });
    expect(offered({ layer: 0 })).toMatchObject({ "Head 1": "layer 0 is the input: it has none" });
    expect(offered({ head: 2 })).toMatchObject({ "Head 2": "layer 1 has none of this number" });
    expect(offered({ space: "mlp" })).toMatchObject({ "MLP neuron 5": "layer 1 has none of this number" });
  });
});

describe("two interventions", () => {
  it("are the same whatever they are called and in whatever order they are written", () => {
    expect(
      sameAs({ layer: 2, neuron: 5, fill: "zero", text: "a" }, { fill: "zero", neuron: 5, layer: 2 }),
    ).toBe(true);
    expect(sameAs({ layer: 2, neuron: 5, fill: "zero" }, { layer: 2, neuron: 5, fill: "mean" })).toBe(false);
    expect(sameAs({ layer: 2, tokens: [3], source: 0 }, { layer: 2, tokens: [4], source: 0 })).toBe(false);
  });
});
