import { describe, expect, test } from "vitest";
import { cellsInRect, patchAt, patchBox, tokenName } from "../src/math/frame.ts";
import { frames } from "./vectors.ts";

const { frame, rows, cols, prefix, boxes, points, rects, names } = frames;

describe("frame", () => {
  test("the box of each patch", () => {
    const found = boxes.map((_, patch) => {
      const { left, top, right, bottom } = patchBox(patch, frame, rows, cols);
      return [left, top, right, bottom];
    });
    expect(found).toEqual(boxes);
  });

  test.each(points)("at ($x, $y) lies $patch", (point) => {
    expect(patchAt(point.x, point.y, frame, rows, cols)).toBe(point.patch);
  });

  test("nowhere lies no patch", () => {
    expect(patchAt(Number.NaN, 0, frame, rows, cols)).toBeNull();
  });

  test.each(rects)("$rect touches $patches", ({ rect, patches }) => {
    const [left, top, right, bottom] = rect;
    expect(cellsInRect({ left, top, right, bottom }, frame, rows, cols)).toEqual(patches);
  });

  test("names", () => {
    expect(names.map((_, index) => tokenName(index, prefix, cols))).toEqual(names);
  });
});
