import { describe, expect, test } from "vitest";
import { cellAt, cellsInRect, patchAt, patchBox, tokenName } from "../src/math/frame.ts";
import { frames } from "./vectors.ts";

const { frame, rows, cols, prefix, boxes, points, rects, names, cells } = frames;

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
    expect(tokenName(9, prefix, cols, "cell")).toBe("cell 7 (row 1, column 3)");
  });

  const grid = ([rows, cols]: [number, number]) => ({ rows, cols });

  test.each(cells)("cells of $from in $to", ({ from, to, cells }) => {
    expect(cells.map((_, cell) => cellAt(cell, grid(from), grid(to)))).toEqual(cells);
  });

  test("from a cell to the finer grid and back leads to the same cell", () => {
    for (const { from, to, cells: back } of cells) {
      if (from[0] < to[0] || from[1] < to[1]) continue;
      for (const cell of new Set(back)) {
        expect(cellAt(cellAt(cell, grid(to), grid(from)), grid(from), grid(to))).toBe(cell);
      }
    }
  });
});
