// The element that every panel lives in.

import type { RenderProps } from "@anywidget/types";
import { h } from "../ui/dom.ts";

/** Shows what `build` makes of a view, or why it could not. */
export async function showIn<State extends Record<string, unknown>>(
  props: RenderProps<State>,
  build: (props: RenderProps<State>) => HTMLElement | Promise<HTMLElement>,
): Promise<void> {
  const root = h("div", "vw-root");
  // JupyterLab would otherwise take single keys as its own commands; it looks at what has the focus alone.
  root.addEventListener("focusin", ({ target }) => {
    (target as Element).setAttribute("data-lm-suppress-shortcuts", "true");
  });
  props.el.append(root);
  // JupyterLab keeps the element of a closed view: let it be an empty one.
  props.signal.addEventListener("abort", () => root.remove());
  try {
    const panel = await build(props);
    if (!props.signal.aborted) root.append(panel);
  } catch (error) {
    root.append(h("p", "vw-error", {}, `vitwidgets could not open this panel: ${error}`));
  }
}
