import { describe, expect, test } from "vitest";
import { patchSums, sightOf, sightScale } from "../src/math/sight.ts";
import { composeView, type Pixels, type Scale, viewScale } from "../src/math/views.ts";
import { differences } from "./vectors.ts";

const numbers = ({ limit, peak }: Scale) => [limit, peak];

const noise = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 78.233 * i) * 2);

/** 2 x 3 patches. */
function picture(patch: [number, number], channels: number): { pixels: Pixels; kernel: Float32Array } {
  const [height, width] = [2 * patch[0], 3 * patch[1]];
  const pixels = { data: noise(height * width * channels, 1), height, width, channels, patch };
  return { pixels, kernel: noise(patch[0] * patch[1] * channels, 2) };
}
const shares = Float32Array.from([0.5, 0, -0.25, 1, 0.125, 0.3]);

describe.each<[[number, number], number]>([
  [[2, 3], 3],
  [[4, 2], 1],
])("patches of %s, %i channels", (patch, channels) => {
  const { pixels, kernel } = picture(patch, channels);
  const sight = sightOf(pixels, kernel);

  test.each([[null], [shares]])("sums and scale are those of the composed view", (some) => {
    const view = composeView(pixels, kernel, some, new Float32Array(pixels.data.length));
    const sums = new Float32Array(6);
    const run = patch[1] * channels;
    view.forEach((value, i) => {
      const y = Math.floor(i / (3 * run));
      sums[Math.floor(y / patch[0]) * 3 + Math.floor((i % (3 * run)) / run)] += value;
    });
    expect(differences(patchSums(sight, some, new Float32Array(8), 2).subarray(2), sums, 1e-5)).toEqual([]);
    expect(differences(numbers(sightScale(sight, some)), numbers(viewScale(view)))).toEqual([]);
  });
});

test("a scale leaves out what is not finite, and ends at 1 where all is zero", () => {
  const { pixels, kernel } = picture([2, 2], 3);
  pixels.data[0] = Number.NaN;
  pixels.data[20] = Number.POSITIVE_INFINITY;
  const sight = sightOf(pixels, kernel);
  const view = composeView(pixels, kernel, shares, new Float32Array(pixels.data.length));
  expect(differences(numbers(sightScale(sight, shares)), numbers(viewScale(view)))).toEqual([]);
  expect(sightScale(sight, Float32Array.from([0, 0, Number.NaN, 0, 0, 0]))).toEqual({ limit: 1, peak: 0 });
});

test("the small view is the mean over blocks of pixels of the view", () => {
  const { pixels, kernel } = picture([32, 48], 3);
  const sight = sightOf(pixels, kernel);
  const small = sight.small();
  expect(sight.small()).toBe(small);
  const { height, width, patch } = small.pixels;
  const block = pixels.height / height;
  expect(Math.max(height, width)).toBeGreaterThanOrEqual(56);
  expect([patch[0] * block, patch[1] * block, width * block]).toEqual([32, 48, pixels.width]);
  const whole = composeView(pixels, kernel, shares, new Float32Array(pixels.data.length));
  const means = new Float32Array(height * width * 3);
  whole.forEach((value, i) => {
    const [x, y] = [Math.floor(i / 3) % pixels.width, Math.floor(i / 3 / pixels.width)];
    const to = Math.floor(y / block) * width + Math.floor(x / block);
    means[3 * to + (i % 3)] += value / block ** 2;
  });
  const found = composeView(small.pixels, small.kernel, shares, new Float32Array(means.length));
  expect(differences(found, means, 1e-5)).toEqual([]);
});

test("a picture of few pixels is its own small one", () => {
  const { pixels, kernel } = picture([4, 4], 3);
  const sight = sightOf(pixels, kernel);
  expect(sight.small()).toBe(sight);
});
