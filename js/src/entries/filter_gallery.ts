import type { RenderProps } from "@anywidget/types";
import { filterGallery, type GalleryState } from "../panels/filter_gallery.ts";
import { showIn } from "../panels/root.ts";

export default { render: (props: RenderProps<GalleryState>) => showIn(props, filterGallery) };
