// All filters of the patch embedding, and the principal components that they are made of.

import type { RenderProps } from "@anywidget/types";
import { computed, signal } from "@preact/signals-core";
import { decode, type Packet } from "../data/codec.ts";
import { openCursor, type Point } from "../data/cursor.ts";
import { openTraits } from "../data/traits.ts";
import { ascending, descending, ordinal } from "../math/order.ts";
import { cosineRow } from "../math/similarity.ts";
import { viewColours, viewScale } from "../math/views.ts";
import { figure, h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import { type Atlas, tileGrid } from "../ui/tile_grid.ts";
import { liveText, note, watchTheme } from "./parts.ts";

type Sort = "number" | "variance" | "likeness" | "separation";
type Shown = "filters" | "components";

/** The traits of the gallery's model; vitwidgets/widgets/filter_gallery.py documents them. */
export interface GalleryState extends Record<string, unknown> {
  cursor: string;
  sort: Sort;
  view: Shown;
  bank: DataView;
  variance: DataView;
  scores: DataView;
  components: DataView;
  explained: DataView;
  about: string;
}

/** Pictures that can be shown: what they are made of, and one canvas with all of them. */
interface Bank {
  packet: Packet;
  atlas: Atlas;
}

const TILE = 32; // CSS pixels of a filter, about
const COMPONENT_TILE = 72;
const ENLARGED = 184;
const CHANNEL = 40;
const SORTS: [Sort, string][] = [
  ["number", "number"],
  ["variance", "variance"],
  ["likeness", "likeness"],
  ["separation", "separation"],
];

export async function filterGallery({
  model,
  host,
  signal: until,
}: RenderProps<GalleryState>): Promise<HTMLElement> {
  const cursor = openCursor(await host.getModel<Point>(model.get("cursor")), until);
  const filters = bankOf(decode(model.get("bank")));
  const components = bankOf(decode(model.get("components")));
  const shares = decode(model.get("variance")).values;
  const explained = decode(model.get("explained")).values;
  const scores = model.get("scores").byteLength > 0 ? decode(model.get("scores")).values : null;
  const count = filters.packet.shape[0];
  const size = filters.packet.values.length / count;

  const { sort, view, change } = openTraits(model, ["sort", "view"], until);
  const component = signal(0);
  const theme = watchTheme(until);
  const chosen = computed(() => {
    const neuron = cursor.neuron.value;
    return cursor.neuron_space.value === "residual" && neuron >= 0 && neuron < count ? neuron : null;
  });
  const likeness = computed(() =>
    chosen.value === null ? null : cosineRow(filters.packet.values, count, size, chosen.value),
  );
  const byVariance = descending(shares);
  const byScore = scores && descending(scores);
  const byNumber = ascending(count);
  const order = computed(() => {
    if (sort.value === "variance") return byVariance;
    if (sort.value === "separation" && byScore) return byScore;
    return sort.value === "likeness" && likeness.value ? descending(likeness.value) : byNumber;
  });
  const variancePlace = placesIn(byVariance);
  const scorePlace = byScore && placesIn(byScore);

  const choose = (tile: number) => {
    if (view.value === "components") {
      component.value = tile;
      return;
    }
    const shows = cursor.overlay.value as string;
    const follows = shows === "neuron" || shows === "view";
    cursor.move({ neuron: tile, neuron_space: "residual", ...(follows ? {} : { overlay: "neuron" }) });
  };
  const grid = tileGrid("filters", until, theme, choose);

  /** What is known of a picture, in short lines. */
  const facts = (tile: number): string[] => {
    if (view.value === "components") return [`explains ${percent(explained[tile])} of variance`];
    const lines = [`${percent(shares[tile])} of variance · ${ordinal(variancePlace[tile] + 1)}`];
    if (scores && scorePlace)
      lines.push(`separation ${figure(scores[tile])} · ${ordinal(scorePlace[tile] + 1)}`);
    if (sort.value === "likeness" && likeness.value && chosen.value !== tile) {
      lines.push(`cosine ${figure(likeness.value[tile])} to filter ${chosen.value}`);
    }
    return lines;
  };
  const nameOf = (tile: number) => (view.value === "components" ? `component ${tile + 1}` : `filter ${tile}`);

  const [, p, q, channels] = filters.packet.shape;
  const place = h("span", "vw-count");
  const shownChoice = segmented<Shown>(
    "what is shown",
    [
      ["filters", "Filters"],
      ["components", "Principal components"],
    ],
    (view) => change({ view }),
  );
  const sorts = scores ? SORTS : SORTS.filter(([name]) => name !== "separation");
  const sortChoice = segmented("sorted by", sorts, (sort) => change({ sort }));
  const box = numberBox(count, (tile) => choose(tile));
  const live = liveText();
  const tip = h("div", "vw-tip", { hidden: true, "aria-hidden": "true" });
  const controls = h(
    "div",
    "vw-bar",
    {},
    shownChoice.element,
    h("div", "vw-sorted", {}, h("span", "vw-faint", {}, "sorted by"), sortChoice.element),
    box.element,
  );
  const enlarged = card(until);

  perFrame(until, () => {
    const componentsShown = view.value === "components";
    shownChoice.show(view.value);
    sortChoice.show(sort.value);
    box.show(chosen.value);
    for (const element of controls.querySelectorAll<HTMLElement>(".vw-sorted, .vw-number-box")) {
      element.hidden = componentsShown;
    }
    const total = explained.reduce((sum, share) => sum + share, 0);
    place.textContent = componentsShown
      ? `the first ${explained.length} explain ${percent(total)} of the variance of ${count} filters`
      : `${count} of ${p} × ${q} × ${channels} · ${model.get("about")}`;
    const { atlas } = componentsShown ? components : filters;
    const zoom = Math.max(1, Math.round((componentsShown ? COMPONENT_TILE : TILE) / Math.max(p, q)));
    grid.show({
      atlas,
      width: q * zoom,
      height: p * zoom,
      order: componentsShown ? ascending(explained.length) : order.value,
      captions: componentsShown ? [...explained].map(percent) : null,
      chosen: componentsShown ? component.value : chosen.value,
    });
  });
  perFrame(until, () => {
    theme.value;
    const bank = view.value === "components" ? components : filters;
    const tile = view.value === "components" ? component.value : chosen.value;
    if (tile === null) enlarged.missing("the cursor is at an MLP neuron, which has no filter");
    else enlarged.show(bank.packet, tile, nameOf(tile), facts(tile));
  });
  perFrame(until, () => {
    const tile = grid.pointed.value ?? grid.focused.value;
    const spot = tile === null ? null : grid.spot(tile);
    tip.hidden = tile === null || spot === null;
    if (tile === null || spot === null) return;
    tip.replaceChildren(
      h("strong", "", {}, nameOf(tile)),
      ...facts(tile).map((line) => h("span", "", {}, line)),
    );
    const room = grid.element.clientWidth;
    const beside = spot.x + spot.width + 8;
    const left = beside + tip.offsetWidth <= room ? beside : spot.x - tip.offsetWidth - 8;
    const top = Math.min(spot.y, Math.max(0, grid.element.clientHeight - tip.offsetHeight));
    tip.style.transform = `translate(${Math.round(Math.max(0, left))}px, ${Math.round(Math.max(0, top))}px)`;
    if (grid.focused.value !== null) live.say([nameOf(tile), ...facts(tile)].join(", "));
  });

  return h(
    "section",
    "vw-region vw-filters",
    { "aria-label": "filters" },
    h("header", "vw-head", {}, h("h3", "vw-title", {}, "Filters of the patch embedding"), place),
    controls,
    h("div", "vw-filters-body", {}, h("div", "vw-tiles-box", {}, grid.element, tip), enlarged.element),
    live.element,
  );
}

/** All pictures of a packet (count, p, q, C) on one canvas, each on a scale of its own. */
function bankOf(packet: Packet): Bank {
  const [count, height, width, channels] = packet.shape;
  const columns = Math.ceil(Math.sqrt(count));
  const canvas = document.createElement("canvas");
  canvas.width = columns * width;
  canvas.height = Math.ceil(count / columns) * height;
  const on = canvas.getContext("2d");
  if (!on) throw new Error("this browser offers no 2D canvas");
  const image = on.createImageData(width, height);
  for (let tile = 0; tile < count; tile++) {
    const kernel = kernelOf(packet, tile);
    viewColours(kernel, channels, "signed", viewScale(kernel).limit, image.data);
    on.putImageData(image, (tile % columns) * width, Math.floor(tile / columns) * height);
  }
  return { packet, atlas: { canvas, columns, width, height } };
}

function kernelOf({ shape, values }: Packet, tile: number): Float32Array {
  const size = values.length / shape[0];
  return values.subarray(tile * size, (tile + 1) * size);
}

/** One picture enlarged, what is known of it, and its channels, each with its range. */
function card(until: AbortSignal) {
  const canvas = h("canvas", "vw-enlarged", { role: "img" });
  const title = h("strong", "");
  const lines = h("div", "vw-card-lines vw-faint");
  const channels = h("div", "vw-channels");
  const hint = h("p", "vw-hint");
  const element = h(
    "aside",
    "vw-filter-card",
    { "aria-label": "chosen filter" },
    canvas,
    title,
    lines,
    channels,
    hint,
  );
  until.addEventListener("abort", () => element.replaceChildren());
  return {
    element,
    missing(reason: string) {
      for (const part of [canvas, title, lines, channels]) part.hidden = true;
      note(hint, reason);
    },
    show(packet: Packet, tile: number, name: string, facts: readonly string[]) {
      const [, height, width, depth] = packet.shape;
      const kernel = kernelOf(packet, tile);
      const limit = viewScale(kernel).limit;
      for (const part of [canvas, title, lines, channels]) part.hidden = false;
      note(hint, "");
      paint(canvas, kernel, width, height, depth, limit, ENLARGED);
      canvas.setAttribute("aria-label", name);
      title.textContent = name;
      lines.replaceChildren(...facts.map((line) => h("div", "", {}, line)));
      channels.replaceChildren(
        ...Array.from({ length: depth }, (_, channel) => {
          const one = kernel.filter((_, index) => index % depth === channel);
          const small = h("canvas", "", { "aria-hidden": "true" });
          paint(small, one, width, height, 1, limit, CHANNEL);
          const range = `${figure(least(one))} … ${figure(greatest(one))}`;
          const label = depth === 3 ? ["red", "green", "blue"][channel] : "grey";
          return h(
            "div",
            "vw-channel",
            {},
            small,
            h("span", "", {}, label),
            h("span", "vw-number", {}, range),
          );
        }),
      );
    },
  };
}

/** A picture of `values` (height, width, depth), about `side` CSS pixels wide. */
function paint(
  canvas: HTMLCanvasElement,
  values: Float32Array,
  width: number,
  height: number,
  depth: number,
  limit: number,
  side: number,
): void {
  canvas.width = width;
  canvas.height = height;
  canvas.style.width = `${side}px`;
  canvas.style.height = `${Math.round((side * height) / width)}px`;
  const on = canvas.getContext("2d");
  if (!on) return;
  const image = on.createImageData(width, height);
  viewColours(values, depth, "signed", limit, image.data);
  on.putImageData(image, 0, 0);
}

/** A box that jumps to a number. */
function numberBox(count: number, jump: (tile: number) => void) {
  let shown: number | null = null;
  const input = h("input", "vw-input", {
    type: "number",
    min: 0,
    max: count - 1,
    step: 1,
    title: `0 to ${count - 1}`,
    "aria-label": "filter number",
    change: () => go(),
    keydown: (event) => {
      if ((event as KeyboardEvent).key === "Enter") go(); // not every browser calls that a change
    },
  });
  const go = () => {
    const tile = Number(input.value);
    const valid = input.value !== "" && Number.isInteger(tile) && tile >= 0 && tile < count;
    if (valid && tile !== shown) jump(tile);
    else if (!valid) input.value = shown === null ? "" : String(shown);
  };
  return {
    element: h("label", "vw-label vw-number-box", {}, "#", input),
    show(tile: number | null) {
      shown = tile;
      input.value = tile === null ? "" : String(tile);
    },
  };
}

/** Where each number stands in an order of all. */
function placesIn(order: readonly number[]): number[] {
  const places: number[] = [];
  order.forEach((tile, place) => {
    places[tile] = place;
  });
  return places;
}

function percent(share: number): string {
  return `${figure(100 * share)} %`;
}

const least = (values: Float32Array) => values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
const greatest = (values: Float32Array) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
