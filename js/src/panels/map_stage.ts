// Drawing a token map. No events here.

import { difference, type Mask, mix, type Pixels, type Raster, ringMask } from "../ui/raster.ts";

/** Everything that a map shows. Places are on the canvas, two numbers a token. */
export interface Scene {
  width: number;
  height: number;
  /** Pixels of the screen in one of the canvas. */
  ratio: number;
  places: Float32Array;
  /** A packed colour for each token; 0 for one that has none. */
  fills: Uint32Array;
  /** Names of the tokens that come before the patches. */
  prefix: readonly string[];
  /** Radius of a dot, or half the side of a picture. */
  size: number;
  /** Null to draw dots. */
  pictures: Pictures | null;
  /** Whether each token is selected; null where nothing is. */
  selected: Uint8Array | null;
  pinned: number | null;
  pointed: number | null;
  focused: number | null;
  /** Corners of the lasso, x0, y0, x1, y1... */
  lasso: readonly number[];
  colours: Colours;
}

/** The patches of a layer in one picture, `side` pixels of the screen each, and the same veiled. */
export interface Pictures {
  side: number;
  plain: Pixels;
  veiled: Pixels;
  /** Where the first pixel of a token's patch is. */
  first(token: number): number;
}

/** The first three are packed, the others CSS. */
export interface Colours {
  back: number;
  /** Of a token that has none. */
  rest: number;
  select: number;
  selectCss: string;
  backCss: string;
  text: string;
  font: string;
}

const CLOSE = 150; // of 765: less than this from the background, a dot needs an edge
export const VEIL = 0.72; // how far what is not selected fades into the background

export function drawMap(on: CanvasRenderingContext2D, raster: Raster, scene: Scene): void {
  const { prefix, colours, ratio } = scene;
  raster.start(on.canvas.width, on.canvas.height, colours.back);
  if (scene.pictures) drawPictures(raster, scene, scene.pictures);
  else drawDots(raster, scene, ringMask(0, scene.size * ratio));
  raster.put(on);
  for (let token = 0; token < prefix.length; token++) diamond(on, scene, token, prefix[token]);
  if (scene.focused !== null) ring(on, scene, scene.focused, 3, 1.5, [3, 3]);
  if (scene.pointed !== null) ring(on, scene, scene.pointed, 3, 1.5);
  if (scene.pinned !== null) ring(on, scene, scene.pinned, 4, 2.5);
  drawLasso(on, scene);
}

/** Calls `draw` for every patch that has a place, in pixels of the screen, the selected ones last. */
function eachPatch(
  { places, prefix, selected, ratio }: Scene,
  draw: (token: number, x: number, y: number, lit: boolean) => void,
): void {
  for (const lit of selected === null ? [false] : [false, true]) {
    for (let token = prefix.length; token < places.length / 2; token++) {
      if (selected !== null && (selected[token] === 1) !== lit) continue;
      const x = places[2 * token];
      if (!Number.isNaN(x)) draw(token, x * ratio, places[2 * token + 1] * ratio, lit);
    }
  }
}

function drawDots(raster: Raster, scene: Scene, dot: Mask): void {
  const { fills, colours, selected, size, ratio } = scene;
  const mark = ringMask((size + 0.75) * ratio, (size + 2) * ratio);
  const edge = ringMask((size - 0.25) * ratio, (size + 0.5) * ratio);
  eachPatch(scene, (token, x, y, lit) => {
    const fill = fills[token] || colours.rest;
    const plain = selected === null && difference(fill, colours.back) < CLOSE;
    raster.stamp(dot, x, y, selected === null || lit ? fill : mix(fill, colours.back, VEIL));
    if (plain) raster.stamp(edge, x, y, colours.rest); // the dark end of a scale on a dark page
    if (lit) raster.stamp(mark, x, y, colours.select);
  });
}

function drawPictures(raster: Raster, scene: Scene, { side, plain, veiled, first }: Pictures): void {
  const { fills, colours, selected, ratio } = scene;
  const edge = side + 2 * Math.round(1.5 * ratio);
  const mark = ringMask(edge / 2, edge / 2 + 1.5 * ratio, true);
  eachPatch(scene, (token, x, y, lit) => {
    const full = selected === null || lit;
    const fill = fills[token];
    if (fill !== 0) raster.square(x, y, edge, full ? fill : mix(fill, colours.back, VEIL));
    raster.paste(full ? plain : veiled, first(token), side, x, y);
    if (lit) raster.stamp(mark, x, y, colours.select);
  });
}

function outline(on: CanvasRenderingContext2D, x: number, y: number, reach: number, square: boolean): void {
  if (square) on.rect(x - reach, y - reach, 2 * reach, 2 * reach);
  else on.arc(x, y, reach, 0, 2 * Math.PI);
}

/** A colour as CSS. */
function css(packed: number): string {
  return `rgb(${packed & 255} ${(packed >> 8) & 255} ${(packed >> 16) & 255})`;
}

/** A prefix token, which shows no patch: a diamond with its name. */
function diamond(on: CanvasRenderingContext2D, scene: Scene, token: number, name: string): void {
  const { places, fills, size, colours, width } = scene;
  const x = places[2 * token];
  const y = places[2 * token + 1];
  if (Number.isNaN(x)) return;
  const reach = Math.max(size * 1.2, 6);
  on.beginPath();
  on.moveTo(x, y - reach);
  on.lineTo(x + reach, y);
  on.lineTo(x, y + reach);
  on.lineTo(x - reach, y);
  on.closePath();
  on.fillStyle = fills[token] ? css(fills[token]) : colours.backCss;
  on.fill();
  on.strokeStyle = colours.text;
  on.lineWidth = 1.5;
  on.stroke();
  const toRight = x < width - 60;
  on.font = `600 11px ${colours.font}`;
  on.textAlign = toRight ? "left" : "right";
  on.textBaseline = "middle";
  on.lineJoin = "round";
  on.strokeStyle = colours.backCss;
  on.lineWidth = 3;
  const at = x + (toRight ? 1 : -1) * (reach + 4);
  on.strokeText(name, at, y);
  on.fillStyle = colours.text;
  on.fillText(name, at, y);
}

/** A mark that reads on every colour. */
function ring(
  on: CanvasRenderingContext2D,
  { places, size, pictures, prefix }: Scene,
  token: number,
  away: number,
  thick: number,
  dash: number[] = [],
): void {
  const x = places[2 * token];
  const y = places[2 * token + 1];
  if (Number.isNaN(x)) return;
  const reach = token < prefix.length ? Math.max(size * 1.2, 6) + away : size + away;
  on.beginPath();
  outline(on, x, y, reach, pictures !== null && token >= prefix.length);
  on.strokeStyle = "#111";
  on.lineWidth = thick + 2;
  on.stroke();
  on.strokeStyle = "#fff";
  on.lineWidth = thick;
  on.setLineDash(dash);
  on.stroke();
  on.setLineDash([]);
}

function drawLasso(on: CanvasRenderingContext2D, { lasso, colours }: Scene): void {
  if (lasso.length < 4) return;
  on.beginPath();
  on.moveTo(lasso[0], lasso[1]);
  for (let i = 2; i < lasso.length; i += 2) on.lineTo(lasso[i], lasso[i + 1]);
  on.closePath();
  on.globalAlpha = 0.08;
  on.fillStyle = colours.selectCss;
  on.fill("evenodd");
  on.globalAlpha = 1;
  on.strokeStyle = colours.selectCss;
  on.lineWidth = 1.5;
  on.setLineDash([4, 3]);
  on.stroke();
  on.setLineDash([]);
}
