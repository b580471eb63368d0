"""Views, evidence, norms and principal components in an explorer, against what Python says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browser.workbench import SHOWN, Workbench, assert_colours


@pytest.fixture
def shown(bench: Workbench) -> Iterator[Workbench]:
    """The explorer; the display of views and the class are put back afterwards."""
    bench.lab.execute(SHOWN)
    yield bench
    bench.lab.execute("explorer.view_mode = 'signed'\nexplorer.target = None")


def wait_for(bench: Workbench, title: str) -> None:
    """Wait until the legend says that this is shown."""
    bench.root.locator(".vw-legend:not(.vw-idle) .vw-legend-title", has_text=title).wait_for(timeout=20_000)
    bench.lab.settle()


def check(bench: Workbench) -> Any:
    """Fail unless the image shows what Python draws, beside the pinned token's frame; returns that."""
    wanted = np.array(bench.lab.value(f"seen({bench.point})"))
    shown = bench.image_colours(wanted.shape[:2])
    token = bench.lab.value(f"{bench.point}.token")
    p, q = wanted.shape[0] // bench.rows, wanted.shape[1] // bench.cols
    if isinstance(token, int) and p > 1:  # pixels of a view, of which the frame hides some
        top, left = token // bench.cols * p, token % bench.cols * q
        framed = np.zeros(wanted.shape[:2], bool)
        framed[max(0, top - 1) : top + p + 1, max(0, left - 1) : left + q + 1] = True
        framed[top + 1 : top + p - 1, left + 1 : left + q - 1] = False
        shown[framed] = wanted[framed]
    assert_colours(shown, wanted, "the image")
    return wanted


def test_the_legend_says_that_the_ends_of_a_view_are_clipped(shown: Workbench) -> None:
    shown.overlay("view")
    wait_for(shown, "view of neuron 0")
    spec = "Spec('view', explorer.layer, trace.patch_grid.index(explorer.token), None, 0)"
    limit, peak = shown.lab.value(f"[(f := overlay_field({spec}, trace)).limit, f.peak]")
    assert peak > limit
    low, high, unit = shown.root.locator(".vw-legend .vw-scale > span").all_inner_texts()
    assert [float(low.replace("−", "-")), float(high)] == pytest.approx([-limit, limit], rel=0.05)
    assert float(unit.removeprefix("filter × pixel · clipped, up to ")) == pytest.approx(peak, rel=0.05)


@pytest.mark.parametrize("mode", ["signed", "positive", "magnitude"])
def test_a_view_is_drawn_pixel_by_pixel(shown: Workbench, mode: str) -> None:
    shown.overlay("view")
    shown.root.locator(f'.vw-bar .vw-segment[data-value="{mode}"]').click()
    shown.python(overlay="view", view_mode=mode)
    wait_for(shown, "view of neuron 0 from patch 24 (row 2, column 4) · layer 3")
    first = check(shown)
    shown.click(9)
    shown.python(token=9)
    assert (first != check(shown)).any(axis=-1).mean() > 0.2


def test_a_view_follows_token_layer_and_neuron(shown: Workbench) -> None:
    shown.overlay("view")
    wait_for(shown, "view of neuron 0")
    for change in (
        "token = 'cls'",
        "layer = 4",
        "neuron = 17",
        "layer = 0; explorer.token = 38",
        "token = None",
    ):
        shown.lab.execute(f"explorer.{change}")
        shown.lab.settle()
        check(shown)
    assert shown.root.locator(".vw-legend-title").inner_text() == "view of neuron 17 · layer 0"


def test_a_view_that_there_is_not_says_why(shown: Workbench) -> None:
    shown.overlay("view")
    wait_for(shown, "view of neuron 0")
    shown.lab.execute("explorer.neuron_space = 'mlp'")
    message = shown.root.locator(".vw-message:visible")
    assert message.inner_text() == "an MLP neuron has no filter: choose a residual neuron to see its view"
    assert shown.root.locator(".vw-card .vw-hint").inner_text() == message.inner_text()
    shown.lab.execute("explorer.neuron_space = 'residual'; explorer.layer = 0; explorer.token = 'cls'")
    shown.lab.settle()
    assert message.inner_text() == "at layer 0 cls holds nothing of the picture yet"


def test_the_card_gives_the_sum_of_the_local_view(shown: Workbench) -> None:
    shown.overlay("view")
    wait_for(shown, "view of neuron 0")
    shown.click(37)
    shown.python(token=37)
    shown.lab.settle()
    card = shown.root.locator(".vw-card")
    total = float(card.locator(".vw-sum .vw-number").inner_text().replace("−", "-"))
    assert total == pytest.approx(shown.lab.value("float(trace.local_view(37, 0).sum())"), rel=0.01, abs=2e-3)
    assert card.locator(".vw-part-name").all_inner_texts() == ["patch 37", "filter 0", "local view"]
    shown.lab.execute("explorer.token = 'cls'")
    shown.lab.settle()
    assert "pin a patch" in card.locator(".vw-hint").inner_text()


@pytest.mark.parametrize(
    ("overlay", "title"),
    [("evidence", "evidence for"), ("norm", "token norm"), ("colours", "principal components")],
)
def test_numbers_of_every_token(shown: Workbench, overlay: str, title: str) -> None:
    shown.overlay(overlay)
    wait_for(shown, title)
    first = check(shown)
    shown.lab.execute("explorer.layer = 1")
    shown.lab.settle()
    assert (first != check(shown)).any(axis=-1).mean() > 0.2


def test_a_class_is_followed(shown: Workbench) -> None:
    classes = shown.root.locator(".vw-class")
    classes.nth(2).click()
    target = shown.lab.value("int(np.argsort(-trace.probabilities, kind='stable')[2])")
    shown.python(overlay="evidence", target=target)
    wait_for(shown, "evidence for")
    check(shown)
    assert classes.nth(2).get_attribute("aria-pressed") == "true"
    assert classes.nth(0).get_attribute("aria-pressed") == "false"
    box = shown.root.locator(".vw-find")
    box.fill("fi")
    box.press("Enter")
    shown.python(target=4)  # fir
    wait_for(shown, "evidence for fir")


def test_the_curve_reads_the_models_own_probabilities_at_the_end(shown: Workbench) -> None:
    shown.lab.execute("explorer.token = 'cls'; explorer.overlay = 'evidence'; explorer.layer = 4")
    wait_for(shown, "evidence for")
    name, probability = shown.lab.value("trace.top(1)[0]")
    chip = shown.root.locator(".vw-curve-key .vw-chip").first
    assert chip.locator(".vw-key-name").inner_text() == name
    shown_part = float(chip.locator(".vw-number").inner_text().removesuffix(" %"))
    assert shown_part == pytest.approx(100 * probability, abs=0.3)
    curve = shown.root.locator(".vw-curve")
    curve.focus()
    shown.page.keyboard.press("ArrowLeft")
    shown.python(layer=3)
    bounds = curve.bounding_box()
    assert bounds is not None
    shown.page.mouse.click(bounds["x"] + 44, bounds["y"] + 50)  # the left end
    shown.python(layer=0)


def test_heads_at_the_input_are_said_to_be_none_and_nothing_jumps(shown: Workbench) -> None:
    maps, hint = shown.heads.locator(".vw-cell").first, shown.heads.locator(".vw-hint")
    assert maps.is_visible()
    before = shown.neurons.bounding_box()
    shown.lab.execute("explorer.layer = 0")
    hint.wait_for()
    assert hint.inner_text() == "layer 0 is the input: no attention yet"
    assert shown.heads.locator(".vw-count").inner_text() == ""
    assert not maps.is_visible()
    assert shown.neurons.bounding_box() == before
