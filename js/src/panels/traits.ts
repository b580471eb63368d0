// A panel's own traits as signals, and one way to change them.

import type { AnyModel } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";
import type { PanelState } from "./context.ts";

export type Traits<State, Name extends keyof State> = { readonly [N in Name]: ReadonlySignal<State[N]> } & {
  /** Changes some of them, here at once and in the kernel when there is one. */
  change(to: Partial<Pick<State, Name>>): void;
};

export function openTraits<State extends PanelState, Name extends keyof State & string>(
  model: AnyModel<State>,
  names: readonly Name[],
  until: AbortSignal,
): Traits<State, Name> {
  const signals = Object.fromEntries(names.map((name) => [name, signal(model.get(name))]));
  for (const name of names) {
    const follow = () => {
      signals[name].value = model.get(name);
    };
    model.on(`change:${name}`, follow);
    until.addEventListener("abort", () => model.off(`change:${name}`, follow));
  }
  return {
    ...(signals as unknown as { [N in Name]: ReadonlySignal<State[N]> }),
    change(to) {
      for (const name of names) {
        if (name in to) model.set(name, to[name] as never);
      }
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page goes on by itself.
      }
    },
  };
}
