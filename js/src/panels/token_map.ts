// The tokens of the cursor's layer as points in the plane.

import { computed, signal } from "@preact/signals-core";
import type { Frame } from "../math/frame.ts";
import { type Fitted, Motion } from "../math/layout.ts";
import { sized } from "../ui/canvas.ts";
import { h } from "../ui/dom.ts";
import { now, perFrame } from "../ui/effects.ts";
import { packCss, Raster } from "../ui/raster.ts";
import { watchWidth } from "../ui/width.ts";
import type { Context } from "./context.ts";
import { atlas, type Colouring, colouring, meanColours, veil } from "./map_colours.ts";
import { type Doing, type Hands, handleKeys, handlePointer } from "./map_input.ts";
import { drawMap, type Pictures, VEIL } from "./map_stage.ts";
import type { MapState } from "./map_state.ts";
import {
  alikeTools,
  clusterTools,
  groupTools,
  layerSlider,
  mapBar,
  mapLegend,
  stillComing,
} from "./map_tools.ts";
import { liveText, note, watchTheme } from "./parts.ts";

const MOVE_MS = 180;
const MAX_HEIGHT = 520;
const MARGIN = 26; // pixels around the points
const MISS = 10; // pixels by which a click may miss a point
const CROP = 72; // side of the patch in the tooltip

export function tokenMap(context: Context, map: MapState): HTMLElement {
  const { facts, source, cursor, store, until } = context;
  const frame: Frame = { original: facts.original, input: facts.input, box: facts.box };
  const canvas = h("canvas", "vw-points", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "token map",
  });
  const message = h("div", "vw-message", { hidden: true });
  const place = h("span", "vw-count");
  const live = liveText();
  const photo = signal<ImageBitmap | null>(null);
  const doing: Doing = {
    pointed: signal(null),
    focused: signal(null),
    lasso: signal([]),
    lassoed: signal(null),
  };

  store.picture().then(
    (bitmap) => {
      photo.value = bitmap;
    },
    () => note(message, "the picture could not be decoded"),
  );

  const alike = alikeTools(context);
  const select = (patches: readonly number[]) => {
    alike.stop();
    cursor.move({ patches: [...patches] });
    live.say(`${patches.length} ${patches.length === 1 ? "patch" : "patches"} selected`);
  };
  const patchColours = meanColours(() => photo.value, frame);
  const colours = computed(() => colouring(context, map, patchColours));
  const target = computed(() => map.layout(cursor.layer.value));
  const tip = tooltip(context, colours, frame);
  const stage = h("div", "vw-map-stage", {}, canvas, tip.element, message);
  const width = watchWidth(stage, until);
  const height = computed(() => Math.round(Math.min(MAX_HEIGHT, Math.max(260, width.value * 0.8))));
  const motion = moving(
    until,
    () => target.value,
    () => map.tween.value,
  );

  /** Where the tokens are on the canvas. */
  const places = computed(() => {
    const shown = motion.value;
    const half = Math.min(width.value, height.value) / 2 - MARGIN;
    const out = new Float32Array(shown.length);
    for (let i = 0; i < shown.length; i += 2) {
      out[i] = width.value / 2 + half * shown[i];
      out[i + 1] = height.value / 2 - half * shown[i + 1];
    }
    return out;
  });
  /** Radius of a dot, or half the side of a picture: smaller where there are many. */
  const size = computed(() => {
    const count = Math.max(1, target.value ? target.value.places.length / 2 : 1);
    const spacing = Math.min(width.value, height.value) / Math.sqrt(count);
    return map.pixels.value ? between(3.5, 0.24 * spacing, 11) : between(2.2, 0.13 * spacing, 5.5);
  });
  const selected = computed(() => {
    const patches = doing.lassoed.value ?? cursor.patches.value;
    if (patches.length === 0) return null;
    const layer = cursor.layer.value;
    const chosen = new Uint8Array((target.value?.places.length ?? 0) / 2);
    for (const patch of patches) chosen[source.row(layer, facts.prefix.length + patch)] = 1;
    return chosen;
  });
  const theme = watchTheme(until);
  const ink = computed(() => {
    theme.value;
    const style = getComputedStyle(canvas);
    const colour = (name: string) => style.getPropertyValue(`--vw-${name}`);
    return {
      back: packCss(colour("back")),
      rest: packCss(colour("rest")),
      select: packCss(colour("select")),
      backCss: colour("back"),
      selectCss: colour("select"),
      text: colour("text"),
      font: style.fontFamily,
    };
  });
  /** Every patch of a layer's grid, and the same veiled; the same from layer to layer. */
  const cutOut = remembering(
    (bitmap: ImageBitmap, rows: number, cols: number, side: number, back: number) => {
      const pixels = atlas(bitmap, frame, { rows, cols }, side);
      return { plain: veil(pixels, back, 0), veiled: veil(pixels, back, VEIL) };
    },
  );
  const pictures = computed((): Pictures | null => {
    const bitmap = photo.value;
    if (!map.pixels.value || bitmap === null) return null;
    const { rows, cols } = source.grid(cursor.layer.value);
    const side = Math.max(1, Math.round(2 * size.value * (window.devicePixelRatio || 1)));
    return {
      ...cutOut(bitmap, rows, cols, side, ink.value.back),
      side,
      first(token) {
        const cell = token - facts.prefix.length;
        return (Math.floor(cell / cols) * side * cols + (cell % cols)) * side;
      },
    };
  });

  const raster = new Raster();
  perFrame(until, () => {
    if (width.value === 0) return;
    const token = context.place(cursor.token.value);
    const on = sized(canvas, width.value, height.value);
    drawMap(on, raster, {
      ratio: canvas.width / width.value,
      width: width.value,
      height: height.value,
      places: places.value,
      fills: colours.value.fills,
      prefix: facts.prefix,
      size: size.value,
      pictures: pictures.value,
      selected: selected.value,
      pinned: token === null ? null : source.row(cursor.layer.value, token),
      pointed: doing.pointed.value,
      focused: doing.focused.value,
      lasso: doing.lasso.value,
      colours: ink.value,
    });
  });

  now(until, () => {
    cursor.layer.value; // its tokens are others where its grid is another
    doing.pointed.value = null;
  });
  perFrame(until, () => {
    const token = doing.pointed.value ?? doing.focused.value;
    if (token === null || doing.lassoed.value !== null) return tip.hide();
    tip.show(token, photo.value, places.value, [width.value, height.value]);
    if (doing.focused.value !== null) live.say(spoken(context, colours.value, token));
  });
  perFrame(until, () => {
    const here = target.value;
    const layer = cursor.layer.value;
    note(message, here === null ? source.whyNot("tokens", layer) || "this layer has no layout" : "");
    note(place, here === null ? "" : remarks(here));
  });
  const patches = computed(() => {
    const { rows, cols } = source.grid(cursor.layer.value);
    return rows * cols;
  });
  perFrame(until, () => {
    const keys =
      "Arrow keys go to the nearest token, Enter pins it, Space selects it, Escape clears; drag for a lasso.";
    canvas.setAttribute("aria-label", `${patches.value} patches as points. ${keys}`);
  });

  const hands: Hands = {
    canvas,
    doing,
    places: () => places.value,
    reach: () => size.value + MISS,
    select,
  };
  handlePointer(context, hands);
  handleKeys(context, hands);

  const notes = h("div", "vw-map-notes vw-faint");
  perFrame(until, () => note(notes, map.notes.value.join(" · ")));
  return h(
    "section",
    "vw-region vw-token-map",
    { "aria-label": "token map" },
    h(
      "header",
      "vw-head",
      {},
      h("h3", "vw-title", {}, "Token map"),
      place,
      stillComing(map, until),
      h("span", "vw-map-layer", {}, layerSlider(context)),
    ),
    mapBar(map, until),
    h(
      "div",
      "vw-map-body",
      {},
      stage,
      h(
        "div",
        "vw-map-side",
        {},
        h("div", "vw-map-colours", {}, mapLegend(context, colours, select), clusterTools(map, until)),
        alike.element,
        groupTools(context, map, select),
        notes,
      ),
    ),
    live.element,
  );
}

/** The points on their way to `target`, as a signal that changes with each frame while they move. */
function moving(until: AbortSignal, target: () => Fitted | null, tween: () => boolean) {
  const motion = new Motion();
  const places = signal(motion.places);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0;
  const step = (time: number) => {
    frame = motion.step(time) ? requestAnimationFrame(step) : 0;
    places.value = motion.places.slice();
  };
  now(until, () => {
    const to = target()?.places ?? new Float32Array(0);
    motion.aim(to, performance.now(), tween() && !still.matches ? MOVE_MS : 0);
    cancelAnimationFrame(frame);
    step(performance.now());
  });
  until.addEventListener("abort", () => cancelAnimationFrame(frame));
  return places;
}

function between(low: number, value: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

/** How the points are laid out, and what the picture does not show of it. */
function remarks({ method, outside }: Fitted & { method: string }): string {
  if (outside === 0) return method;
  return `${method} · ${outside} ${outside === 1 ? "token" : "tokens"} farther out, at the edge`;
}

/** A function that knows what it returned last, and for what. */
function remembering<Rest extends unknown[], Result>(compute: (...rest: Rest) => Result): typeof compute {
  let last: { rest: Rest; result: Result } | null = null;
  return (...rest) => {
    if (!last?.rest.every((value, i) => value === rest[i])) last = { rest, result: compute(...rest) };
    return last.result;
  };
}

/** Name of a token of the present layer. */
function label({ facts, source, cursor }: Context, token: number): string {
  const layer = cursor.layer.value;
  if (token < facts.prefix.length) return facts.prefix[token];
  const { rows, cols } = source.grid(layer);
  const cell = token - facts.prefix.length;
  const kind = rows === facts.rows && cols === facts.cols ? "patch" : "cell";
  return `${kind} ${cell} (row ${Math.floor(cell / cols)}, column ${cell % cols})`;
}

function spoken(context: Context, colours: Colouring, token: number): string {
  return [label(context, token), colours.read(token)].filter((text) => text !== "").join(", ");
}

/** Name, colour and pixels of the token under the pointer. */
function tooltip(context: Context, colours: { value: Colouring }, frame: Frame) {
  const { facts, source, cursor } = context;
  const name = h("strong", "");
  const value = h("span", "vw-tip-value");
  const canvas = h("canvas", "vw-map");
  const element = h("div", "vw-tip", { hidden: true, "aria-hidden": "true" }, name, value, canvas);
  let painted = "";
  return {
    element,
    hide() {
      element.hidden = true;
    },
    show(token: number, photo: ImageBitmap | null, places: Float32Array, [width, height]: [number, number]) {
      name.textContent = label(context, token);
      note(value, colours.value.read(token));
      const cell = token - facts.prefix.length;
      canvas.hidden = cell < 0 || photo === null;
      const { rows, cols } = source.grid(cursor.layer.value);
      const key = `${cell} ${rows} ${cols}`;
      if (!canvas.hidden && photo !== null && painted !== key) {
        painted = key;
        crop(canvas, photo, frame, rows, cols, cell);
      }
      element.hidden = false;
      const x = places[2 * token];
      const right = x + 16 + element.offsetWidth <= width;
      const left = right ? x + 16 : Math.max(0, x - 16 - element.offsetWidth);
      const top = between(0, places[2 * token + 1] - 24, Math.max(0, height - element.offsetHeight));
      element.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    },
  };
}

/** A patch with a bit of what is around it. */
function crop(
  canvas: HTMLCanvasElement,
  photo: ImageBitmap,
  { original, box }: Frame,
  rows: number,
  cols: number,
  cell: number,
): void {
  const on = sized(canvas, CROP, CROP);
  const scale = photo.width / original[0];
  const [left, top, right, bottom] = box;
  const wide = ((right - left) / cols) * scale;
  const high = ((bottom - top) / rows) * scale;
  const x = left * scale + (cell % cols) * wide;
  const y = top * scale + Math.floor(cell / cols) * high;
  const side = 2 * Math.max(wide, high);
  const zoom = CROP / side;
  on.clearRect(0, 0, CROP, CROP);
  on.imageSmoothingQuality = "high";
  on.drawImage(photo, x + wide / 2 - side / 2, y + high / 2 - side / 2, side, side, 0, 0, CROP, CROP);
  const frameOf = [
    CROP / 2 - (wide * zoom) / 2,
    CROP / 2 - (high * zoom) / 2,
    wide * zoom,
    high * zoom,
  ] as const;
  on.strokeStyle = "#111";
  on.lineWidth = 3;
  on.strokeRect(...frameOf);
  on.strokeStyle = "#fff";
  on.lineWidth = 1.5;
  on.strokeRect(...frameOf);
}
