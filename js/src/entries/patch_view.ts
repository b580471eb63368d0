import { mount } from "../panels/mount.ts";
import { patchView } from "../panels/patch_view.ts";

export default mount(patchView);
