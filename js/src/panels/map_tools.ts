// What stands beside a token map: how it is coloured, clusters, selecting what is alike, groups.

import { computed, effect, type ReadonlySignal, signal } from "@preact/signals-core";
import { patchesOf } from "../math/frame.ts";
import { paintRamp } from "../ui/canvas.ts";
import { figure, h } from "../ui/dom.ts";
import { perFrame } from "../ui/effects.ts";
import { segmented } from "../ui/segmented.ts";
import type { Context } from "./context.ts";
import type { Colouring } from "./map_colours.ts";
import type { ClusterMethod, ColorBy, MapState } from "./map_state.ts";
import { classChip, note } from "./parts.ts";

const COLOURS: readonly (readonly [ColorBy, string])[] = [
  ["group", "Group"],
  ["cluster", "Cluster"],
  ["similarity", "Similarity"],
  ["attention", "Attention"],
  ["norm", "Norm"],
  ["image", "Image"],
];

/** What colours mean, where points lie, and how they are drawn. */
export function mapBar(map: MapState, until: AbortSignal): HTMLElement {
  const colours = segmented("colour by", COLOURS, (color_by) => map.change({ color_by }));
  const methods = segmented(
    "layout",
    [
      ["tsne", "t-SNE"],
      ["pca", "PCA"],
    ],
    (projection) => map.change({ projection }),
  );
  const box = (label: string, title: string, name: "pixels" | "tween") => {
    const input = h("input", "", { type: "checkbox", change: () => map.change({ [name]: input.checked }) });
    perFrame(until, () => {
      input.checked = map[name].value;
    });
    return h("label", "vw-label", { title }, input, label);
  };
  perFrame(until, () => {
    colours.show(map.color_by.value);
    methods.show(map.projection.value);
  });
  return h(
    "div",
    "vw-bar",
    {},
    colours.element,
    methods.element,
    h(
      "div",
      "vw-look",
      {},
      box("Patches", "draw each patch's pixels instead of a dot", "pixels"),
      box("Motion", "move points from layer to layer", "tween"),
    ),
  );
}

/** How far t-SNE is, and a button that stops it or lets it go on; nothing where it is done. */
export function stillComing(map: MapState, until: AbortSignal): HTMLElement {
  const told = h("span", "vw-hint", { role: "status" });
  const stop = h("button", "vw-button vw-stop", {
    type: "button",
    click: () => map.change({ computing: !map.computing.value }),
  });
  const element = h("span", "vw-coming", {}, told, stop);
  perFrame(until, () => {
    const { done, of } = map.laidOut.value;
    const share = map.progress.value;
    element.hidden = map.projection.value === "pca" || share >= 1;
    told.textContent = `t-SNE: ${done} of ${of} layers · ${Math.round(100 * share)} %`;
    stop.textContent = map.computing.value ? "Stop" : "Go on";
    stop.title = map.computing.value ? "the layers that are done stay" : "the present layer first";
  });
  return element;
}

/** The layer, as a slider. */
export function layerSlider({ facts, cursor, until }: Context): HTMLElement {
  const input = h("input", "vw-range vw-layer-range", {
    type: "range",
    min: 0,
    max: facts.layers,
    step: 1,
    "aria-label": "layer",
    input: () => cursor.move({ layer: Number(input.value) }),
  });
  const place = h("span", "vw-number");
  perFrame(until, () => {
    input.value = String(cursor.layer.value);
    place.textContent = `${cursor.layer.value} of ${facts.layers}`;
  });
  return h("label", "vw-label", {}, "Layer", input, place);
}

/** What the colours mean: a scale, or classes to pick from. */
export function mapLegend(
  { until }: Context,
  colours: ReadonlySignal<Colouring>,
  select: (patches: readonly number[]) => void,
): HTMLElement {
  const title = h("div", "vw-legend-title");
  const ramp = h("canvas", "vw-ramp", { "aria-hidden": "true" });
  const low = h("span", "vw-number");
  const high = h("span", "vw-number");
  const unit = h("span", "vw-faint");
  const scale = h("div", "vw-scale", {}, low, ramp, high, unit);
  const hint = h("div", "vw-hint");
  const classes = h("div", "vw-classes-of-map");
  let painted = "";
  perFrame(until, () => {
    const { title: text, scale: ends, classes: found, missing } = colours.value;
    note(title, missing === "" ? text : "");
    note(hint, missing);
    scale.hidden = ends === null;
    if (ends !== null) {
      low.textContent = figure(ends.low);
      high.textContent = figure(ends.high);
      unit.textContent = ends.unit;
      const kind = ends.diverging ? "diverging" : "sequential";
      if (painted !== kind) paintRamp(ramp, kind);
      painted = kind;
    }
    classes.hidden = found.length === 0;
    if (found.length + classes.childElementCount === 0) return;
    classes.replaceChildren(...found.map((one) => classChip(one, select)));
  });
  return h("div", "vw-map-legend", {}, title, scale, hint, classes);
}

const METHODS: readonly (readonly [ClusterMethod, string])[] = [
  ["kmeans", "k-means"],
  ["agglomerative", "agglomerative"],
  ["dbscan", "DBSCAN"],
];

/** How clusters are found; shown while colours mean clusters. */
export function clusterTools(map: MapState, until: AbortSignal): HTMLElement {
  const method = h("select", "vw-select", {
    "aria-label": "clustering method",
    change: () => map.change({ cluster_method: method.value as ClusterMethod }),
  });
  for (const [value, label] of METHODS) method.append(h("option", "", { value }, label));
  const count = h("input", "vw-input vw-small-input", {
    type: "number",
    min: 1,
    max: 64,
    step: 1,
    change: () => ask(),
    keydown: (event) => {
      if ((event as KeyboardEvent).key === "Enter") ask(); // JupyterLab keeps the change from happening
    },
  });
  const ask = () => {
    const wanted = Math.round(Number(count.value));
    if (wanted >= 1 && wanted <= 64) map.change({ cluster_count: wanted });
    else count.value = String(map.cluster_count.value);
  };
  const counted = h("label", "vw-label", {}, "clusters", count);
  const eps = h("input", "vw-range", {
    type: "range",
    min: 0.3,
    max: 1.5,
    step: 0.05,
    change: () => map.change({ cluster_eps: Number(eps.value) }),
    input: () => {
      epsText.textContent = figure(Number(eps.value));
    },
  });
  const epsText = h("span", "vw-number");
  const reaching = h(
    "label",
    "vw-label",
    { title: "in units of the mean distance of consecutive patches" },
    "eps",
    eps,
    epsText,
  );
  const hint = h("span", "vw-hint");
  const element = h("div", "vw-tools", {}, method, counted, reaching, hint);
  perFrame(until, () => {
    element.hidden = map.color_by.value !== "cluster";
    const dbscan = map.cluster_method.value === "dbscan";
    method.value = map.cluster_method.value;
    counted.hidden = dbscan;
    reaching.hidden = !dbscan;
    count.value = String(map.cluster_count.value);
    eps.value = String(map.cluster_eps.value);
    epsText.textContent = figure(map.cluster_eps.value);
    note(hint, map.cluster_note.value);
  });
  return element;
}

export interface Alike {
  element: HTMLElement;
  /** Leaves the selection to the reader. */
  stop(): void;
}

const START = 0.7; // of the threshold

/** Selects, as long as it is switched on, the patches most like the pinned token at this layer. */
export function alikeTools(context: Context): Alike {
  const { facts, source, cursor, until } = context;
  const on = signal(false);
  const threshold = signal(START);
  const alike = computed(() => {
    const layer = cursor.layer.value;
    const outcome = context.field({ overlay: "similarity", layer });
    if (outcome.kind !== "field") return null;
    const { values } = outcome;
    return patchesOf(
      (cell) => values[facts.prefix.length + cell] >= threshold.value,
      source.grid(layer),
      facts,
    );
  });
  const range = h("input", "vw-range", {
    type: "range",
    min: 0,
    max: 1,
    step: 0.005,
    "aria-label": "least cosine",
    input: () => {
      threshold.value = Number(range.value);
      on.value = true;
    },
  });
  const check = h("input", "", {
    type: "checkbox",
    change: () => {
      on.value = check.checked;
    },
  });
  const told = h("span", "vw-number vw-faint", { role: "status" });
  perFrame(until, () => {
    check.checked = on.value;
    range.value = String(threshold.value);
    const count = alike.value?.length;
    told.textContent =
      count === undefined
        ? "pin a token first"
        : `cosine ≥ ${threshold.value.toFixed(2)} · ${count} ${count === 1 ? "patch" : "patches"}`;
  });
  until.addEventListener(
    "abort",
    effect(() => {
      const found = alike.value;
      if (!on.value || found === null) return;
      const now = cursor.patches.peek();
      if (found.length !== now.length || found.some((patch, i) => patch !== now[i])) {
        cursor.move({ patches: found });
      }
    }),
    { once: true },
  );
  const label = h("label", "vw-label", {}, check, "Select what is like the pinned token");
  return {
    element: h("div", "vw-tools vw-alike", {}, label, range, told),
    stop() {
      on.value = false;
    },
  };
}

/** The groups, and a box to keep the selection as one more. */
export function groupTools(
  { facts, cursor, until }: Context,
  { groups }: MapState,
  select: (patches: readonly number[]) => void,
): HTMLElement {
  const list = h("ul", "vw-group-list");
  const name = h("input", "vw-input vw-group-name", {
    type: "text",
    maxlength: 40,
    placeholder: "name",
    "aria-label": "name of the group",
    keydown: (event) => {
      if ((event as KeyboardEvent).key !== "Enter") return; // JupyterLab keeps a form from being sent
      event.preventDefault();
      keepThem();
    },
  });
  const keepThem = () => {
    const wanted = name.value.trim() || unused(groups.all.value.map((group) => group.name));
    groups.keep(wanted, cursor.patches.value);
    name.value = "";
  };
  const keep = h("button", "vw-button", { type: "button", click: keepThem });
  const form = h("div", "vw-keep", {}, name, keep);
  const clear = h("button", "vw-button", { type: "button", click: () => select([]) }, "Clear");
  form.append(clear);
  const hint = h("p", "vw-hint vw-group-hint");
  perFrame(until, () => {
    const count = cursor.patches.value.length;
    form.hidden = count === 0;
    keep.textContent = `Keep ${count} ${count === 1 ? "patch" : "patches"}`;
    note(hint, count === 0 && groups.all.value.length === 0 ? "Select patches to keep them as a group." : "");
  });
  perFrame(until, () => {
    const patches = facts.rows * facts.cols;
    list.replaceChildren(
      ...groups.all.value.map((group) => {
        const chip = classChip({ ...group, patches: group.patches.filter((p) => p < patches) }, select);
        const remove = h(
          "button",
          "vw-remove",
          {
            type: "button",
            title: `forget the group ${group.name}`,
            "aria-label": `forget the group ${group.name}`,
            click: () => groups.remove(group.name),
          },
          "✕",
        );
        return h("li", "", {}, chip, remove);
      }),
    );
    list.hidden = groups.all.value.length === 0;
  });
  return h(
    "section",
    "vw-token-groups",
    { "aria-label": "groups" },
    h("h4", "vw-title", {}, "Groups"),
    list,
    hint,
    form,
  );
}

/** "group 1", or the first such name that is not taken. */
function unused(names: readonly string[]): string {
  let number = 1;
  while (names.includes(`group ${number}`)) number += 1;
  return `group ${number}`;
}
