"""The perturbation lab and the comparison in a page: painting, interventions, two sides under one cursor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from browser.conftest import OpenLab
from browser.lab import Lab
from browser.workbench import READ, SETUP
from playwright.sync_api import Locator, expect

OPEN = """
from vitwidgets.interventions import Ablation
from vitwidgets.widgets.compare import Compare
from vitwidgets.widgets.perturb_lab import PerturbLab
picture = photo.clip(0, 255).astype(np.uint8)
lab = PerturbLab(
    inspector, picture, donor=picture[:, ::-1].copy(), layer=3, token=24, overlay="none", opacity=0.0
)
lab
"""
COMPARE = """
compare = Compare(trace, inspector.trace(picture[:, ::-1].copy()), layer=3, token=24)
compare
"""


class Bench:
    """The lab of `OPEN` and the comparison of `COMPARE`, on one page."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.page = lab, lab.page
        self.root = lab.page.locator(".vw-lab")
        self.images = self.root.locator(".vw-image")
        self.compare = lab.page.locator(".vw-compare")

    def at(self, image: Locator, row: float, col: float) -> tuple[float, float]:
        """A place on an image of the model input, in patches; relative to the page."""
        image.scroll_into_view_if_needed()
        box = image.bounding_box()
        assert box is not None
        return box["x"] + box["width"] * col / 10, box["y"] + box["height"] * row / 6

    def drag(self, row: float, start: float, end: float, **how: str) -> None:
        """Draw a line along a row of the left image."""
        self.page.mouse.move(*self.at(self.images.first, row, start))
        self.page.mouse.down(**how)  # type: ignore[arg-type]
        self.page.mouse.move(*self.at(self.images.first, row, end))  # one move: no patch may be missed
        self.page.mouse.up(**how)  # type: ignore[arg-type]

    def right(self) -> np.ndarray:
        """The colours in the middle of the patches of the right image, (6, 10, 3)."""
        self.lab.settle()
        place = {"rows": 6, "cols": 10, "left": 0, "top": 0}
        colours = self.images.nth(1).evaluate(READ, place)
        return np.array(colours).reshape(6, 10, 3)


@pytest.fixture(scope="module")
def shared(open_lab: OpenLab) -> Bench:
    lab = open_lab(width=1400, height=1500)
    lab.new(SETUP, OPEN, COMPARE)
    lab.run_all()
    bench = Bench(lab)
    bench.images.nth(1).wait_for(timeout=30_000)
    bench.compare.locator(".vw-image").nth(1).wait_for(timeout=30_000)
    return bench


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    shared.lab.execute(
        "lab.mode, lab.patches, lab.grid, lab.interventions, lab.fill = 'painted', [], 1, [], 'black'"
    )
    shared.lab.execute("lab.layer, lab.token, lab.overlay, lab.head = 3, 24, 'none', None")
    shared.lab.execute("lab.wait()")
    shared.lab.settle()
    yield shared
    shared.lab.assert_quiet()


def test_a_stroke_hides_what_it_crosses_and_the_right_side_shows_it(bench: Bench) -> None:
    before = bench.right()
    bench.drag(2.5, 2.5, 6.5)
    bench.lab.wait_value("lab.patches", [22, 23, 24, 25, 26])
    bench.lab.wait_value("lab.after.notes[-1:]", ["5 of 60 patches occluded (black)"])
    hidden = np.zeros((6, 10), bool)
    hidden[2, 2:7] = True
    for _ in range(30):
        bench.page.wait_for_timeout(200)
        after = bench.right()
        if after[hidden].max() < 16:
            break
    assert after[hidden].max() < 16  # black, but for what JPEG makes of it
    np.testing.assert_allclose(after[~hidden], before[~hidden], atol=16)
    assert bench.lab.value("lab.token") == 24  # a stroke pins nothing


def test_the_right_button_and_alt_bring_patches_back(bench: Bench) -> None:
    bench.lab.execute("lab.patches = list(range(20, 30))")
    bench.lab.settle()
    bench.drag(2.5, 0.5, 2.5, button="right")
    bench.lab.wait_value("lab.patches", list(range(23, 30)))
    bench.page.keyboard.down("Alt")
    bench.drag(2.5, 9.5, 8.5)
    bench.page.keyboard.up("Alt")
    bench.lab.wait_value("lab.patches", list(range(23, 28)))


def test_a_click_pins_on_both_sides(bench: Bench) -> None:
    bench.page.mouse.click(*bench.at(bench.images.nth(1), 4.5, 3.5))
    bench.lab.wait_value("lab.token", 43)
    assert bench.lab.value("lab.patches") == []


def test_painting_in_another_mode_paints(bench: Bench) -> None:
    bench.root.get_by_role("radio", name="Random").click()
    bench.lab.wait_value("lab.mode", "random")
    bench.lab.execute("lab.wait()")
    assert bench.lab.value("lab.after.notes[-1:]") == ["30 of 60 patches occluded (black)"]
    bench.drag(0.5, 0.5, 1.5)
    bench.lab.wait_value("lab.mode", "painted")
    bench.lab.wait_value("lab.after.notes[-1:]", ["2 of 60 patches occluded (black)"])


def test_the_keyboard_paints_too(bench: Bench) -> None:
    bench.images.first.focus()
    for key in ("ArrowRight", " ", "ArrowRight", " "):
        bench.page.keyboard.press(key)
    bench.lab.wait_value("lab.patches", [25, 26])


def test_controls_do_what_they_say(bench: Bench) -> None:
    bench.root.get_by_role("radio", name="Blur").click()
    bench.lab.wait_value("lab.fill", "blur")
    slider = bench.root.get_by_role("slider", name="tiles each way")
    slider.focus()
    bench.page.keyboard.press("ArrowRight")
    bench.lab.wait_value("lab.grid", 2)
    bench.lab.wait_value("lab.after.notes[-1:]", ["shuffled in 2 x 2 tiles (seed 0)"])
    bench.root.get_by_role("button", name="Draw again").click()
    bench.lab.wait_value("lab.seed", 1)
    bench.lab.execute("lab.seed = 0")


def test_interventions_on_what_the_cursor_points_at(bench: Bench) -> None:
    bench.lab.execute("lab.neuron_space, lab.neuron, lab.head = 'residual', 7, 1")
    bench.lab.settle()
    bar = bench.root.locator(".vw-interventions")
    bar.get_by_role("button", name="Neuron 7", exact=True).click()
    bench.lab.wait_value("[str(one) for one in lab.interventions]", ["neuron 7 of layer 3 set to 0"])
    bar.get_by_role("radio", name="Set to its mean").click()
    bar.get_by_role("button", name="Head 1", exact=True).click()
    bench.lab.wait_value("lab.interventions[-1] == Ablation(3, head=1, fill='mean')", True)
    bench.lab.execute("lab.wait()")
    left, right = bench.root.locator(".vw-side-head .vw-hint").all()
    assert left.inner_text().startswith("drag to hide patches")
    assert right.inner_text() == "neuron 7 of layer 3 set to 0 · head 1 of layer 3 set to its mean"
    row = bench.root.locator(".vw-differences tbody tr").first
    expected = bench.lab.value(
        "[lab.comparison[0][0], round(100 * (lab.comparison[0][2] - lab.comparison[0][1]), 1)]"
    )
    assert row.locator("th").inner_text() == expected[0]
    told = row.locator("td").nth(3).inner_text().replace("−", "-")
    assert float(told) == pytest.approx(expected[1], abs=0.051)
    logit = bench.lab.value("round(lab.comparison[0][4] - lab.comparison[0][3], 2)")
    told = row.locator("td").nth(4).inner_text().replace("−", "-")
    assert float(told) == pytest.approx(logit, abs=0.0051)
    bar.get_by_role("button", name="remove: neuron 7").click()
    bench.lab.wait_value("[str(one) for one in lab.interventions]", ["head 1 of layer 3 set to its mean"])


def test_interventions_from_the_other_image(bench: Bench) -> None:
    bench.lab.execute("lab.neuron_space, lab.neuron, lab.head = 'mlp', 7, 1")
    bench.lab.settle()
    bar = bench.root.locator(".vw-interventions")
    bar.get_by_role("radio", name="Take from the other image").click()
    for name in ("MLP neuron 7", "Patch 24", "Head 1", "All tokens"):
        bar.get_by_role("button", name=name, exact=True).click()
    wanted = [
        f"{what} of layer 3 taken from another image"
        for what in ("MLP neuron 7", "patch 24", "head 1", "all tokens")
    ]
    bench.lab.wait_value("[str(one) for one in lab.interventions]", wanted)
    bench.lab.execute("lab.wait()")
    bench.lab.execute("other = inspector.trace(picture[:, ::-1].copy())")
    assert bench.lab.value("np.abs(lab.after.logits - other.logits).max() < 0.01")  # float16 activations
    bar.get_by_role("button", name="Remove all").click()
    bench.lab.wait_value("len(lab.interventions)", 0)
    bar.get_by_role("radio", name="Set to 0").click()


def test_without_an_overlay_the_layers_are_steps(bench: Bench) -> None:
    strip = bench.root.locator(".vw-strip")
    box = strip.bounding_box()
    assert box is not None
    assert box["height"] < 32
    strip.click(position={"x": box["width"] * 0.99, "y": box["height"] / 2})
    bench.lab.wait_value("lab.layer == lab.before.layers", True)
    bench.lab.execute("lab.overlay = 'similarity'")
    bench.lab.settle()
    maps = strip.bounding_box()
    assert maps is not None
    assert maps["height"] > 2 * box["height"]


def test_a_comparison_names_its_sides_and_explains_what_is_shown(bench: Bench) -> None:
    sides = bench.compare.locator(".vw-side-head")
    titles = [side.locator(".vw-title").inner_text() for side in sides.all()]
    assert titles == bench.lab.value("list(compare.titles)")
    hint = sides.first.locator(".vw-hint")
    expect(hint).to_have_text("click a patch: its best match is outlined on the other side")
    bench.lab.execute("compare.overlay = 'norm'")
    expect(hint).to_have_text("")
    bench.lab.execute("compare.overlay = 'similarity'")


def test_the_best_match_is_outlined_on_the_other_side(bench: Bench) -> None:
    left, right = bench.compare.locator(".vw-image").all()
    left.scroll_into_view_if_needed()
    frame = bench.lab.value("[trace.frame.original, trace.frame.box]")
    (width, height), (x0, y0, x1, y1) = frame
    for side, image, other in (("left", left, right), ("right", right, left)):
        box = image.bounding_box()
        assert box is not None
        col, row = 3.5, 1.5
        at = (x0 + (x1 - x0) * col / 10) / width, (y0 + (y1 - y0) * row / 6) / height
        bench.page.mouse.click(box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"])
        bench.lab.wait_value("[compare.side, compare.token]", [side, 13])
        patch, cosine = bench.lab.value("compare.matches(1)[0]")
        match = bench.compare.locator(".vw-match:visible")
        expect(match).to_have_count(1)
        bench.page.wait_for_timeout(300)
        assert float(match.inner_text().replace("−", "-")) == pytest.approx(cosine, abs=2e-3)
        there, mark = other.bounding_box(), match.bounding_box()
        assert there is not None
        assert mark is not None
        middle = (mark["x"] + mark["width"] / 2 - there["x"]) / there["width"] * width
        assert int((middle - x0) / (x1 - x0) * 10) == patch % 10
        below = (mark["y"] + mark["height"] / 2 - there["y"]) / there["height"] * height
        assert int((below - y0) / (y1 - y0) * 6) == patch // 10
