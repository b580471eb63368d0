import { layerStrip } from "../panels/layer_strip.ts";
import { mount } from "../panels/mount.ts";

export default mount(layerStrip);
