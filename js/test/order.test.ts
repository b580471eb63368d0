import { expect, test } from "vitest";
import { ascending, descending, ordinal } from "../src/math/order.ts";
import { cellAtCursor, rowsOf } from "../src/panels/view_plan.ts";

test("greatest first, equals by number, NaN last", () => {
  expect(descending([1, 3, NaN, 3, -Infinity, 2, NaN, Infinity])).toEqual([7, 1, 3, 5, 0, 4, 2, 6]);
  expect(descending(Float32Array.of())).toEqual([]);
  expect(ascending(4)).toEqual([0, 1, 2, 3]);
});

test("places as people say them", () => {
  const places = [1, 2, 3, 4, 11, 12, 13, 20, 21, 102, 111, 113, 123];
  expect(places.map(ordinal).join(" ")).toBe(
    "1st 2nd 3rd 4th 11th 12th 13th 20th 21st 102nd 111th 113th 123rd",
  );
});

test("rows of a view grid are tokens, and within a token neurons", () => {
  expect(rowsOf(2, 2)).toEqual([
    { token: 0, neuron: 0 },
    { token: 0, neuron: 1 },
    { token: 1, neuron: 0 },
    { token: 1, neuron: 1 },
  ]);
});

test("the cursor is at one view of the grid, or at none", () => {
  const plan = { tokens: ["cls", 7], names: [], neurons: [4, 9], layers: [0, 3], rollout: "" };
  const at = (layer: number, token: number | string | null, neuron: number, space = "residual") => {
    const point = { layer, token, neuron, neuron_space: space };
    const signals = Object.entries(point).map(([name, value]) => [name, { value }]);
    return cellAtCursor(plan, Object.fromEntries(signals));
  };
  expect(at(3, 7, 9)).toEqual({ token: 1, neuron: 1, layer: 1 });
  expect(at(0, "cls", 4)).toEqual({ token: 0, neuron: 0, layer: 0 });
  for (const elsewhere of [at(1, 7, 9), at(3, 8, 9), at(3, null, 9), at(3, 7, 5), at(3, 7, 9, "mlp")]) {
    expect(elsewhere).toBeNull();
  }
});
