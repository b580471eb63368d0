// Long work in short pieces, so that the page stays quick.

const SLICE_MS = 12; // a frame takes 16

/** Does jobs in order, a few a frame; new ones take the place of those that wait. */
export function slices(until: AbortSignal): (jobs: readonly (() => void)[]) => void {
  let waiting: readonly (() => void)[] = [];
  let frame = 0;
  const run = () => {
    frame = 0;
    const end = performance.now() + SLICE_MS;
    let done = 0;
    while (done < waiting.length && performance.now() < end) waiting[done++]();
    waiting = waiting.slice(done);
    if (waiting.length > 0) frame = requestAnimationFrame(run);
  };
  until.addEventListener("abort", () => cancelAnimationFrame(frame));
  return (jobs) => {
    waiting = jobs;
    cancelAnimationFrame(frame);
    run();
  };
}
