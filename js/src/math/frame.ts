// Where the patches lie in the original picture; vitwidgets/geometry.py says the same in Python.

/** Which rectangle of the original picture, in its pixels, the model input shows (it may reach outside). */
export interface Frame {
  /** Width, height. */
  original: readonly [number, number];
  /** Height, width. */
  input: readonly [number, number];
  /** Left, top, right, bottom. */
  box: readonly [number, number, number, number];
}

export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** How many cells a layer divides what the model saw into; its layers may differ in that. */
export interface Grid {
  readonly rows: number;
  readonly cols: number;
}

/** Index of the patch at a point of the original picture, or null where the model saw nothing. */
export function patchAt(x: number, y: number, frame: Frame, rows: number, cols: number): number | null {
  const [left, top, right, bottom] = frame.box;
  const col = Math.floor(((x - left) / (right - left)) * cols);
  const row = Math.floor(((y - top) / (bottom - top)) * rows);
  return row >= 0 && row < rows && col >= 0 && col < cols ? row * cols + col : null;
}

/** What patch `patch` covers of the original picture. */
export function patchBox(patch: number, frame: Frame, rows: number, cols: number): Box {
  const [left, top, right, bottom] = frame.box;
  const width = (right - left) / cols;
  const height = (bottom - top) / rows;
  const row = Math.floor(patch / cols);
  const col = patch % cols;
  return {
    left: left + col * width,
    top: top + row * height,
    right: left + (col + 1) * width,
    bottom: top + (row + 1) * height,
  };
}

/** The patches that a rectangle in the original picture touches, in order; its corners may come in any order. */
export function cellsInRect(rect: Box, frame: Frame, rows: number, cols: number): number[] {
  const [left, top, right, bottom] = frame.box;
  const across = span(rect.left, rect.right, left, right, cols);
  const down = span(rect.top, rect.bottom, top, bottom, rows);
  const patches: number[] = [];
  for (let row = down.first; row <= down.last; row++) {
    for (let col = across.first; col <= across.last; col++) patches.push(row * cols + col);
  }
  return patches;
}

/** First and last of the `n` cells between `low` and `high` that `a..b` touches; a point touches its own. */
function span(a: number, b: number, low: number, high: number, n: number): { first: number; last: number } {
  const from = ((Math.min(a, b) - low) / (high - low)) * n;
  const to = ((Math.max(a, b) - low) / (high - low)) * n;
  const first = Math.floor(from);
  return { first: Math.max(first, 0), last: Math.min(Math.max(Math.ceil(to) - 1, first), n - 1) };
}

export function sameGrid(a: Grid, b: Grid): boolean {
  return a.rows === b.rows && a.cols === b.cols;
}

/**
 * The cell of grid `to` that holds the centre of cell `cell` of grid `from`: the two cover the same picture.
 * vitwidgets/analysis/overlay.py says the same in Python.
 */
export function cellAt(cell: number, from: Grid, to: Grid): number {
  if (sameGrid(from, to)) return cell;
  const row = Math.floor(((2 * Math.floor(cell / from.cols) + 1) * to.rows) / (2 * from.rows));
  const col = Math.floor(((2 * (cell % from.cols) + 1) * to.cols) / (2 * from.cols));
  return row * to.cols + col;
}

/** A token's name for people: "cls", or "patch 78 (row 5, column 8)", counted from 0. */
export function tokenName(index: number, prefix: readonly string[], cols: number, kind = "patch"): string {
  if (index < prefix.length) return prefix[index];
  const cell = index - prefix.length;
  return `${kind} ${cell} (row ${Math.floor(cell / cols)}, column ${cell % cols})`;
}

/** The patches of the finest grid whose cell in another grid is chosen. */
export function patchesOf(chosen: (cell: number) => boolean, grid: Grid, finest: Grid): number[] {
  const patches = [];
  for (let patch = 0; patch < finest.rows * finest.cols; patch++) {
    if (chosen(cellAt(patch, finest, grid))) patches.push(patch);
  }
  return patches;
}
