"""Frames of the token map with 1,370 tokens, in headless Chromium: scrubbing the layer, and in a lasso.

A scrub sets the layer's slider every 90 ms, so that each move of the points (180 ms) is cut short by the
next. The lasso is a spiral of pointer events, one a frame, which selects more and more points as it grows.
``frame`` is the time from one animation frame to the next, ``work`` what the page's callbacks take of it.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from page import open_lab, quantile, save

SETUP = """
import numpy as np, time, torch
from PIL import Image
from timm.models import VisionTransformer
import vitwidgets as vw
from vitwidgets.widgets.token_map import TokenMap

torch.manual_seed(0)
model = VisionTransformer(img_size=518, patch_size=14, embed_dim=192, depth={depth}, num_heads=3).eval()
photo = np.random.default_rng(0).integers(0, 255, (518, 518, 3), np.uint8)
trace = vw.Inspector(model).trace(Image.fromarray(photo))
start = time.perf_counter()
token_map = TokenMap(trace, layer=3, color_by="similarity")
opened = time.perf_counter() - start
del model
"""

# Acts before every frame for some seconds; returns the times between frames and the work in each, in ms.
MEASURE = """
async ({ kind, seconds }) => {
  const slider = document.querySelector(".vw-layer-range");
  const canvas = document.querySelector(".vw-points");
  canvas.setPointerCapture = () => {};
  const bounds = canvas.getBoundingClientRect();
  const point = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: bounds.left + x, clientY: bounds.top + y, bubbles: true, pointerId: 1, button: 0,
  }));
  const native = window.requestAnimationFrame;
  let work = 0;
  const timed = act => { const start = performance.now(); act(); work += performance.now() - start; };
  window.requestAnimationFrame = callback => native.call(window, at => timed(() => callback(at)));
  const [x, y] = [bounds.width / 2, bounds.height / 2];
  let turn = 0, moved = -1000;
  const acts = {
    scrub(now) {
      if (now - moved < 90) return;
      moved = now;
      turn += 1;
      const last = Number(slider.max), at = turn % (2 * last);
      slider.value = String(at > last ? 2 * last - at : at);
      slider.dispatchEvent(new Event("input"));
    },
    lasso() {
      turn += 1;
      const radius = Math.min(10 + turn / 2, 0.9 * y);
      point("pointermove", x + radius * Math.cos(turn / 12), y + radius * Math.sin(turn / 12));
    },
  };
  if (kind === "lasso") point("pointerdown", x, y);
  const frames = [], works = [];
  await new Promise(done => {
    let first = 0, last = 0;
    const step = now => {
      if (last > 0) { frames.push(now - last); works.push(work); }
      last = now;
      first ||= now;
      work = 0;
      if (now - first > 1000 * seconds) return done();
      timed(() => acts[kind](now));
      native.call(window, step);
    };
    native.call(window, step);
  });
  if (kind === "lasso") point("pointerup", x, y);
  window.requestAnimationFrame = native;
  return { frames, works };
}
"""


def measure(depth: int, seconds: float) -> list[dict[str, Any]]:
    """Frame times, dots and patches, scrubbing and lasso; milliseconds."""
    results = []
    with open_lab(width=1280, height=900) as lab:
        lab.new(SETUP.replace("{depth}", str(depth)), "token_map")
        lab.run_all(timeout=300)
        start = time.perf_counter()
        lab.execute("token_map.wait()")
        ready = time.perf_counter() - start
        lab.page.wait_for_timeout(4000)
        for pixels in (False, True):
            lab.execute(f"token_map.pixels = {pixels}")
            for kind in ("scrub", "lasso"):
                lab.execute("token_map.patches = []")
                lab.page.evaluate(MEASURE, {"kind": kind, "seconds": 1})  # warm
                times = lab.page.evaluate(MEASURE, {"kind": kind, "seconds": seconds})
                frames, works = times["frames"], times["works"]
                results.append(
                    {
                        "what": kind,
                        "drawn": "patches" if pixels else "dots",
                        "tokens": lab.value("trace.patch_grid.tokens"),
                        "layers": depth + 1,
                        "fps": 1000 * len(frames) / sum(frames),
                        "frame": {"median": quantile(frames, 0.5), "p95": quantile(frames, 0.95)},
                        "work": {"median": quantile(works, 0.5), "p95": quantile(works, 0.95)},
                        "opened_s": lab.value("opened"),
                        "tsne_s": ready,
                    }
                )
    return results


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    results = measure(arguments.depth, arguments.seconds)
    print(f"{'ms, ' + str(results[0]['tokens']) + ' tokens':20}{'frames/s':>10}", end="")
    print(f"{'frame':>9}{'p95':>9}{'work':>9}{'p95':>9}")
    for r in results:
        name = f"{r['what']}, {r['drawn']}"
        print(f"{name:20}{r['fps']:10.1f}{r['frame']['median']:9.1f}{r['frame']['p95']:9.1f}", end="")
        print(f"{r['work']['median']:9.1f}{r['work']['p95']:9.1f}")
    print(f"TokenMap(trace): {results[0]['opened_s']:.2f} s; all layouts {results[0]['tsne_s']:.0f} s later")
    save("token_map", results)


if __name__ == "__main__":
    main()
