import { expect, test } from "vitest";
import { type RangeKind, range } from "../src/math/range.ts";

test.each<[number[], RangeKind, [number, number, boolean]]>([
  [[1, 3, 2], "span", [1, 3, false]],
  [[-1, 3, 2], "span", [-1, 3, false]],
  [[-1, -3, -2], "span", [-3, -1, false]],
  [[-4, 3, 2], "span", [-4, 3, false]],
  [[1, 3, 2], "weights", [0, 3, false]],
  [[1, 3, -7], "symmetric", [-7, 7, true]],
  [[1, 3, -7], "weights", [-7, 7, true]],
  [[-1, 3], "weights", [-3, 3, true]],
  [[-(2 ** -20), 3], "weights", [0, 3, false]],
  [[-2, -3], "weights", [-3, 3, true]],
  [[2, NaN, Infinity, -Infinity, 1], "span", [1, 2, false]],
  [[-2, NaN, Infinity, 1], "symmetric", [-2, 2, true]],
  [[0.5, 0.5], "span", [0, 0.5, false]],
  [[-0.5, -0.5], "span", [-0.5, 0, false]],
  [[0.5, 0.5 + 2 ** -20], "span", [0, 0.5 + 2 ** -20, false]],
  [[0, 0], "span", [0, 1, false]],
  [[0, 0], "weights", [0, 1, false]],
  [[0, 0], "symmetric", [-1, 1, true]],
  [[-3, -3], "symmetric", [-3, 3, true]],
  [[NaN, Infinity], "span", [0, 1, false]],
  [[NaN, Infinity], "weights", [0, 1, false]],
  [[NaN, Infinity], "symmetric", [-1, 1, true]],
  [[], "span", [0, 1, false]],
])("range of %j, %s", (values, kind, [low, high, diverging]) => {
  expect(range(Float32Array.from(values), kind)).toEqual({ low, high, diverging });
});

test("leaves out what it is told to", () => {
  const values = Float32Array.of(90, -80, 3, 50, 4);
  expect(range(values, "span", 2, 3)).toEqual({ low: 3, high: 4, diverging: false });
  expect(range(values, "span", 2)).toEqual({ low: 3, high: 50, diverging: false });
});
