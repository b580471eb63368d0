// What a neuron sees in one patch, as a sum: [patch] x [filter] = [local view].

import { cellAt, patchBox } from "../math/frame.ts";
import { localView, viewColours, viewScale } from "../math/views.ts";
import { sized } from "../ui/canvas.ts";
import { figure, h, magnitude } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import type { Context } from "./context.ts";
import type { Look } from "./look.ts";
import { note, remark, watchTheme } from "./parts.ts";

const SIDE = 96;

export function neuronCard(context: Context, look: Look): HTMLElement {
  const { facts, store, source, cursor, arrivals, until } = context;
  const theme = watchTheme(until);
  const patch = part("patch");
  const filter = part("filter");
  const view = part("local view");
  const sum = h("span", "vw-number");
  const hint = h("span", "vw-hint");
  const sign = (text: string) => h("span", "vw-sign", { "aria-hidden": "true" }, text);
  const equation = h(
    "div",
    "vw-equation",
    {},
    patch.element,
    sign("×"),
    filter.element,
    sign("="),
    view.element,
    h("div", "vw-sum", {}, h("span", "vw-faint", {}, "sum"), sum),
  );
  const element = h(
    "section",
    "vw-region vw-card",
    { "aria-label": "neuron card" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "What the neuron sees"), hint),
    equation,
  );
  const frame = { original: facts.original, input: facts.input, box: facts.box };
  let photo: ImageBitmap | null = null;

  const draw = () => {
    theme.value;
    arrivals.value;
    const overlay = cursor.overlay.value;
    const asked = overlay === "neuron" || overlay === "view";
    element.hidden = !asked && store.array("filters") === null;
    if (element.hidden) return;
    const neuron = cursor.neuron.value;
    const whole = context.field({ overlay: "view", layer: 0, token: null });
    equation.hidden = whole.kind !== "view";
    note(hint, remark(whole));
    if (whole.kind !== "view") return;
    const { sight } = whole;
    const { pixels, kernel } = sight;
    const token = cursor.token.value;
    const at = typeof token === "number" && token < facts.rows * facts.cols ? token : null;
    const [p, q] = pixels.patch;
    const paint = (canvas: HTMLCanvasElement, values: Float32Array) => {
      const image = new ImageData(q, p);
      const { limit, peak } = viewScale(values);
      viewColours(values, pixels.channels, look.mode.value, limit, image.data);
      enlarge(canvas, image);
      return `${peak > limit ? "clipped at " : ""}±${magnitude(limit)}`;
    };
    filter.say(`filter ${neuron}`, paint(filter.canvas, kernel));
    patch.element.hidden = view.element.hidden = at === null;
    for (const each of equation.querySelectorAll<HTMLElement>(".vw-sign, .vw-sum")) each.hidden = at === null;
    if (at === null) return note(hint, "pin a patch to see what this filter makes of it");
    const seen = localView(pixels, kernel, at);
    view.say("local view", paint(view.canvas, seen));
    sum.textContent = figure(sight.sums[cellAt(at, facts, source.grid(0))]);
    sum.title = "over all pixels and channels: the neuron's patch embedding, without its bias";
    const box = patchBox(at, frame, facts.rows, facts.cols);
    crop(patch.canvas, photo, facts.original[0], box, [q, p]);
    patch.say(`patch ${at}`, `row ${Math.floor(at / facts.cols)}, column ${at % facts.cols}`);
  };
  perFrame(until, draw);
  store.picture().then(
    (bitmap) => {
      photo = bitmap;
      if (!until.aborted) draw();
    },
    () => {}, // the image says that there is none
  );
  return element;
}

/** A picture with its name, and what belongs to it, below. */
function part(name: string) {
  const canvas = h("canvas", "vw-pixels", { role: "img", "aria-label": name });
  const caption = h("span", "vw-part-name", {}, name);
  const extent = h("span", "vw-faint vw-number");
  return {
    canvas,
    element: h("div", "vw-part", {}, canvas, caption, extent),
    say(text: string, more: string) {
      caption.textContent = text;
      note(extent, more);
    },
  };
}

/** Puts an image on a canvas, every pixel a square. */
function enlarge(canvas: HTMLCanvasElement, image: ImageData): void {
  const small = document.createElement("canvas");
  [small.width, small.height] = [image.width, image.height];
  small.getContext("2d")?.putImageData(image, 0, 0);
  const height = Math.round((SIDE * image.height) / image.width);
  const on = sized(canvas, SIDE, height);
  on.imageSmoothingEnabled = false;
  on.drawImage(small, 0, 0, SIDE, height);
}

/** One patch of the photo, with as many pixels as the model sees of it. */
function crop(
  canvas: HTMLCanvasElement,
  photo: ImageBitmap | null,
  original: number,
  { left, top, right, bottom }: { left: number; top: number; right: number; bottom: number },
  [wide, high]: [number, number],
): void {
  const small = document.createElement("canvas");
  [small.width, small.height] = [wide, high];
  const on = small.getContext("2d");
  if (!photo || !on) return;
  const scale = photo.width / original; // a large photo was sent smaller
  on.imageSmoothingQuality = "high";
  on.drawImage(
    photo,
    left * scale,
    top * scale,
    (right - left) * scale,
    (bottom - top) * scale,
    0,
    0,
    wide,
    high,
  );
  enlarge(canvas, on.getImageData(0, 0, wide, high));
}
