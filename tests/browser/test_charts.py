"""Charts in JupyterLab: the handle that moves the cursor, legible in each theme, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser.conftest import OpenLab
from browser.lab import DARK, HIGH_CONTRAST, LIGHT, Lab
from browser.test_panels import contrast
from browser.workbench import SETUP
from playwright.sync_api import Locator

OPEN = """
import pandas as pd
from vitwidgets import charts
steps = np.linspace(0.1, 0.8, 4)
frame = pd.DataFrame({"silhouette": steps, "purity": steps[::-1], "auc": steps**2}, index=[1, 2, 3, 4])
frame.loc[4, "auc"] = frame.loc[2, "purity"] = np.nan
cursor = vw.Cursor(layer=2)
cursor.bind(trace)
grouping = charts.GroupingChart(
    frame, cursor, low=frame - 0.1, high=frame + 0.1,
    baselines={"<i>chance</i>": frame / 2, "place": frame / 3},
)
curve = charts.RateCurve(inspector, trace.image, seeds=2)
curve.wait()
heads = charts.attention_distance(trace, cursor=cursor)
alike = charts.cka(trace, cursor=cursor)
"""
SHOW = ("grouping", "curve", "heads", "alike")

# All that is written in an output, its colour, and the colour behind.
WRITTEN = """
area => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const found = [];
  for (const element of area.querySelectorAll(".bqplot text, .widget-html-content span")) {
    if (!element.textContent.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    const behind = ["white"];
    for (let at = element; at; at = at.parentElement) {
      behind.splice(1, 0, getComputedStyle(at).backgroundColor);
    }
    const style = getComputedStyle(element);
    const text = over([...behind, element.matches("text") ? style.fill : style.color]);
    found.push({ what: element.textContent, text, back: over(behind) });
  }
  return found;
}
"""
# Where the middles of the handles are, of all charts of an output.
HANDLES = """
area => [...area.querySelectorAll(".bqplot path.element")]
  .filter(path => getComputedStyle(path).fill === "rgb(122, 130, 140)")
  .map(path => path.getBoundingClientRect()).map(box => [box.x + box.width / 2, box.y + box.height / 2])
"""


@pytest.fixture(scope="module")
def charted(open_lab: OpenLab) -> Iterator[Lab]:
    lab = open_lab(width=1500, height=1000)
    lab.new(SETUP, OPEN, *SHOW)
    lab.run_all()
    lab.output(2).locator(".bqplot .mainheading").nth(2).wait_for()
    yield lab
    lab.assert_quiet()


def shown(lab: Lab, number: int) -> Locator:
    """Output of a cell, its charts drawn: JupyterLab draws what scrolls into view when it has time."""
    area = lab.output(number)
    area.locator(".bqplot text.mainheading").first.wait_for()
    return area


def handles(lab: Lab) -> list[list[float]]:
    """Where the handles have come to rest."""
    lab.settle()
    area, found = shown(lab, 2), None
    for _ in range(20):
        before, found = found, area.evaluate(HANDLES)
        if found == before:
            break
        lab.page.wait_for_timeout(200)
    places: list[list[float]] = found
    return places


def test_dragging_a_handle_moves_the_cursor_and_all_the_others(charted: Lab) -> None:
    charted.execute("cursor.layer = 1")
    charted.page.wait_for_timeout(300)
    first = handles(charted)
    charted.execute("cursor.layer = 4")
    charted.page.wait_for_timeout(300)
    last = handles(charted)
    assert len(first) == 3
    step = (last[0][0] - first[0][0]) / 3
    assert step > 20
    mouse = charted.page.mouse
    mouse.move(*last[0])
    mouse.down()
    mouse.move(last[0][0] - 0.9 * step, last[0][1], steps=5)
    mouse.move(last[0][0] - 1.9 * step, last[0][1], steps=5)
    mouse.up()
    charted.wait_value("cursor.layer", 2)
    expected = [left + step for left, _ in first]  # also of the one that was let go beside it
    for _ in range(40):
        charted.page.wait_for_timeout(100)
        found = [x for x, _ in handles(charted)]
        if found == pytest.approx(expected, abs=2):
            break
    assert found == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("theme", [LIGHT, DARK, HIGH_CONTRAST])
def test_all_that_is_written_is_legible(charted: Lab, theme: str) -> None:
    charted.theme(theme)
    for number in range(len(SHOW)):
        texts = shown(charted, 2 + number).evaluate(WRITTEN)
        assert len(texts) > 8
        pale = [text for text in texts if contrast(text["text"], text["back"]) < 4.5]
        assert not pale
        # Nothing in a colour of bqplot's own: text is as grey as the theme's.
        assert all(max(text["text"]) - min(text["text"]) < 40 for text in texts)
    charted.theme(LIGHT)


def test_the_legend_hides_no_curve_and_names_are_text(charted: Lab) -> None:
    for number, names in (
        (2, ["model", "<i>chance</i>", "place", "95 % interval"]),
        (3, ["random", "salient"]),
    ):
        area = shown(charted, number)
        legend = area.locator(".widget-html-content")
        said = legend.locator("span").all_inner_texts()
        assert [name for name in names if name in said] == names
        below = legend.bounding_box()
        assert below is not None
        for figure in area.locator(".bqplot svg.svg-figure").all():
            box: Any = figure.bounding_box()
            assert box["y"] + box["height"] <= below["y"] + 1


@pytest.mark.parametrize(("width", "across"), [(1500, 3), (700, 2)])
def test_charts_stand_side_by_side_where_there_is_room(charted: Lab, width: int, across: int) -> None:
    charted.viewport(width, 1000)
    charted.page.wait_for_timeout(500)
    area = shown(charted, 2)
    room: Any = area.bounding_box()
    boxes: list[Any] = [figure.bounding_box() for figure in area.locator(".bqplot").all()]
    assert len(boxes) == 3
    assert sum(abs(box["y"] - boxes[0]["y"]) < 2 for box in boxes) == across
    right = room["x"] + room["width"] + 1
    assert [box for box in boxes if box["width"] < 240 or box["x"] + box["width"] > right] == []
    charted.viewport(1500, 1000)


def test_the_notebook_keeps_a_picture_of_each_chart(charted: Lab) -> None:
    cells = charted.cells()
    for number in range(len(SHOW)):
        (output,) = cells[2 + number]["outputs"]
        assert output["data"]["image/png"].startswith("iVBOR")
        assert "application/vnd.jupyter.widget-view+json" in output["data"]
