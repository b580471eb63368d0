// One number per token: what the cursor asks to see. vitwidgets/analysis/overlay.py says the same in Python.
import { attentionColumn, attentionRow } from "./attention.ts";
import { column } from "./neurons.ts";
import { type RangeKind, range } from "./range.ts";
import { cosineRow } from "./similarity.ts";

export type Overlay = "none" | "similarity" | "attention_from" | "attention_to" | "rollout" | "neuron";

/** What to show: `token` is a position in the sequence; `head` null means the mean of all heads. */
export interface Spec {
  overlay: Overlay;
  layer: number;
  token: number | null;
  head: number | null;
  neuron: number;
  space: "residual" | "mlp";
}

/** One trace: arrays by layer (null: not arrived yet) and its sizes. */
export interface Source {
  /** (N, D), layers 0..L. */
  tokens(layer: number): Float32Array | null;
  /** (heads, N, headDim), the scale multiplied in; layers 1..L, like all below. */
  q(layer: number): Float32Array | null;
  /** (heads, N, headDim). */
  k(layer: number): Float32Array | null;
  /** Log-sum-exp of each row of scores, (heads, N). */
  lse(layer: number): Float32Array | null;
  /** (N, hidden). */
  mlp(layer: number): Float32Array | null;
  /** (N, N). */
  rollout(layer: number): Float32Array | null;
  /** N, prefix tokens included. */
  count: number;
  /** How many of them are prefix tokens. */
  prefix: number;
  /** D. */
  width: number;
  heads: number;
  headDim: number;
  hidden: number;
  /** L. */
  layers: number;
  tokenName(index: number): string;
}

/** `values` holds all N tokens; `low` and `high`, the ends of the colour scale, come from the patches alone. */
export interface Field {
  kind: "field";
  values: Float32Array;
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
 * - attention, rollout: 0 to greatest
 * - neuron: symmetric about 0
 * Pass `out` (N) to have the values written there.
 */
export function overlayField(
  spec: Spec,
  source: Source,
  out: Float32Array = new Float32Array(source.count),
): Outcome {
  const reason = obstacle(spec, source);
  return reason === null ? compute(spec, source, out) : { kind: "missing", reason };
}

/** Why `spec` has no field, or null where it has one. */
function obstacle(spec: Spec, source: Source): string | null {
  const { overlay, layer, token, head, neuron, space } = spec;
  if (overlay === "none") return "";
  if (!within(layer, source.layers + 1)) return `there is no layer ${layer}: layers are 0..${source.layers}`;
  const attention = overlay === "attention_from" || overlay === "attention_to";
  if (layer === 0 && attention) return "layer 0 is the input: no attention yet";
  if (overlay === "neuron") {
    const mlp = space === "mlp";
    if (layer === 0 && mlp) return "layer 0 is the input: no MLP yet";
    const neurons = mlp ? source.hidden : source.width;
    if (within(neuron, neurons)) return null;
    return `there is no ${mlp ? "MLP " : ""}neuron ${neuron}: neurons are 0..${neurons - 1}`;
  }
  if (token === null) return "pin a token to see this";
  if (!within(token, source.count)) return `there is no token ${token}: tokens are 0..${source.count - 1}`;
  if (attention && head !== null && !within(head, source.heads)) {
    return `there is no head ${head}: heads are 0..${source.heads - 1}`;
  }
  return null;
}

function compute(spec: Spec, source: Source, out: Float32Array): Outcome {
  const { overlay, layer, head, neuron, space } = spec;
  const { count: N, prefix } = source;
  if (overlay === "neuron") {
    const mlp = space === "mlp";
    const values = mlp ? source.mlp(layer) : source.tokens(layer);
    if (values === null) return loading(layer, mlp ? { mlp: values } : { tokens: values });
    column(values, N, mlp ? source.hidden : source.width, neuron, out);
    return field(out, "symmetric", mlp ? `MLP neuron ${neuron}` : `neuron ${neuron}`, "activation", prefix);
  }
  const token = spec.token as number;
  const name = source.tokenName(token);
  if (overlay === "similarity") {
    const tokens = source.tokens(layer);
    if (tokens === null) return loading(layer, { tokens });
    cosineRow(tokens, N, source.width, token, out);
    return field(out, "span", `similarity to ${name}`, "cosine", prefix, token);
  }
  if (overlay === "rollout") {
    if (layer === 0) {
      out.fill(0)[token] = 1; // R_0 = I: nothing has been mixed yet
    } else {
      const rows = source.rollout(layer);
      if (rows === null) return loading(layer, { rollout: rows });
      out.set(rows.subarray(token * N, (token + 1) * N));
    }
    return field(out, "positive", `rollout from ${name}`, "rollout", prefix);
  }
  const q = source.q(layer);
  const k = source.k(layer);
  const lse = source.lse(layer);
  if (q === null || k === null || lse === null) return loading(layer, { q, k, lse });
  const from = overlay === "attention_from";
  (from ? attentionRow : attentionColumn)(q, k, lse, source.heads, N, source.headDim, head, token, out);
  const which = head === null ? "head mean" : `head ${head}`;
  return field(out, "positive", `attention ${from ? "from" : "to"} ${name} · ${which}`, "attention", prefix);
}

function field(
  values: Float32Array,
  kind: RangeKind,
  title: string,
  unit: string,
  prefix: number,
  skip = -1,
): Field {
  return { kind: "field", values, ...range(values, kind, prefix, skip), title, unit };
}

function loading(layer: number, arrays: Record<string, Float32Array | null>): Outcome {
  const absent = Object.keys(arrays).filter((name) => arrays[name] === null);
  return { kind: "loading", needs: absent.map((name) => `${name}_${layer}`) };
}

function within(value: number, count: number): boolean {
  return Number.isInteger(value) && value >= 0 && value < count;
}
