// What is outlined on an image: the clusters that the token map beside it shows, or else the panel's groups.

import type { AnyModel, RenderProps } from "@anywidget/types";
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { followGroups, type GroupsState } from "../data/groups.ts";
import { shownClusters } from "./clusters.ts";
import type { Context, PanelState } from "./context.ts";
import type { Outlined } from "./stage.ts";

export async function openOutlined(
  props: RenderProps<PanelState & { groups: string }>,
  context: Context,
): Promise<ReadonlySignal<Outlined>> {
  const model = await props.host.getModel<GroupsState>(props.model.get("groups"));
  const groups = followGroups(model as AnyModel<GroupsState>, props.signal);
  const clusters = shownClusters(props as never, context);
  const { rows, cols } = context.facts;
  const known = computed(() =>
    groups.value.map((one) => ({ ...one, patches: one.patches.filter((patch) => patch < rows * cols) })),
  );
  return computed(() =>
    clusters.value.length > 0
      ? { classes: clusters.value, tinted: true }
      : { classes: known.value, tinted: false },
  );
}
