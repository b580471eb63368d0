import { describe, expect, test } from "vitest";
import { colorIndex, colorize, cssColor, diverging, nonFinite, sequential } from "../src/math/colormap.ts";
import { flat, colours as given } from "./vectors.ts";

const maps = { sequential, diverging };

describe("colour maps", () => {
  test.each(["sequential", "diverging"] as const)("%s is the one that Python has", (name) => {
    expect([...maps[name]]).toEqual(given[name].flat());
  });

  test.each(given.colorize)(
    "numbers become colours of the $map map",
    ({ map, low, high, values, colours }) => {
      const numbers = flat(values);
      const rgba = colorize(numbers, low, high, maps[map], new Uint8ClampedArray(4 * numbers.length));
      expect([...rgba]).toEqual(colours.flatMap((colour) => [...colour, 255]));
      expect([...numbers].map((v) => cssColor(v, low, high, maps[map]))).toEqual(
        colours.map((colour) => `rgb(${colour.join(", ")})`),
      );
    },
  );

  test("colorize leaves out what comes before `from`", () => {
    const rgba = colorize(Float32Array.of(9, 0, 1), 0, 1, sequential, new Uint8ClampedArray(8), 1);
    expect([...rgba]).toEqual([...sequential.slice(0, 3), 255, ...sequential.slice(-3), 255]);
  });

  test("what is not finite has no place in a map", () => {
    expect([NaN, Infinity, -Infinity].map((v) => colorIndex(v, 0, 1))).toEqual([-1, -1, -1]);
    for (const map of [sequential, diverging]) {
      for (let i = 0; i < 768; i += 3) expect([...map.subarray(i, i + 3)]).not.toEqual([...nonFinite]);
    }
  });
});
