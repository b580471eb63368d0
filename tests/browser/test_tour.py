"""The tour, as a reader meets it: opened, run from top to bottom, clicked."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser.lab import Lab
from browser.workbench import Workbench

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "vitwidgets/demo/demo.safetensors"


@pytest.mark.skipif(
    not MODEL.is_file(), reason="the embedded model is not trained yet: run vitwidgets.demo.train"
)
def test_the_tour_runs_and_answers(lab: Lab) -> None:
    lab.viewport(1280, 1400)
    lab.open("tour.ipynb")
    lab.run_all(timeout=300)
    cells = [
        index for index, cell in enumerate(lab.cells()) if cell["source"].rstrip().endswith("\nexplorer")
    ]
    bench = Workbench(lab, lab.output(cells[0]).locator(".vw-root")).ready()
    bench.click(17)
    bench.python(token=17)
    bench.page.mouse.click(*bench.layer_place(2))
    bench.python(layer=2)
    lab.screenshot("tour", bench.root)
    assert lab.page.locator(".vw-root .vw-error").count() == 0
    lab.assert_quiet()
