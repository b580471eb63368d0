"""From an event to the redrawn view of a neuron, in the browser; beside it, plain loops in Python.

In the page: from just before the event (a click on a patch, a key on the layer strip, a new neuron in the
box) until the image's canvas has been drawn and one of its pixels read back. No event repeats another, so
that no view is ready. ``next frame`` is what the strip and the other regions take then. In Python: the views
of one figure, patch by patch as people write it, one picture at a time, each drawn and saved by matplotlib.
That is no dependency: where it is not installed, the loops are timed alone, and the table says so. To have it
for one run, ``pip install --target DIR matplotlib`` and put DIR into PYTHONPATH.
"""

from __future__ import annotations

import argparse
from typing import Any

from page import open_lab, quantile, save

SETUP = """
import io, time
import numpy as np, timm, torch
from PIL import Image
import vitwidgets as vw

torch.manual_seed(0)
torch.set_num_threads(1)
noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
trace = vw.Inspector(timm.create_model("vit_base_patch16_224").eval()).trace(Image.fromarray(noise))
explorer = vw.Explorer(trace, overlay="view", layer=6)

def figure(tokens, layers, neuron):
    '''Seconds for all views of a figure, and for one, with loops over patches.'''
    filters, pixels, rollout = trace.filters(), trace.pixels, trace.rollout()
    try:
        import matplotlib
        matplotlib.use("agg")
        import matplotlib.pyplot as plt
    except ImportError:
        plt = None
    rows, cols = trace.grid

    def draw(shown):
        if plt is not None:
            picture = plt.figure(figsize=(3, 3))
            plt.imshow(shown)
            picture.savefig(io.BytesIO(), format="png")
            plt.close(picture)

    draw(np.zeros_like(pixels))  # the first one looks for fonts
    start = time.perf_counter()
    for token in tokens:
        for layer in layers:
            view = np.zeros_like(pixels)
            for row in range(rows):
                for col in range(cols):
                    share = rollout[layer, len(trace.prefix) + token, len(trace.prefix) + row * cols + col]
                    there = slice(16 * row, 16 * row + 16), slice(16 * col, 16 * col + 16)
                    view[there] = pixels[there] * filters[neuron] * share
            draw(np.clip(view / np.abs(view).max(), 0, 1))
    seconds = time.perf_counter() - start
    return [seconds, seconds / (len(tokens) * len(layers)), plt is not None]
"""
MEASURE = """
async ({ places, layers, neurons }) => {
  const canvas = document.querySelector(".vw-image");
  canvas.setPointerCapture = () => {};  // there is no pointer behind these events
  const context = canvas.getContext("2d");
  const strip = document.querySelector(".vw-strip");
  const box = document.querySelector(".vw-patch-view .vw-picker input");
  const frame = () => new Promise(done => requestAnimationFrame(start => done(performance.now() - start)));
  const quiet = () => new Promise(done => setTimeout(done, 120));  // the last event is through
  const results = { token: [], layer: [], neuron: [], frame: [] };
  const timed = async (kind, act) => {
    const start = performance.now();
    act();
    context.getImageData(9, 9, 1, 1);
    results[kind].push(performance.now() - start);
    results.frame.push(await frame());
    await quiet();
  };
  for (let i = 0; i < places.length; i++) {
    const [x, y] = places[i];
    const bounds = canvas.getBoundingClientRect();
    const at = { clientX: bounds.left + x * bounds.width, clientY: bounds.top + y * bounds.height,
                 bubbles: true, pointerId: 1, button: 0, isPrimary: true };
    canvas.dispatchEvent(new PointerEvent("pointerdown", at));
    await timed("token", () => canvas.dispatchEvent(new PointerEvent("pointerup", at)));
    const key = { bubbles: true, key: layers[i] };
    await timed("layer", () => strip.dispatchEvent(new KeyboardEvent("keydown", key)));
    box.value = String(neurons[i]);
    await timed("neuron", () => box.dispatchEvent(new Event("change", { bubbles: true })));
  }
  return results;
}
"""
TARGET = 8.0
TOKENS, LAYERS, NEURON = [0, 60, 98, 105, 195], [0, 2, 4, 8, 10, 12], 714


def measure(rounds: int) -> dict[str, Any]:
    """Redraw `rounds` times by each of three events; milliseconds."""
    with open_lab(height=1400) as lab:
        lab.new(SETUP, "explorer")
        lab.run_all(timeout=500)
        lab.page.locator(".vw-masthead .vw-hint").wait_for(state="hidden", timeout=300_000)
        lab.page.locator(".vw-card .vw-pixels").first.wait_for(timeout=60_000)  # filters and pixels are there
        rows, cols = lab.value("trace.grid")
        left, top, right, bottom = lab.value("trace.frame.box")
        width, height = lab.value("trace.frame.original")
        order = lab.value(f"np.random.default_rng(1).permutation({rows * cols})[:{rounds + 8}]")
        places = [
            (
                (left + (right - left) * (patch % cols + 0.5) / cols) / width,
                (top + (bottom - top) * (patch // cols + 0.5) / rows) / height,
            )
            for patch in order
        ]
        # up and down between layers 6 and 12: six steps one way, six back
        keys = [("ArrowRight", "ArrowLeft")[i // 6 % 2] for i in range(rounds + 8)]
        neurons = [7 * i % 768 for i in range(rounds + 8)]
        run = {"places": places, "layers": keys, "neurons": neurons}
        lab.page.evaluate(MEASURE, {name: values[rounds:] for name, values in run.items()})  # warm
        lab.execute("explorer.layer = 6")
        times = lab.page.evaluate(MEASURE, {name: values[:rounds] for name, values in run.items()})
        lab.wait_value("explorer.neuron", neurons[rounds - 1])
        figure, one, drawn = lab.value(f"figure({TOKENS}, {LAYERS}, {NEURON})")
    ways = {way: {"median": quantile(ms, 0.5), "p95": quantile(ms, 0.95)} for way, ms in times.items()}
    every = [ms for way in ("token", "layer", "neuron") for ms in times[way]]
    ways["all"] = {"median": quantile(every, 0.5), "p95": quantile(every, 0.95)}
    plain = {"figure_s": figure, "picture_ms": 1000 * one, "matplotlib": drawn}
    return {
        "rounds": rounds,
        "target": TARGET,
        **ways,
        "plain": plain,
        "ratio": 1000 * one / ways["all"]["median"],
    }


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    result = measure(parser.parse_args().rounds)
    print(f"{'ViT-B/16, 224 px, ms':28}{'median':>9}{'p95':>9}{'target':>9}")
    for way, name in (
        ("token", "click on a patch"),
        ("layer", "step to another layer"),
        ("neuron", "step to another neuron"),
        ("all", "all three"),
        ("frame", "next frame"),
    ):
        target = f"{TARGET:9.0f}" if way == "all" else ""
        print(f"{name:28}{result[way]['median']:9.2f}{result[way]['p95']:9.2f}{target}")
    plain, count = result["plain"], len(TOKENS) * len(LAYERS)
    how = "drawn by matplotlib" if plain["matplotlib"] else "not drawn: matplotlib is not installed"
    print(f"plain loops, {how}: {plain['figure_s']:.2f} s for a figure of {count} views, ", end="")
    print(f"{plain['picture_ms']:.0f} ms each: {result['ratio']:.0f} times the median redraw")
    save("view_redraw", result)


if __name__ == "__main__":
    main()
