// What the kernel says of a trace besides its arrays; written by vitwidgets/widgets/store.py.

import type { Kind } from "../math/overlay.ts";

export interface Facts {
  model: string;
  /** Of the finest patch grid, in which the cursor counts. */
  rows: number;
  cols: number;
  /** Names of the prefix tokens, which come before the patches. */
  prefix: string[];
  layers: number;
  /** Rows and columns of each layer, 0..layers; like the three lists that follow. */
  grids: [number, number][];
  widths: number[];
  /** 0 where there is no attention. */
  heads: number[];
  /** 0 where there is no MLP. */
  hidden: number[];
  /** Why a layer lacks something, by layer. */
  missing: Partial<Record<Kind, Record<string, string>>>;
  /** Width and height of the original picture, in pixels. */
  original: [number, number];
  /** Height and width of the model input, in pixels. */
  input: [number, number];
  /** Left, top, right, bottom of what the model saw, in pixels of the original picture. */
  box: [number, number, number, number];
  /** The most probable classes, best first, with their probabilities: null for one that is not a number. */
  top: [string, number | null][];
  /** The numbers of these classes. */
  leading: number[];
  /** The names of all classes. */
  classes: string[];
  /** Height and width of a patch in the model input, in pixels. */
  patch: [number, number];
  /** Of the model input. */
  channels: number;
  /** What the head's norm adds to the variance. */
  eps: number;
  /** Why there are no predictions, where there are none. */
  no_top: string | null;
  /** What a reader should know about this trace, non-finite activations for one. */
  notes: string[];
  /** The packets that every page fetches, in this order. */
  packets: string[];
  /** Those that are fetched only when something shows them. */
  on_demand: string[];
}

/** A token as the cursor names it: a patch index, a prefix token's name, or nothing. */
export type Token = number | string | null;

/** The place of a token in the cursor's sequence (prefix tokens, then patches); null where there is no such token. */
export function placeOf(token: Token, facts: Facts): number | null {
  if (typeof token === "string") {
    const place = facts.prefix.indexOf(token);
    return place < 0 ? null : place;
  }
  if (token === null || token < 0 || token >= facts.rows * facts.cols) return null;
  return facts.prefix.length + token;
}
