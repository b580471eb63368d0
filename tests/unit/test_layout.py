"""Pictures of tokens by principal components against scikit-learn, and what goes wrong."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from toy_clusters import Array, clusters

from vitwidgets.analysis.layout import align, pca_layout, pca_layouts
from vitwidgets.analysis.tsne import tsne_layouts


def turn(angle: float, reflect: bool) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s], [-s, c]]) @ np.diag([1, -1 if reflect else 1])


@pytest.mark.parametrize("shape", [(15, 24), (24, 15), (60, 200), (150, 300), (300, 150), (5, 1), (2, 9)])
def test_pca_is_scikit_learns(shape: tuple[int, int]) -> None:
    N, D = shape
    tokens = 5 + np.random.default_rng(1).standard_normal(shape) * 0.9 ** np.arange(D)
    expected = np.zeros((N, 2))
    both = min(2, N, D)
    expected[:, :both] = PCA(both, svd_solver="full").fit_transform(tokens)
    expected *= np.where(expected[np.abs(expected).argmax(axis=0), [0, 1]] < 0, -1, 1)
    expected /= np.sqrt((expected**2).sum(axis=1).mean())
    points = pca_layout(tokens)
    assert points.shape == (N, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, expected, atol=2e-3)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("size", [1.0, 512.0])
def test_pca_takes_any_real_type_and_does_not_depend_on_the_unit(dtype: Any, size: float) -> None:
    tokens = np.random.default_rng(2).integers(-20, 20, (30, 8))
    np.testing.assert_allclose(pca_layout((size * tokens).astype(dtype)), pca_layout(tokens), atol=1e-4)


def test_pca_of_numbers_whose_squares_overflow() -> None:
    tokens = clusters()[0].astype(np.float64)
    np.testing.assert_allclose(pca_layout(tokens * 1e300), pca_layout(tokens), atol=1e-6)


def test_pca_leaves_out_tokens_that_are_not_finite() -> None:
    tokens = clusters()[0]
    broken = tokens.copy()
    broken[7, 3], broken[20, 0] = np.nan, -np.inf
    rest = np.delete(np.arange(len(tokens)), [7, 20])
    points = pca_layout(broken)
    assert np.isnan(points[[7, 20]]).all()
    np.testing.assert_array_equal(points[rest], pca_layout(tokens[rest]))


@pytest.mark.parametrize("value", [1e-8, 0.1, -3e4])
def test_equal_tokens_are_at_zero_also_when_rounding_parts_them(value: float) -> None:
    tokens = np.full((12, 100), value, np.float32)
    assert not pca_layout(tokens).any()
    assert not pca_layout(0 * tokens).any()
    assert not pca_layout(np.nextafter(tokens, tokens + np.arange(12, dtype=np.float32)[:, None] - 5)).any()


@pytest.mark.parametrize("N", [1, 3, 100])
def test_layouts_without_numbers(N: int) -> None:
    assert not pca_layout(np.empty((N, 0))).any()
    assert np.isnan(pca_layout(np.full((N, 4), np.nan))).all()


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5, -1.6])
def test_align_undoes_a_rotation_and_a_reflection(angle: float, reflect: bool) -> None:
    points = np.random.default_rng(4).standard_normal((20, 2))
    moved = points @ turn(angle, reflect)
    np.testing.assert_allclose(align(moved, points), points, atol=1e-6)
    moved[3], points[5] = np.nan, np.nan  # the pair without a place has no say
    aligned = align(moved, points)
    both = np.delete(np.arange(20), [3, 5])
    np.testing.assert_allclose(aligned[both], points[both], atol=1e-6)
    assert np.isnan(aligned[3]).all()


def test_neighbouring_pca_layouts_cannot_be_turned_closer() -> None:
    layers = pca_layouts(clusters(4, apart=0.5))
    turns = [turn(angle, reflect) for angle in np.linspace(0, 2 * np.pi, 721) for reflect in (False, True)]
    for before, after in pairwise(layers):
        best = min(np.linalg.norm(after @ each - before) for each in turns)
        assert np.linalg.norm(after - before) <= best + 1e-4
    np.testing.assert_array_equal(layers[0], pca_layout(clusters(4, apart=0.5)[0]))


def test_layers_may_differ_in_width_but_not_in_tokens() -> None:
    wide = clusters()[0]
    assert pca_layouts([wide, wide[:, :10]]).shape == (2, 60, 2)
    for lay_out in (pca_layouts, tsne_layouts):
        with pytest.raises(ValueError, match=r"same tokens, got \[60, 50\]; lay out those of each grid"):
            lay_out([wide, wide[:50]])


@pytest.mark.parametrize("lay_out", [pca_layouts, tsne_layouts])
def test_what_is_no_layer_is_refused(lay_out: Any) -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        lay_out([])
    with pytest.raises(ValueError, match=r"shape \(N, D\).*got \(4,\)"):
        lay_out([np.zeros(4)])
    with pytest.raises(ValueError, match=r"at least one token, got \(0, 4\)"):
        lay_out([np.zeros((0, 4))])
    with pytest.raises(TypeError, match="real numbers, got complex128"):
        lay_out([np.zeros((5, 4), complex)])
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4, 2\)"):
        align(np.zeros((3, 2)), np.zeros((4, 2)))


def test_pca_needs_no_torch() -> None:
    code = (
        "import sys, numpy; from vitwidgets.analysis.layout import pca_layouts; "
        "pca_layouts(numpy.eye(5)[None]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
