import type { RenderProps } from "@anywidget/types";
import { openContext } from "../panels/context.ts";
import { type MapModel, openMap } from "../panels/map_state.ts";
import { showIn } from "../panels/root.ts";
import { tokenMap } from "../panels/token_map.ts";

export default {
  render: (props: RenderProps<MapModel>) =>
    showIn(props, async () => {
      const context = await openContext(props);
      return tokenMap(context, await openMap(props, context.facts));
    }),
};
