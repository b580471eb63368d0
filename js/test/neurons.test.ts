import { describe, expect, test } from "vitest";
import { contrast, moments, strongest } from "../src/math/neurons.ts";
import { source } from "./recorded.ts";
import { differences, flat, recorded } from "./vectors.ts";

describe("contrast", () => {
  const trace = source(recorded);

  test.each(recorded.contrast)("$space of layer $layer, rows $selected", (asked) => {
    const values = trace[asked.space](asked.layer) as Float32Array;
    const F = asked.space === "mlp" ? trace.hidden(asked.layer) : trace.width(asked.layer);
    const found = contrast(values, trace.count, F, moments(values, trace.count, F), asked.selected);
    expect(differences(found, flat(asked.values))).toEqual([]);
    expect(strongest(found, F)).toEqual(asked.strongest);
    expect(strongest(found, 2)).toEqual(asked.strongest.slice(0, 2));
  });

  test("refuses rows that are not there", () => {
    const values = new Float32Array(6);
    const stats = moments(values, 2, 3);
    expect(() => contrast(values, 2, 3, stats, [])).toThrow("at least one");
    expect(() => contrast(values, 2, 3, stats, [0, 2])).toThrow("0..1; got 2");
    expect(() => contrast(values, 2, 3, stats, [-1])).toThrow("0..1; got -1");
  });
});

describe("strongest", () => {
  test("orders by magnitude, equal ones by index, NaN never", () => {
    expect(strongest(Float32Array.of(1, -3, NaN, 3, 0, Infinity), 10)).toEqual([5, 1, 3, 0, 4]);
    expect(strongest(Float32Array.of(1, -3, NaN, 3, 0, Infinity), 2)).toEqual([5, 1]);
    expect(strongest(Float32Array.of(1, 2), 0)).toEqual([]);
  });

  test("agrees with sorting", () => {
    const values = Float32Array.from({ length: 3072 }, (_, i) => Math.sin(i * i));
    const sorted = [...values.keys()].sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b);
    expect(strongest(values, 24)).toEqual(sorted.slice(0, 24));
  });
});
