// A figure of pictures and text as a PNG or an SVG file; on white, whatever the page's theme.

import { h } from "./dom.ts";

export interface Text {
  text: string;
  /** Of the baseline, at the anchor. */
  x: number;
  y: number;
  size: number;
  anchor: "start" | "middle";
  colour: string;
}

export interface Picture {
  x: number;
  y: number;
  width: number;
  height: number;
  /** Draws it anew, as large as it is known. What it returns is used again: read it before the next call. */
  draw(): HTMLCanvasElement;
}

export interface Figure {
  width: number;
  height: number;
  texts: readonly Text[];
  pictures: readonly Picture[];
}

const FONT = "Helvetica, Arial, sans-serif";
const LARGEST = 8192; // pixels a side: more than that, some browsers do not draw

/** The figure as SVG text: pictures embedded, labels as text. */
export function svgOf({ width, height, texts, pictures }: Figure): string {
  const images = pictures.map(
    ({ x, y, width, height, draw }) =>
      `<image x="${x}" y="${y}" width="${width}" height="${height}" preserveAspectRatio="none" ` +
      `href="${draw().toDataURL("image/png")}"/>`,
  );
  const labels = texts.map(
    ({ text, x, y, size, anchor, colour }) =>
      `<text x="${x}" y="${y}" font-size="${size}" text-anchor="${anchor}" fill="${colour}">${escaped(text)}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${FONT}">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...images,
    ...labels,
    "</svg>\n",
  ].join("\n");
}

/** The figure as a PNG file, `scale` pixels for each of its units where that is not too large. */
export async function pngOf({ width, height, texts, pictures }: Figure, scale: number): Promise<Blob> {
  const zoom = Math.min(scale, LARGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * zoom);
  canvas.height = Math.round(height * zoom);
  const on = canvas.getContext("2d");
  if (!on) throw new Error("this browser offers no 2D canvas");
  on.scale(zoom, zoom);
  on.fillStyle = "#fff";
  on.fillRect(0, 0, width, height);
  on.imageSmoothingQuality = "high";
  for (const { x, y, width, height, draw } of pictures) on.drawImage(draw(), x, y, width, height);
  for (const { text, x, y, size, anchor, colour } of texts) {
    on.font = `${size}px ${FONT}`;
    on.textAlign = anchor === "middle" ? "center" : "start";
    on.fillStyle = colour;
    on.fillText(text, x, y);
  }
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("the browser made no picture of this size");
  return blob;
}

/** How wide a figure shows `text`. */
export function textWidth(text: string, size: number): number {
  const on = document.createElement("canvas").getContext("2d");
  if (!on) return 0;
  on.font = `${size}px ${FONT}`;
  return on.measureText(text).width;
}

/** Offers `blob` as a download. */
export function saveFile(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  h("a", "", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // some browsers read it only after the click
}

/** Puts a PNG on the clipboard; throws an Error where the page may not. */
export async function copyPicture(blob: Promise<Blob>): Promise<void> {
  if (!navigator.clipboard?.write || typeof ClipboardItem === "undefined") {
    throw new Error("this page may not copy pictures: save it instead");
  }
  await navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
}

/** A file name that every system takes. */
export function fileName(text: string, ending: string): string {
  const plain = text.replace(/[^\p{L}\p{N}._-]+/gu, "_").replace(/^[._]+|[._]+$/g, "");
  return `${plain.slice(0, 80) || "figure"}.${ending}`;
}

function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}
