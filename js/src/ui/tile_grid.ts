// Hundreds of small pictures in a box that scrolls: one canvas, as large as the box, draws those in sight.
// One tab stop, arrow keys within, Enter or click to choose.

import { type ReadonlySignal, type Signal, signal } from "@preact/signals-core";
import { sized } from "./canvas.ts";
import { h, listen } from "./dom.ts";
import { now } from "./effects.ts";
import { watchWidth } from "./width.ts";

/** Pictures of one size on one canvas, in rows. */
export interface Atlas {
  canvas: HTMLCanvasElement;
  columns: number;
  /** Of one picture, in pixels. */
  width: number;
  height: number;
}

/** What the grid shows. */
export interface Tiles {
  atlas: Atlas;
  /** Size of one tile on the page, in CSS pixels. */
  width: number;
  height: number;
  /** Which pictures, in which order. */
  order: readonly number[];
  /** What stands under each, by the picture's number; nothing where there is no list. */
  captions: readonly string[] | null;
  chosen: number | null;
}

/** A tile under the pointer or the keyboard's mark, and where it lies in the grid's element. */
export interface Spot {
  tile: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface TileGrid {
  element: HTMLElement;
  /** The tile under the pointer. */
  pointed: Signal<number | null>;
  /** The tile that the keyboard is at. */
  focused: Signal<number | null>;
  /** Where a tile lies in the element; null where it is not in the grid. */
  spot(tile: number): Spot | null;
  show(tiles: Tiles): void;
}

const GAP = 4;
const CAPTION = 17;
const EDGE = 3; // room for the frame of the outermost tiles

/** A grid that calls `choose` with the number of the chosen tile. */
export function tileGrid(
  name: string,
  until: AbortSignal,
  theme: ReadonlySignal<number>,
  choose: (tile: number) => void,
): TileGrid {
  const canvas = h("canvas", "vw-tiles-canvas", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "picture grid",
    "aria-label": `${name}. Arrow keys move, Enter chooses.`,
  });
  const field = h("div", "vw-tiles-field", {}, canvas);
  const element = h("div", "vw-tiles", {}, field);
  const width = watchWidth(field, until);
  const height = signal(0);
  const scrolled = signal(0);
  const shown = signal<Tiles | null>(null);
  const pointed = signal<number | null>(null);
  const focused = signal<number | null>(null);

  const observer = new ResizeObserver(() => {
    height.value = element.clientHeight;
  });
  observer.observe(element);
  until.addEventListener("abort", () => observer.disconnect());
  element.addEventListener("scroll", () => {
    scrolled.value = element.scrollTop;
  });

  const columnsOf = (tiles: Tiles) => {
    const room = Math.max(width.value - 2 * EDGE, tiles.width);
    return Math.floor((room + GAP) / (tiles.width + GAP));
  };
  /** Left edges spread over the whole width; rows follow each other closely. */
  const placeOf = (tiles: Tiles, index: number): [x: number, y: number] => {
    const columns = columnsOf(tiles);
    const room = width.value - 2 * EDGE - tiles.width;
    const spread = columns > 1 && tiles.order.length >= columns ? room / (columns - 1) : tiles.width + GAP;
    return [
      EDGE + Math.round((index % columns) * spread),
      EDGE + Math.floor(index / columns) * pitchOf(tiles),
    ];
  };
  const pitchOf = (tiles: Tiles) => tiles.height + GAP + (tiles.captions ? CAPTION : 0);

  now(until, () => {
    const tiles = shown.value;
    if (tiles === null || width.value === 0) return;
    const rows = Math.ceil(tiles.order.length / columnsOf(tiles));
    const tall = rows * pitchOf(tiles) - GAP + 2 * EDGE;
    field.style.height = `${tall}px`;
    const inSight = Math.min(height.value || tall, tall);
    draw(tiles, inSight);
  });

  function draw(tiles: Tiles, inSight: number): void {
    theme.value;
    const style = getComputedStyle(canvas);
    const colour = (variable: string) => style.getPropertyValue(variable);
    const on = sized(canvas, width.value, inSight);
    on.clearRect(0, 0, width.value, inSight);
    on.imageSmoothingEnabled = false;
    on.font = `11px ${style.fontFamily}`;
    on.textAlign = "center";
    on.fillStyle = colour("--vw-faint");
    const { atlas, order, captions } = tiles;
    const columns = columnsOf(tiles);
    const pitch = pitchOf(tiles);
    const first = Math.max(0, Math.floor((scrolled.value - EDGE) / pitch)) * columns;
    const last = Math.min(order.length, Math.ceil((scrolled.value + inSight) / pitch) * columns);
    const outlines: [tile: number, x: number, y: number][] = [];
    for (let index = first; index < last; index++) {
      const tile = order[index];
      const [x, top] = placeOf(tiles, index);
      const y = top - scrolled.value;
      const left = (tile % atlas.columns) * atlas.width;
      const above = Math.floor(tile / atlas.columns) * atlas.height;
      on.drawImage(atlas.canvas, left, above, atlas.width, atlas.height, x, y, tiles.width, tiles.height);
      if (captions) on.fillText(captions[tile], x + tiles.width / 2, y + tiles.height + 13);
      if (tile === tiles.chosen || tile === pointed.value || tile === focused.value) {
        outlines.push([tile, x, y]);
      }
    }
    for (const [tile, x, y] of outlines) {
      const chosen = tile === tiles.chosen;
      on.strokeStyle = chosen ? colour("--vw-accent") : colour("--vw-text");
      on.lineWidth = chosen ? 3 : 1.5;
      on.setLineDash(tile === focused.value ? [4, 3] : []);
      on.strokeRect(x - 1, y - 1, tiles.width + 2, tiles.height + 2);
    }
    on.setLineDash([]);
  }

  const tileUnder = (event: PointerEvent | MouseEvent): number | null => {
    const tiles = shown.value;
    if (tiles === null) return null;
    const bounds = canvas.getBoundingClientRect();
    const x = event.clientX - bounds.left;
    const y = event.clientY - bounds.top + scrolled.value;
    const columns = columnsOf(tiles);
    const row = Math.floor((y - EDGE) / pitchOf(tiles));
    for (let index = row * columns; index < Math.min((row + 1) * columns, tiles.order.length); index++) {
      const [left] = placeOf(tiles, index);
      if (index >= 0 && x >= left - 1 && x < left + tiles.width + 1) return tiles.order[index];
    }
    return null;
  };
  const bringIntoSight = (tiles: Tiles, tile: number) => {
    const index = tiles.order.indexOf(tile);
    if (index < 0) return;
    const [, y] = placeOf(tiles, index);
    const bottom = y + pitchOf(tiles);
    if (y - EDGE < element.scrollTop) element.scrollTop = y - EDGE;
    else if (bottom > element.scrollTop + element.clientHeight) {
      element.scrollTop = bottom - element.clientHeight;
    }
    scrolled.value = element.scrollTop;
  };

  listen(canvas, {
    pointermove(event) {
      pointed.value = tileUnder(event);
    },
    pointerleave() {
      pointed.value = null;
    },
    click(event) {
      focused.value = null;
      const tile = tileUnder(event);
      if (tile !== null) choose(tile);
    },
    focus() {
      const tiles = shown.value;
      if (tiles === null || !canvas.matches(":focus-visible")) return;
      focused.value ??= tiles.chosen ?? tiles.order[0];
      bringIntoSight(tiles, focused.value);
    },
    blur() {
      focused.value = null;
    },
    keydown(event) {
      const tiles = shown.value;
      if (tiles === null || tiles.order.length === 0) return;
      const at = Math.max(0, tiles.order.indexOf(focused.value ?? tiles.chosen ?? tiles.order[0]));
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        choose(tiles.order[at]);
        return;
      }
      const columns = columnsOf(tiles);
      const page = columns * Math.max(1, Math.floor(element.clientHeight / pitchOf(tiles)) - 1);
      const step: number | undefined = {
        ArrowRight: 1,
        ArrowLeft: -1,
        ArrowDown: columns,
        ArrowUp: -columns,
        PageDown: page,
        PageUp: -page,
        Home: -at,
        End: tiles.order.length - 1 - at,
      }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const target = at + step;
      const held = event.key.startsWith("Page")
        ? Math.min(Math.max(target, 0), tiles.order.length - 1)
        : target >= 0 && target < tiles.order.length
          ? target
          : at;
      focused.value = tiles.order[held];
      bringIntoSight(tiles, focused.value);
    },
  });

  return {
    element,
    pointed,
    focused,
    spot(tile) {
      const tiles = shown.value;
      const index = tiles?.order.indexOf(tile) ?? -1;
      if (tiles === null || index < 0) return null;
      const [x, y] = placeOf(tiles, index);
      return { tile, x, y: y - scrolled.value, width: tiles.width, height: tiles.height };
    },
    show(tiles) {
      const before = shown.peek();
      shown.value = tiles;
      const moved = before?.chosen !== tiles.chosen || before?.order !== tiles.order;
      if (moved && tiles.chosen !== null && width.peek() > 0) bringIntoSight(tiles, tiles.chosen);
    },
  };
}
