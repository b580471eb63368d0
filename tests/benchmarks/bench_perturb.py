"""From a painted patch to the updated picture, and a rate curve, each beside the plain passes that it needs.

In Chromium: from the ``pointerup`` of a stroke until the right side shows the image of another run, the page
idle before. In the kernel, in the same run and taking turns: one plain forward pass of the same model on the
same input. The rate curve: 3 modes x 5 rates x 4 seeds, against plain passes over the distinct inputs in
batches of the same size; salience is the model's own rollout, and computing it counts. Both on one thread, in
turns, the plain passes before and after each curve; the ratio is that of CPU time, which other work on the
machine leaves alone, and the clock's beside it.
"""

from __future__ import annotations

import argparse
from typing import Any

from page import open_lab, quantile, save

SETUP = """
import time, numpy as np, timm, torch
from PIL import Image
import vitwidgets as vw
from vitwidgets import charts, perturb
from vitwidgets.widgets.perturb_lab import PerturbLab

torch.manual_seed(0)
torch.set_num_threads(1)
model = timm.create_model({name!r}).eval()
noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
inspector = vw.Inspector(model)
lab = PerturbLab(inspector, noise)

@torch.no_grad()
def plain(batches):
    start = np.array([time.process_time(), time.perf_counter()])
    for batch in batches:
        inspector.model(batch)
    return [time.process_time(), time.perf_counter()] - start

def forward():
    return 1000 * plain([lab.input.pixels[None]])[1]

def curve():
    start = np.array([time.process_time(), time.perf_counter()])
    chart = charts.RateCurve(inspector, noise, batch=8)
    chart.wait()
    whole = [time.process_time(), time.perf_counter()] - start
    chart.close()
    return whole

def passes():
    plan = perturb.rate_plan(lab.input, rates=(0, 0.25, 0.5, 0.75, 1), seeds=range(4), salience=lab.salience)
    inputs = [perturb.occlude(lab.input, one.patches).pixels for one in plan]
    batches = [torch.stack(inputs[start:start + 8]) for start in range(0, len(inputs), 8)]
    return plain(batches), len(inputs)

def ratio():
    before, whole, (after, count) = passes()[0], curve(), passes()
    return 2 * whole / (before + after), count
"""

# Resolves with the time from the end of a stroke to the next image on the right, drawn.
PAINT = """
async ([x, y]) => {
  const [canvas] = document.querySelectorAll(".vw-lab .vw-image");
  canvas.setPointerCapture = () => {};
  const place = document.querySelectorAll(".vw-lab .vw-side-body")[1];
  const bounds = canvas.getBoundingClientRect();
  const at = (dx) => ({ clientX: bounds.left + x * bounds.width + dx, clientY: bounds.top + y * bounds.height,
                        bubbles: true, pointerId: 1, button: 0, isPrimary: true });
  const shown = new Promise(done => {
    const observer = new MutationObserver(() => {
      observer.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
    });
    observer.observe(place, { childList: true });
  });
  canvas.dispatchEvent(new PointerEvent("pointerdown", at(0)));
  canvas.dispatchEvent(new PointerEvent("pointermove", at(6)));
  const start = performance.now();
  canvas.dispatchEvent(new PointerEvent("pointerup", at(6)));
  return await shown - start;
}
"""


def measure(name: str, strokes: int, curves: int) -> dict[str, Any]:
    """Paint `strokes` patches and run `curves` curves; milliseconds and seconds."""
    with open_lab(height=1400) as lab:
        lab.new(SETUP.replace("{name!r}", repr(name)), "lab")
        lab.run_all(timeout=500)
        lab.page.locator(".vw-lab .vw-side + .vw-side .vw-image").wait_for(timeout=60_000)
        lab.page.wait_for_timeout(3000)
        lab.value("forward()")
        paints, forwards = [], []
        for stroke in range(strokes + 1):
            where = [0.1 + 0.8 * ((stroke * 5) % 14) / 14, 0.1 + 0.8 * ((stroke * 3) % 14) / 14]
            paints.append(lab.page.evaluate(PAINT, where))
            lab.page.wait_for_timeout(400)
            forwards.append(lab.value("forward()"))
        lab.value("ratio()[1]")
        ratios, distinct = [], 0
        for _ in range(curves):
            ratio, distinct = lab.value("ratio()")
            ratios.append(ratio)
    paint, forward = quantile(paints[1:], 0.5), quantile(forwards[1:], 0.5)
    return {
        "model": name,
        "paint": {"median": paint, "p95": quantile(paints[1:], 0.95)},
        "forward": forward,
        "target": 1.3 * forward + 150,
        "curve": {
            "distinct": distinct,
            "ratio": quantile([cpu for cpu, _ in ratios], 0.5),
            "clock": quantile([clock for _, clock in ratios], 0.5),
            "ratios": ratios,
            "target": 1.15,
        },
    }


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strokes", type=int, default=20)
    parser.add_argument("--curves", type=int, default=5)
    parser.add_argument("--model", default="vit_base_patch16_224")
    arguments = parser.parse_args()
    r = measure(arguments.model, arguments.strokes, arguments.curves)
    print(f"{'ms':26}{'paint':>9}{'p95':>9}{'forward':>9}{'target':>9}")
    print(
        f"{r['model']:26}{r['paint']['median']:9.0f}{r['paint']['p95']:9.0f}{r['forward']:9.0f}{r['target']:9.0f}"
    )
    curve = r["curve"]
    print(
        f"rate curve: {curve['distinct']} passes, {curve['ratio']:.3f} x in CPU time "
        f"(target {curve['target']}), {curve['clock']:.3f} x by the clock"
    )
    save("perturb", r)


if __name__ == "__main__":
    main()
