"""The view grid: its rows and columns, what the page gets, and the figure drawn without a page."""

from __future__ import annotations

import gc
import json
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets.widgets.widget import _instances
from PIL import Image
from small_traces import photo, small_model, small_trace, staged_trace, trace_of
from traitlets import TraitError

from vitwidgets.analysis.views import display, global_view, limit_of, limits, local_view, peak_of, view
from vitwidgets.trace import Trace
from vitwidgets.widgets.codec import decode
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.view_grid import ViewGrid

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors/views.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return small_trace()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(_instances)
    yield
    for model in [model for key, model in _instances.items() if key not in before]:
        model.close()


# ------------------------------------------------------------------ the numbers that the page shares


@pytest.mark.parametrize("case", VECTORS["compositions"], ids=["grey", "colour"])
def test_views_by_plain_loops(case: dict[str, Any]) -> None:
    pixels, kernel = np.array(case["pixels"], np.float32), np.array(case["kernel"], np.float32)
    np.testing.assert_allclose(global_view(pixels, kernel), case["whole"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(view(pixels, kernel, case["shares"]), case["scaled"], rtol=1e-6, atol=1e-9)
    for patch, expected in enumerate(case["local"]):
        np.testing.assert_allclose(local_view(pixels, kernel[None], patch, 0), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", VECTORS["compositions"], ids=["grey", "colour"])
def test_ends_of_scales_by_plain_loops(case: dict[str, Any]) -> None:
    pixels, kernel = np.array(case["pixels"], np.float32), np.array(case["kernel"], np.float32)
    wanted = [one["limit"] for one in case["scales"]]
    rows = [one["shares"] for one in case["scales"]]
    assert [limit_of(view(pixels, kernel, row)) for row in rows] == pytest.approx(wanted, rel=1e-6)
    ends = limits(pixels, kernel, [rows, rows])
    np.testing.assert_allclose(ends, [[*wanted[:-1], 0]] * 2, rtol=1e-6)  # the last is all zeros


@pytest.mark.parametrize("case", VECTORS["pictures"], ids=lambda case: f"{case['mode']} {case['scale']:.2g}")
def test_colours_by_plain_loops(case: dict[str, Any]) -> None:
    values = np.array(
        [[[float(one) for one in pixel] for pixel in line] for line in case["view"]], np.float32
    )
    assert limit_of(values) == pytest.approx(case["limit"], rel=1e-8)
    picture = display(values, case["mode"], limit=float(np.float32(case["scale"])))
    assert picture.reshape(-1, 3).tolist() == case["colours"]


# ------------------------------------------------------------------ rows and columns


def test_without_a_choice(trace: Trace) -> None:
    grid = ViewGrid(trace, token=3, neuron=5)
    contrast = [float(patch.std(axis=(0, 1)).mean()) for patch in _patches(trace)]
    assert grid.tokens == ["cls", 3, int(np.argmax(contrast))]
    assert (grid.neurons, grid.layers) == ([5], [0, 1, 2, 3])
    many = ViewGrid(trace_of(small_model(depth=12, class_token=False, registers=0)), token=None)
    assert many.layers == [0, 2, 5, 7, 10, 12]
    assert len(many.tokens) == 1


def test_the_default_neuron_has_a_filter(trace: Trace) -> None:
    grid = ViewGrid(trace, cursor=Cursor(neuron_space="mlp", neuron=100))
    flat = trace.filters().reshape(32, -1)
    assert grid.neurons == [int(((flat - flat.mean(0)) ** 2).sum(1).argmax())]


def test_choices_are_read_back_plainly(trace: Trace) -> None:
    grid = ViewGrid(trace, [(1, 2), "reg1", 7, "reg1"], [np.int64(3), 0], range(2))
    assert (grid.tokens, grid.neurons, grid.layers) == ([7, "reg1"], [3, 0], [0, 1])
    assert grid.plan["names"] == ["patch 7 (row 1, column 2)", "reg1"]
    assert "tokens=[7, 'reg1'], neurons=[3, 0], layers=[0, 1]" in repr(grid)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokens": ["dist"]}, r"tokens: no prefix token 'dist'; .*'cls', 'reg1'"),
        ({"tokens": [15]}, r"tokens: patch 15 is out of range; .* 0\.\.14"),
        ({"tokens": [(3, 0)]}, r"tokens: patch \(row 3, column 0\) is out of range"),
        ({"tokens": [None]}, "tokens: None is no token"),
        ({"tokens": []}, "tokens is empty; give at least one"),
        ({"neurons": [32]}, r"neurons: there is no 32; .* has 0\.\.31"),
        ({"neurons": [1.5]}, "neurons"),
        ({"layers": [-1]}, r"layers: there is no -1; .* has 0\.\.3"),
        ({"mode": "grey"}, "signed"),
        ({"attention": "max"}, "mean"),
        (
            {"tokens": range(15), "neurons": range(20), "layers": range(4)},
            "15 tokens, 20 neurons, 4 layers make 1200 views; a grid shows at most 1000",
        ),
    ],
)
def test_what_the_trace_does_not_have_is_refused(
    trace: Trace, arguments: dict[str, Any], message: str
) -> None:
    before = set(_instances)
    with pytest.raises(TraitError, match=message):
        ViewGrid(trace, **arguments)
    gc.collect()
    assert set(_instances) == before


def test_a_refused_change_changes_nothing(trace: Trace) -> None:
    grid = ViewGrid(trace, tokens=[1], neurons=[2], layers=[3])
    before = (grid.plan, grid.shares, grid.kernels)
    with pytest.raises(TraitError, match="no prefix token"):
        grid.tokens = ["dist"]
    assert grid.tokens == [1]
    assert (grid.plan, grid.shares, grid.kernels) == before


def test_a_trace_without_views_says_why() -> None:
    before = set(_instances)
    with pytest.raises(ValueError, match=r"staged has no filters: .+"):
        ViewGrid(staged_trace())
    gc.collect()
    assert set(_instances) == before


# ------------------------------------------------------------------ what the page gets


@pytest.mark.parametrize("attention", ["mean", "head"])
def test_the_page_composes_what_the_trace_says(trace: Trace, attention: Any) -> None:
    grid = ViewGrid(trace, ["cls", 4, 11], [30, 2], [0, 1, 3], attention=attention)
    kernels, shares = decode(grid.kernels), decode(grid.shares)
    assert shares.shape == (3, 1 if attention == "mean" else 2, 3, 15)
    pixels = decode(grid.store.pixels)
    for t, token in enumerate(grid.tokens):
        for n, neuron in enumerate(grid.neurons):
            for l, layer in enumerate(grid.layers):  # noqa: E741
                own = shares[t, min(n, shares.shape[1] - 1), l]
                wanted = trace.view(neuron, layer, token, attention=attention)
                np.testing.assert_allclose(view(pixels, kernels[n], own), wanted, atol=2e-3 * peak_of(wanted))


def test_heads_own_their_neurons(trace: Trace) -> None:
    mean, head = (ViewGrid(trace, [4], [30, 2], [3], attention=how) for how in ("mean", "head"))
    own = decode(head.shares)
    np.testing.assert_allclose(own[0, 0, 0], trace.rollout(1)[3, 6, 2:], rtol=1e-3)
    np.testing.assert_allclose(own[0, 1, 0], trace.rollout(0)[3, 6, 2:], rtol=1e-3)
    assert np.abs(decode(mean.shares)[0, 0, 0] - own[0, 0, 0]).max() > 1e-4


def test_a_change_in_python_reaches_the_page(trace: Trace) -> None:
    grid = ViewGrid(trace, [4], [2], [1, 2])
    grid.tokens = [(0, 1), "cls"]
    assert grid.plan["tokens"] == [1, "cls"]
    np.testing.assert_allclose(decode(grid.shares)[:, 0, 0], trace.rollout()[1, [3, 0], 2:], rtol=1e-3)
    grid.neurons = [9, 10]
    np.testing.assert_allclose(decode(grid.kernels), trace.filters()[[9, 10]], rtol=1e-3, atol=1e-6)
    grid.attention = "head"
    assert decode(grid.shares).shape == (2, 2, 2, 15)
    assert grid.plan["rollout"] == "rollout of the neuron's own head"


def test_the_page_chooses_the_display_only(trace: Trace) -> None:
    grid = ViewGrid(trace, [4], [2], [1])
    plan, shares = grid.plan, grid.shares
    grid.set_state({"mode": "positive", "shared_scale": True, "plan": {}, "shares": b""})
    assert (grid.mode, grid.shared_scale) == ("positive", True)
    assert (grid.plan, grid.shares) == (plan, shares)
    grid.set_state({"mode": "grey"})
    assert grid.mode == "positive"


# ------------------------------------------------------------------ the figure


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("mode", ["signed", "positive", "magnitude"])
def test_the_figure_holds_the_views(trace: Trace, mode: Any, shared: bool) -> None:
    grid = ViewGrid(trace, ["cls", 8], [1, 6], [1, 3], mode=mode, shared_scale=shared)
    picture = np.asarray(grid.picture(cell=80))  # the model input's own size: 48 x 80
    views = [
        [trace.view(neuron, layer, token) for layer in grid.layers]
        for token in grid.tokens
        for neuron in grid.neurons
    ]
    limit = limit_of(*[one for row in views for one in row]) if shared else None
    for row, line in enumerate(views):
        for column, one in enumerate(line):
            y = 16 + 56 + row * 52 + (row // 2) * 10
            x = picture.shape[1] - 16 - (2 - column) * 84 + 4
            np.testing.assert_array_equal(picture[y : y + 48, x : x + 80], display(one, mode, limit=limit))


def test_the_photo_shows_where_the_token_is() -> None:
    plain = trace_of(small_model(), np.full((48, 80, 3), 90, np.uint8))
    picture = np.asarray(ViewGrid(plain, [7, "cls"], [0], [0]).picture(cell=80)).astype(int)
    left = picture.shape[1] - 16 - 80 - 4 - 80
    first, second = (picture[72 + row * 62 : 120 + row * 62, left : left + 80] for row in (0, 1))
    marked = np.argwhere((first != 90).any(axis=-1))
    assert marked.min(axis=0).tolist() == [16 - 2, 32 - 2]  # patch 7 is in row 1, column 2 of 16 x 16 pixels
    assert marked.max(axis=0).tolist() == [32 + 1, 48 + 1]
    assert (second == 90).all()


def test_the_figure_without_a_whole_photo() -> None:
    """What the model saw may reach beyond the picture, or not be all of it."""
    for size in ((200, 40), (40, 200)):
        grid = ViewGrid(trace_of(small_model(), photo(*size)), [0], [0], [0])
        assert grid.picture(cell=40).height == 16 + 56 + 24 + 16


@pytest.mark.parametrize("width", [300, 1201])
def test_the_still_picture_is_as_wide_as_asked(trace: Trace, width: int) -> None:
    assert ViewGrid(trace, ["cls", 4], [1, 2]).still(width=width).width == width


def test_too_small_a_figure_is_refused(trace: Trace) -> None:
    grid = ViewGrid(trace)
    with pytest.raises(ValueError, match="cell is 7"):
        grid.picture(cell=7)
    with pytest.raises(ValueError, match="width is 299"):
        grid.still(width=299)


def test_the_figure_stands_beside_the_widget(trace: Trace) -> None:
    bundle: Any = ViewGrid(trace)._repr_mimebundle_()
    picture = Image.open(BytesIO(b64decode(bundle[0]["image/png"])))
    assert picture.width == 840
    assert bundle[1]["image/png"]["width"] == 560


def _patches(trace: Trace) -> list[np.ndarray]:
    rows, cols = trace.grid
    return [
        trace.pixels[16 * row : 16 * (row + 1), 16 * col : 16 * (col + 1)]
        for row in range(rows)
        for col in range(cols)
    ]
