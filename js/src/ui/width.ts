// How wide an element is, as a signal.

import { type ReadonlySignal, signal } from "@preact/signals-core";

/** The content width of `element` in whole CSS pixels; 0 until it is laid out. */
export function watchWidth(element: HTMLElement, until: AbortSignal): ReadonlySignal<number> {
  const width = signal(0);
  const observer = new ResizeObserver(([entry]) => {
    width.value = Math.floor(entry.contentRect.width);
  });
  observer.observe(element);
  until.addEventListener("abort", () => observer.disconnect());
  return width;
}
