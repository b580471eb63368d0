import { expect, test } from "vitest";
import { evidence, reading } from "../src/math/lens.ts";
import { differences } from "./vectors.ts";

// 5 tokens of 6 neurons, 4 classes; numbers without pattern.
const noise = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 12.9898 * i) * 3);
const [N, D, CLASSES, EPS] = [5, 6, 4, 1e-3];
const tokens = noise(N * D, 1);
const readout = noise(CLASSES * (D + 1), 2);

/** By the definition, one number after another. */
function logits(row: number): number[] {
  const token = [...tokens.subarray(row * D, (row + 1) * D)];
  const mean = token.reduce((sum, value) => sum + value) / D;
  const variance = token.reduce((sum, value) => sum + (value - mean) ** 2, 0) / D;
  return Array.from({ length: CLASSES }, (_, c) =>
    token.reduce(
      (sum, value, j) => sum + (readout[c * (D + 1) + j] * (value - mean)) / Math.sqrt(variance + EPS),
      readout[c * (D + 1) + D],
    ),
  );
}

test.each([0, 1, 2, 3])("evidence for class %i is its logit, read from each token", (target) => {
  const found = evidence(tokens, N, D, readout, target, EPS, new Float32Array(N));
  const expected = Array.from({ length: N }, (_, row) => logits(row)[target]);
  expect(differences(found, expected)).toEqual([]);
});

test.each([0, 2, 4])("the reading of token %i is the softmax of its logits", (row) => {
  const found = reading(tokens, N, D, readout, row, EPS);
  const powers = logits(row).map(Math.exp);
  const sum = powers.reduce((a, b) => a + b);
  expect(
    differences(
      found,
      powers.map((power) => power / sum),
    ),
  ).toEqual([]);
});

test("large logits do not overflow", () => {
  const found = reading(
    tokens,
    N,
    D,
    readout.map((value) => value * 1000),
    0,
    EPS,
  );
  expect([...found].every((part) => part >= 0 && part <= 1)).toBe(true);
  expect(found.reduce((a, b) => a + b)).toBeCloseTo(1, 5);
});
