from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from vitwidgets.analysis.projection import aligned, colours, foreground, pca
from vitwidgets.colormap import NON_FINITE
from vitwidgets.trace import Trace

RANDOM = np.random.default_rng(8)
MIXING = np.diag(0.8 ** np.arange(24)) @ RANDOM.normal(size=(24, 24))
TALL = RANDOM.normal(size=(60, 24)) @ MIXING + 3
WIDE = TALL[:15]
ROWS, COLS = 6, 8


def scene(seed: int = 0, width: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of 6 x 8 patches with an object, larger than half of the picture, and where it is."""
    random = np.random.default_rng(seed)
    inside = np.zeros((ROWS, COLS), bool)
    inside[1:-1, 1:] = True
    tokens = random.normal(size=(ROWS * COLS, width))
    tokens[inside.ravel()] += 8 * random.normal(size=width)
    return tokens, inside.ravel()


# ---------------------------------------------------------------------------- components


@pytest.mark.parametrize("rows", [TALL, WIDE], ids=["more rows than columns", "fewer"])
def test_against_sklearn(rows: np.ndarray) -> None:
    found = pca(rows, components=5)
    reference = PCA(5, svd_solver="full").fit(rows)
    np.testing.assert_allclose(found.mean, reference.mean_)
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_, rtol=1e-9)
    signs = np.sign(np.sum(found.components * reference.components_, axis=1))
    np.testing.assert_allclose(found.components, signs[:, None] * reference.components_, atol=1e-8)
    scores = found.apply(TALL)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, reference.transform(TALL) * signs, rtol=1e-5, atol=1e-5)
    expected = np.percentile(reference.transform(rows) * signs, [2, 98], axis=0)
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-6)


def test_a_list_is_all_its_rows() -> None:
    one, many = pca(TALL), pca([TALL[:7], TALL[7:40], TALL[40:]])
    np.testing.assert_array_equal(one.components, many.components)
    np.testing.assert_array_equal(one.low, many.low)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_any_size(scale: float) -> None:
    np.testing.assert_allclose(pca(TALL * scale).components, pca(TALL).components, atol=1e-9)


def test_signs_are_stable() -> None:
    components = pca(TALL).components
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=TALL.shape) * 1e-3
        np.testing.assert_allclose(pca(TALL + noise).components, components, atol=2e-3)
        np.testing.assert_allclose(
            pca(np.random.default_rng(seed).permutation(TALL)).components, components, atol=1e-9
        )
    np.testing.assert_allclose(pca(-TALL).components, components, atol=1e-9)


def test_no_single_element_decides_the_sign() -> None:
    """The two largest elements are of one size and opposite sign: noise makes either the largest."""
    direction = np.array([5.0, -5.0, 3, 3, 3, 1])
    rows = np.outer([-2, -1, 1, 2], direction)
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(size=rows.shape) * 1e-3
        assert pca(rows + noise, components=1).components[0, 2] > 0


def test_a_balanced_component_takes_the_sign_of_its_first_large_element() -> None:
    rows = np.outer([-2, -1, 1, 2], [0.1, -3, 3, -0.1])
    for sign in (1, -1):
        for seed in range(10):
            noise = np.random.default_rng(seed).normal(size=rows.shape) * 1e-6
            assert pca(sign * rows + noise, components=1).components[0, 1] > 0


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((0, 4)),
        np.full((1, 4), 2.5),
        np.full((9, 4), 0.1),
        3 + 1e-7 * np.random.default_rng(0).random((9, 4)),
        np.full((5, 4), np.nan),
    ],
    ids=["no rows", "one row", "equal rows", "equal but for float32's rounding", "NaN"],
)
def test_without_variance_there_is_nothing(rows: np.ndarray) -> None:
    found = pca(rows)
    assert found.components.shape == (3, 4)
    assert not found.components.any()
    assert not found.explained.any()
    painted = found.colours(np.ones((2, 4)))
    assert painted.tolist() == [[128] * 3] * 2


def test_two_rows_have_one_component() -> None:
    found = pca(TALL[:2])
    np.testing.assert_allclose(found.explained, [1, 0, 0])
    assert not found.components[1:].any()
    distance = np.linalg.norm(TALL[0] - TALL[1])
    assert np.ptp(found.apply(TALL[:2])[:, 0]) == pytest.approx(distance)


def test_rows_that_are_not_finite_do_not_count() -> None:
    rows = TALL.copy()
    rows[4, 3], rows[50] = np.inf, np.nan
    found, good = pca(rows), pca(np.delete(TALL, [4, 50], axis=0))
    np.testing.assert_allclose(found.components, good.components)
    scores = found.apply(rows)
    assert np.isnan(scores[[4, 50]]).all()
    np.testing.assert_array_equal(
        np.delete(scores, [4, 50], axis=0), good.apply(np.delete(TALL, [4, 50], axis=0))
    )
    np.testing.assert_array_equal(found.colours(rows)[[4, 50]], [NON_FINITE] * 2)


def test_colours_span_the_percentiles() -> None:
    rows = np.outer(np.arange(101.0), [0, 1, 0])  # percentiles 2 and 98
    painted = pca(rows).colours(rows)
    assert painted.dtype == np.uint8
    assert painted[[0, 2, 50, 98, 100], 0].tolist() == [0, 0, 128, 255, 255]
    assert (painted[:, 1:] == 128).all()
    assert painted[26, 0] == round(255 * 24 / 96)


@pytest.mark.parametrize(("odd", "levels"), [(4, (255, 0)), (-2, (0, 255))])
def test_one_odd_token_among_equal_ones_is_seen(odd: float, levels: tuple[int, int]) -> None:
    rows = np.ones((200, 5))
    rows[9] = odd
    painted = pca(rows).colours(rows)[:, 0]
    assert painted[9] == levels[0]
    assert (np.delete(painted, 9) == levels[1]).all()


def test_new_rows_are_painted_on_the_same_scale() -> None:
    found = pca(TALL[:40])
    np.testing.assert_array_equal(found.colours(TALL)[:40], found.colours(TALL[:40]))


def test_bad_rows() -> None:
    with pytest.raises(ValueError, match="components must be at least 1, got 0"):
        pca(TALL, components=0)
    with pytest.raises(ValueError, match=r"\(N, D\), got \(24,\)"):
        pca(TALL[0])
    with pytest.raises(ValueError, match=r"one width, got \[23, 24\]"):
        pca([TALL, TALL[:, 1:]])
    with pytest.raises(ValueError, match=r"\(N, 24\), got \(60, 23\)"):
        pca(TALL).apply(TALL[:, 1:])
    with pytest.raises(ValueError, match="three components, this projection has 2"):
        pca(TALL, components=2).colours(TALL)


# ---------------------------------------------------------------------------- alignment


def test_alignment_against_scipy() -> None:
    scores, reference = RANDOM.normal(size=(30, 3)) * [5, 2, 1], RANDOM.normal(size=(30, 3))
    turn, _ = orthogonal_procrustes(scores, reference)
    np.testing.assert_allclose(aligned(scores, reference), scores @ turn, atol=1e-5)


def test_alignment_undoes_swaps_and_flips() -> None:
    reference = RANDOM.normal(size=(30, 3)) * [5, 2, 1]
    np.testing.assert_allclose(
        aligned(reference[:, [2, 0, 1]] * [-1, 1, -1], reference), reference, atol=1e-5
    )


def test_alignment_of_broken_rows() -> None:
    reference = RANDOM.normal(size=(30, 3))
    scores = -reference
    scores[3], scores[4] = np.nan, [np.inf, 1, 2]
    turned = aligned(scores, reference)
    np.testing.assert_array_equal(turned[3:5], scores[3:5].astype(np.float32))
    np.testing.assert_allclose(np.delete(turned, [3, 4], 0), np.delete(reference, [3, 4], 0), atol=1e-5)
    with pytest.raises(ValueError, match=r"one shape, got \(30, 3\) and \(29, 3\)"):
        aligned(reference, reference[1:])


# ---------------------------------------------------------------------------- foreground


@pytest.mark.parametrize("seed", range(6))
def test_the_object_lies_away_from_the_border(seed: int) -> None:
    tokens, inside = scene(seed)
    np.testing.assert_array_equal(foreground(tokens, grid=(ROWS, COLS)), inside)
    few = np.concatenate([tokens[inside], tokens[~inside][:10]])
    assert np.flatnonzero(foreground(few)).tolist() == list(range(inside.sum(), inside.sum() + 10))


def test_foreground_of_several_images() -> None:
    tokens, inside = scene(1)
    again = tokens + np.random.default_rng(1).normal(size=tokens.shape) / 10
    found = foreground([tokens, again], grid=(ROWS, COLS))
    np.testing.assert_array_equal(found, np.tile(inside, 2))


def test_a_higher_threshold_keeps_less() -> None:
    kept = [int(foreground(TALL, threshold=threshold).sum()) for threshold in (-1.0, 0.0, 1.0, 10.0)]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) == 4
    assert kept[-1] == 0


def test_foreground_without_variance() -> None:
    assert not foreground(np.ones((6, 4))).any()
    assert not foreground(np.full((6, 4), np.nan)).any()
    assert foreground(np.zeros((0, 4))).shape == (0,)


def test_foreground_of_broken_tokens() -> None:
    tokens, inside = scene()
    tokens[[10, 0]] = np.nan
    inside[[10, 0]] = False
    np.testing.assert_array_equal(foreground(tokens, grid=(ROWS, COLS)), inside)
    border = np.ones((ROWS, COLS), bool)
    border[1:-1, 1:-1] = False
    tokens[border.ravel()] = np.nan
    assert 0 < foreground(tokens, grid=(ROWS, COLS)).sum() < (~border).sum()


def test_a_grid_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="60 patch tokens are no whole images of 7 x 7"):
        foreground(TALL, grid=(7, 7))


# ---------------------------------------------------------------------------- colours


def test_colours_over_images_are_one_projection() -> None:
    painted = colours([TALL[:25], TALL[25:]])
    assert [one.shape for one in painted] == [(25, 3), (35, 3)]
    np.testing.assert_array_equal(np.concatenate(painted), pca(TALL).colours(TALL))


def test_colours_over_layers_ignore_mean_and_size_of_a_layer() -> None:
    layers = [WIDE, 20 * WIDE + 100, WIDE / 5 - 7]
    painted = colours(layers, over="layers")
    for one in painted[1:]:
        np.testing.assert_allclose(one, painted[0], atol=1)
    assert np.ptp(painted[0], axis=0).min() > 200
    apart = colours(layers)
    assert np.abs(apart[1].astype(int) - apart[0]).max() > 100


def test_colours_of_each_layer_follow_the_one_before() -> None:
    """The tokens stay, but their neurons are mixed, and the components swap and flip."""
    first = RANDOM.normal(size=(40, 3)) * [3, 2.9, 2.8]
    layers = [first]
    for seed in range(6):
        random = np.random.default_rng(seed)
        moved = first + random.normal(size=first.shape) / 50
        stretched = moved * random.permutation([1.0, 1.1, 0.9])
        layers.append(stretched @ np.linalg.qr(random.normal(size=(12 + seed, 3)))[0].T)
    painted = colours(layers, over="each")
    for one, two in pairwise(painted):
        assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.95
    alone = [colours([layer])[0] for layer in layers]
    np.testing.assert_array_equal(alone[0], painted[0])
    assert min(np.corrcoef(one.ravel(), alone[0].ravel())[0, 1] for one in alone[1:]) < 0.5


@pytest.mark.parametrize("over", ["images", "layers", "each"])
def test_background_is_grey_and_does_not_count(over: Any) -> None:
    tokens, inside = scene(3)
    tokens[inside] += np.outer(np.linspace(-3, 3, inside.sum()), np.eye(16)[0])
    (painted,) = colours([tokens], over=over, background=60, grid=(ROWS, COLS))
    assert (painted[~inside] == 60).all()
    (alone,) = colours([tokens[inside]], over=over)
    np.testing.assert_allclose(painted[inside], alone, atol=1)


@pytest.mark.parametrize("over", ["images", "layers", "each"])
@pytest.mark.parametrize("background", [None, 60])
def test_broken_constant_and_few_tokens(over: Any, background: int | None) -> None:
    broken = WIDE.copy()
    broken[3], broken[7, 2] = np.nan, -np.inf
    painted = colours(
        [WIDE, broken, np.ones_like(WIDE), np.full_like(WIDE, np.nan)], over=over, background=background
    )
    np.testing.assert_array_equal(painted[1][[3, 7]], [NON_FINITE] * 2)
    np.testing.assert_array_equal(painted[3], [NON_FINITE] * 15)
    assert len(np.unique(painted[0], axis=0)) > 2
    assert len(np.unique(painted[2], axis=0)) == 1
    (constant,) = colours([np.ones((4, 6))], over=over, background=background)
    assert (constant == (128 if background is None else background)).all()
    for count in (0, 1, 2):
        (few,) = colours([WIDE[:count]], over=over, background=background)
        assert few.shape == (count, 3)
        assert few.dtype == np.uint8


def test_no_arrays_no_colours() -> None:
    assert colours([]) == []


def test_of_a_trace(trace: Trace) -> None:
    layers = [trace.layer(layer)[len(trace.prefix) :] for layer in range(trace.layers + 1)]
    for over in ("images", "layers", "each"):
        painted = colours(layers, over=over, background=0, grid=trace.grid)
        assert [one.shape for one in painted] == [(15, 3)] * 4


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="one of images, layers, each; got 'heads'"):
        colours([TALL], over="heads")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"grey in 0\.\.255, got 256"):
        colours([TALL], background=256)
    with pytest.raises(ValueError, match=r"the arrays hold \[15, 60\] tokens"):
        colours([TALL, WIDE], over="each")
    with pytest.raises(ValueError, match="one width"):
        colours([TALL, TALL[:, 1:]])
    with pytest.raises(ValueError, match="no whole images"):
        colours([TALL], background=0, grid=(7, 7))
