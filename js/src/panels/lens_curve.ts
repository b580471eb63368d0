// What the head would say at each layer: the probability of some classes, read from one token.

import { signal } from "@preact/signals-core";
import { placeOf } from "../data/facts.ts";
import { reading } from "../math/lens.ts";
import { tokensOf } from "../math/overlay.ts";
import { sized } from "../ui/canvas.ts";
import { h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { watchWidth } from "../ui/width.ts";
import type { Context } from "./context.ts";
import { layerSlider } from "./layer_slider.ts";
import { note, watchTheme } from "./parts.ts";

const HEIGHT = 132;
const EDGE = { left: 42, right: 10, top: 8, bottom: 18 };
const TOPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];
const CURVES = 4;
const SLICE_MS = 6; // of one frame, for reading layers
/** Okabe and Ito's colours, which every kind of colour blindness leaves apart. */
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

export function lensCurve(context: Context): HTMLElement {
  const { facts, store, source, cursor, arrivals, until } = context;
  const last = facts.layers;
  const slider = layerSlider(context, "vw-curve", "layer, under the curves of classes", (x, width) =>
    Math.round(((x - EDGE.left) / (width - EDGE.left - EDGE.right)) * last),
  );
  const { canvas } = slider;
  const about = h("span", "vw-count");
  const hint = h("span", "vw-hint");
  const key = h("div", "vw-curve-key");
  const box = h("div", "vw-curve-box", {}, canvas);
  const element = h(
    "div",
    "vw-lens",
    { "aria-label": "classes over the layers" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Over the layers"), about, hint),
    box,
    key,
  );
  const width = watchWidth(element, until);
  const theme = watchTheme(until);
  const more = signal(0); // layers that are still to be read

  let known: { place: number; layers: (Float32Array | null)[] } = { place: -1, layers: [] };

  /** Probabilities at each layer, as far as they are there; reads on in the next frame where time is up. */
  const read = (place: number): (Float32Array | null)[] => {
    if (known.place !== place) known = { place, layers: Array.from({ length: last + 1 }, () => null) };
    const readout = store.array("readout");
    const end = performance.now() + SLICE_MS;
    for (let layer = 0; layer <= last; layer++) {
      if (known.layers[layer] !== null || source.whyNot("evidence", layer)) continue;
      const tokens = source.tokens(layer);
      if (readout === null || tokens === null) continue;
      if (performance.now() > end) {
        requestAnimationFrame(() => {
          more.value += 1;
        });
        break;
      }
      const row = source.row(layer, place);
      const [N, D] = [tokensOf(source, layer), source.width(layer)];
      known.layers[layer] = reading(tokens, N, D, readout, row, facts.eps);
    }
    return known.layers;
  };

  perFrame(until, () => {
    theme.value;
    more.value;
    arrivals.value;
    const why = source.whyNot("evidence", last);
    const evidence = cursor.overlay.value === "evidence";
    element.hidden = facts.no_top !== null || !(evidence || store.array("readout") !== null);
    if (element.hidden) return;
    box.hidden = key.hidden = why !== "";
    note(hint, why && `no reading of single tokens: ${why}`);
    about.textContent = "";
    if (why) return;
    if (store.array("readout") === null) {
      store.want(["readout"]);
      note(hint, store.progress().silent);
    }
    const pinned = placeOf(cursor.token.value, facts);
    const place = pinned ?? 0;
    about.textContent = `read from ${source.tokenName(last, place)}`;
    const layers = read(place);
    const target = cursor.target.value ?? facts.leading[0] ?? 0;
    const classes = leaders(layers, target);
    if (width.value > 0) draw(layers, classes, target);
    const here = cursor.layer.value;
    key.replaceChildren(
      ...classes.map((one, index) => {
        const swatch = h("span", "vw-swatch", { "aria-hidden": "true" });
        swatch.style.background = PALETTE[index];
        const part = layers[here] ? `${((layers[here]?.[one] ?? 0) * 100).toFixed(1)} %` : "";
        const attributes = {
          type: "button",
          "aria-pressed": String(one === target),
          title: `follow ${facts.classes[one]}`,
          click: () => cursor.move({ target: one, overlay: "evidence" }),
        };
        const name = h("span", "vw-key-name", {}, facts.classes[one] ?? "");
        return h("button", "vw-chip", attributes, swatch, name, h("span", "vw-number vw-faint", {}, part));
      }),
    );
    const all = classes.map((one) => `${facts.classes[one]} ${percent(layers[here]?.[one])}`).join(", ");
    slider.say(`layer ${here}: ${all}`);
  });

  const x = (layer: number) => EDGE.left + (layer / last) * (width.value - EDGE.left - EDGE.right);

  function draw(layers: (Float32Array | null)[], classes: number[], target: number) {
    const top = scaleTop(layers, classes);
    const y = (part: number) => EDGE.top + (1 - part / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    const on = sized(canvas, width.value, HEIGHT);
    const style = getComputedStyle(canvas);
    const [line, faint, accent] = ["--vw-line", "--vw-faint", "--vw-accent"].map((name) =>
      style.getPropertyValue(name),
    );
    on.clearRect(0, 0, width.value, HEIGHT);
    on.font = `11px ${style.fontFamily}`;
    on.fillStyle = faint;
    on.strokeStyle = line;
    on.lineWidth = 1;
    on.textAlign = "right";
    on.textBaseline = "middle";
    for (const part of [0, top / 2, top]) {
      on.fillText(`${Number((part * 100).toPrecision(2))} %`, EDGE.left - 5, y(part));
      on.beginPath();
      on.moveTo(EDGE.left, Math.round(y(part)) + 0.5);
      on.lineTo(width.value - EDGE.right, Math.round(y(part)) + 0.5);
      on.stroke();
    }
    on.textAlign = "center";
    const every = Math.ceil(((last + 1) * 20) / Math.max(1, width.value - 40));
    for (let layer = 0; layer <= last; layer += every) on.fillText(String(layer), x(layer), HEIGHT - 7);
    on.strokeStyle = accent;
    on.lineWidth = 1.5;
    on.beginPath();
    on.moveTo(x(cursor.layer.value), EDGE.top - 4);
    on.lineTo(x(cursor.layer.value), y(0) + 3);
    on.stroke();
    on.lineJoin = "round";
    classes.forEach((one, index) => {
      on.strokeStyle = on.fillStyle = PALETTE[index];
      on.lineWidth = one === target ? 3 : 1.5;
      on.beginPath();
      let joined = false;
      layers.forEach((parts, layer) => {
        const part = parts?.[one] ?? Number.NaN;
        if (!Number.isFinite(part)) joined = false;
        else if (joined) on.lineTo(x(layer), y(part));
        else {
          on.moveTo(x(layer), y(part));
          joined = true;
        }
      });
      on.stroke();
    });
  }

  return element;
}

/** The end of the scale: the first of a few round numbers that no curve exceeds. */
function scaleTop(layers: readonly (Float32Array | null)[], classes: readonly number[]): number {
  const largest = Math.max(0, ...layers.flatMap((parts) => classes.map((one) => parts?.[one] || 0)));
  return TOPS.find((top) => largest <= top) ?? 1;
}

/** The followed class, and those that lead at the last layer that has been read. */
function leaders(layers: readonly (Float32Array | null)[], target: number): number[] {
  const end = layers.reduce((before, parts) => parts ?? before, null);
  if (!end) return [target];
  const order: number[] = [];
  for (let round = 0; round < CURVES; round++) {
    let best = -1;
    for (let c = 0; c < end.length; c++) {
      if (!order.includes(c) && end[c] > (best < 0 ? -1 : end[best])) best = c;
    }
    if (best >= 0) order.push(best);
  }
  return order.includes(target) ? order : [...order, target];
}

function percent(part: number | undefined): string {
  return part === undefined ? "" : `${(part * 100).toFixed(1)} percent`;
}
