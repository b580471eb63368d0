import type { RenderProps } from "@anywidget/types";
import { showIn } from "../panels/root.ts";
import { type ViewGridState, viewGrid } from "../panels/view_grid.ts";

export default { render: (props: RenderProps<ViewGridState>) => showIn(props, viewGrid) };
