// One small map per layer of the present overlay; the strip is the layer scrubber.

import { shown } from "../math/overlay.ts";
import { sized } from "../ui/canvas.ts";
import { h, listen } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { watchWidth } from "../ui/width.ts";
import type { Context } from "./context.ts";
import { layerSlider } from "./layer_slider.ts";
import type { Look } from "./look.ts";
import { note, watchTheme } from "./parts.ts";

const GAP = 4;
const LABEL = 18;
const STEP_MS = 450;

export function layerStrip(context: Context, look: Look): HTMLElement {
  const { facts, cursor, painter, until } = context;
  const last = facts.layers;
  const play = h("button", "vw-button vw-play", { type: "button", "aria-label": "play through the layers" });
  const slider = layerSlider(
    context,
    "vw-strip",
    "layer",
    (x, width) => Math.floor((x / width) * (last + 1)),
    () => stop(),
  );
  const { canvas, to } = slider;
  const place = h("span", "vw-count");
  const hint = h("span", "vw-hint");
  const box = h("div", "vw-strip-box", {}, canvas);
  const element = h(
    "section",
    "vw-region vw-layers",
    { "aria-label": "layers" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Layers"), place, hint, play),
    box,
  );
  const width = watchWidth(box, until);

  const theme = watchTheme(until);
  perFrame(until, () => {
    theme.value;
    if (width.value === 0) return;
    const cell = Math.min(124, (width.value - GAP * last) / (last + 1));
    const photo = cursor.overlay.value === "none"; // there are no maps: the steps alone
    const height = photo ? 4 : (cell * facts.rows) / facts.cols;
    const strip = (cell + GAP) * (last + 1) - GAP;
    const context2d = sized(canvas, strip, height + LABEL + 6);
    context2d.clearRect(0, 0, strip, height + LABEL + 6);
    const style = getComputedStyle(canvas);
    const chosen = cursor.layer.value;
    const mode = look.mode.value;
    let reason = "";
    for (let layer = 0; layer <= last; layer++) {
      const left = layer * (cell + GAP);
      const outcome = context.field({ layer });
      const map = shown(outcome);
      if (map) {
        painter.paint(map, context2d, [left, 3, cell, height], { mode, small: true });
      } else {
        const told = reason !== "" && layer !== chosen;
        if (outcome.kind === "missing" && layer > 0 && !told) reason = outcome.reason;
        context2d.fillStyle = style.getPropertyValue(
          photo && layer === chosen ? "--vw-accent" : "--vw-empty",
        );
        context2d.fillRect(left, 3, cell, height);
      }
      if (layer === chosen) {
        context2d.strokeStyle = style.getPropertyValue("--vw-accent");
        context2d.lineWidth = 3;
        context2d.strokeRect(left - 0.5, 2.5, cell + 1, height + 1);
      }
      if (layer === chosen || cell > 15 || layer % 4 === 0) {
        context2d.fillStyle = style.getPropertyValue(layer === chosen ? "--vw-text" : "--vw-faint");
        context2d.font = `${layer === chosen ? 600 : 400} 11px ${style.fontFamily}`;
        context2d.textAlign = "center";
        context2d.fillText(String(layer), left + cell / 2, height + LABEL);
      }
    }
    place.textContent = `${chosen} of ${last}`;
    note(hint, reason);
    slider.say(`layer ${chosen} of ${last}`);
  });

  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      stop();
      to(cursor.layer.value + Math.sign(event.deltaY || event.deltaX));
    },
    { passive: false },
  );
  listen(canvas, {
    keydown(event) {
      if (event.key !== " ") return;
      toggle();
      event.preventDefault();
    },
  });

  let timer = 0;
  const stop = () => {
    window.clearInterval(timer);
    timer = 0;
    play.textContent = "▶ Play";
    play.setAttribute("aria-pressed", "false");
  };
  const toggle = () => {
    if (timer) return stop();
    timer = window.setInterval(() => to((cursor.layer.value + 1) % (last + 1)), STEP_MS);
    play.textContent = "■ Stop";
    play.setAttribute("aria-pressed", "true");
  };
  play.addEventListener("click", toggle);
  until.addEventListener("abort", stop);
  stop();
  return element;
}
