// From a panel to an anywidget entry.

import type { AnyWidget, RenderProps } from "@anywidget/types";
import { type Context, openContext, type PanelState } from "./context.ts";
import { type Look, openLook } from "./look.ts";
import { showIn } from "./root.ts";

/** An anywidget that shows the element which `panel` builds. */
export function mount(panel: (context: Context, look: Look) => HTMLElement): AnyWidget<PanelState> {
  return {
    render: (props: RenderProps<PanelState>) =>
      showIn(props as RenderProps<PanelState & Record<string, unknown>>, async () =>
        panel(await openContext(props), openLook(props.model, props.signal)),
      ),
  };
}
