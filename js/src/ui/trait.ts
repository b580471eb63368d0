// One trait of a model as a signal, and a way to set it that does without a kernel.

import type { AnyModel } from "@anywidget/types";
import { type ReadonlySignal, signal } from "@preact/signals-core";

/** Follows trait `name` of `model` until `until` aborts; the function sets it here and, where there is one, there. */
export function followTrait<State extends Record<string, unknown>, Name extends keyof State & string>(
  model: AnyModel<State>,
  name: Name,
  until: AbortSignal,
): [value: ReadonlySignal<State[Name]>, set: (value: State[Name]) => void] {
  const value = signal(model.get(name));
  const follow = () => {
    value.value = model.get(name);
  };
  model.on(`change:${name}`, follow);
  until.addEventListener("abort", () => model.off(`change:${name}`, follow));
  return [
    value,
    (to) => {
      model.set(name, to);
      try {
        model.save_changes();
      } catch {
        // Without a kernel the page goes on by itself.
      }
    },
  ];
}
