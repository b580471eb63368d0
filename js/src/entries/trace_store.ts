import type { InitializeProps } from "@anywidget/types";
import { openStore } from "../data/store.ts";

export default {
  initialize: ({ model, signal }: InitializeProps) => openStore(model, signal),
};
