import { headGrid } from "../panels/head_grid.ts";
import { mount } from "../panels/mount.ts";

export default mount(headGrid);
