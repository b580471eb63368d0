"""From a click on a patch to its picture, in the browser alone and by way of the kernel, taking turns.

The pointer events are dispatched in the page. In the browser: from just before the ``pointerup`` until the
image's canvas has been drawn and one of its pixels read back; no click repeats another, and nothing was
pointed at before, so that no number is ready. By way of the kernel: a widget of a few lines sends the number
of the patch, an observer computes the same row with numpy, the row is sent back and drawn as a bare map.
``next frame`` is what the strip, the heads and the neurons take then.
"""

from __future__ import annotations

import argparse
from typing import Any

from page import open_lab, quantile, save

SETUP = '''
import anywidget, numpy as np, timm, torch, traitlets
from PIL import Image
import vitwidgets as vw
from vitwidgets.analysis import cosine

class RoundTrip(anywidget.AnyWidget):
    _esm = """
    function render({ model, el }) {
      const [rows, cols] = model.get("grid");
      const small = new OffscreenCanvas(cols, rows).getContext("2d");
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [560, 560];
      el.append(canvas);
      const context = canvas.getContext("2d");
      let done;
      model.on("change:row", () => {
        const bytes = model.get("row");
        const end = bytes.byteOffset + bytes.byteLength;
        const row = new Float32Array(bytes.buffer.slice(bytes.byteOffset, end));
        const image = small.createImageData(cols, rows);
        for (let i = 0; i < rows * cols; i++) image.data.set([127 + 127 * row[i], 0, 0, 255], 4 * i);
        small.putImageData(image, 0, 0);
        context.drawImage(small.canvas, 0, 0, 560, 560);
        context.getImageData(9, 9, 1, 1);
        done();
      });
      window.vwRoundTrip = patch => new Promise(resolve => {
        done = resolve;
        model.set("patch", patch);
        model.save_changes();
      });
    }
    export default { render };
    """
    grid = traitlets.List().tag(sync=True)
    patch = traitlets.Int(-1).tag(sync=True)
    row = traitlets.Bytes().tag(sync=True)

    @traitlets.observe("patch")
    def _answer(self, change):
        prefix = len(trace.prefix)
        self.row = cosine(trace.tokens[explorer.layer], change["new"] + prefix)[prefix:].tobytes()

torch.manual_seed(0)
torch.set_num_threads(1)
model = {model}
noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
trace = vw.Inspector(model).trace(Image.fromarray(noise))
round_trip = RoundTrip(grid=list(trace.grid))
explorer = vw.Explorer(trace)
del model
'''
MODELS = {
    "vit_base_patch16_224": ("timm.create_model('vit_base_patch16_224').eval()", 4.0),
    "vit_base_patch14_dinov2": ("timm.create_model('vit_base_patch14_dinov2', depth=3).eval()", 16.0),
}
MEASURE = """
async ({ clicks, places }) => {
  const canvas = document.querySelector(".vw-image");
  canvas.setPointerCapture = () => {};  // there is no pointer behind these events
  const context = canvas.getContext("2d");
  const frame = () => new Promise(done => requestAnimationFrame(start => done(performance.now() - start)));
  const quiet = () => new Promise(done => setTimeout(done, 150));  // the last click is through
  const results = { page: [], frame: [], kernel: [] };
  for (let i = 0; i < clicks; i++) {
    const [patch, x, y] = places[i];
    const bounds = canvas.getBoundingClientRect();
    const at = { clientX: bounds.left + x * bounds.width, clientY: bounds.top + y * bounds.height,
                 bubbles: true, pointerId: 1, button: 0, isPrimary: true };
    canvas.dispatchEvent(new PointerEvent("pointerdown", at));
    let start = performance.now();
    canvas.dispatchEvent(new PointerEvent("pointerup", at));
    context.getImageData(9, 9, 1, 1);
    results.page.push(performance.now() - start);
    results.frame.push(await frame());
    await quiet();
    start = performance.now();
    await window.vwRoundTrip(patch);
    results.kernel.push(performance.now() - start);
    await quiet();
  }
  return results;
}
"""


def measure(name: str, clicks: int) -> dict[str, Any]:
    """Click `clicks` patches both ways; milliseconds."""
    model, target = MODELS[name]
    with open_lab(height=1400) as lab:
        lab.new(SETUP.replace("{model}", model), "explorer", "round_trip")
        lab.run_all(timeout=500)
        lab.page.locator(".vw-masthead .vw-hint").wait_for(state="hidden", timeout=300_000)
        rows, cols = lab.value("trace.grid")
        left, top, right, bottom = lab.value("trace.frame.box")
        width, height = lab.value("trace.frame.original")
        order = lab.value(f"np.random.default_rng(1).permutation({rows * cols})[:{clicks + 10}]")
        places = [
            (
                patch,
                (left + (right - left) * (patch % cols + 0.5) / cols) / width,
                (top + (bottom - top) * (patch // cols + 0.5) / rows) / height,
            )
            for patch in order
        ]
        lab.page.evaluate(MEASURE, {"clicks": 10, "places": places[clicks:]})  # warm
        times = lab.page.evaluate(MEASURE, {"clicks": clicks, "places": places[:clicks]})
        lab.wait_value("explorer.token", places[clicks - 1][0])
        tokens = lab.value("trace.tokens.shape")
    ways = {way: {"median": quantile(ms, 0.5), "p95": quantile(ms, 0.95)} for way, ms in times.items()}
    ratio = ways["kernel"]["median"] / ways["page"]["median"]
    return {"model": name, "tokens": tokens, "clicks": clicks, "target": target, **ways, "ratio": ratio}


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=120)
    parser.add_argument("--model", choices=MODELS, action="append")
    arguments = parser.parse_args()
    results = [measure(name, arguments.clicks) for name in arguments.model or MODELS]
    print(f"{'ms':26}{'tokens':>13}{'median':>9}{'p95':>9}{'target':>9}{'frame p95':>11}", end="")
    print(f"{'kernel':>9}{'p95':>9}{'ratio':>7}")
    for r in results:
        shape = f"{r['tokens'][1]} x {r['tokens'][2]}"
        print(
            f"{r['model']:26}{shape:>13}{r['page']['median']:9.2f}{r['page']['p95']:9.2f}{r['target']:9.0f}",
            end="",
        )
        print(
            f"{r['frame']['p95']:11.1f}{r['kernel']['median']:9.1f}{r['kernel']['p95']:9.1f}{r['ratio']:7.0f}"
        )
    save("click_to_paint", results)


if __name__ == "__main__":
    main()
