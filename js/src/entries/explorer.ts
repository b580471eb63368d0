import type { AnyModel, RenderProps } from "@anywidget/types";
import { type GroupsState, openGroups } from "../data/groups.ts";
import { openContext, type PanelState } from "../panels/context.ts";
import { explorer } from "../panels/explorer.ts";
import { openLook } from "../panels/look.ts";
import { type MapRegionState, mapRegion } from "../panels/map_region.ts";
import { showIn } from "../panels/root.ts";

type State = Record<string, unknown> & PanelState & MapRegionState & { groups: string };

export default {
  render: (props: RenderProps<State>) =>
    showIn(props, async () => {
      const context = await openContext(props as unknown as RenderProps<PanelState>);
      const model = await props.host.getModel<GroupsState>(props.model.get("groups"));
      const groups = openGroups(model as AnyModel<GroupsState>, props.signal);
      return explorer(context, openLook(props.model as never, props.signal), groups, mapRegion(props));
    }),
};
