"""Models that are no plain column of softmax attention: layers on grids of their own, weights, the check."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from browser.lab import Lab
from browser.workbench import OPEN, SETUP, Workbench, assert_colours, grid_of

IMPORT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from small_traces import biased_trace, staged_trace
from vitwidgets.check import Check
"""
# Patch 24 is in row 2, column 4 of 6 x 10: in row 1, column 2 of the 3 x 5 cells of layer 3.
STAGED = "trace = staged_trace()\n" + OPEN.strip().removesuffix("explorer") + "staged = explorer\nstaged"
LARGE = """
from vitwidgets.widgets import store
store.LARGEST, before = 0, store.LARGEST
trace = biased_trace()
START |= dict(layer=2, token=7, overlay="attention_from")
explorer = vw.Explorer(trace, **START)
explorer.opacity, store.LARGEST = 1.0, before
START["overlay"] = "similarity"
explorer
"""
BIASED = "trace = biased_trace(); START |= dict(layer=2, token=7)\n" + OPEN.strip()


@pytest.fixture(scope="module")
def page(open_lab: Callable[..., Lab]) -> Lab:
    """A page and a kernel that the tests of this file share, in their order, and end."""
    lab = open_lab(height=1500)
    lab.new(SETUP + IMPORT)
    lab.run_all()
    return lab


def show(lab: Lab, code: str) -> Workbench:
    """Open an explorer; `trace` and `explorer` are its own from here on."""
    return Workbench(lab, lab.output(lab.run(code)).locator(".vw-root")).ready()


@pytest.fixture(scope="module")
def staged(page: Lab) -> Workbench:
    return show(page, STAGED)


@pytest.fixture(scope="module")
def biased(page: Lab) -> Workbench:
    return show(page, BIASED)


# ------------------------------------------------------------------ layers on grids of their own


@pytest.mark.parametrize("layer", [0, 2, 4])
@pytest.mark.parametrize("overlay", ["similarity", "neuron"])
def test_every_layer_is_painted_on_its_own_grid(staged: Workbench, overlay: str, layer: int) -> None:
    staged.lab.execute(f"explorer.layer, explorer.overlay, explorer.token = {layer}, {overlay!r}, 24")
    staged.lab.settle()
    wanted = staged.check_image()
    assert grid_of(wanted) == [(6, 10), None, (3, 5), None, (1, 2)][layer]
    size = "" if layer == 0 else " · {} × {}".format(*grid_of(wanted))
    assert staged.root.locator(".vw-legend-title").inner_text() == f"{wanted['title']} · layer {layer}{size}"
    for each in range(5):
        there = staged.expected(layer=each)
        shown = staged.layer_colours(each, grid_of(there))
        assert_colours(shown, there["colours"], f"layer {each} in the strip")


def test_pointing_and_keys_go_by_the_cells_of_the_layer(staged: Workbench) -> None:
    staged.lab.execute("explorer.layer, explorer.overlay, explorer.token = 3, 'similarity', 24")
    staged.lab.settle()
    tip = staged.root.locator(".vw-tip")
    staged.page.mouse.move(*staged.place(59))
    staged.lab.settle()
    assert tip.locator("strong").inner_text() == "cell 14 (row 2, column 4)"
    number, _ = tip.locator(".vw-tip-value").inner_text().split()
    value = staged.expected()["values"][1 + 14]
    assert float(number.replace("−", "-")) == pytest.approx(value, abs=2e-3)
    there = staged.expected(token=59)
    assert_colours(staged.read(tip.locator("canvas"), (3, 5)), there["colours"], "the preview")
    staged.page.mouse.move(*staged.place(34))  # another patch of the pinned cell
    staged.lab.settle()
    assert tip.locator("strong").inner_text() == "cell 7 (row 1, column 2)"
    assert tip.locator("canvas").is_hidden()
    staged.click(59)
    staged.python(token=59)
    staged.check_image()
    staged.image.focus()
    staged.page.keyboard.press("ArrowLeft")
    staged.page.keyboard.press("ArrowUp")
    staged.page.keyboard.press("Enter")
    staged.python(token=37)  # the patch in the middle of cell 8: row 3 of 6, column 7 of 10
    assert "cell 8 (row 1, column 3)" in staged.check_image()["title"]


def test_selected_patches_stand_for_cells(staged: Workbench) -> None:
    staged.lab.execute("explorer.layer, explorer.neuron_space = 3, 'mlp'")
    staged.drag(0, 11)
    staged.python(patches=[0, 1, 10, 11])
    staged.lab.settle()
    assert staged.neurons.locator(".vw-count").inner_text() == "what sets the selected cell apart, in σ"
    for patches, space in (([0, 1, 10, 11], "mlp"), ([0, 59, 58], "residual")):
        staged.lab.execute(f"explorer.patches, explorer.neuron_space = {patches}, {space!r}")
        staged.lab.settle()
        cells = staged.neurons.locator(".vw-cell")
        shown = [int(key) for key in cells.evaluate_all("cells => cells.map(cell => cell.dataset.key)")]
        assert shown == [neuron for neuron, _ in staged.lab.value("strongest(explorer)")]
    staged.lab.execute("explorer.patches, explorer.neuron_space = [], 'residual'")


def test_what_a_layer_lacks_is_explained_where_it_is_missed(staged: Workbench) -> None:
    message = staged.root.locator(".vw-message")
    staged.lab.execute("explorer.layer = 4")
    for overlay, reason in (
        ("attention_from", "no attention at layer 4: its attention pools"),
        ("attention_to", "no attention at layer 4: its attention pools"),
        ("rollout", staged.expected(overlay="rollout")["missing"]),
    ):
        staged.overlay(overlay)
        staged.python(overlay=overlay)
        staged.lab.settle()
        assert message.inner_text() == reason
    assert staged.heads.locator(".vw-hint").inner_text() == "no attention at layer 4: its attention pools"
    assert staged.heads.locator(".vw-cell").count() == 0
    staged.overlay("attention_from")
    for layer, heads in ((2, 3), (1, 2)):
        staged.lab.execute(f"explorer.layer = {layer}")
        staged.lab.settle()
        assert staged.heads.locator(".vw-cell").count() == 1 + heads
        staged.check_image()
    staged.lab.execute("explorer.overlay, explorer.neuron_space = 'neuron', 'mlp'")
    staged.lab.settle()
    assert message.inner_text() == "no MLP neurons at layer 1: it has no MLP"
    staged.lab.execute("explorer.neuron_space, explorer.layer, explorer.neuron = 'residual', 0, 20")
    staged.lab.settle()
    assert message.inner_text() == "layer 0 has no neuron 20: its neurons are 0..7"


def test_negative_weights_have_a_scale_about_zero(staged: Workbench) -> None:
    staged.lab.execute("explorer.layer, explorer.overlay, explorer.head = 2, 'attention_from', 1")
    staged.lab.settle()
    wanted = staged.check_image()
    assert wanted["low"] == -wanted["high"] < 0
    low, high = staged.root.locator(".vw-legend .vw-number").all_inner_texts()
    assert low == f"−{high}"
    staged.lab.execute("explorer.head = None")


def test_without_a_model_the_check_says_so(staged: Workbench) -> None:
    staged.root.locator(".vw-verify").click()
    mark = staged.root.locator(".vw-verified")
    mark.filter(has_text="not verified: the model is not at hand").wait_for()
    assert staged.root.locator(".vw-verify").is_hidden()
    staged.click(3)
    staged.python(token=3)
    staged.lab.assert_quiet()


# ------------------------------------------------------------------ attention as weights, and its check


def test_heads_too_large_to_send_leave_their_mean(page: Lab) -> None:
    bench = show(page, LARGE)
    bench.check_image(overlay="attention_from", head=None)
    shown = bench.cell_colours(bench.head("mean"))
    assert_colours(shown, bench.expected(head=None)["colours"], "the mean")
    reason = "single heads of this layer are too large to send"
    assert bench.heads.locator(".vw-hint").inner_text() == reason
    bench.head("1").click()
    bench.python(head=1)
    bench.lab.settle()
    assert bench.root.locator(".vw-message").inner_text() == reason
    bench.lab.execute("explorer.close()")


def test_attention_that_comes_as_weights(biased: Workbench) -> None:
    assert biased.lab.value("trace.queries(2)") is None
    for overlay in ("attention_from", "attention_to"):
        biased.overlay(overlay)
        biased.click(11)
        biased.python(overlay=overlay, token=11)
        biased.check_image()
        for head in (None, 0, 1):
            key = "mean" if head is None else str(head)
            wanted = biased.expected(head=head)["colours"]
            assert_colours(biased.cell_colours(biased.head(key)), wanted, f"{overlay}, head {key}")
    biased.head("1").click()
    biased.python(head=1)
    biased.check_image()
    biased.lab.execute("explorer.head = None")


def test_verify_proves_the_attention(biased: Workbench) -> None:
    button, mark = biased.root.locator(".vw-verify"), biased.root.locator(".vw-verified")
    assert button.inner_text() == "verify"
    button.click()
    mark.filter(has_text="✓ verified").wait_for()
    assert button.is_hidden()
    worst = biased.lab.value("trace.checked.worst")
    assert float(mark.inner_text().split("·")[1]) == pytest.approx(worst, rel=0.5)
    assert mark.get_attribute("title") == biased.lab.value("trace.checked.text")
    biased.lab.assert_quiet()


def test_a_check_that_fails_is_shown(biased: Workbench) -> None:
    lab = biased.lab
    lab.execute("good = explorer.store.check")
    lab.execute(
        "explorer.store.check = dict(passed=False, attention=0.5, logits=0.0, text='block 2 is off by 0.5')"
    )
    mark = biased.root.locator(".vw-verified")
    mark.filter(has_text="differs: block 2 is off by 0.5").wait_for()
    lab.execute("explorer.store.check = good")
    mark.filter(has_text="✓ verified").wait_for()


# ------------------------------------------------------------------ without a kernel


def test_all_of_it_goes_on_without_a_kernel(page: Lab, staged: Workbench, biased: Workbench) -> None:
    lab = page
    lab.execute("explorer.head, explorer.layer, explorer.overlay = None, 2, 'similarity'")
    weights = {head: biased.expected(token=3, overlay="attention_to", head=head) for head in (None, 1)}
    lab.execute("trace, explorer = staged.trace, staged")
    lab.execute("explorer.layer, explorer.token, explorer.overlay, explorer.head = 0, 5, 'similarity', None")
    layers = [staged.expected(token=42, layer=layer) for layer in range(5)]
    head = staged.expected(token=42, layer=3, overlay="attention_from", head=2)
    lab.settle()
    lab.shutdown_kernel()

    biased.click(3)
    biased.overlay("attention_to")
    assert_colours(biased.image_colours(), weights[None]["colours"], "attention to, without a kernel,")
    biased.head("1").click()
    assert_colours(biased.image_colours(), weights[1]["colours"], "one head, without a kernel,")
    assert biased.root.locator(".vw-verified").inner_text().startswith("✓ verified")

    staged.click(42)
    for layer, wanted in enumerate(layers):
        staged.page.mouse.click(*staged.layer_place(layer))
        what = f"layer {layer} without a kernel"
        assert_colours(staged.image_colours(grid_of(wanted)), wanted["colours"], what)
        assert_colours(staged.layer_colours(layer, grid_of(wanted)), wanted["colours"], what)
    staged.page.mouse.click(*staged.layer_place(3))
    staged.head("2").click()
    assert_colours(staged.image_colours((3, 5)), head["colours"], "a head, without a kernel,")
    staged.overlay("rollout")
    staged.lab.settle()
    assert staged.root.locator(".vw-message").inner_text().startswith("no rollout at layer 3")
    lab.assert_quiet("Could not send widget sync message")
