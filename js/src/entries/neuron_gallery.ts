import { mount } from "../panels/mount.ts";
import { neuronGallery } from "../panels/neuron_gallery.ts";

export default mount(neuronGallery);
