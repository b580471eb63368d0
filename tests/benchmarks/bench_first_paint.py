"""From running the cell to the first painted picture of an explorer on a ready trace, and the bytes it took.

Bytes are those of the WebSocket messages that reached the page, up to the first picture (photo and overlay)
and up to the last number. Sizes of the built entries beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from page import open_lab, quantile, save

SETUP = """
import numpy as np, timm, torch
from PIL import Image
import vitwidgets as vw
torch.manual_seed(0)
y, x = np.mgrid[0:600, 0:800]
photo = np.stack([127 + 90 * np.sin(x / 50), 127 + 90 * np.cos(y / 70), (x + y) % 255], -1)
photo += np.random.default_rng(0).normal(0, 12, photo.shape)
inspector = vw.Inspector(timm.create_model("vit_base_patch16_224").eval())
trace = inspector.trace(Image.fromarray(photo.clip(0, 255).astype(np.uint8)))
trace.tokens, trace.rollout(), trace.notes
None
"""
# Counts what comes in from now on; a picture is painted once nothing shows through in its middle.
WATCH = """
() => {
  const onmessage = Object.getOwnPropertyDescriptor(WebSocket.prototype, "onmessage");
  window.vwBytes = 0;
  Object.defineProperty(WebSocket.prototype, "onmessage", { ...onmessage, set(handler) {
    onmessage.set.call(this, event => {
      window.vwBytes += event.data.byteLength ?? new Blob([event.data]).size;
      return handler.call(this, event);
    });
  } });
}
"""
RUN = """
async () => {
  const app = window.jupyterapp;
  const painted = () => {
    const canvas = document.querySelector(".vw-image");
    if (!canvas?.width || !document.querySelector(".vw-legend:not(.vw-idle)")) return false;
    const middle = [canvas.width / 2 + 3, canvas.height / 2 + 3].map(Math.round);
    return canvas.getContext("2d").getImageData(...middle, 1, 1).data[3] === 255;
  };
  const frame = () => new Promise(done => requestAnimationFrame(done));
  const [start, bytes] = [performance.now(), window.vwBytes];
  app.commands.execute("notebook:run-cell");
  while (!painted()) await frame();
  const result = { ms: performance.now() - start, bytes: window.vwBytes - bytes };
  const loading = document.querySelector(".vw-masthead .vw-hint");
  while (!loading.hidden) await frame();
  return { ...result, all_ms: performance.now() - start, all_bytes: window.vwBytes - bytes };
}
"""
STATIC = Path(__file__).resolve().parents[2] / "vitwidgets/static"
TARGET_BYTES, TARGET_ENTRY = 1.5e6, 60 * 1024


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    runs = []
    with open_lab(height=1200) as lab:
        lab.page.evaluate(WATCH)
        lab.new(SETUP)
        lab.run_all(timeout=300)
        for _ in range(rounds):
            cell = lab.run("# the explorer comes next")
            lab.page.evaluate(
                "code => { const notebook = window.jupyterapp.shell.currentWidget.content;"
                "notebook.activeCell.model.sharedModel.setSource(code) }",
                "explorer = vw.Explorer(trace); explorer",
            )
            runs.append(lab.page.evaluate(RUN))
            lab.execute("explorer.close()")
            lab.page.locator(".vw-explorer").wait_for(state="detached")
            lab.page.evaluate(
                "index => window.jupyterapp.shell.currentWidget.content"
                ".widgets[index].outputArea.model.clear()",
                cell,
            )
    first = {key: runs[0][key] for key in runs[0]}
    later = {key: quantile([run[key] for run in runs[1:]], 0.5) for key in runs[0]}
    print(f"{'ViT-B/16, 224 px':22}{'first paint ms':>15}{'MB by then':>12}{'all ms':>9}{'all MB':>8}")
    for name, run in (("first in the page", first), ("later, median", later)):
        shown = f"{run['ms']:15.0f}{run['bytes'] / 1e6:12.2f}"
        print(f"{name:22}{shown}{run['all_ms']:9.0f}{run['all_bytes'] / 1e6:8.1f}")
    print(f"target: under {TARGET_BYTES / 1e6} MB before the first paint")
    entries = {path.name: path.stat().st_size for path in sorted(STATIC.iterdir())}
    for name, size in entries.items():
        print(f"{name:22}{size / 1024:8.1f} KB{'  over the limit' if size > TARGET_ENTRY else ''}")
    save("first_paint", {"runs": runs, "target_bytes": TARGET_BYTES, "entries": entries})


if __name__ == "__main__":
    main()
