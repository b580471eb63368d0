// What pairs of traces are made of: strokes, scales, differences, matches.
import { describe, expect, it } from "vitest";
import { cosineAcross, greatest } from "../src/math/across.ts";
import type { Shown } from "../src/math/overlay.ts";
import { between, toOriginal } from "../src/panels/brush.ts";
import { change } from "../src/panels/differences.ts";
import { widen } from "../src/panels/pair.ts";
import { figure } from "../src/ui/dom.ts";

describe("a stroke", () => {
  it("ends where the pointer is and leaves no gap", () => {
    const points = between([10, 20], [100, -30], 3);
    expect(points.at(-1)).toEqual([100, -30]);
    let [x, y] = [10, 20];
    for (const [toX, toY] of points) {
      expect(Math.hypot(toX - x, toY - y)).toBeLessThanOrEqual(3);
      [x, y] = [toX, toY];
    }
  });
  it("is one point where the pointer rests", () => {
    expect(between([5, 5], [5, 5])).toEqual([[5, 5]]);
  });
  it("finds the pixel under the pointer, also where the model saw beyond the picture", () => {
    const frame = { original: [200, 100], input: [64, 64], box: [-20, -10, 220, 110] } as const;
    expect(toOriginal(frame, 0, 0, 480)).toEqual([-20, -10]);
    expect(toOriginal(frame, 480, 240, 480)).toEqual([220, 110]);
    const inside = { original: [200, 100], input: [64, 64], box: [50, 0, 150, 100] } as const;
    expect(toOriginal(inside, 100, 50, 400)).toEqual([50, 25]);
  });
});

describe("one scale for both sides", () => {
  const grid = { rows: 1, cols: 2 };
  const field = (low: number, high: number, diverging = false): Shown => ({
    kind: "field",
    values: new Float32Array([low, high]),
    grid,
    low,
    high,
    diverging,
    title: "",
    unit: "",
  });
  it("reaches as far as either", () => {
    expect(widen(field(0.2, 0.5), field(0.1, 0.3))).toMatchObject({ low: 0.1, high: 0.5 });
  });
  it("of views is the greater, and one of nothing but zeros has no say", () => {
    const view = (limit: number, peak: number) => ({ kind: "view", limit, peak }) as Shown;
    expect(widen(view(0.2, 0.7), view(0.3, 0.4))).toMatchObject({ limit: 0.3, peak: 0.7 });
    expect(widen(view(0.2, 0.7), view(1, 0))).toMatchObject({ limit: 0.2 });
    expect(widen(view(1, 0), view(0.2, 0.7))).toMatchObject({ limit: 0.2 });
    expect(widen(view(1, 0), view(1, 0))).toMatchObject({ limit: 1 });
  });
  it("is not made of two kinds", () => {
    const here = field(0, 1);
    expect(widen(here, field(-1, 1, true))).toBe(here);
    expect(widen(here, { kind: "colours", rgb: new Float32Array(6), grid, title: "" })).toBe(here);
  });
});

describe("a difference", () => {
  const percent = (value: number) => (value * 100).toFixed(1);
  it("has its sign", () => {
    expect(change(0.5, 0.25, percent)).toBe("−25.0");
    expect(change(-1, 2.5, figure)).toBe("+3.50");
  });
  it("is 0 where nothing would be read", () => {
    expect(change(0.5, 0.5001, percent)).toBe("0");
  });
  it("is no number where one is none", () => {
    expect(change(null, 1, percent)).toBe("NaN");
  });
});

describe("tokens of two traces", () => {
  const here = new Float32Array([3, 4, 0, 0, 0, 5, Number.NaN, 1, -3, -4, 4, 3]);
  const there = new Float32Array([9, 9, 0.6, 0.8]);
  it("are compared by their cosine", () => {
    const cosines = cosineAcross(here, 6, 2, there, 2, 1);
    [1, 0, 0.8, Number.NaN, -1, 0.96].forEach((expected, index) => {
      if (Number.isNaN(expected)) expect(cosines[index]).toBeNaN();
      else expect(cosines[index]).toBeCloseTo(expected, 6);
    });
  });
  it("have a best match among the finite ones", () => {
    const cosines = cosineAcross(here, 6, 2, there, 2, 1);
    expect(greatest(cosines)).toBe(0);
    expect(greatest(cosines, 1)).toBe(5);
    expect(greatest(new Float32Array([Number.NaN]))).toBe(-1);
  });
});
