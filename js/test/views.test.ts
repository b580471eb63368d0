import { describe, expect, test } from "vitest";
import viewFile from "../../tests/vectors/views.json";
import { sightOf, sightScale } from "../src/math/sight.ts";
import {
  composeView,
  cutPatch,
  localView,
  type Pixels,
  type ViewMode,
  viewColours,
  viewScale,
} from "../src/math/views.ts";
import { differences, flat, type Numbers } from "./vectors.ts";

const given = viewFile as unknown as {
  patch: [number, number];
  compositions: (Record<"pixels" | "kernel" | "shares" | "whole" | "scaled" | "local", Numbers> & {
    scales: { shares: number[]; limit: number }[];
  })[];
  pictures: { view: Numbers; limit: number; mode: ViewMode; scale: number; colours: number[][] }[];
};

/** A picture as nested numbers: rows, pixels, channels. */
function pixelsOf(nested: Numbers): Pixels {
  const rows = nested as Numbers[][];
  return {
    data: flat(nested),
    height: rows.length,
    width: rows[0].length,
    channels: (rows[0][0] as Numbers).length,
    patch: given.patch,
  };
}

describe.each(given.compositions)("views of $kernel.0.0.length channels", (one) => {
  const pixels = pixelsOf(one.pixels);
  const kernel = flat(one.kernel);

  test("a filter times all patches, with and without shares", () => {
    const out = new Float32Array(pixels.data.length);
    expect(differences(composeView(pixels, kernel, null, out), flat(one.whole), 1e-8)).toEqual([]);
    const scaled = composeView(pixels, kernel, flat(one.shares), out);
    expect(scaled).toBe(out);
    expect(differences(scaled, flat(one.scaled), 1e-8)).toEqual([]);
  });

  test("the local view of each patch", () => {
    one.local.forEach((expected, patch) => {
      const found = localView(pixels, kernel, patch);
      expect(differences(found, flat(expected as Numbers), 1e-8)).toEqual([]);
    });
  });

  test("a patch is the filter's local view where the filter is 1", () => {
    const ones = new Float32Array(kernel.length).fill(1);
    for (let patch = 0; patch < one.local.length; patch++) {
      expect(cutPatch(pixels, patch)).toEqual(localView(pixels, ones, patch));
    }
  });

  test.each(one.scales)("where the colours end with shares $shares", ({ shares, limit }) => {
    const row = Float32Array.from(shares);
    const view = composeView(pixels, kernel, row, new Float32Array(pixels.data.length));
    const scales = [viewScale(view), sightScale(sightOf(pixels, kernel), row)];
    const ends = scales.map((scale) => scale.limit);
    expect(differences(ends, [limit, limit], 1e-6)).toEqual([]);
  });

  test("arrays that do not fit are refused", () => {
    const out = new Float32Array(pixels.data.length);
    expect(() => composeView(pixels, kernel.subarray(1), null, out)).toThrow("kernel must have");
    expect(() => composeView(pixels, kernel, new Float32Array(7), out)).toThrow("shares must have 6");
    expect(() => composeView(pixels, kernel, null, out.subarray(3))).toThrow("out must have");
    expect(() => localView(pixels, kernel.subarray(1), 0)).toThrow("kernel must have");
  });
});

describe("pictures of views", () => {
  test.each(given.pictures)("$mode at $scale", ({ view, limit, mode, scale, colours }) => {
    const { data, channels } = pixelsOf(view);
    expect(viewScale(data).limit / limit).toBeCloseTo(1, 8);
    const rgba = viewColours(
      data,
      channels,
      mode,
      Math.fround(scale),
      new Uint8ClampedArray(4 * colours.length),
    );
    expect([...rgba]).toEqual(colours.flatMap((colour) => [...colour, 255]));
  });

  test("other numbers of channels are refused", () => {
    const colour = () => viewColours(new Float32Array(4), 4, "signed", 1, new Uint8ClampedArray(4));
    expect(colour).toThrow("1 or 3 channels; got 4");
  });
});
