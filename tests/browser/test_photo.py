"""A real photo through DeiT-Tiny: the names, and the picture after a click."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser.lab import Lab
from browser.workbench import OPEN, SETUP, Workbench

ASSETS = Path(__file__).resolve().parents[2] / "../shared/assets"


@pytest.mark.assets
@pytest.mark.skipif(
    not ASSETS.is_dir(), reason="the photos and pretrained weights do not lie beside this clone"
)
def test_deit_names_the_bus_and_answers_clicks(lab: Lab) -> None:
    weights = ASSETS / "weights/deit_tiny_patch16_224.safetensors"
    lab.viewport(1280, 1500)
    lab.new(
        SETUP,
        f"inspector = vw.Inspector('deit_tiny_patch16_224', weights={str(weights)!r})\n"
        f"trace = inspector.trace({str(ASSETS / 'coco/images/000000000471.jpg')!r})",
        OPEN,
    )
    lab.run_all()
    bench = Workbench(lab, lab.output(2).locator(".vw-root")).ready()
    assert bench.root.locator(".vw-class-name").first.inner_text() == "school bus"
    for patch in (0, 90, 195):
        bench.click(patch)
        bench.python(token=patch)
        bench.check_image()
    bench.head("1").click()
    bench.python(head=1, overlay="attention_from")
    bench.check_image()
    bench.page.mouse.click(*bench.layer_place(9))
    bench.python(layer=9)
    bench.check_image()
    lab.execute("explorer.overlay, explorer.opacity = 'similarity', 0.65")
    lab.settle()
    lab.screenshot("deit", bench.root)
    lab.assert_quiet()
