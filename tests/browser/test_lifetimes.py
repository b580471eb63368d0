"""The page without its kernel, the page loaded anew, and explorers that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from browser.lab import Lab
from browser.models import page_models
from browser.workbench import OPEN, SETUP, SHOWN, Workbench, assert_colours, differ

CYCLES = 50
WARM = 5

# A trace with more to carry: 1 MB that must not stay behind.
BIG = """
import gc, weakref
big = vw.Inspector(model(embed_dim=192)).trace(photo.clip(0, 255).astype(np.uint8))
place = ipywidgets.VBox()
place
"""
SHOW = (
    "extra = vw.Explorer(big); born = [*globals().get('born', []), *map(weakref.ref, (extra, extra.store))]\n"
)
SHOW += "place.children = [extra]"
CLOSE = "place.children = []; extra.close(); del extra"


@pytest.fixture(scope="module")
def own(open_lab: Callable[..., Lab]) -> Iterator[Workbench]:
    """An explorer in a page and a kernel that the tests of this file may end."""
    lab = open_lab(height=1500)
    lab.new(SETUP, OPEN)
    lab.run_all()
    return Workbench(lab, lab.output(1).locator(".vw-root")).ready()


def test_the_page_loaded_anew_finds_everything_again(own: Workbench) -> None:
    own.click(18)
    own.python(token=18)
    own.overlay("attention_to")
    own.head("2").click()
    own.page.mouse.click(*own.layer_place(4))
    own.python(layer=4, head=2, overlay="attention_to")
    picture = own.check_image()["colours"]
    own.lab.save()
    own.lab.reload()
    bench = Workbench(own.lab, own.lab.output(1).locator(".vw-root")).ready()
    assert_colours(bench.image_colours(), picture, "the image after loading the page anew")
    assert bench.shown_layer() == 4
    assert bench.head("2").get_attribute("aria-selected") == "true"
    assert bench.root.locator(".vw-segment[aria-checked=true]").first.inner_text() == "Attention to"
    bench.click(50)
    bench.python(token=50)
    bench.check_image()
    bench.lab.execute("explorer.layer, explorer.overlay = 2, 'similarity'")
    bench.lab.settle()
    assert bench.shown_layer() == 2
    bench.check_image()
    bench.lab.assert_quiet()


def test_the_page_goes_on_without_its_kernel(own: Workbench) -> None:
    own.reset()
    own.lab.wait_value("[explorer.layer, explorer.token]", [3, 24])
    wanted = {
        "click": own.expected(token=7),
        "layer": own.expected(token=7, layer=1),
        "from": own.expected(token=7, layer=1, overlay="attention_from", head=2),
        "to": own.expected(token=7, layer=1, overlay="attention_to", head=2),
        "rollout": own.expected(token=7, layer=4, overlay="rollout"),
        "cls": own.expected(token="cls", layer=4, overlay="similarity"),
        "neuron": own.expected(layer=4, overlay="neuron", neuron=31),
    }
    strips = [own.expected(token="cls", layer=layer)["colours"] for layer in range(5)]
    own.lab.execute("explorer.layer, explorer.token, explorer.neuron_space = 2, 'reg2', 'mlp'")
    mlp = own.lab.value("strongest(explorer)[0][0]")
    wanted["mlp"] = own.expected(overlay="neuron", neuron=mlp, space="mlp")
    own.reset()
    own.lab.settle()
    own.lab.shutdown_kernel()

    def check(name: str) -> None:
        assert_colours(own.image_colours(), wanted[name]["colours"], f"{name}, without a kernel,")
        title = own.root.locator(".vw-legend-title").inner_text()
        assert title.startswith(f"{wanted[name]['title']} · layer ")

    own.click(7)
    check("click")
    own.page.mouse.click(*own.layer_place(1))
    check("layer")
    own.head("2").click()
    check("from")
    own.overlay("attention_to")
    check("to")
    own.strip.focus()
    own.page.keyboard.press("End")
    own.overlay("rollout")
    check("rollout")
    own.root.locator('.vw-chip[data-token="cls"]').click()
    own.overlay("similarity")
    check("cls")
    for layer, colours in enumerate(strips):
        assert_colours(own.layer_colours(layer), colours, f"layer {layer} without a kernel")
    own.neurons.locator(".vw-input").fill("31")
    own.neurons.locator(".vw-input").press("Enter")
    check("neuron")
    own.root.locator('.vw-chip[data-token="reg2"]').click()
    own.page.mouse.click(*own.layer_place(2))
    own.neurons.locator('.vw-segment[data-value="mlp"]').click()
    own.lab.settle()
    own.neurons.locator(".vw-cell").first.click()
    check("mlp")
    own.drag(11, 22)
    own.lab.settle()
    assert own.root.locator(".vw-chip-selection").inner_text().startswith("4 patches")
    own.root.locator(".vw-range").fill("0")
    assert differ(own.image_colours(), wanted["mlp"]["colours"])
    own.lab.assert_quiet("Could not send widget sync message")  # ipywidgets' own remark, and no more


def save_and_open(lab: Lab) -> None:
    """Save the notebook with its widgets, end its kernel, and load it anew."""
    lab.settle()
    switch = "@jupyter-widgets/jupyterlab-manager:saveWidgetState"
    lab.command(switch)
    lab.save()
    lab.command(switch)  # every page of the browser shares it
    lab.shutdown_kernel()
    lab.reload()


def opened_again(lab: Lab, **options: object) -> tuple[Workbench, dict[str, list[object]]]:
    """An explorer in a notebook saved with its widgets and opened again, and what overlays show of cls.

    Its new kernel knows none of the widgets, like that of whoever is sent the notebook.
    """
    start = "".join(f", {name}={value!r}" for name, value in options.items())
    lab.new(SETUP, OPEN.replace("**START", f"**START{start}"), SHOWN)
    lab.run_all()
    bench = Workbench(lab, lab.output(1).locator(".vw-root")).ready()
    lab.execute("explorer.token = 'cls'")
    wanted = {
        name: lab.value(f"seen(explorer, overlay={name!r})") for name in ("view", "evidence", "colours")
    }
    save_and_open(lab)
    bench.root.locator(".vw-image").wait_for()
    return bench, wanted


SAVED = "not in this saved page: run the notebook, or save it with offline=True"


def test_a_saved_page_says_what_it_lacks(lab: Lab) -> None:
    bench, wanted = opened_again(lab)
    marked = bench.root.locator(".vw-patch-view .vw-without")
    assert marked.evaluate_all("all => all.map(one => one.dataset.value)") == list(wanted)
    assert set(marked.evaluate_all("all => all.map(one => one.title)")) == {SAVED}
    message = bench.root.locator(".vw-message")
    for overlay in wanted:
        bench.overlay(overlay)
        lab.settle()
        assert message.inner_text() == SAVED
    bench.overlay("norm")
    lab.settle()
    assert message.is_hidden()
    bench.root.locator(".vw-verify").click()
    assert "does not answer" in bench.root.locator(".vw-verified").inner_text()
    bench.root.get_by_role("button", name="Open", exact=True).click()
    assert "not in this saved page" in bench.root.locator(".vw-map-region header").inner_text()
    lab.assert_quiet("Could not send widget sync message")


def test_a_page_saved_with_offline_shows_all(lab: Lab) -> None:
    bench, wanted = opened_again(lab, offline=True)
    assert bench.root.locator(".vw-without").count() == 0
    for overlay, colours in wanted.items():
        bench.overlay(overlay)
        lab.settle()
        assert bench.root.locator(".vw-message").is_hidden()
        picture = np.array(colours)
        assert_colours(bench.image_colours(picture.shape[:2]), picture, overlay)
    assert bench.root.locator(".vw-card .vw-hint").inner_text().startswith("pin a patch")
    assert bench.root.locator(".vw-curve-key .vw-chip").count() > 0
    lab.assert_quiet("Could not send widget sync message")


PAIRS = """
compare = vw.Compare(trace, inspector.trace(photo.clip(0, 255).astype(np.uint8)[::-1]), offline=True)
lab = vw.PerturbLab(inspector, photo.clip(0, 255).astype(np.uint8), mode="random", rate=0.5, offline=True)
lab.wait()
display(compare, lab)
"""


def test_pairs_saved_with_offline_show_both_sides(lab: Lab) -> None:
    lab.new(SETUP, PAIRS)
    lab.run_all()
    roots = lab.output(1).locator(".vw-root")
    for index in (0, 1):
        roots.nth(index).locator(".vw-image").nth(1).wait_for()
    save_and_open(lab)
    for index in (0, 1):
        root = roots.nth(index)
        root.locator(".vw-image").nth(1).wait_for()
        root.locator('.vw-segment[data-value="view"]').first.click()
        lab.settle()
        assert root.locator(".vw-message:visible").all_inner_texts() == []
        titles = root.locator(".vw-legend-title").all_inner_texts()
        assert titles, "no legend"
        assert all(title.startswith("view of neuron") for title in titles)
    assert roots.nth(1).locator(".vw-run-state").inner_text() == "in this saved page the model does not run"


def test_fifty_explorers_come_and_go(bench: Workbench) -> None:
    lab = bench.lab
    cell = lab.run(BIG)
    cdp = lab.page.context.new_cdp_session(lab.page)
    cdp.send("HeapProfiler.enable")
    kernel_widgets = "len(ipywidgets.widgets.widget._instances)"

    def memory() -> tuple[float, float, int]:
        """Bytes of arrays, bytes of everything else, elements: of the page, after a collection."""
        for _ in range(2):
            cdp.send("HeapProfiler.collectGarbage")
            lab.page.wait_for_timeout(200)
        usage = cdp.send("Runtime.getHeapUsage")
        return usage["backingStorageSize"], usage["usedSize"], cdp.send("Memory.getDOMCounters")["nodes"]

    def cycle() -> float:
        """Open one, wait for all of its numbers, close it; returns their bytes."""
        lab.execute(SHOW)
        root = lab.cell(cell).locator(".vw-explorer")
        root.wait_for()
        root.locator(".vw-masthead .vw-hint").wait_for(state="hidden")
        size = lab.value("sum(len(getattr(extra.store, name)) for name in extra.store.facts['packets'])")
        lab.execute(CLOSE)
        root.wait_for(state="detached")
        return size

    before = lab.value(kernel_widgets), page_models(lab)
    size = [cycle() for _ in range(WARM)][-1]
    assert size > 5e5, "one that stayed behind would go unnoticed"
    start = memory()
    for _ in range(CYCLES - WARM):
        cycle()
    end = memory()
    deadline = time.monotonic() + 5
    while page_models(lab) != before[1] and time.monotonic() < deadline:
        lab.page.wait_for_timeout(100)
    assert (lab.value(kernel_widgets), page_models(lab)) == before
    arrays, rest, elements = ((after - ago) / (CYCLES - WARM) for after, ago in zip(end, start, strict=True))
    print(
        f"each explorer of {size / 1e3:.0f} kB left {arrays / 1e3:.0f} kB of arrays, "
        f"{rest / 1e3:.0f} kB in all else"
    )
    assert arrays < 0.05 * size
    assert elements < 10
    assert rest < 6e5  # compiled code: a page never forgets a module, and anywidget makes one of every widget
    lab.execute("gc.collect()")
    assert lab.value("sum(ref() is not None for ref in born)") == 0, "the kernel keeps closed widgets"
    bench.reset()
    bench.check_image()
    lab.assert_quiet()
