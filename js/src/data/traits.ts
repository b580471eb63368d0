// A model's traits as signals, and one way to change them.

import type { AnyModel } from "@anywidget/types";
import { batch, type ReadonlySignal, signal } from "@preact/signals-core";

export type Traits<State, Name extends keyof State> = { readonly [N in Name]: ReadonlySignal<State[N]> } & {
  /** Changes some of them, here at once and in the kernel when there is one. */
  change(to: Partial<Pick<State, Name>>): void;
};

/** Follows some traits of `model` until `until` aborts. */
export function openTraits<State extends object, Name extends keyof State & string>(
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
      batch(() => {
        for (const name of names) if (name in to) model.set(name, to[name] as never);
      });
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page goes on by itself.
      }
    },
  };
}
