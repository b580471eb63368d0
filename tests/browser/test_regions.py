"""Layers, heads and neurons: choosing there, and whether every small map shows what Python says."""

from __future__ import annotations

import pytest
from browser.workbench import Workbench, assert_colours, differ


def check_strip(bench: Workbench) -> None:
    for layer in range(bench.layers + 1):
        wanted = bench.expected(layer=layer)
        if "colours" in wanted:
            assert_colours(bench.layer_colours(layer), wanted["colours"], f"layer {layer}")


@pytest.mark.parametrize("overlay", ["similarity", "attention_from", "rollout", "neuron"])
def test_the_strip_shows_every_layer_of_the_overlay(bench: Workbench, overlay: str) -> None:
    bench.overlay(overlay)
    bench.python(overlay=overlay)
    check_strip(bench)
    assert differ(bench.layer_colours(1), bench.layer_colours(4))


def test_the_strip_follows_the_token(bench: Workbench) -> None:
    before = bench.layer_colours(2)
    bench.click(7)
    bench.python(token=7)
    assert differ(bench.layer_colours(2), before)
    check_strip(bench)


def test_a_click_and_a_drag_choose_a_layer(bench: Workbench) -> None:
    bench.page.mouse.click(*bench.layer_place(1))
    bench.python(layer=1)
    bench.check_image()
    bench.page.mouse.move(*bench.layer_place(1))
    bench.page.mouse.down()
    bench.page.mouse.move(*bench.layer_place(4), steps=6)
    bench.python(layer=4)
    bench.page.mouse.move(*bench.layer_place(2), steps=3)
    bench.page.mouse.up()
    bench.python(layer=2)
    bench.page.mouse.move(*bench.layer_place(0))  # released: pointing alone chooses nothing
    bench.lab.settle()
    assert bench.shown_layer() == 2
    bench.check_image()


def test_the_wheel_steps_through_the_layers(bench: Workbench) -> None:
    bench.page.mouse.move(*bench.layer_place(0))
    bench.page.mouse.wheel(0, 100)
    bench.python(layer=4)
    bench.page.mouse.wheel(0, 100)
    for _ in range(3):
        bench.page.mouse.wheel(0, -100)
    bench.python(layer=1)
    bench.check_image()


def test_keys_step_through_the_layers(bench: Workbench) -> None:
    bench.strip.focus()
    steps = {"Home": 0, "ArrowLeft": 0, "ArrowRight": 1, "ArrowUp": 2, "PageUp": 4, "ArrowDown": 3, "End": 4}
    for key, layer in steps.items():
        bench.page.keyboard.press(key)
        bench.python(layer=layer)
    bench.lab.settle()
    assert bench.strip.get_attribute("aria-valuetext") == "layer 4 of 4"
    bench.check_image()


def test_play_runs_through_the_layers_until_stopped(bench: Workbench) -> None:
    play = bench.root.locator(".vw-play")
    play.click()
    assert play.get_attribute("aria-pressed") == "true"
    seen = {3}
    for _ in range(3):
        here = bench.shown_layer()
        changed = f"element => element.getAttribute('aria-valuenow') !== '{here}'"
        bench.page.wait_for_function(changed, arg=bench.strip.element_handle(), timeout=5000)
        seen.add(bench.shown_layer())
    assert len(seen) >= 4, "after the last layer it begins anew"
    play.click()
    assert play.get_attribute("aria-pressed") == "false"
    bench.lab.settle()
    stopped = bench.shown_layer()
    bench.page.wait_for_timeout(1000)
    assert bench.shown_layer() == stopped
    bench.python(layer=stopped)


def test_heads(bench: Workbench) -> None:
    maps = {}
    for head in (None, 0, 1, 2):
        key = "mean" if head is None else str(head)
        maps[key] = bench.expected(overlay="attention_from", head=head)
        assert_colours(bench.cell_colours(bench.head(key)), maps[key]["colours"], f"head {key}")
    assert differ(maps["0"]["colours"], maps["1"]["colours"])
    bench.head("1").click()
    bench.python(head=1, overlay="attention_from")
    bench.lab.settle()
    assert bench.head("1").get_attribute("aria-selected") == "true"
    bench.check_image()
    bench.page.keyboard.press("ArrowRight")
    bench.page.keyboard.press("Enter")
    bench.python(head=2)
    bench.check_image()
    bench.overlay("attention_to")
    bench.python(overlay="attention_to")
    wanted = bench.expected(head=0)["colours"]
    assert_colours(bench.cell_colours(bench.head("0")), wanted, "attention to, head 0")
    bench.head("mean").click()
    bench.python(head=None, overlay="attention_to")
    bench.lab.execute("explorer.layer = 0")
    bench.lab.settle()
    hint = bench.heads.locator(".vw-hint").inner_text()
    assert hint == bench.expected(overlay="attention_to")["missing"]
    empty = bench.cell_colours(bench.head("0"))
    assert (empty == empty[0, 0]).all(), "the map of the other layer must not show through"


def check_gallery(bench: Workbench) -> list[int]:
    """Compare the shown neurons, their order, values and maps with Python's; return them."""
    bench.lab.settle()
    wanted = bench.lab.value("strongest(explorer)")
    cells = bench.neurons.locator(".vw-cell")
    shown = [int(key) for key in cells.evaluate_all("cells => cells.map(cell => cell.dataset.key)")]
    assert shown == [neuron for neuron, _ in wanted]
    notes = bench.neurons.locator(".vw-cell-note").all_inner_texts()
    scores = [float(note.replace("−", "-")) for note in notes]
    assert scores == pytest.approx([score for _, score in wanted], abs=0.006)
    space = bench.lab.value("explorer.neuron_space")
    for neuron in shown[:3]:
        colours = bench.expected(overlay="neuron", neuron=neuron, space=space)["colours"]
        assert_colours(bench.cell_colours(bench.neuron(neuron)), colours, f"neuron {neuron}")
    return shown


def test_neurons_that_set_a_token_apart(bench: Workbench) -> None:
    shown = check_gallery(bench)
    bench.neuron(shown[4]).click()
    bench.python(neuron=shown[4], overlay="neuron", neuron_space="residual")
    assert bench.check_image()["title"] == f"neuron {shown[4]}"
    assert bench.neuron(shown[4]).get_attribute("aria-selected") == "true"
    bench.lab.execute("explorer.patches = [3, 4, 5, 13]")
    assert check_gallery(bench) != shown
    bench.lab.execute("explorer.patches = []; explorer.token = None")
    bench.lab.settle()
    assert bench.neurons.locator(".vw-hint").inner_text() == "pin a token or select patches"


def test_mlp_neurons(bench: Workbench) -> None:
    bench.neurons.locator('.vw-segment[data-value="mlp"]').click()
    bench.python(neuron_space="mlp")
    shown = check_gallery(bench)
    bench.neuron(shown[0]).click()
    bench.python(neuron=shown[0], overlay="neuron")
    assert bench.check_image()["title"] == f"MLP neuron {shown[0]}"
    bench.lab.execute("explorer.layer = 0")
    bench.lab.settle()
    wanted = bench.expected()["missing"]
    assert bench.neurons.locator(".vw-hint").inner_text() == wanted
    bench.lab.execute("explorer.layer, explorer.neuron = 2, 190")
    bench.neurons.locator('.vw-segment[data-value="residual"]').click()
    bench.python(neuron_space="residual", neuron=47)  # there is no residual neuron 190
    bench.check_image()


def test_a_number_jumps_to_a_neuron_and_no_other_does(bench: Workbench) -> None:
    box = bench.neurons.locator(".vw-input")
    box.fill("31")
    box.press("Enter")
    bench.python(neuron=31, overlay="neuron")
    bench.check_image()
    for wrong in ("48", "-1", "1.5", ""):
        box.fill(wrong)
        box.press("Enter")
        box.blur()
        bench.lab.settle()
        assert box.input_value() == "31", f"{wrong!r} is no neuron"
        bench.python(neuron=31)
    bench.lab.assert_quiet()
