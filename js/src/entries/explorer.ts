import { explorer } from "../panels/explorer.ts";
import { mount } from "../panels/mount.ts";

export default mount(explorer);
