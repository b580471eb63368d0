// Elements in one expression; text is always text, so a label with HTML in it stays a label.

type Attributes = Record<string, string | number | boolean | EventListener | undefined>;

/**
 * An element with a class, attributes and children. An attribute whose value is a function listens to
 * that event; true sets an empty attribute; false and undefined set none.
 */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

type Listeners = { [Name in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Name]) => void };

/** Listens to events of an element, each by its name. */
export function listen(element: HTMLElement, listeners: Listeners): void {
  for (const [name, listener] of Object.entries(listeners)) {
    element.addEventListener(name, listener as EventListener);
  }
}

/** A number as a reader wants it: three significant digits, a true minus sign. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 0.001 || size >= 100000)
      ? value.toExponential(1)
      : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
  return text.replaceAll("-", "−");
}

/** A size as `figure` has it, but with two digits where it is small: views divide a picture among many patches. */
export function magnitude(value: number): string {
  return value < 0.1 && value >= 1e-5 ? value.toPrecision(2) : figure(value);
}

let ids = 0;

/** An id that no other element of the page has. */
export function freshId(): string {
  ids += 1;
  return `vw-${ids}-${Math.random().toString(36).slice(2, 8)}`;
}
