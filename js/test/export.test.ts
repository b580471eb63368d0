import { expect, test } from "vitest";
import { type Figure, fileName, svgOf } from "../src/ui/export.ts";

const canvas = { toDataURL: () => "data:image/png;base64,AAAA" } as unknown as HTMLCanvasElement;
const figure: Figure = {
  width: 200,
  height: 100,
  texts: [{ text: `<b>"R&D"</b>`, x: 5, y: 20, size: 14, anchor: "middle", colour: "#123456" }],
  pictures: [{ x: 10, y: 30, width: 60, height: 40, draw: () => canvas }],
};

test("an SVG has its pictures inside and its labels as text", () => {
  const svg = svgOf(figure);
  expect(svg).toContain('width="200" height="100" viewBox="0 0 200 100"');
  expect(svg).toContain('<image x="10" y="30" width="60" height="40"');
  expect(svg).toContain('href="data:image/png;base64,AAAA"');
  expect(svg).toContain(`text-anchor="middle" fill="#123456">&lt;b&gt;"R&amp;D"&lt;/b&gt;</text>`);
});

test("file names have no letters that a system refuses", () => {
  expect(fileName("hf_hub:org/model v1: views", "svg")).toBe("hf_hub_org_model_v1_views.svg");
  expect(fileName("..", "png")).toBe("figure.png");
  expect(fileName("日本", "png")).toBe("日本.png");
  expect(fileName("x".repeat(200), "png")).toHaveLength(84);
});
