"""The filter gallery and the view grid in the page: what they show, what they choose, what they save."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from browser.lab import Lab
from browser.workbench import SETUP
from PIL import Image
from playwright.sync_api import Locator

PANELS = """
from vitwidgets.analysis import filters, views
from vitwidgets.widgets.filter_gallery import FilterGallery
from vitwidgets.widgets.view_grid import ViewGrid

shared = vw.Cursor(layer=2, token=11, neuron=5)
scores = np.random.default_rng(1).random(48)
gallery = FilterGallery(inspector, cursor=shared, scores=scores)
image = vw.PatchView(trace, cursor=shared)
grid = ViewGrid(trace, ["cls", (2, 3)], [7, 40], [0, 2, 4], cursor=shared)
display(gallery, image, grid)
"""
TILE, GAP, EDGE = 32, 4, 3

# The colour of a canvas at a point, in CSS pixels.
COLOUR = """
(canvas, [x, y]) => {
  const ratio = canvas.width / canvas.clientWidth;
  const { data } = canvas.getContext("2d").getImageData(Math.floor(x * ratio), Math.floor(y * ratio), 1, 1);
  return [...data.slice(0, 3)];
}
"""


class Page:
    """The gallery and the grid in one notebook."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        roots = lab.output(1).locator(".vw-root")
        self.gallery, self.grid = roots.nth(0), roots.nth(2)
        self.tiles = self.gallery.locator(".vw-tiles-canvas")
        self.cells = self.grid.locator(".vw-view")

    def reset(self) -> None:
        lab = self.lab
        lab.execute("shared.layer, shared.token, shared.neuron_space, shared.neuron = 2, 11, 'residual', 5")
        lab.execute("shared.overlay = 'similarity'; gallery.sort, gallery.view = 'number', 'filters'")
        lab.execute("grid.mode, grid.shared_scale, grid.tokens = 'signed', False, ['cls', (2, 3)]")
        lab.execute("grid.attention = 'mean'")
        lab.page.mouse.move(2, 2)
        lab.page.evaluate("document.activeElement?.blur()")
        lab.settle()

    def place(self, index: int) -> tuple[float, float]:
        """The middle of a tile of the gallery, on its canvas."""
        width = self.tiles.evaluate("canvas => canvas.clientWidth") - 2 * EDGE
        columns = (width + GAP) // (TILE + GAP)
        row, col = divmod(index, int(columns))
        x = EDGE + round(col * (width - TILE) / (columns - 1)) + TILE / 2
        return x, EDGE + row * (TILE + GAP) + TILE / 2

    def columns(self) -> int:
        return int((self.tiles.evaluate("canvas => canvas.clientWidth") - 2 * EDGE + GAP) // (TILE + GAP))

    def click(self, index: int) -> None:
        x, y = self.place(index)
        self.tiles.click(position={"x": x, "y": y})

    def shown_order(self) -> list[list[int]]:
        """The colours in the middle of the first dozen tiles: the upper left pixel of the four there."""
        self.lab.page.mouse.move(2, 2)
        self.lab.settle()
        middles = [self.place(index) for index in range(12)]
        return [self.tiles.evaluate(COLOUR, [x - 2, y - 2]) for x, y in middles]

    def expected_order(self, kernels: str = "inspector.filters()[gallery.order()[:12]]") -> Any:
        return self.lab.value(f"filters.picture({kernels})[:, 3, 3]")

    def sort(self, name: str) -> None:
        self.gallery.locator(f'.vw-sorted [data-value="{name}"]').click()

    def cell_pixels(self, index: int) -> np.ndarray:
        """A view as it is drawn, (height, width, 3)."""
        address = self.cells.nth(index).locator("canvas").evaluate("canvas => canvas.toDataURL()")
        return png(address)

    def download(self, label: str) -> Path:
        with self.lab.page.expect_download() as waiting:
            self.grid.get_by_role("button", name=label, exact=True).click()
        return waiting.value.path()


def png(address: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(b64decode(address.partition(",")[2]))).convert("RGB"))


def blocks(picture: np.ndarray, rows: int = 6, cols: int = 10) -> np.ndarray:
    """The mean colour of each patch, (rows, cols, 3)."""
    ys = np.linspace(0, picture.shape[0], rows + 1).round().astype(int)
    xs = np.linspace(0, picture.shape[1], cols + 1).round().astype(int)
    patches = [picture[y0:y1, x0:x1] for y0, y1 in pairwise(ys) for x0, x1 in pairwise(xs)]
    return np.array([patch.mean((0, 1)) for patch in patches]).reshape(rows, cols, 3)


def assert_same_view(found: np.ndarray, wanted: np.ndarray) -> None:
    """Fail unless two pictures, perhaps of different sizes, show the same."""
    difference = np.abs(blocks(found) - blocks(wanted))
    assert difference.max() <= 12, f"up to {difference.max():.1f}"
    assert difference.mean() <= 1, f"{difference.mean():.2f} on average"


@pytest.fixture(scope="module")
def shared_page(open_lab: Callable[..., Lab]) -> Page:
    lab = open_lab(height=1800)
    lab.new(SETUP, PANELS)
    lab.run_all()
    page = Page(lab)
    page.grid.locator(".vw-view").nth(11).wait_for()
    page.tiles.wait_for()
    return page


@pytest.fixture
def page(shared_page: Page) -> Page:
    shared_page.reset()
    return shared_page


# ------------------------------------------------------------------ gallery


@pytest.mark.parametrize("sort", ["variance", "likeness", "separation", "number"])
def test_every_order_is_pythons(page: Page, sort: str) -> None:
    page.sort(sort)
    page.lab.wait_value("gallery.sort", sort)
    np.testing.assert_allclose(page.shown_order(), page.expected_order(), atol=1)


def test_a_click_chooses_the_neuron_of_all_panels(page: Page) -> None:
    page.sort("variance")
    page.click(9)
    wanted = page.lab.value("int(gallery.order()[9])")
    page.lab.wait_value("[gallery.neuron, image.neuron, shared.neuron]", [wanted] * 3)
    assert page.lab.value("[shared.overlay, shared.neuron_space]") == ["neuron", "residual"]
    assert page.gallery.locator(".vw-filter-card strong").inner_text() == f"filter {wanted}"
    page.lab.execute("shared.overlay = 'view'")
    page.click(3)
    page.lab.wait_value("[shared.neuron == gallery.order()[3], shared.overlay]", [True, "view"])


def test_likeness_is_to_the_chosen_one(page: Page) -> None:
    page.sort("likeness")
    page.click(4)
    page.lab.wait_value("gallery.sort", "likeness")
    assert page.lab.value("int(gallery.order()[0]) == gallery.neuron")
    np.testing.assert_allclose(page.shown_order(), page.expected_order(), atol=1)


def test_the_pointer_tells_number_and_share(page: Page) -> None:
    page.sort("number")
    x, y = page.place(17)
    page.tiles.hover(position={"x": x, "y": y})
    text = page.gallery.locator(".vw-tip").inner_text()
    share = page.lab.value("100 * filters.variance_share(inspector.filters())[17]")
    assert text.startswith("filter 17")
    assert float(re.search(r"([\d.]+) % of variance", text)[1]) == pytest.approx(share, rel=0.01)  # type: ignore[index]
    place = page.lab.value("int(np.argsort(-scores).tolist().index(17)) + 1")
    assert re.search(rf"separation [\d.]+ · {place}(st|nd|rd|th)", text)


def test_the_card_says_the_range_of_every_channel(page: Page) -> None:
    page.lab.execute("gallery.neuron = 33")
    page.lab.settle()
    page.lab.execute("kernel = inspector.filters()[33].astype(float)")
    ranges = page.lab.value("np.stack([kernel.min((0, 1)), kernel.max((0, 1))], 1)")
    shown = page.gallery.locator(".vw-channel").all_inner_texts()
    for text, (low, high), name in zip(shown, ranges, ("red", "green", "blue"), strict=True):
        assert text.startswith(name)
        found = [float(number) for number in re.findall(r"-?[\d.]+(?!…)\b", text.replace("−", "-"))]
        np.testing.assert_allclose(found, [low, high], atol=6e-4)


def test_the_box_jumps_to_a_number(page: Page) -> None:
    box = page.gallery.get_by_label("filter number")
    box.fill("31")
    box.press("Enter")
    page.lab.wait_value("gallery.neuron", 31)
    for wrong in ("48", "-1", "2.5", ""):
        box.fill(wrong)
        box.press("Enter")
        assert box.input_value() == "31"
    assert page.lab.value("gallery.neuron") == 31


def test_one_tab_stop_and_arrow_keys(page: Page) -> None:
    page.gallery.get_by_label("filter number").focus()
    page.lab.page.keyboard.press("Tab")
    assert page.tiles.evaluate("canvas => document.activeElement === canvas")
    live = page.gallery.locator("[aria-live]")
    columns = page.columns()
    for key, wanted in [
        ("ArrowRight", 6), ("ArrowDown", 6 + columns), ("ArrowUp", 6), ("ArrowLeft", 5), ("Home", 0),
        ("ArrowLeft", 0), ("End", 47), ("ArrowDown", 47), ("PageUp", None), ("Home", 0), ("ArrowRight", 1),
    ]:  # fmt: skip
        page.lab.page.keyboard.press(key)
        page.lab.settle()
        if wanted is not None:
            assert live.inner_text().startswith(f"filter {wanted},")
    assert page.lab.value("gallery.neuron") == 5, "to move is not to choose"
    page.lab.page.keyboard.press("Enter")
    page.lab.wait_value("gallery.neuron", 1)
    page.lab.page.keyboard.press("Tab")
    assert not page.tiles.evaluate("canvas => document.activeElement === canvas")


def test_an_mlp_neuron_has_no_filter(page: Page) -> None:
    page.lab.execute("shared.neuron_space = 'mlp'")
    page.lab.settle()
    assert "MLP neuron, which has no filter" in page.gallery.locator(".vw-filter-card").inner_text()
    page.click(2)
    page.lab.wait_value("[shared.neuron_space, shared.neuron]", ["residual", 2])


def test_the_principal_components(page: Page) -> None:
    page.gallery.locator('[data-value="components"]').click()
    page.lab.wait_value("gallery.view", "components")
    explained = page.lab.value("filters.principal_components(inspector.filters())[1]")
    total = page.gallery.locator(".vw-count").first.inner_text()
    assert float(re.search(r"([\d.]+) %", total)[1]) == pytest.approx(100 * sum(explained), rel=0.01)  # type: ignore[index]
    card = page.gallery.locator(".vw-filter-card").inner_text()
    assert card.startswith("component 1\n")
    assert float(re.search(r"explains ([\d.]+) %", card)[1]) == pytest.approx(100 * explained[0], rel=0.01)  # type: ignore[index]
    page.tiles.click(position={"x": 120, "y": 20})
    page.lab.settle()
    assert page.gallery.locator(".vw-filter-card strong").inner_text() == "component 2"
    assert page.lab.value("gallery.neuron") == 5, "a component is no neuron"


# ------------------------------------------------------------------ grid


def expected_cells(page: Page) -> list[np.ndarray]:
    """What Python says of every view, row by row, as colours."""
    page.lab.execute(
        "seen = [trace.view(neuron, layer, token, attention=grid.attention) "
        "for token in grid.tokens for neuron in grid.neurons for layer in grid.layers]\n"
        "limit = views.limit_of(*seen) if grid.shared_scale else None"
    )
    shown = page.lab.value("[views.display(one, grid.mode, limit=limit) for one in seen]")
    return [np.array(one, np.uint8) for one in shown]


@pytest.mark.parametrize(
    ("mode", "shared", "attention"),
    [
        ("positive", False, "mean"),
        ("magnitude", True, "mean"),
        ("signed", True, "head"),
        ("signed", False, "head"),
    ],
)
def test_every_view_is_pythons(page: Page, mode: str, shared: bool, attention: str) -> None:
    page.lab.execute(f"grid.attention = {attention!r}")
    page.grid.locator(f'[data-value="{mode}"]').click()
    page.grid.get_by_label("one scale for all").set_checked(shared)
    page.lab.wait_value("[grid.mode, grid.shared_scale]", [mode, shared])
    page.lab.page.wait_for_timeout(100)
    for index, wanted in enumerate(expected_cells(page)):
        assert_same_view(page.cell_pixels(index), wanted)


def test_a_click_on_a_view_goes_there(page: Page) -> None:
    page.cells.nth(3 * 3 + 1).click()  # last row: patch (2, 3), neuron 40; second column: layer 2
    page.lab.wait_value(
        "[shared.layer, shared.token, shared.neuron, shared.neuron_space]", [2, 23, 40, "residual"]
    )
    page.lab.settle()
    chosen = page.grid.locator('.vw-view[aria-selected="true"]')
    assert chosen.count() == 1
    assert chosen.get_attribute("aria-label") == "patch 23 (row 2, column 3), neuron 40, layer 2"
    page.lab.execute("shared.layer = 3")
    page.lab.settle()
    assert chosen.count() == 0


def test_the_line_below_says_how_far_a_view_goes(page: Page) -> None:
    reading = page.grid.locator(".vw-reading")
    page.cells.nth(0).hover()
    page.lab.settle()
    assert reading.inner_text() == "cls, neuron 7, layer 0 · nothing of the picture yet"
    page.cells.nth(1).hover()
    page.lab.settle()
    page.lab.execute("seen = trace.view(7, 2, 'cls')")
    wanted = page.lab.value("[float(views.peak_of(seen)), float(views.limit_of(seen))]")
    found = re.fullmatch(
        r"cls, neuron 7, layer 2 · up to ±(\S+), clipped beyond ±(\S+)", reading.inner_text()
    )
    assert found is not None, reading.inner_text()
    assert [float(number) for number in found.groups()] == pytest.approx(wanted, rel=0.05)  # of two digits


def test_arrow_keys_among_views(page: Page) -> None:
    page.cells.nth(0).focus()
    for key, wanted in [
        ("ArrowRight", 1), ("ArrowDown", 4), ("End", 5), ("ArrowRight", 5), ("ArrowUp", 2), ("ArrowUp", 2),
        ("Home", 0), ("ArrowDown", 3),
    ]:  # fmt: skip
        page.lab.page.keyboard.press(key)
        assert page.cells.nth(wanted).evaluate("cell => cell === document.activeElement")
    assert page.grid.locator('.vw-view[tabindex="0"]').count() == 1
    page.lab.page.keyboard.press("Enter")
    page.lab.wait_value("[shared.layer, shared.token, shared.neuron]", [0, "cls", 40])


def test_other_rows_from_python(page: Page) -> None:
    page.lab.execute("grid.tokens = [59, 'reg2', 0]")
    page.cells.nth(17).wait_for()
    labels = page.grid.locator(".vw-views-label strong")
    assert labels.all_inner_texts() == ["patch 59", "reg2", "patch 0"]
    page.lab.page.wait_for_timeout(100)
    for index, wanted in enumerate(expected_cells(page)):
        assert_same_view(page.cell_pixels(index), wanted)


def test_the_svg_has_text_and_every_view_as_it_is(page: Page) -> None:
    page.lab.settle()
    path = page.download("SVG")
    root = ElementTree.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    for label in ("cls", "patch 23", "neuron 7", "neuron 40", "image", "layer 0", "layer 2", "layer 4"):
        assert label in texts
    pictures = [
        (float(image.get("x", 0)), png(image.get("href", ""))) for image in root.iter(f"{space}image")
    ]
    left = min(x for x, _ in pictures)
    views = [picture for x, picture in pictures if x > left]
    assert len(pictures) - len(views) == 2, "a photo for each token"
    for found, wanted in zip(views, expected_cells(page), strict=True):
        np.testing.assert_allclose(found.astype(int), wanted.astype(int), atol=2)


def test_the_png_is_the_same_figure(page: Page) -> None:
    picture = np.asarray(Image.open(page.download("PNG")).convert("RGB"))
    svg = ElementTree.parse(page.download("SVG")).getroot()
    width, height = (float(svg.get(name, 0)) for name in ("width", "height"))
    assert picture.shape == (2 * height, 2 * width, 3)
    boxes = [
        [round(2 * float(image.get(name, 0))) for name in ("x", "y", "width", "height")]
        for image in svg.iter("{http://www.w3.org/2000/svg}image")
    ]
    left = min(box[0] for box in boxes)
    views = [picture[y : y + high, x : x + wide] for x, y, wide, high in boxes if x > left]
    for found, wanted in zip(views, expected_cells(page), strict=True):
        assert_same_view(found, wanted)


def test_a_copy_says_what_became_of_it(page: Page) -> None:
    context = page.lab.page.context
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.grid.get_by_role("button", name="Copy", exact=True).click()
    hint = page.grid.locator(".vw-hint")
    page.lab.page.wait_for_function("element => element.textContent !== ''", arg=hint.element_handle())
    assert hint.inner_text() == "copied"
    types = page.lab.page.evaluate("async () => (await navigator.clipboard.read())[0].types")
    assert types == ["image/png"]


@pytest.mark.parametrize("width", [1400, 620, 420])
def test_nothing_reaches_beyond_the_panel(page: Page, width: int) -> None:
    page.lab.viewport(width, 1800)
    page.lab.page.wait_for_timeout(200)

    def beyond(root: Locator) -> Any:
        return root.evaluate(
            """root => {
              const { right } = root.getBoundingClientRect();
              return [...root.querySelectorAll("*")].filter(element =>
                element.checkVisibility() && !element.closest(".vw-sr, .vw-tip, .vw-views-box") &&
                element.getBoundingClientRect().right > right + 1).map(element => element.className);
            }"""
        )

    try:
        assert beyond(page.gallery) == []
        assert beyond(page.grid) == []
        assert page.grid.locator(".vw-views-box").evaluate("box => box.clientWidth") <= width
    finally:
        page.lab.viewport(1280, 1800)


def test_both_go_on_without_a_kernel(lab: Lab) -> None:
    lab.new(SETUP, PANELS)
    lab.run_all()
    page = Page(lab)
    page.cells.nth(11).wait_for()
    lab.settle()
    signed = expected_cells(page)
    lab.execute("grid.mode = 'magnitude'")
    magnitude = expected_cells(page)
    lab.execute("grid.mode = 'signed'; gallery.sort, gallery.neuron = 'likeness', 9")
    order = page.expected_order()
    lab.execute("gallery.sort, gallery.neuron = 'number', 5")
    lab.settle()
    lab.shutdown_kernel()
    for mode, wanted in (("magnitude", magnitude), ("signed", signed)):
        page.grid.locator(f'[data-value="{mode}"]').click()
        lab.page.wait_for_timeout(200)
        for index, one in enumerate(wanted):
            assert_same_view(page.cell_pixels(index), one)
    page.click(9)
    page.sort("likeness")
    np.testing.assert_allclose(page.shown_order(), order, atol=1)
    page.cells.nth(4).click()
    lab.settle()
    assert page.grid.locator('.vw-view[aria-selected="true"]').count() == 1
    assert page.gallery.locator(".vw-filter-card strong").inner_text() == "filter 40"
