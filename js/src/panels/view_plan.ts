// Rows and columns of a view grid.

import type { Cursor } from "../data/cursor.ts";
import type { Token } from "../data/facts.ts";

/** Rows and columns; written by vitwidgets/widgets/view_grid.py. */
export interface Plan {
  tokens: Exclude<Token, null>[];
  names: string[];
  neurons: number[];
  layers: number[];
  rollout: string;
}

/** A row of the grid, and a cell in it. */
export interface Row {
  token: number;
  neuron: number;
}
export interface Cell extends Row {
  layer: number;
}

export function sameCell(a: Cell, b: Cell): boolean {
  return a.token === b.token && a.neuron === b.neuron && a.layer === b.layer;
}

/** The cell of the cursor's layer, token and neuron; null where the grid has none. */
export function cellAtCursor({ tokens, neurons, layers }: Plan, cursor: Cursor): Cell | null {
  const token = cursor.token.value === null ? -1 : tokens.indexOf(cursor.token.value);
  const neuron = cursor.neuron_space.value === "residual" ? neurons.indexOf(cursor.neuron.value) : -1;
  const layer = layers.indexOf(cursor.layer.value);
  return token < 0 || neuron < 0 || layer < 0 ? null : { token, neuron, layer };
}

export function rowsOf(tokens: number, neurons: number): Row[] {
  return Array.from({ length: tokens * neurons }, (_, row) => ({
    token: Math.floor(row / neurons),
    neuron: row % neurons,
  }));
}

export function shortName(token: Exclude<Token, null>): string {
  return typeof token === "string" ? token : `patch ${token}`;
}
