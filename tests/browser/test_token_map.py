"""The token map in JupyterLab: points where Python has them, mouse, keyboard, groups, and no kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from browser.conftest import OpenLab
from browser.lab import DARK, HIGH_CONTRAST, LIGHT, Lab
from browser.test_panels import TEXTS, WIDER, contrast
from browser.workbench import SETUP

OPEN = """
from vitwidgets.stills.token_map import fit
from vitwidgets.widgets.groups import Groups
from vitwidgets.widgets.token_map import TokenMap
token_map = TokenMap(trace, layer=3, token=24, projection="pca", tween=False)
token_map.wait()
token_map
"""
IMAGE = """
image = vw.PatchView(trace, cursor=token_map.cursor, overlay="none")
image
"""
MARGIN = 26  # as in js/src/panels/token_map.ts


class Map:
    """A token map in the page of `lab`."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.page = lab, lab.page
        self.root = lab.output(1).locator(".vw-root")
        self.canvas = self.root.locator(".vw-points")
        self.prefix = len(lab.value("trace.prefix"))

    def places(self) -> np.ndarray:
        """Where Python says that the tokens are on the screen, (N, 2)."""
        self.canvas.scroll_into_view_if_needed()
        bounds = self.canvas.bounding_box()
        assert bounds is not None
        fitted = np.array(self.lab.value("fit(token_map.points('pca'))"))
        half = min(bounds["width"], bounds["height"]) / 2 - MARGIN
        x = bounds["x"] + bounds["width"] / 2 + half * fitted[:, 0]
        return np.stack([x, bounds["y"] + bounds["height"] / 2 - half * fitted[:, 1]], axis=1)

    def alone(self) -> int:
        """The patch that is farthest from all other tokens."""
        places = self.places()
        apart = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(len(places))
        return int(apart[self.prefix :].min(axis=1).argmax())

    def lasso(self, middle: np.ndarray, radius: float, *, modifier: str | None = None) -> list[int]:
        """Drag a circle; returns the patches that lie in it."""
        if modifier:
            self.page.keyboard.down(modifier)
        corners = [
            (middle[0] + radius * math.cos(angle), middle[1] + radius * math.sin(angle))
            for angle in np.linspace(0, 2 * math.pi, 40)
        ]
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        for corner in corners[1:]:
            self.page.mouse.move(*corner)
        self.page.mouse.up()
        if modifier:
            self.page.keyboard.up(modifier)
        away = np.linalg.norm(self.places()[self.prefix :] - middle, axis=1)
        return [int(patch) for patch in np.flatnonzero(away < radius)]

    def colour_at(self, place: np.ndarray) -> list[int]:
        """The colour of the canvas at a place on the screen."""
        bounds = self.canvas.bounding_box()
        assert bounds is not None
        at = [float(place[0] - bounds["x"]), float(place[1] - bounds["y"])]
        return self.canvas.evaluate(
            """(canvas, [x, y]) => {
              const scale = canvas.width / canvas.getBoundingClientRect().width;
              const pixel = canvas.getContext("2d").getImageData(x * scale, y * scale, 1, 1).data;
              return [...pixel.slice(0, 3)];
            }""",
            at,
        )


@pytest.fixture(scope="module")
def opened(open_lab: OpenLab) -> Map:
    """One map for all tests of this file."""
    lab = open_lab(width=1280, height=1000)
    lab.new(SETUP, OPEN, IMAGE)
    lab.run_all()
    shown = Map(lab)
    shown.canvas.wait_for()
    lab.page.wait_for_timeout(1000)
    return shown


@pytest.fixture
def shown(opened: Map) -> Iterator[Map]:
    """The map as it was opened."""
    lab = opened.lab
    lab.execute("token_map.layer, token_map.token, token_map.patches = 3, 24, []")
    lab.execute("token_map.color_by, token_map.projection, token_map.pixels = 'group', 'pca', False")
    lab.execute("token_map.tween = False; token_map.groups.clear()")
    lab.page.mouse.move(2, 2)
    lab.page.evaluate("document.activeElement?.blur()")
    lab.settle()
    yield opened
    lab.assert_quiet("Cannot send")  # the last test ends the kernel


def test_points_lie_where_python_has_them(shown: Map) -> None:
    """Each group of one patch colours the dot at that patch's place."""
    lab = shown.lab
    lab.execute("token_map.token = None")
    patch = shown.alone()
    lab.execute(f"token_map.groups.add('one', [{patch}], colour='#0072b2')")
    shown.root.locator(".vw-group-list .vw-chip").wait_for()
    lab.settle()
    place = shown.places()[shown.prefix + patch]
    assert shown.colour_at(place) == [0x00, 0x72, 0xB2]
    assert shown.colour_at(place + np.array([0, 12])) != [0x00, 0x72, 0xB2]


def test_hover_names_a_token_and_click_pins_it(shown: Map) -> None:
    patch = shown.alone()
    place = shown.places()[shown.prefix + patch]
    shown.page.mouse.move(*place)
    tip = shown.root.locator(".vw-tip")
    tip.wait_for()
    row, col = divmod(patch, 10)
    assert f"patch {patch} (row {row}, column {col})" in tip.inner_text()
    assert tip.locator("canvas").is_visible()
    shown.page.mouse.click(*place)
    shown.lab.wait_value("token_map.token", patch)
    shown.page.mouse.click(*shown.places()[1])
    shown.lab.wait_value("token_map.token", shown.lab.value("trace.prefix[1]"))


def test_a_lasso_selects_adds_and_takes_away(shown: Map) -> None:
    places = shown.places()[shown.prefix :]
    middle = np.median(places, axis=0)
    inside = shown.lasso(middle, 90)
    assert 3 < len(inside) < 60
    shown.lab.wait_value("token_map.patches", inside)
    fewer = shown.lasso(middle, 40, modifier="Alt")
    shown.lab.wait_value("token_map.patches", sorted(set(inside) - set(fewer)))
    shown.lasso(middle, 40, modifier="Shift")
    shown.lab.wait_value("token_map.patches", inside)
    bounds = shown.canvas.bounding_box()
    assert bounds is not None
    shown.lasso(np.array([bounds["x"] + 22, bounds["y"] + 22]), 12)  # around nothing
    shown.lab.wait_value("token_map.patches", [])


def test_patches_selected_elsewhere_are_lit(shown: Map) -> None:
    patch = shown.alone()
    place = shown.places()[shown.prefix + patch]
    shown.lab.execute("token_map.token = None")
    shown.lab.execute(f"token_map.patches = [{patch}]")
    shown.root.locator(".vw-keep .vw-button", has_text="Keep 1 patch").wait_for()
    shown.lab.settle()
    colours = np.array([shown.colour_at(place + np.array([dx, 0])) for dx in range(12)], int)
    assert np.abs(colours - [0xD6, 0x24, 0x6E]).max(axis=1).min() < 60


def test_keyboard_walks_pins_selects_and_clears(shown: Map) -> None:
    shown.canvas.focus()
    shown.page.keyboard.press("ArrowRight")
    live = shown.root.locator(".vw-sr[role=status]").last
    first = live.inner_text()
    assert first.startswith(("patch", "cls", "reg"))
    shown.page.keyboard.press("Enter")
    shown.lab.settle()
    token = shown.lab.value("token_map.token")
    assert token != 24
    places = shown.places()
    index = shown.lab.value("trace.patch_grid.index(token_map.token)")
    start = places[shown.prefix + 24]
    assert places[index][0] > start[0]
    shown.lab.execute("token_map.token = 24")
    patch = shown.lab.value("24")
    shown.page.evaluate("document.activeElement?.blur()")
    shown.canvas.focus()
    shown.page.keyboard.press("Space")
    shown.lab.wait_value("len(token_map.patches)", 1)
    shown.page.keyboard.press("Escape")
    shown.lab.wait_value("token_map.patches", [])
    assert shown.lab.value("token_map.token") == patch
    shown.page.keyboard.press("Escape")
    shown.lab.wait_value("token_map.token", None)


def test_a_selection_is_kept_as_a_group_and_picked_again(shown: Map) -> None:
    shown.lab.execute("token_map.patches = [3, 4, 5]")
    name = shown.root.locator(".vw-group-name")
    name.wait_for()
    name.fill("<b>wing</b>")
    name.press("Enter")
    shown.lab.wait_value("token_map.groups.names", ["<b>wing</b>"])
    assert shown.lab.value("token_map.groups['<b>wing</b>']") == [3, 4, 5]
    shown.root.locator(".vw-keep .vw-button", has_text="Clear").click()
    shown.lab.wait_value("token_map.patches", [])
    shown.root.locator(".vw-group-list .vw-chip").click()
    shown.lab.wait_value("token_map.patches", [3, 4, 5])
    shown.root.locator(".vw-remove").click()
    shown.lab.wait_value("token_map.groups.names", [])


def test_the_threshold_selects_what_python_says_is_alike(shown: Map) -> None:
    slider = shown.root.locator(".vw-alike .vw-range")
    alike = (
        "[int(p) for p in np.flatnonzero(vw.analysis.cosine(trace.layer(token_map.layer), "
        "len(trace.prefix) + 24)[len(trace.prefix):] >= 0.5)]"
    )
    slider.fill("0.5")
    shown.lab.wait_value("token_map.patches", shown.lab.value(alike))
    shown.lab.execute("token_map.layer = 1")  # it follows
    shown.lab.settle()
    shown.lab.wait_value("token_map.patches", shown.lab.value(alike))
    count = len(shown.lab.value("token_map.patches"))
    assert f"cosine ≥ 0.50 · {count} patch" in shown.root.locator(".vw-alike").inner_text()
    shown.root.locator(".vw-alike input[type=checkbox]").uncheck()


def test_every_colour_has_a_legend(shown: Map) -> None:
    for value, text in {
        "cluster": "cluster 1",
        "similarity": "similarity to patch 24",
        "attention": "attention received",
        "norm": "token norm",
        "image": "mean colour",
    }.items():
        shown.root.locator(f".vw-token-map .vw-segment[data-value={value}]").click()
        shown.lab.wait_value("token_map.color_by", value)
        shown.root.locator(".vw-map-legend", has_text=text).wait_for()


def test_clusters_are_computed_again_when_asked(shown: Map) -> None:
    shown.lab.execute("token_map.color_by = 'cluster'")
    count = shown.root.locator(".vw-small-input")
    count.fill("3")
    count.press("Enter")
    shown.lab.wait_value("token_map.cluster_count", 3)
    shown.lab.execute("token_map.wait()")
    chips = shown.root.locator(".vw-classes-of-map .vw-chip")
    shown.lab.page.wait_for_function("document.querySelectorAll('.vw-classes-of-map .vw-chip').length === 3")
    chips.first.click()
    shown.lab.settle()
    selected = shown.lab.value("token_map.patches")
    labels = {shown.lab.value(f"int(token_map.clusters[3][{patch}])") for patch in selected}
    assert len(labels) == 1


def test_clusters_are_outlined_on_the_image_while_the_map_shows_them(shown: Map) -> None:
    lab = shown.lab
    image = lab.output(2).locator(".vw-root")
    lab.execute("token_map.token = None; image.groups.add('wing', [0, 1])")
    chips = image.locator(".vw-outlined .vw-chip")
    lab.page.wait_for_function("document.querySelectorAll('.vw-outlined .vw-chip').length === 1")
    lab.execute("token_map.color_by = 'cluster'; token_map.wait()")
    image.locator(".vw-outlined .vw-chip", has_text="cluster 1").wait_for()
    groups = lab.value("[[g.name, g.colour, list(g.patches)] for g in token_map.cluster_groups()]")
    assert [text.split("\n")[0] for text in chips.all_inner_texts()] == [name for name, _, _ in groups]
    rows, cols = lab.value("trace.grid")
    middles = image.locator(".vw-image").evaluate(
        """(canvas, [rows, cols, [left, top, right, bottom], [width]]) => {
          const on = canvas.getContext("2d"), scale = canvas.width / width;
          const edge = (patch) => [left + (patch % cols) * (right - left) / cols,
            top + (Math.floor(patch / cols) + 0.5) * (bottom - top) / rows];
          return Array.from({ length: rows * cols }, (_, patch) => {
            const [x, y] = edge(patch);
            return [...on.getImageData(Math.floor(x * scale) + 1, y * scale, 1, 1).data.slice(0, 3)];
          });
        }""",
        [rows, cols, lab.value("list(trace.frame.box)"), lab.value("list(trace.frame.original)")],
    )
    for _, colour, patches in groups:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        for patch in patches:
            if patch % cols == 0 or patch - 1 not in patches:  # here its border runs down the left edge
                assert np.abs(np.subtract(middles[patch], wanted)).max() < 40
    chips.last.click()
    lab.wait_value("token_map.patches", groups[-1][2])
    lab.execute("token_map.color_by = 'norm'; token_map.patches = []")
    lab.page.wait_for_function("document.querySelectorAll('.vw-outlined .vw-chip').length === 1")
    assert chips.inner_text().startswith("wing")
    lab.execute("image.groups.clear()")


def test_t_sne_says_how_far_it_is_and_can_be_stopped(shown: Map) -> None:
    lab = shown.lab
    lab.execute(
        "from vitwidgets.widgets.map_work import packed; go_on, TokenMap._lay_out = "
        "TokenMap._lay_out, lambda self: None; whole = token_map.tsne; token_map.projection = 'tsne'; "
        "token_map.progress = 0.4; token_map.computing = True; "
        "token_map.tsne = packed(trace, {3: token_map.points('tsne', 3)})"
    )
    told = shown.root.locator(".vw-coming")
    told.get_by_text(f"t-SNE: 1 of {lab.value('trace.layers + 1')} layers · 40 %").wait_for()
    method = shown.root.locator(".vw-count").first
    assert method.inner_text() == "t-SNE"
    lab.execute("token_map.layer = 2")
    lab.page.wait_for_function("document.querySelector('.vw-count').textContent === 'PCA'")
    told.get_by_role("button", name="Stop").click()
    lab.wait_value("token_map.computing", False)
    told.get_by_role("button", name="Go on").click()
    lab.wait_value("token_map.computing", True)
    lab.execute("TokenMap._lay_out = go_on; token_map.tsne = whole; token_map.progress = 1.0")
    lab.execute("token_map.computing = False")
    told.wait_for(state="hidden")


def test_scrubbing_moves_the_points_and_can_jump(shown: Map) -> None:
    """Halfway through a move the canvas shows neither the one layer nor the other."""
    picture = "() => document.querySelector('.vw-points').toDataURL()"
    shown.lab.execute("token_map.tween = True")
    shown.lab.settle()
    slider = shown.root.locator(".vw-layer-range")
    frames = slider.evaluate(
        """async slider => {
          const canvas = document.querySelector(".vw-points");
          const frames = new Set();
          slider.value = "1";
          slider.dispatchEvent(new Event("input"));
          const start = performance.now();
          while (performance.now() - start < 400) {
            await new Promise(requestAnimationFrame);
            frames.add(canvas.toDataURL());
          }
          return frames.size;
        }"""
    )
    assert frames >= 3
    shown.lab.wait_value("token_map.layer", 1)
    rest = shown.page.evaluate(picture)
    shown.lab.execute("token_map.tween = False; token_map.layer = 3")
    shown.lab.settle()
    assert shown.page.evaluate(picture) != rest
    shown.lab.execute("token_map.layer = 1")
    shown.lab.settle()
    shown.page.wait_for_timeout(100)
    assert shown.page.evaluate(picture) == rest


def test_it_reads_in_every_theme_and_fits_every_width(shown: Map) -> None:
    shown.lab.execute("token_map.groups.add('a group', [1, 2]); token_map.patches = [5]")
    for theme in (DARK, HIGH_CONTRAST, LIGHT):
        shown.lab.theme(theme)
        for text in shown.root.evaluate(TEXTS):
            assert contrast(text["text"], text["back"]) >= 4.5, (theme, text)
    for width in (620, 900, 1280):
        shown.lab.viewport(width, 1000)
        shown.lab.page.wait_for_timeout(300)
        assert shown.root.evaluate(WIDER) == []


def test_without_a_kernel_it_goes_on(shown: Map) -> None:
    lab = shown.lab
    lab.execute("token_map.projection = 'tsne'; token_map.groups.add('a', [0, 1])")
    lab.page.wait_for_timeout(1500)  # the tokens of all layers are there
    lab.shutdown_kernel()
    place = shown.root.locator(".vw-count").first
    assert place.inner_text() == "t-SNE"
    before = shown.page.evaluate("() => document.querySelector('.vw-points').toDataURL()")
    shown.root.locator(".vw-layer-range").fill("2")
    shown.page.wait_for_timeout(400)
    assert shown.page.evaluate("() => document.querySelector('.vw-points').toDataURL()") != before
    shown.root.locator(".vw-group-list .vw-chip").click()
    shown.root.locator(".vw-group-name").fill("again")
    shown.root.locator(".vw-group-name").press("Enter")
    shown.page.wait_for_function("document.querySelectorAll('.vw-group-list li').length === 2")
