import { expect, test } from "vitest";
import { said } from "../src/panels/verified.ts";

const found = { passed: true, attention: 3.04e-7, logits: 0, text: "all as it should be" };

test.each([
  [null, "", ""],
  ["running", "verifying…", "waiting"],
  ["silent", "not verified: the kernel does not answer", "waiting"],
  [found, "✓ verified · 3e-7", "passed"],
  [{ ...found, attention: 0 }, "✓ verified · exact", "passed"],
  [{ ...found, attention: null, logits: 2e-5 }, "✓ verified · 2e-5", "passed"],
  [{ ...found, passed: false, text: "block 2 is off" }, "differs: block 2 is off", "differs"],
  [{ ...found, passed: null, text: "no model at hand" }, "not verified: no model at hand", "waiting"],
] as const)("%o", (check, text, state) => {
  expect(said(check)).toMatchObject({ text, state });
});

test("the mark's title says what was compared", () => {
  expect(said(found).title).toBe("all as it should be");
});
