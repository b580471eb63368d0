// One number per token: what the cursor asks to see. vitwidgets/analysis/overlay.py says the same in Python.
import { type Attention, attentionLine } from "./attention.ts";
import type { Grid } from "./frame.ts";
import { column } from "./neurons.ts";
import { type RangeKind, range } from "./range.ts";
import { cosineRow } from "./similarity.ts";

export type Overlay = "none" | "similarity" | "attention_from" | "attention_to" | "rollout" | "neuron";

/**
 * What to show: `token` is a position in the cursor's sequence (all prefix tokens, then the patches of the finest
 * grid); `head` null means the mean of all heads.
 */
export interface Spec {
  overlay: Overlay;
  layer: number;
  token: number | null;
  head: number | null;
  neuron: number;
  space: "residual" | "mlp";
}

/** What a layer may lack. */
export type Kind = "tokens" | "attention" | "mlp" | "rollout";

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
}

export type Outcome =
  | Field
  /** The names of the packets that have to arrive first. */
  | { kind: "loading"; needs: string[] }
  /** Why there is nothing to show; empty where nothing was asked for. */
  | { kind: "missing"; reason: string };

/**
 * What `spec` asks for, of one layer. The scale spans the patch tokens (a prefix token can be a hundred times
 * larger and would flatten the picture) and, for similarity, leaves out the pinned token, whose own value is 1:
 * - similarity: least to greatest
 * - attention, rollout: 0 to greatest, or symmetric about 0 where weights are negative
 * - neuron: symmetric about 0
 * Pass `out` (N) to have the values written there.
 */
export function overlayField(spec: Spec, source: Source, out?: Float32Array): Outcome {
  const reason = obstacle(spec, source);
  if (reason !== null) return { kind: "missing", reason };
  return compute(spec, source, out ?? new Float32Array(tokensOf(source, spec.layer)));
}

/** Why `spec` has no field, or null where it has one. */
function obstacle(spec: Spec, source: Source): string | null {
  const { overlay, layer, token, head, neuron, space } = spec;
  if (overlay === "none") return "";
  if (!within(layer, source.layers + 1)) return `there is no layer ${layer}: layers are 0..${source.layers}`;
  const kind = kindOf(spec);
  if (layer === 0 && kind === "attention") return "layer 0 is the input: no attention yet";
  if (layer === 0 && kind === "mlp") return "layer 0 is the input: no MLP yet";
  const why = source.whyNot(kind, layer);
  if (why) return `no ${NAMES[kind]} at layer ${layer}: ${why}`;
  if (overlay === "neuron") {
    const mlp = space === "mlp";
    const neurons = mlp ? source.hidden(layer) : source.width(layer);
    if (within(neuron, neurons)) return null;
    return `layer ${layer} has no ${mlp ? "MLP " : ""}neuron ${neuron}: its neurons are 0..${neurons - 1}`;
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
};

/** What `spec` needs of a layer. */
function kindOf({ overlay, space }: Spec): Kind {
  if (overlay === "rollout") return "rollout";
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

function loading(name: string): Outcome {
  return { kind: "loading", needs: [name] };
}

function within(value: number, count: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < count;
}
