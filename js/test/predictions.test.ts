import { expect, test } from "vitest";
import { classesLike } from "../src/panels/predictions.ts";

const classes = ["tench", "great white shark", "hen", "white stork", "42", "Whitefish"];

test.each<[string, number, number[]]>([
  ["white", 9, [3, 5, 1]], // those that begin with it first
  ["  HEN ", 9, [2]],
  ["4", 9, [4]], // a number, and a name that begins with it
  ["2", 9, [2, 4]],
  ["white", 2, [3, 5]],
  ["cat", 9, []],
  ["  ", 9, []],
])("classes like %o", (text, count, expected) => {
  expect(classesLike(text, classes, count)).toEqual(expected);
});
