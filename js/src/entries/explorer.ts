import type { RenderProps } from "@anywidget/types";
import { openContext, type PanelState } from "../panels/context.ts";
import { explorer } from "../panels/explorer.ts";
import { openLook } from "../panels/look.ts";
import { type MapRegionState, mapRegion } from "../panels/map_region.ts";
import { openOutlined } from "../panels/outlined.ts";
import { showIn } from "../panels/root.ts";

type State = Record<string, unknown> & PanelState & MapRegionState & { groups: string };

export default {
  render: (props: RenderProps<State>) =>
    showIn(props, async () => {
      const context = await openContext(props as never);
      const outlined = await openOutlined(props as never, context);
      return explorer(context, openLook(props.model as never, props.signal), outlined, mapRegion(props));
    }),
};
