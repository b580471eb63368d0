"""The filter gallery: what it sends, in which order, and how it follows the cursor."""

from __future__ import annotations

import gc
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image
from small_traces import small_model, trace_of
from torch import nn
from traitlets import TraitError

from vitwidgets.analysis.neurons import rank
from vitwidgets.inspector import Inspector
from vitwidgets.widgets.codec import decode
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.filter_gallery import FilterGallery
from vitwidgets.widgets.patch_view import PatchView

WIDTH = 32


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector(small_model())


@pytest.fixture
def kernels(inspector: Inspector) -> np.ndarray:
    """The filters as torch has them, (D, p, q, C)."""
    weight: torch.Tensor = inspector.model.patch_embed.proj.weight  # type: ignore[union-attr, assignment]
    return weight.detach().permute(0, 2, 3, 1).numpy()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before = set(_instances)
    yield
    for model in [model for key, model in _instances.items() if key not in before]:
        model.close()


# ------------------------------------------------------------------ what is sent


def test_the_page_gets_all_filters_and_what_they_are_made_of(
    inspector: Inspector, kernels: np.ndarray
) -> None:
    gallery = FilterGallery(inspector)
    np.testing.assert_allclose(decode(gallery.bank), kernels, rtol=1e-3, atol=1e-7)
    centred = kernels.reshape(WIDTH, -1) - kernels.reshape(WIDTH, -1).mean(0)
    squares = np.linalg.svd(centred, compute_uv=False) ** 2
    explained = decode(gallery.explained)
    assert explained.shape == (28,)
    assert decode(gallery.components).shape == (28, 16, 16, 3)
    np.testing.assert_allclose(explained, squares[:28] / squares.sum(), rtol=1e-4)
    shares = decode(gallery.variance)
    np.testing.assert_allclose(shares, (centred**2).sum(1) / (centred**2).sum(), rtol=1e-4)
    assert gallery.scores == b""


def test_a_model_without_filters_says_why() -> None:
    model = small_model()
    model.patch_embed.proj = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, WIDTH, 4, 4))
    with pytest.raises(ValueError, match=r"has no filters: .+"):
        FilterGallery(Inspector(model))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"scores": np.ones(5)},
            ValueError,
            r"scores must have shape \(32,\), one for each filter; got \(5,\)",
        ),
        ({"sort": "separation"}, TraitError, "there are no scores: give scores="),
        ({"sort": "beauty"}, TraitError, "likeness"),
        ({"sorted": "number"}, TypeError, "unexpected keyword argument 'sorted'; did you mean 'sort'"),
        ({"cursor": 3}, TypeError, r"cursor must be a vitwidgets\.Cursor; got int"),
        ({"neuron": WIDTH}, TraitError, r"neuron is 32; .* has the filters 0\.\.31"),
    ],
)
def test_bad_arguments(
    inspector: Inspector, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = set(_instances)
    with pytest.raises(error, match=message):
        FilterGallery(inspector, **arguments)
    gc.collect()
    assert set(_instances) == before


def test_only_an_inspector_will_do() -> None:
    with pytest.raises(TypeError, match="FilterGallery needs an Inspector; got str"):
        FilterGallery("demo")  # type: ignore[arg-type]


# ------------------------------------------------------------------ order


def test_orders(inspector: Inspector, kernels: np.ndarray) -> None:
    scores = np.random.default_rng(3).random(WIDTH)
    gallery = FilterGallery(inspector, scores=scores)
    assert gallery.order().tolist() == list(range(WIDTH))
    gallery.sort = "separation"
    assert gallery.order().tolist() == sorted(range(WIDTH), key=lambda j: -scores[j])
    gallery.sort = "variance"
    shares = decode(gallery.variance)
    assert gallery.order().tolist() == sorted(range(WIDTH), key=lambda j: -shares[j])
    gallery.sort, gallery.neuron = "likeness", 9
    flat = kernels.reshape(WIDTH, -1).astype(float)
    cosines = flat @ flat[9] / np.linalg.norm(flat, axis=1) / np.linalg.norm(flat[9])
    assert gallery.order().tolist() == sorted(range(WIDTH), key=lambda j: -cosines[j])
    assert gallery.order()[0] == 9


def test_scores_from_a_ranking(inspector: Inspector) -> None:
    trace = trace_of(small_model())
    ranking = rank(trace, [2, 3, 7], layer=1)
    gallery = FilterGallery(inspector, scores=ranking, sort="separation")
    assert gallery.order()[0] == ranking.neurons[0]
    np.testing.assert_allclose(decode(gallery.scores)[ranking.neurons], ranking.scores, rtol=1e-6)
    with pytest.raises(ValueError, match="MLP neurons, which have no filters"):
        FilterGallery(inspector, scores=rank(trace, [2, 3, 7], layer=1, space="mlp"))


# ------------------------------------------------------------------ cursor


def test_the_chosen_filter_is_the_cursors_neuron(inspector: Inspector) -> None:
    cursor = Cursor(neuron=4)
    gallery = FilterGallery(inspector, cursor=cursor)
    assert gallery.neuron == 4
    gallery.neuron = np.int64(7)
    assert (cursor.neuron, cursor.neuron_space) == (7, "residual")
    cursor.neuron = 2
    assert gallery.neuron == 2
    cursor.neuron_space = "mlp"
    assert gallery.neuron is None
    gallery.neuron = 5
    assert (cursor.neuron, cursor.neuron_space, gallery.neuron) == (5, "residual", 5)


def test_likeness_without_a_chosen_filter_is_by_number(inspector: Inspector) -> None:
    gallery = FilterGallery(inspector, cursor=Cursor(neuron_space="mlp"), sort="likeness")
    assert gallery.neuron is None
    assert gallery.order().tolist() == list(range(WIDTH))


def test_a_neuron_that_other_panels_do_not_have_is_refused(inspector: Inspector) -> None:
    cursor = Cursor(neuron_space="mlp", neuron=20)
    panel = PatchView(trace_of(small_model(width=16)), cursor=cursor)
    gallery = FilterGallery(inspector, cursor=cursor)
    with pytest.raises(TraitError, match=r"neuron is 30; .* neurons 0\.\.15"):
        gallery.neuron = 30
    assert (cursor.neuron_space, cursor.neuron, panel.neuron, gallery.neuron) == ("mlp", 20, 20, None)


def test_the_page_may_sort_but_not_write(inspector: Inspector) -> None:
    gallery = FilterGallery(inspector)
    bank = gallery.bank
    gallery.set_state({"sort": "variance", "view": "components", "bank": b"", "about": "x"})
    assert (gallery.sort, gallery.view) == ("variance", "components")
    assert gallery.bank == bank
    assert gallery.about == inspector.name
    gallery.set_state({"sort": "separation"})
    assert gallery.sort == "variance"


# ------------------------------------------------------------------ picture and lifetime


def test_the_still_picture_shows_every_filter_in_order(inspector: Inspector) -> None:
    gallery = FilterGallery(inspector, sort="variance")
    picture = np.asarray(gallery.still(width=16 * 2 + 32 * 36 - 4))  # 32 px a filter, 32 in a row
    assert picture.shape == (2 * 16 + 34 + 32, 1180, 3)
    bank = inspector.filters()
    for place, neuron in enumerate(gallery.order()):
        left = 16 + 36 * place
        tile = picture[50:82:2, left : left + 32 : 2].astype(float)
        kernel = bank[neuron] / np.abs(bank[neuron]).max()
        np.testing.assert_allclose(tile, 128 + 127 * kernel, atol=0.51)


def test_the_still_picture_frames_the_chosen_filter(inspector: Inspector) -> None:
    one = np.asarray(FilterGallery(inspector, neuron=0).still(width=600)).astype(int)
    other = np.asarray(FilterGallery(inspector, neuron=1).still(width=600)).astype(int)
    columns = np.flatnonzero(np.abs(one - other).any(axis=(0, 2)))
    assert columns.min() == 13
    assert columns.max() == 13 + 36 + 32 + 5


@pytest.mark.parametrize("view", ["filters", "components"])
def test_the_still_picture_stands_beside_the_widget(inspector: Inspector, view: str) -> None:
    gallery = FilterGallery(inspector, view=view)
    bundle: Any = gallery._repr_mimebundle_()
    data, metadata = bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    picture = Image.open(BytesIO(b64decode(data["image/png"])))
    shown = metadata["image/png"]
    assert picture.width == 840
    assert shown["width"] == 560
    assert shown["height"] == pytest.approx(picture.height * 2 / 3, abs=1)
    with pytest.raises(ValueError, match="at least 300"):
        gallery.still(width=299)


def test_closing_leaves_a_shared_cursor_alone(inspector: Inspector) -> None:
    cursor, before = Cursor(), set(_instances)
    gallery = FilterGallery(inspector, cursor=cursor)
    gallery.close()
    assert cursor.comm is not None
    cursor.neuron = 3
    assert gallery.neuron == 0
    FilterGallery(inspector).close()
    gc.collect()
    assert set(_instances) <= before
