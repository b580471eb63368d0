// One number per token, or a picture: what the cursor asks to see. vitwidgets/analysis/overlay.py says the same in
// Python.
import { type Attention, attentionLine } from "./attention.ts";
import type { Grid } from "./frame.ts";
import { evidence } from "./lens.ts";
import { column } from "./neurons.ts";
import { highNorms } from "./norms.ts";
import { type RangeKind, range } from "./range.ts";
import { patchSums, type Sight, sightScale } from "./sight.ts";
import { cosineRow, norms } from "./similarity.ts";

export type Overlay =
  | "none"
  | "similarity"
  | "attention_from"
  | "attention_to"
  | "rollout"
  | "neuron"
  | "view"
  | "evidence"
  | "norm"
  | "colours";

/**
 * What to show: `token` is a position in the cursor's sequence (all prefix tokens, then the patches of the finest
 * grid); `head` null means the mean of all heads, `target` null the most probable class.
 */
export interface Spec {
  overlay: Overlay;
  layer: number;
  token: number | null;
  head: number | null;
  neuron: number;
  space: "residual" | "mlp";
  target: number | null;
}

/** What a layer may lack. */
export type Kind = "tokens" | "attention" | "mlp" | "rollout" | "view" | "evidence" | "colours";

/** One trace: its sizes, and arrays by layer (null: not arrived yet); N, D, heads and hidden may differ by layer. */
export interface Source {
  /** (N, D), layers 0..L. */
  tokens(layer: number): Float32Array | null;
  /** Layers 1..L, like all below; the names of the packets that have to arrive first where some are absent. */
  attention(layer: number): Attention | string[];
  /** (N, hidden). */
  mlp(layer: number): Float32Array | null;
  /** (N, N). */
  rollout(layer: number): Float32Array | null;
  /** A neuron's filter over the picture; the names of the packets that have to arrive first where some are absent. */
  sight(neuron: number): Sight | string[];
  /** (classes, D + 1): what the head reads of a token, the bias as a last column. */
  readout(): Float32Array | null;
  /** Principal components as colours, (rows * cols, 3) in 0..255. */
  colours(layer: number): Float32Array | null;
  /** What the head's norm adds to the variance. */
  eps: number;
  /** Names of the classes. */
  classes: readonly string[];
  /** The most probable class. */
  leading: number;
  /** Of the model input. */
  channels: number;
  /** Whether attention is no more than the mean of all heads, as if that were the only one. */
  meanOnly(layer: number): boolean;
  /** L. */
  layers: number;
  /** How many tokens the cursor can name. */
  count: number;
  /** How many of them are prefix tokens, which every layer has. */
  prefix: number;
  /** Where the patches of a layer lie. */
  grid(layer: number): Grid;
  /** D. */
  width(layer: number): number;
  /** 0 where there is no attention. */
  heads(layer: number): number;
  /** 0 where there is no MLP. */
  hidden(layer: number): number;
  /** The row of a layer that stands for a token of the cursor's. */
  row(layer: number, token: number): number;
  /** Name of what stands for a token of the cursor's. */
  tokenName(layer: number, token: number): string;
  /** Why a layer does not have something, as a clause for a reader; empty where it has. */
  whyNot(kind: Kind, layer: number): string;
}

/** Number of tokens of a layer. */
export function tokensOf(source: Source, layer: number): number {
  const { rows, cols } = source.grid(layer);
  return source.prefix + rows * cols;
}

/** `values` holds all N tokens; `low` and `high`, the ends of the colour scale, come from the patches alone. */
export interface Field {
  kind: "field";
  values: Float32Array;
  /** Of the patches, which are the last of the values. */
  grid: Grid;
  low: number;
  high: number;
  diverging: boolean;
  title: string;
  unit: string;
  /** Rows of the tokens that stand out: those of high norm, where norms are shown. */
  marked?: readonly number[];
}

/** What a neuron sees of the picture: its filter times every patch, patch k times `shares[k]` (null: as it is). */
export interface View {
  kind: "view";
  sight: Sight;
  shares: Float32Array | null;
  /** Of all N tokens: the sum over each patch; 0 for prefix tokens. */
  values: Float32Array;
  grid: Grid;
  /** Where the colours end, and the largest magnitude of a pixel. */
  limit: number;
  peak: number;
  title: string;
  unit: string;
}

/** One colour per patch. */
export interface Colours {
  kind: "colours";
  /** (rows * cols, 3) in 0..255. */
  rgb: Float32Array;
  grid: Grid;
  title: string;
  /** Where equal colours mean alike tokens; in all layers, if not said. */
  alike?: string;
}

/** What can be painted. */
export type Shown = Field | View | Colours;

export type Outcome =
  | Shown
  /** The names of the packets that have to arrive first. */
  | { kind: "loading"; needs: string[] }
  /** Why there is nothing to show; empty where nothing was asked for. */
  | { kind: "missing"; reason: string };

/** `outcome` if there is something to paint, otherwise null. */
export function shown(outcome: Outcome): Shown | null {
  return outcome.kind === "loading" || outcome.kind === "missing" ? null : outcome;
}

/**
 * What `spec` asks for, of one layer. The scale spans the patch tokens (a prefix token can be a hundred times
 * larger and would flatten the picture) and, for similarity, leaves out the pinned token, whose own value is 1:
 * - similarity: least to greatest
 * - attention, rollout: 0 to greatest, or symmetric about 0 where weights are negative
 * - neuron, evidence: symmetric about 0
 * - norm: least to greatest
 * A view without a pinned token is the global view: every patch's local view as it is.
 * Pass `out` (N) to have the values written there.
 */
export function overlayField(spec: Spec, source: Source, out?: Float32Array): Outcome {
  const reason = obstacle(spec, source);
  if (reason !== null) return { kind: "missing", reason };
  return compute(spec, source, out ?? new Float32Array(tokensOf(source, spec.layer)));
}

/** Why `spec` has no field, or null where it has one. */
function obstacle(spec: Spec, source: Source): string | null {
  const { overlay, layer, token, head, neuron, space, target } = spec;
  if (overlay === "none") return "";
  if (!within(layer, source.layers + 1)) return `there is no layer ${layer}: layers are 0..${source.layers}`;
  const kind = kindOf(spec);
  if (kind === "view" && space === "mlp") {
    return "an MLP neuron has no filter: choose a residual neuron to see its view";
  }
  if (layer === 0 && kind === "attention") return "layer 0 is the input: no attention yet";
  if (layer === 0 && kind === "mlp") return "layer 0 is the input: no MLP yet";
  // The global view, which no token is needed for, mixes nothing.
  const why = source.whyNot(kind, kind === "view" && token === null ? 0 : layer);
  if (why) return `no ${NAMES[kind]} at layer ${layer}: ${why}`;
  if (overlay === "neuron") {
    const mlp = space === "mlp";
    const neurons = mlp ? source.hidden(layer) : source.width(layer);
    if (within(neuron, neurons)) return null;
    return `layer ${layer} has no ${mlp ? "MLP " : ""}neuron ${neuron}: its neurons are 0..${neurons - 1}`;
  }
  if (overlay === "norm" || overlay === "colours") return null;
  if (overlay === "evidence") {
    const count = source.classes.length;
    if (target === null || within(target, count)) return null;
    return `there is no class ${target}: classes are 0..${count - 1}`;
  }
  if (overlay === "view") {
    const neurons = source.width(0); // a view is made of filters, of which there are as many
    if (!within(neuron, neurons)) {
      return `layer 0 has no neuron ${neuron}: its neurons are 0..${neurons - 1}`;
    }
    if (source.channels !== 1 && source.channels !== 3) {
      return `the model sees ${source.channels} channels: a view of 1 or 3 can be shown`;
    }
    if (token === null) return null;
    if (layer === 0 && within(token, source.prefix)) {
      return `at layer 0 ${source.tokenName(0, token)} holds nothing of the picture yet`;
    }
  }
  if (token === null) return "pin a token to see this";
  if (!within(token, source.count)) return `there is no token ${token}: tokens are 0..${source.count - 1}`;
  if (kind !== "attention" || head === null) return null;
  const heads = source.heads(layer);
  if (!within(head, heads)) return `layer ${layer} has no head ${head}: its heads are 0..${heads - 1}`;
  return source.meanOnly(layer) ? "single heads of this layer are too large to send" : null;
}

const NAMES: Record<Kind, string> = {
  tokens: "tokens",
  attention: "attention",
  mlp: "MLP neurons",
  rollout: "rollout",
  view: "view",
  evidence: "evidence",
  colours: "principal components",
};

/** What `spec` needs of a layer. */
function kindOf({ overlay, space }: Spec): Kind {
  if (overlay === "rollout" || overlay === "view" || overlay === "evidence" || overlay === "colours") {
    return overlay;
  }
  if (overlay === "attention_from" || overlay === "attention_to") return "attention";
  return overlay === "neuron" && space === "mlp" ? "mlp" : "tokens";
}

function compute(spec: Spec, source: Source, out: Float32Array): Outcome {
  const { overlay, layer, head, neuron, space } = spec;
  const N = tokensOf(source, layer);
  const field = (kind: RangeKind, title: string, unit: string, skip = -1): Field => {
    const ends = range(out, kind, source.prefix, skip);
    return { kind: "field", values: out, grid: source.grid(layer), ...ends, title, unit };
  };
  if (overlay === "neuron") {
    const mlp = space === "mlp";
    const values = mlp ? source.mlp(layer) : source.tokens(layer);
    if (values === null) return loading(`${mlp ? "mlp" : "tokens"}_${layer}`);
    column(values, N, mlp ? source.hidden(layer) : source.width(layer), neuron, out);
    return field("symmetric", mlp ? `MLP neuron ${neuron}` : `neuron ${neuron}`, "activation");
  }
  if (overlay === "view") return view(spec, source, out);
  if (overlay === "colours") {
    const rgb = source.colours(layer);
    if (rgb === null) return loading(`colours_${layer}`);
    return { kind: "colours", rgb, grid: source.grid(layer), title: "principal components" };
  }
  if (overlay === "evidence" || overlay === "norm") {
    const tokens = source.tokens(layer);
    const readout = overlay === "evidence" ? source.readout() : null;
    if (tokens === null) return loading(`tokens_${layer}`);
    if (overlay === "norm") {
      out.set(norms(tokens, N, source.width(layer)));
      return { ...field("span", "token norm", "norm"), marked: highNorms(out, source.prefix) };
    }
    if (readout === null) return loading("readout");
    const target = spec.target ?? source.leading;
    evidence(tokens, N, source.width(layer), readout, target, source.eps, out);
    return field("symmetric", `evidence for ${source.classes[target]}`, "logit");
  }
  const name = source.tokenName(layer, spec.token as number);
  const row = source.row(layer, spec.token as number);
  if (overlay === "similarity") {
    const tokens = source.tokens(layer);
    if (tokens === null) return loading(`tokens_${layer}`);
    cosineRow(tokens, N, source.width(layer), row, out);
    return field("span", `similarity to ${name}`, "cosine", row);
  }
  if (overlay === "rollout") {
    if (layer === 0) {
      out.fill(0)[row] = 1; // R_0 = I: nothing has been mixed yet
    } else {
      const rows = source.rollout(layer);
      if (rows === null) return loading(`rollout_${layer}`);
      out.set(rows.subarray(row * N, (row + 1) * N));
    }
    return field("weights", `rollout from ${name}`, "rollout");
  }
  const attention = source.attention(layer);
  if (Array.isArray(attention)) return { kind: "loading", needs: attention };
  const way = overlay === "attention_from" ? "from" : "to";
  const heads = source.meanOnly(layer) ? 1 : source.heads(layer);
  attentionLine(attention, way, heads, N, head, row, out);
  const which = head === null ? "head mean" : `head ${head}`;
  return field("weights", `attention ${way} ${name} · ${which}`, "attention");
}

/** The view of a neuron from the pinned token; without one, the global view. */
function view({ layer, token, neuron }: Spec, source: Source, out: Float32Array): Outcome {
  const sight = source.sight(neuron);
  const rows = layer > 0 && token !== null ? source.rollout(layer) : null;
  const absent = layer > 0 && token !== null && rows === null ? [`rollout_${layer}`] : [];
  if (Array.isArray(sight)) return { kind: "loading", needs: [...sight, ...absent] };
  if (absent.length > 0) return { kind: "loading", needs: absent };
  const N = source.count;
  const { prefix } = source;
  let shares: Float32Array | null = null;
  if (token !== null) {
    shares = rows
      ? rows.subarray(token * N + prefix, (token + 1) * N)
      : Float32Array.from({ length: N - prefix }, (_, k) => Number(k === token - prefix)); // R_0 = I
  }
  const from = token === null ? "" : ` from ${source.tokenName(layer, token)}`;
  return {
    kind: "view",
    sight,
    shares,
    values: patchSums(sight, shares, out.length === N ? out.fill(0) : new Float32Array(N), prefix),
    grid: source.grid(0),
    ...sightScale(sight, shares),
    title: `view of neuron ${neuron}${from}`,
    unit: "sum over the patch",
  };
}

function loading(name: string): Outcome {
  return { kind: "loading", needs: [name] };
}

function within(value: number, count: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < count;
}
