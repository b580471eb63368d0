// The page's side of Groups: selections with a name and a colour.

import type { AnyModel } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";
import { nextColour } from "../math/palette.ts";

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

export function openGroups(model: AnyModel<GroupsState>, until: AbortSignal): Groups {
  const all = signal<readonly Group[]>(valid(model.get("entries")));
  const follow = () => {
    all.value = valid(model.get("entries"));
  };
  model.on("change:entries", follow);
  until.addEventListener("abort", () => model.off("change:entries", follow));
  const show = (groups: Group[]) => {
    model.set("entries", groups);
    try {
      model.save_changes();
    } catch {
      // Without a kernel the page goes on by itself.
    }
  };
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
