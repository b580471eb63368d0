"""Panels on one cursor and on one trace, linked with plain widgets, in every theme and at every width."""

from __future__ import annotations

import numpy as np
import pytest
from browser.lab import DARK, HIGH_CONTRAST, LIGHT
from browser.models import page_models
from browser.workbench import Workbench
from playwright.sync_api import expect

PANELS = """
shared = vw.Cursor(layer=2, token=11)
panels = [kind(trace, cursor=shared) for kind in (vw.PatchView, vw.PatchView, vw.LayerStrip, vw.HeadGrid,
                                                  vw.NeuronGallery, vw.Explorer)]
panels[0].opacity = panels[1].opacity = 1.0
ipywidgets.VBox(panels)
"""

# Every text that can be seen: its colour and what lies behind it, as [r, g, b] over all translucent layers.
TEXTS = """
root => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const texts = [];
  for (const element of root.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const field = element.matches("input[type=number], select");
    if (!(own || field) || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(".vw-sr, option")) continue;
    const behind = ["white"];
    for (let at = element; at; at = at.parentElement) {
      behind.splice(1, 0, getComputedStyle(at).backgroundColor);
    }
    texts.push({
      name: `${element.className}: ${element.textContent.slice(0, 30)}`,
      text: over([...behind, getComputedStyle(element).color]), back: over(behind),
    });
  }
  return texts;
}
"""

# What reaches beyond the right edge of the panel, or is cut off inside without saying so.
WIDER = """
root => {
  const { right } = root.getBoundingClientRect();
  const wide = [...root.querySelectorAll("*")].filter(element =>
    element.checkVisibility() && !element.closest(".vw-sr, option, .vw-tip") &&
    element.getBoundingClientRect().right > right + 1);
  return [...wide.map(element => `${element.tagName} ${element.className}`),
          ...(root.scrollWidth > root.clientWidth ? [`the panel scrolls: ${root.scrollWidth}`] : [])];
}
"""


def contrast(one: list[int], other: list[int]) -> float:
    """Contrast ratio of two sRGB colours; source: WCAG 2.1."""

    def luminance(colour: list[int]) -> float:
        c = np.array(colour) / 255
        return float(
            np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def many(bench: Workbench) -> list[Workbench]:
    """Two images, strip, heads, neurons and an explorer on one cursor, below the explorer of `bench`."""
    lab = bench.lab
    if not lab.value("'panels' in globals()"):
        bench.panels_cell = lab.run(PANELS)  # type: ignore[attr-defined]
    lab.execute("shared.layer, shared.token, shared.patches, shared.head = 2, 11, [], None")
    lab.execute("shared.overlay = 'similarity'")
    roots = lab.output(bench.panels_cell).locator(".vw-root")  # type: ignore[attr-defined]
    roots.nth(5).locator(".vw-strip").wait_for()
    lab.settle()
    return [Workbench(lab, roots.nth(index), "shared") for index in range(6)]


def test_panels_on_one_cursor_move_together(bench: Workbench, many: list[Workbench]) -> None:
    first, second, strip, heads, neurons, explorer = many
    first.click(44)
    first.python(token=44)
    wanted = first.check_image()["title"]
    assert second.check_image()["title"] == wanted
    assert explorer.root.locator(".vw-legend-title").inner_text().startswith(wanted)
    strip.page.mouse.click(*strip.layer_place(4))
    strip.python(layer=4)
    second.check_image()
    heads.head("2").click()
    heads.python(head=2, overlay="attention_from")
    assert "head 2" in first.check_image()["title"]
    chosen = neurons.neurons.locator(".vw-cell").nth(3)
    key = int(chosen.get_attribute("data-key") or -1)
    chosen.click()
    neurons.python(neuron=key, overlay="neuron")
    second.check_image()
    assert bench.lab.value("[panel.neuron for panel in panels]") == [key] * 6
    bench.python(token=24, layer=3, overlay="similarity")  # the other cursor has not moved
    bench.check_image()


def test_ten_panels_on_one_trace_hold_one_copy(bench: Workbench, many: list[Workbench]) -> None:
    lab = bench.lab
    assert many
    kernel = "[w for w in ipywidgets.widgets.widget._instances.values() if isinstance(w, vw.TraceStore)]"
    assert lab.value(f"len({kernel})") == 1
    before, inside = page_models(lab), lab.value("len(ipywidgets.widgets.widget._instances)")
    cell = lab.run("more = [vw.PatchView(trace, cursor=shared) for _ in range(4)]; ipywidgets.VBox(more)")
    lab.output(cell).locator(".vw-image").nth(3).wait_for()
    assert lab.value(f"len({kernel})") == 1
    assert lab.value("len({panel.store.model_id for panel in [explorer, *panels, *more]})") == 1
    # In the page as in the kernel: four panels, each with groups, all with layouts; the box with its own.
    opened = lab.value("len(ipywidgets.widgets.widget._instances)") - inside
    assert page_models(lab) - before == opened == 4 * 4 + 2
    lab.execute("for panel in more: panel.close()")
    assert lab.value(f"len({kernel})") == 1, "the store is still in use"
    bench.click(3)
    bench.python(token=3)
    bench.check_image()


def test_a_plain_slider_in_the_kernel_and_one_in_the_page(bench: Workbench) -> None:
    lab = bench.lab
    cell = lab.run(
        "linked = ipywidgets.IntSlider(max=4, description='linked')\n"
        "jslinked = ipywidgets.IntSlider(max=40, description='jslinked')\n"
        "traitlets.link((explorer, 'layer'), (linked, 'value'))\n"
        "ipywidgets.jslink((explorer.cursor, 'layer'), (jslinked, 'value'))\n"
        "ipywidgets.VBox([linked, jslinked])"
    )
    readouts = lab.output(cell).locator(".widget-readout")
    assert readouts.all_inner_texts() == ["3", "3"]
    bench.page.mouse.click(*bench.layer_place(1))
    bench.python(layer=1)
    lab.wait_value("[linked.value, jslinked.value]", [1, 1])
    expect(readouts).to_have_text(["1", "1"])
    for readout, layer in ((readouts.nth(0), 4), (readouts.nth(1), 2)):
        readout.fill(str(layer))
        readout.press("Enter")
        bench.python(layer=layer)
        lab.settle()
        assert bench.shown_layer() == layer
        bench.check_image()
    readouts.nth(1).fill("17")  # beyond the model's layers: refused, and the page is told
    readouts.nth(1).press("Enter")
    lab.wait_value("jslinked.value", 2)
    bench.python(layer=2)
    lab.settle()
    assert bench.shown_layer() == 2
    bench.check_image()
    lab.execute("linked.close(); jslinked.close()")


def test_every_theme_is_readable(bench: Workbench) -> None:
    lab = bench.lab
    seen = {}
    try:
        for theme in (DARK, HIGH_CONTRAST, LIGHT):
            lab.theme(theme)
            bench.lab.execute("explorer.token, explorer.patches, explorer.layer = 24, [1, 2], 0")
            bench.overlay("attention_from")  # which layer 0 does not have: the remarks are shown too
            lab.settle()
            texts = bench.root.evaluate(TEXTS)
            assert len(texts) > 40
            poor = {t["name"]: ratio for t in texts if (ratio := contrast(t["text"], t["back"])) < 4.5}
            assert not poor, f"{theme}: contrast below 4.5"
            seen[theme] = (texts[0]["text"], texts[0]["back"])
            bench.overlay("similarity")
            lab.execute("explorer.layer = 3")
            bench.check_image()  # the colours of data do not change with the theme
            lab.screenshot(f"explorer-{theme.replace(' ', '-').lower()}", bench.root)
    finally:
        lab.theme(LIGHT)
    assert len({str(colours) for colours in seen.values()}) >= 2
    assert max(seen[LIGHT][0]) < 128 < min(seen[LIGHT][1])
    assert max(seen[DARK][1]) < 128 < min(seen[DARK][0])


def test_what_is_drawn_follows_the_theme_too(bench: Workbench) -> None:
    lab = bench.lab
    label = """canvas => {
      const image = canvas.getContext("2d").getImageData(0, canvas.height - 15, canvas.width, 15).data;
      let [sum, count] = [0, 0];
      for (let i = 0; i < image.length; i += 4) if (image[i + 3] > 200) { sum += image[i]; count++ }
      return sum / count;
    }"""
    light = bench.strip.evaluate(label)
    try:
        lab.theme(DARK)
        dark = bench.strip.evaluate(label)
    finally:
        lab.theme(LIGHT)
    assert dark > light + 60, "the layers' numbers must be light on dark"
    lab.settle()
    assert bench.strip.evaluate(label) == pytest.approx(light, abs=5)


@pytest.mark.parametrize("width", [600, 1600])
def test_nothing_overflows(bench: Workbench, width: int) -> None:
    lab = bench.lab
    try:
        lab.viewport(width, 1500)
        bench.page.wait_for_timeout(200)  # the observer of widths speaks after the layout
        for overlay in ("similarity", "attention_from", "neuron"):
            bench.overlay(overlay)
            bench.lab.execute("explorer.patches = [1, 2, 3]")
            lab.settle()
            assert bench.root.evaluate(WIDER) == []
        lab.screenshot(f"explorer-{width}", bench.root)
        bench.overlay("similarity")
        bench.click(29)
        bench.python(token=29)
        bench.check_image()
        bench.page.mouse.click(*bench.layer_place(4))
        bench.python(layer=4)
    finally:
        lab.viewport(1280, 1500)
        bench.page.wait_for_timeout(200)


def test_reduced_motion_is_respected(bench: Workbench) -> None:
    durations = """root => [...new Set([...root.querySelectorAll("*")].map(
        element => getComputedStyle(element).transitionDuration))]"""
    try:
        bench.page.emulate_media(reduced_motion="no-preference")
        assert bench.root.evaluate(durations) != ["0s"]
        bench.page.emulate_media(reduced_motion="reduce")
        assert bench.root.evaluate(durations) == ["0s"]
        assert bench.root.evaluate("root => root.getAnimations({ subtree: true }).length") == 0
    finally:
        bench.page.emulate_media(reduced_motion="no-preference")


def test_the_console_stayed_quiet(bench: Workbench) -> None:
    bench.lab.assert_quiet()
