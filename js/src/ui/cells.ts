// A grid of small maps to choose from: one tab stop, arrow keys within, Enter or click to choose.

import { h } from "./dom.ts";

/** One map with its caption. */
export interface Cell {
  key: string;
  label: string;
  note?: string;
  /** What a screen reader says. */
  spoken: string;
  chosen: boolean;
  paint(canvas: HTMLCanvasElement): void;
}

export interface CellGrid {
  element: HTMLElement;
  show(cells: readonly Cell[]): void;
}

interface Slot {
  button: HTMLButtonElement;
  canvas: HTMLCanvasElement;
  label: HTMLElement;
  note: HTMLElement;
  key: string;
}

/** A grid that calls `choose` with the key of the chosen cell. Elements are reused from picture to picture. */
export function cellGrid(name: string, choose: (key: string) => void): CellGrid {
  const element = h("div", "vw-cells", {
    role: "listbox",
    "aria-label": name,
    "aria-orientation": "horizontal",
  });
  const slots: Slot[] = [];
  let stop = 0;

  const focus = (index: number) => {
    const next = Math.max(0, Math.min(slots.length - 1, index));
    slots[stop]?.button.setAttribute("tabindex", "-1");
    stop = next;
    slots[stop]?.button.setAttribute("tabindex", "0");
    slots[stop]?.button.focus();
  };
  const columns = () => {
    const top = slots[0]?.button.offsetTop;
    const row = slots.findIndex((slot) => slot.button.offsetTop !== top);
    return row < 0 ? slots.length : row;
  };
  element.addEventListener("keydown", (event) => {
    const moves: Record<string, () => number> = {
      ArrowRight: () => stop + 1,
      ArrowLeft: () => stop - 1,
      ArrowDown: () => stop + columns(),
      ArrowUp: () => stop - columns(),
      Home: () => 0,
      End: () => slots.length - 1,
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const target = move();
    if (target >= 0 && target < slots.length) focus(target);
  });

  const grow = (): Slot => {
    const canvas = h("canvas", "vw-map", { "aria-hidden": "true" });
    const label = h("span", "vw-cell-label");
    const note = h("span", "vw-cell-note");
    const button = h("button", "vw-cell", { type: "button", role: "option" }, canvas, label, note);
    const slot = { button, canvas, label, note, key: "" };
    button.addEventListener("click", () => {
      stop = slots.indexOf(slot);
      choose(slot.key);
    });
    slots.push(slot);
    element.append(button);
    return slot;
  };

  return {
    element,
    show(cells) {
      while (slots.length > cells.length) slots.pop()?.button.remove();
      stop = Math.min(stop, Math.max(0, cells.length - 1));
      cells.forEach((cell, index) => {
        const slot = slots[index] ?? grow();
        slot.key = cell.key;
        slot.label.textContent = cell.label;
        slot.note.textContent = cell.note ?? "";
        slot.button.setAttribute("aria-label", cell.spoken);
        slot.button.setAttribute("aria-selected", String(cell.chosen));
        slot.button.setAttribute("tabindex", index === stop ? "0" : "-1");
        slot.button.dataset.key = cell.key;
        cell.paint(slot.canvas);
      });
    },
  };
}
