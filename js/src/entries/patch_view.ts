import type { RenderProps } from "@anywidget/types";
import { openContext, type PanelState } from "../panels/context.ts";
import { openLook } from "../panels/look.ts";
import { openOutlined } from "../panels/outlined.ts";
import { patchView } from "../panels/patch_view.ts";
import { showIn } from "../panels/root.ts";

type State = Record<string, unknown> & PanelState & { groups: string };

export default {
  render: (props: RenderProps<State>) =>
    showIn(props, async () => {
      const context = await openContext(props as never);
      return patchView(
        context,
        openLook(props.model as never, props.signal),
        await openOutlined(props as never, context),
      );
    }),
};
