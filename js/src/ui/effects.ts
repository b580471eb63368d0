// When drawing happens: at once for the picture under the pointer, with the next frame for all else.

import { effect } from "@preact/signals-core";

/** Runs `draw` now and again whenever a signal that it read changes, until `until` aborts. */
export function now(until: AbortSignal, draw: () => void): void {
  if (until.aborted) return;
  until.addEventListener("abort", effect(draw), { once: true });
}

/** Like `now`, but gathers changes and redraws once a frame. The first run is immediate. */
export function perFrame(until: AbortSignal, draw: () => void): void {
  if (until.aborted) return;
  let frame = 0;
  let stop = () => {};
  const run = () => {
    frame = 0;
    stop();
    let drawn = false;
    stop = effect(() => {
      if (!drawn) {
        drawn = true;
        try {
          draw();
        } catch (error) {
          reportError(error); // to the console; an effect that throws would draw no later change either
        }
      } else if (frame === 0) {
        frame = requestAnimationFrame(run);
      }
    });
  };
  run();
  until.addEventListener("abort", () => {
    stop();
    cancelAnimationFrame(frame);
  });
}
