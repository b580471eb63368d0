"""An explorer of a small model in a notebook: where its parts are on the page, and what they should show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from browser.lab import Lab
from playwright.sync_api import Locator

Colours = npt.NDArray[np.uint8]
Grid = tuple[int, int]

# Not square anywhere: 6 x 10 patches after three prefix tokens, from a photo of another shape, of which the
# model sees a part. The weights are larger than timm's, so that tokens differ and attention has a shape.
SETUP = """
import ipywidgets, json, numpy as np, torch, traitlets
from IPython.display import display
from PIL import Image
from timm.models import VisionTransformer
import vitwidgets as vw
from vitwidgets.analysis import contrast
from vitwidgets.analysis.overlay import Missing, Spec, overlay_field, row_of
from vitwidgets.colormap import colorize

torch.manual_seed(7)
torch.set_num_threads(1)

def model(**sizes):
    sizes = {"embed_dim": 48, "depth": 4, "num_heads": 3, **sizes}
    vit = VisionTransformer(img_size=(48, 80), patch_size=8, reg_tokens=2, num_classes=6, **sizes).eval()
    with torch.no_grad():
        for name, weights in vit.named_parameters():
            if weights.ndim > 1:
                weights.copy_(torch.randn(weights.shape) * (0.5 if "pos_embed" in name else 0.12))
    return vit

names = ["<img src=x onerror='window.vwInjected = true'>", "<b>bold</b>", "&amp;", "a 'quoted' one"]
names += ["fir", "oak"]
y, x = np.mgrid[0:110, 0:150]
photo = np.stack([255 * (np.sin(x / 9) > 0), y * 2, 120 + 100 * np.cos((x + 2 * y) / 13)], -1)
inspector = vw.Inspector(model(), class_names=names)
trace = inspector.trace(photo.clip(0, 255).astype(np.uint8))
START = dict(layer=3, token=24, head=None, neuron=0, neuron_space="residual")
START |= dict(patches=[], overlay="similarity", target=None)

def expected(point, **change):
    token = None if point.token is None else trace.patch_grid.index(point.token)
    spec = dict(overlay=point.overlay, layer=point.layer, token=token, head=point.head, neuron=point.neuron,
                space=point.neuron_space)
    if "token" in change:
        change["token"] = trace.patch_grid.index(change["token"])
    field = overlay_field(Spec(**{**spec, **change}), trace)
    if isinstance(field, Missing):
        return {"missing": field.reason}
    return {"colours": colorize(field.map, field.low, field.high, field.diverging), "title": field.title,
            "low": field.low, "high": field.high, "unit": field.unit, "values": field.values}

def strongest(point):
    places = [trace.patch_grid.index(p) for p in (point.patches or [point.token])]
    rows = sorted({row_of(trace, point.layer, place) for place in places})
    table = trace.mlp(point.layer) if point.neuron_space == "mlp" else trace.layer(point.layer)
    scores = contrast(table, rows)
    return [[int(j), float(scores[j])] for j in np.argsort(-np.abs(scores), kind="stable")[:12]]
"""

OPEN = """
explorer = vw.Explorer(trace, **START)
explorer.opacity = 1.0
explorer
"""

# What Python draws of any overlay, a view pixel by pixel.
SHOWN = """
from vitwidgets.analysis.overlay import Colours, NeuronView
from vitwidgets.analysis.views import display

def seen(point, **change):
    token = None if point.token is None else trace.patch_grid.index(point.token)
    spec = dict(overlay=point.overlay, layer=point.layer, token=token, head=point.head, neuron=point.neuron,
                space=point.neuron_space, target=point.target)
    found = overlay_field(Spec(**{**spec, **change}), trace)
    if isinstance(found, NeuronView):
        return display(found.view, point.view_mode, limit=found.limit)
    if isinstance(found, Colours):
        return found.rgb
    return colorize(found.map, found.low, found.high, found.diverging)
"""

# The colour in the middle of each of rows x cols equal cells of a canvas, or of a rectangle in it.
READ = """
(canvas, { rows, cols, left, top, width, height }) => {
  const image = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const [w, h] = [width ?? canvas.width, height ?? canvas.height];
  const colours = [];
  for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) {
    const x = Math.floor(left + (col + 0.5) * w / cols), y = Math.floor(top + (row + 0.5) * h / rows);
    colours.push([...image.slice(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3)]);
  }
  return colours;
}
"""


class Workbench:
    """The explorer that `OPEN` shows, in the page of `lab`; `root` finds it, as it does any panel."""

    def __init__(self, lab: Lab, root: Locator, point: str = "explorer") -> None:
        self.lab = lab
        self.page = lab.page
        self.root = root
        self.point = point  # what holds the cursor's traits, as a Python expression
        facts = lab.value("[trace.grid, trace.frame.original, trace.frame.box]")
        (self.rows, self.cols), self.original, self.box = facts
        self.image = root.locator(".vw-image")
        self.strip = root.locator(".vw-strip")
        self.heads = root.locator(".vw-heads")
        self.neurons = root.locator(".vw-neurons")

    def ready(self) -> Workbench:
        """Wait until the page has all of the trace's numbers."""
        loading = self.root.locator(".vw-masthead .vw-hint")
        loading.wait_for(state="hidden", timeout=60_000)
        self.lab.settle()
        return self

    def reset(self) -> None:
        """Put the cursor where it started, and wait for the page to follow."""
        self.lab.execute(
            "for name, value in START.items(): setattr(explorer, name, value)\nexplorer.opacity = 1"
        )
        self.lab.execute("explorer.smooth = False")
        self.page.mouse.move(2, 2)
        self.page.evaluate("document.activeElement?.blur()")
        self.lab.settle()

    # ---------------------------------------------------------------- places

    def place(self, patch: int) -> tuple[float, float]:
        """Where the middle of a patch is on the screen, from the photo and what the model saw of it."""
        self.image.scroll_into_view_if_needed()
        bounds = self.image.bounding_box()
        assert bounds is not None
        left, top, right, bottom = self.box
        row, col = divmod(patch, self.cols)
        x = left + (right - left) * (col + 0.5) / self.cols
        y = top + (bottom - top) * (row + 0.5) / self.rows
        scale = bounds["width"] / self.original[0]
        return bounds["x"] + x * scale, bounds["y"] + y * scale

    def click(self, patch: int) -> None:
        """Click a patch with the mouse."""
        self.page.mouse.click(*self.place(patch))

    def drag(self, start: int, end: int) -> None:
        """Press on one patch, release on another."""
        x, y = self.place(end)
        self.page.mouse.move(*self.place(start))
        self.page.mouse.down()
        self.page.mouse.move(x, y, steps=4)
        self.page.mouse.up()

    def layer_place(self, layer: int) -> tuple[float, float]:
        """Where a layer's small map is on the screen."""
        self.strip.scroll_into_view_if_needed()
        bounds = self.strip.bounding_box()
        assert bounds is not None
        layers = self.layers + 1
        return bounds["x"] + (layer + 0.5) * bounds["width"] / layers, bounds["y"] + bounds["height"] / 3

    @property
    def layers(self) -> int:
        """How many blocks the strip offers."""
        return int(self.strip.get_attribute("aria-valuemax") or 0)

    def shown_layer(self) -> int:
        """The layer that the strip says is shown."""
        return int(self.strip.get_attribute("aria-valuenow") or -1)

    def head(self, key: str) -> Locator:
        """A head's button by its number, or ``"mean"``."""
        return self.heads.locator(f'.vw-cell[data-key="{key}"]')

    def neuron(self, key: int) -> Locator:
        """A neuron's button by its number."""
        return self.neurons.locator(f'.vw-cell[data-key="{key}"]')

    def overlay(self, name: str) -> None:
        """Choose an overlay by its button."""
        self.root.locator(f'.vw-patch-view .vw-segment[data-value="{name}"]').click()

    # --------------------------------------------------------------- colours

    def read(self, canvas: Locator, grid: Grid | None = None, **rectangle: float) -> Colours:
        """The colour in the middle of every patch of a map, or of other cells, (rows, cols, 3)."""
        rows, cols = grid or (self.rows, self.cols)
        where = {"rows": rows, "cols": cols, "left": 0, "top": 0, **rectangle}
        colours = canvas.evaluate(READ, where)
        return np.array(colours, np.uint8).reshape(rows, cols, 3)

    def image_colours(self, grid: Grid | None = None) -> Colours:
        """What lies on every patch of the photo; the pointer is taken away first, and its mark with it."""
        self.page.mouse.move(2, 2)
        self.lab.settle()
        width = self.image.evaluate("canvas => canvas.width")
        scale = width / self.original[0]
        left, top, right, bottom = (edge * scale for edge in self.box)
        return self.read(self.image, grid, left=left, top=top, width=right - left, height=bottom - top)

    def layer_colours(self, layer: int, grid: Grid | None = None) -> Colours:
        """A layer's map in the strip."""
        self.lab.settle()
        width = self.strip.evaluate("canvas => canvas.width")
        cell = (width + 4) / (self.layers + 1) - 4
        height = cell * self.rows / self.cols
        return self.read(self.strip, grid, left=layer * (cell + 4), top=3, width=cell, height=height)

    def cell_colours(self, cell: Locator, grid: Grid | None = None) -> Colours:
        """A head's or a neuron's map."""
        self.lab.settle()
        return self.read(cell.locator("canvas"), grid)

    # ---------------------------------------------------------------- Python

    def expected(self, **change: object) -> dict[str, Any]:
        """What Python says of the present point, with some of it changed."""
        arguments = ", ".join([self.point, *(f"{name}={value!r}" for name, value in change.items())])
        return self.lab.value(f"expected({arguments})")

    def python(self, **traits: object) -> None:
        """Fail unless Python comes to have these values; a second message waits for the first's answer."""
        for name, value in traits.items():
            self.lab.wait_value(f"{self.point}.{name}", value)

    def check_image(self, **change: object) -> dict[str, Any]:
        """Fail unless the image shows what Python says; returns that."""
        wanted = self.expected(**change)
        shown = self.image_colours(grid_of(wanted))
        assert_colours(shown, wanted["colours"], f"the image of {wanted['title']}")
        return wanted


def grid_of(wanted: dict[str, Any]) -> Grid:
    """Rows and columns of what Python says is shown."""
    return len(wanted["colours"]), len(wanted["colours"][0])


def assert_colours(shown: Colours, wanted: Sequence[Any] | Colours, what: str) -> None:
    """Fail unless two maps show the same, but for what float16 does to a value's place among 256 colours."""
    difference = np.abs(shown.astype(int) - np.asarray(wanted, int)).max(axis=-1)
    told = f"up to {difference.max()}, {difference.mean():.1f} on average:\n{difference}"
    assert difference.max() <= 12, f"{what} differs from Python's by {told}"
    assert difference.mean() <= 3, f"{what} differs from Python's by {told}"


def differ(one: Sequence[Any] | Colours, other: Sequence[Any] | Colours) -> bool:
    """Whether two maps are clearly different pictures."""
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).max(axis=-1).mean()) > 15
