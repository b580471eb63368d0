// What the kernel says of a trace besides its arrays; written by vitwidgets/widgets/store.py.

export interface Facts {
  model: string;
  rows: number;
  cols: number;
  /** Names of the prefix tokens, which come before the patches. */
  prefix: string[];
  layers: number;
  width: number;
  heads: number;
  head_dim: number;
  hidden: number;
  /** Width and height of the original picture, in pixels. */
  original: [number, number];
  /** Height and width of the model input, in pixels. */
  input: [number, number];
  /** Left, top, right, bottom of what the model saw, in pixels of the original picture. */
  box: [number, number, number, number];
  /** The most probable classes, best first, with their probabilities: null for one that is not a number. */
  top: [string, number | null][];
  /** Why there are no predictions, where there are none. */
  no_top: string | null;
  /** What a reader should know about this trace, non-finite activations for one. */
  notes: string[];
  /** Every packet there is, in the order in which the page fetches them. */
  packets: string[];
}

/** A token as the cursor names it: a patch index, a prefix token's name, or nothing. */
export type Token = number | string | null;

/** The row of a token in a layer (prefix tokens first), or null where there is no such token. */
export function rowOf(token: Token, facts: Facts): number | null {
  if (typeof token === "string") {
    const row = facts.prefix.indexOf(token);
    return row < 0 ? null : row;
  }
  if (token === null || token < 0 || token >= facts.rows * facts.cols) return null;
  return facts.prefix.length + token;
}

/** The token in a row of a layer. */
export function tokenAt(row: number, facts: Facts): number | string {
  return row < facts.prefix.length ? facts.prefix[row] : row - facts.prefix.length;
}
