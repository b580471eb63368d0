import { expect, test } from "vitest";
import { highNorms } from "../src/math/norms.ts";
import { type Field, overlayField } from "../src/math/overlay.ts";
import { source } from "./recorded.ts";
import { flat, recorded } from "./vectors.ts";

test.each(recorded.high_norm)("high norms of $norms", ({ norms, prefix, marked }) => {
  expect(highNorms(Array.from(norms, Number), prefix)).toEqual(marked);
});

test("tokens of high norm are marked, a prefix token never", () => {
  const trace = source(recorded);
  const tokens = new Float32Array(14 * 8).fill(2);
  for (const row of [0, 6, 13]) tokens.fill(6, 8 * row, 8 * row + 8);
  const spec = { ...recorded.cases[0].spec, overlay: "norm" as const, layer: 1, token: null };
  const found = overlayField(spec, { ...trace, tokens: () => tokens }) as Field;
  expect(found.marked).toEqual([6, 13]);
  expect(found.values[6]).toBeCloseTo(3 * Math.sqrt(32), 4);
  expect(flat([...found.values]).length).toBe(14);
});
