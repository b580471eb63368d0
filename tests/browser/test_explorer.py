"""The image of an explorer: what mouse and keyboard do to it, and whether it shows what Python says."""

from __future__ import annotations

import pytest
from browser.workbench import Workbench, assert_colours, differ

FIELDS = ["similarity", "attention_from", "attention_to", "rollout", "neuron"]


@pytest.mark.parametrize("patch", [0, 9, 37, 59])
def test_a_click_pins_the_patch_under_the_mouse(bench: Workbench, patch: int) -> None:
    before = bench.image_colours()
    bench.click(patch)
    bench.python(token=patch)
    wanted = bench.check_image()
    assert differ(before, wanted["colours"])
    assert bench.root.locator(".vw-legend-title").inner_text() == f"{wanted['title']} · layer 3"


def test_a_click_beside_what_the_model_saw_does_nothing(bench: Workbench) -> None:
    assert bench.box[0] > 3, "the model must see less than the photo"
    bench.image.click(position={"x": 3, "y": 40})
    bench.python(token=24)
    bench.python(patches=[])


def test_pointing_shows_name_and_value_and_moves_nothing(bench: Workbench) -> None:
    bench.page.mouse.move(*bench.place(38))
    bench.lab.settle()
    tip = bench.root.locator(".vw-tip")
    assert tip.locator("strong").inner_text() == "patch 38 (row 3, column 8)"
    value = bench.expected()["values"][38 + 3]
    number, unit = tip.locator(".vw-tip-value").inner_text().split()
    assert float(number.replace("−", "-")) == pytest.approx(value, abs=2e-3)
    assert unit == "cosine"
    preview = bench.read(tip.locator("canvas"))
    assert_colours(preview, bench.expected(token=38)["colours"], "the preview")
    bench.python(token=24)
    bench.page.mouse.move(2, 2)
    bench.lab.settle()
    assert tip.is_hidden()


def test_arrows_walk_enter_pins_space_selects_escape_clears(bench: Workbench) -> None:
    press = bench.page.keyboard.press
    bench.image.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp"):
        press(key)
    bench.lab.settle()
    spoken = bench.root.locator(".vw-patch-view [aria-live]").inner_text()
    assert spoken.startswith("patch 33 (row 3, column 3)"), "a screen reader must be told"
    press("Enter")
    bench.python(token=33)  # from row 2, column 4: one down, one left
    bench.check_image()
    press("Home")
    press("Enter")
    bench.python(token=30)
    press("ArrowLeft")  # stays at the edge
    press("Enter")
    bench.python(token=30)
    press("End")
    press("Enter")
    bench.python(token=39)
    press(" ")
    bench.python(patches=[39])
    press("Shift+ArrowUp")
    press("Shift+ArrowLeft")
    bench.python(patches=[28, 29, 39])
    press(" ")
    bench.python(patches=[29, 39])
    press("Escape")
    bench.python(patches=[])
    bench.python(token=39)
    press("Escape")
    bench.python(token=None)
    assert bench.root.locator(".vw-message").inner_text() == bench.expected()["missing"]


def test_keys_are_the_panels_own(bench: Workbench) -> None:
    cells = len(bench.lab.cells())
    bench.image.focus()
    for key in "bamx":
        bench.page.keyboard.press(key)
    assert len(bench.lab.cells()) == cells


def test_a_drag_selects_shift_adds_alt_removes(bench: Workbench) -> None:
    keyboard = bench.page.keyboard
    bench.drag(11, 33)
    first = [row * 10 + col for row in (1, 2, 3) for col in (1, 2, 3)]
    bench.python(patches=first)
    bench.python(token=24)
    keyboard.down("Shift")
    bench.drag(58, 49)
    keyboard.up("Shift")
    both = sorted([*first, 48, 49, 58, 59])
    bench.python(patches=both)
    keyboard.down("Alt")
    bench.drag(12, 33)
    keyboard.up("Alt")
    bench.python(patches=[11, 21, 31, 48, 49, 58, 59])
    keyboard.down("Shift")
    bench.click(0)
    keyboard.up("Shift")
    bench.python(patches=[0, 11, 21, 31, 48, 49, 58, 59])
    bench.python(token=24)
    chip = bench.root.locator(".vw-chip-selection")
    assert chip.inner_text().startswith("8 patches selected")
    bench.drag(5, 6)
    bench.python(patches=[5, 6])
    chip.click()
    bench.python(patches=[])


@pytest.mark.parametrize("overlay", FIELDS)
def test_each_overlay_shows_what_python_says(bench: Workbench, overlay: str) -> None:
    bench.overlay("none")
    photo = bench.image_colours()
    bench.overlay(overlay)
    bench.python(overlay=overlay)
    wanted = bench.check_image()
    assert differ(photo, wanted["colours"])
    others = [bench.expected(overlay=other)["colours"] for other in FIELDS if other != overlay]
    assert all(differ(wanted["colours"], other) for other in others), "a wrong overlay would go unnoticed"
    low, high = (
        float(text.replace("−", "-")) for text in bench.root.locator(".vw-scale .vw-number").all_inner_texts()
    )
    assert (low, high) == pytest.approx((wanted["low"], wanted["high"]), rel=0.01, abs=2e-3)
    assert bench.root.locator(".vw-scale .vw-faint").inner_text() == wanted["unit"]


def test_an_overlay_of_one_head_and_of_the_mean(bench: Workbench) -> None:
    bench.overlay("attention_to")
    select = bench.root.locator(".vw-bar .vw-select")
    select.select_option("2")
    bench.python(head=2)
    one = bench.check_image()
    select.select_option("")
    bench.python(head=None)
    assert differ(bench.check_image()["colours"], one["colours"])


def test_a_prefix_token_is_a_chip(bench: Workbench) -> None:
    for name in ("cls", "reg1", "reg2"):
        chip = bench.root.locator(f'.vw-chip[data-token="{name}"]')
        chip.click()
        bench.python(token=name)
        bench.lab.settle()
        assert chip.get_attribute("aria-pressed") == "true"
        assert bench.check_image()["title"] == f"similarity to {name}"
    values = bench.expected()["values"]
    shown = bench.root.locator(".vw-chip[data-token] .vw-number").all_inner_texts()
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(values[:3], abs=2e-3)


def test_layer_0_says_what_it_lacks(bench: Workbench) -> None:
    bench.lab.execute("explorer.layer = 0")
    message = bench.root.locator(".vw-message")
    for overlay in ("attention_from", "attention_to"):
        bench.overlay(overlay)
        bench.lab.settle()
        assert message.inner_text() == bench.expected()["missing"]
    bench.overlay("rollout")
    bench.python(overlay="rollout")
    bench.check_image()
    assert message.is_hidden()


def test_opacity_and_smoothing(bench: Workbench) -> None:
    opaque = bench.image_colours()
    slider = bench.root.locator(".vw-range")
    slider.fill("0")
    bench.python(opacity=0)
    bare = bench.image_colours()
    bench.overlay("none")
    assert (bench.image_colours() == bare).all()
    bench.overlay("similarity")
    slider.fill("0.5")
    bench.python(opacity=0.5)
    half = bench.image_colours().astype(int)
    assert abs(half - (opaque.astype(int) + bare) / 2).max() <= 2
    slider.fill("1")
    box = bench.root.locator('input[type="checkbox"]')
    box.check()
    bench.python(smooth=True)
    between = {"left": 0, "top": 0}
    smooth = bench.read(bench.image, **between)
    box.uncheck()
    bench.lab.settle()
    assert (bench.read(bench.image, **between) != smooth).any()
    bench.check_image()


def test_python_moves_the_page(bench: Workbench) -> None:
    bench.lab.execute("explorer.layer, explorer.token, explorer.overlay = 1, (5, 2), 'attention_from'")
    bench.lab.execute("explorer.head, explorer.patches = 1, [7, 3]")
    bench.lab.settle()
    assert bench.shown_layer() == 1
    assert bench.check_image()["title"] == "attention from patch 52 (row 5, column 2) · head 1"
    assert bench.head("1").get_attribute("aria-selected") == "true"
    assert bench.root.locator(".vw-chip-selection").inner_text().startswith("2 patches")
    bench.python(token=52)
    bench.python(patches=[3, 7])
    bench.lab.execute("explorer.head = None")
    assert bench.check_image()["title"].endswith("head mean")
    bench.lab.execute("explorer.token = None")
    bench.lab.settle()
    assert bench.root.locator(".vw-message").inner_text() == bench.expected()["missing"]


def test_labels_are_text(bench: Workbench) -> None:
    shown = bench.root.locator(".vw-class-name").all_inner_texts()
    assert shown == [label for label, _ in bench.lab.value("trace.top(5)")]
    assert any("<" in label for label in shown), "a label with HTML in it must be among the first five"
    assert bench.root.locator(".vw-predictions img, .vw-predictions b").count() == 0
    assert bench.page.evaluate("window.vwInjected ?? null") is None


def test_the_console_is_quiet(bench: Workbench) -> None:
    bench.lab.assert_quiet()
