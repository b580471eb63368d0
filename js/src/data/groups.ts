// The page's side of Groups: selections with a name and a colour.

import type { AnyModel } from "@anywidget/types";
import { computed, type ReadonlySignal } from "@preact/signals-core";
import { nextColour } from "../math/palette.ts";
import { openTraits } from "./traits.ts";

/** vitwidgets/groups.py documents it. */
export interface Group {
  name: string;
  colour: string;
  patches: number[];
}

export interface GroupsState {
  entries: Group[];
}

export interface Groups {
  all: ReadonlySignal<readonly Group[]>;
  /** Keeps patches under a name; a group that has it already gets them. */
  keep(name: string, patches: readonly number[]): void;
  remove(name: string): void;
}

/** The groups that there are. */
export function followGroups(
  model: AnyModel<GroupsState>,
  until: AbortSignal,
): ReadonlySignal<readonly Group[]> {
  const { entries } = openTraits(model, ["entries"], until);
  return computed(() => valid(entries.value));
}

/** The groups, and ways to change them. */
export function openGroups(model: AnyModel<GroupsState>, until: AbortSignal): Groups {
  const { change } = openTraits(model, ["entries"], until);
  const all = followGroups(model, until);
  const show = (groups: Group[]) => change({ entries: groups });
  return {
    all,
    keep(name, patches) {
      const trimmed = name.trim();
      const others = all.value.map(({ colour }) => colour);
      const kept = { name: trimmed, colour: nextColour(others), patches: [...patches] };
      const known = all.value.some((group) => group.name === trimmed);
      show(
        known
          ? all.value.map((group) => (group.name === trimmed ? { ...group, patches: kept.patches } : group))
          : [...all.value, kept],
      );
    },
    remove: (name) => show(all.value.filter((group) => group.name !== name)),
  };
}

/** What of a model's state is groups: it may come from a file that somebody edited. */
function valid(entries: unknown): Group[] {
  return Array.isArray(entries) ? entries.filter(isGroup) : [];
}

function isGroup(entry: unknown): entry is Group {
  const { name, colour, patches } = (entry ?? {}) as Partial<Group>;
  return (
    typeof name === "string" &&
    typeof colour === "string" &&
    /^#[0-9a-f]{6}$/i.test(colour) &&
    Array.isArray(patches) &&
    patches.every((patch) => Number.isSafeInteger(patch) && patch >= 0)
  );
}
