// From a panel to an anywidget entry.

import type { AnyWidget, RenderProps } from "@anywidget/types";
import { h } from "../ui/dom.ts";
import { type Context, openContext, type PanelState } from "./context.ts";
import { type Look, openLook } from "./look.ts";

/** An anywidget that shows the element which `panel` builds. */
export function mount(panel: (context: Context, look: Look) => HTMLElement): AnyWidget<PanelState> {
  return {
    async render(props: RenderProps<PanelState>) {
      const root = h("div", "vw-root");
      // JupyterLab would otherwise take single keys as its own commands; it looks at what has the focus alone.
      root.addEventListener("focusin", ({ target }) => {
        (target as Element).setAttribute("data-lm-suppress-shortcuts", "true");
      });
      props.el.append(root);
      // JupyterLab keeps the element of a closed view: let it be an empty one.
      props.signal.addEventListener("abort", () => root.remove());
      try {
        const context = await openContext(props);
        if (props.signal.aborted) return;
        root.append(panel(context, openLook(props.model, props.signal)));
      } catch (error) {
        root.append(h("p", "vw-error", {}, `vitwidgets could not open this panel: ${error}`));
      }
    },
  };
}
