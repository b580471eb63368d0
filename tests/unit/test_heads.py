"""Attention distance and entropy against plain loops."""

from __future__ import annotations

from math import hypot, log

import numpy as np
import pytest

from vitwidgets.analysis.heads import attention_distance, entropy
from vitwidgets.trace import Trace


def attention(heads: int, tokens: int, seed: int = 0) -> np.ndarray:
    weights: np.ndarray = np.random.default_rng(seed).random((heads, tokens, tokens)) ** 6
    return np.asarray(weights / weights.sum(axis=2, keepdims=True), np.float32)


def distance_by_loops(
    weights: np.ndarray, rows: int, cols: int, prefix: int, height: float, width: float
) -> list[float]:
    found = []
    for head in weights.astype(np.float64):
        of_patches = []
        for query in range(rows * cols):
            share = distance = 0.0
            for key in range(rows * cols):
                weight = head[prefix + query, prefix + key]
                down, right = query // cols - key // cols, query % cols - key % cols
                distance += weight * hypot(down * height, right * width)
                share += weight
            of_patches.append(distance / share)
        found.append(sum(of_patches) / len(of_patches))
    return found


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("grid", [(3, 5), (6, 2), (4, 4)])
def test_distance_against_loops(grid: tuple[int, int], prefix: int) -> None:
    rows, cols = grid
    weights = attention(3, prefix + rows * cols)
    for patch, (height, width) in ((16, (16, 16)), ((14, 8), (14, 8))):
        found = attention_distance(weights, grid, prefix=prefix, patch=patch)
        assert found.shape == (3,)
        expected = distance_by_loops(weights, rows, cols, prefix, height, width)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_distance_at_its_ends() -> None:
    itself, neighbour = np.eye(4), np.eye(4)[[1, 0, 3, 2]]
    found = attention_distance([itself, neighbour, np.full((4, 4), 0.25)], (2, 2), patch=10)
    assert found == pytest.approx([0, 10, (10 + 10 + 10 * 2**0.5) / 4])


def test_rows_without_attention_to_patches_are_left_out() -> None:
    weights = np.zeros((2, 5, 5))
    weights[:, :, 0] = 1  # all look at cls alone...
    weights[0, 1] = [0.9, 0, 0.1, 0, 0]  # ...but the first patch of head 0 glances at its neighbour
    found = attention_distance(weights, (2, 2), prefix=1, patch=16)
    assert found[0] == pytest.approx(16)
    assert np.isnan(found[1])


def test_entropy_against_loops() -> None:
    weights = attention(4, 11)
    weights[1, 3] = np.eye(11)[2]  # zeros add nothing
    expected = [
        sum(-p * log(p) for row in head for p in row if p > 0) / 11 for head in weights.astype(np.float64)
    ]
    np.testing.assert_allclose(entropy(weights), expected, rtol=1e-12)


def test_entropy_at_its_ends() -> None:
    found = entropy([np.eye(7), np.full((7, 7), 1 / 7)])
    assert found == pytest.approx([0, log(7)])
    assert not np.signbit(found[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_says_so(value: float) -> None:
    weights = attention(2, 6)
    weights[1, 2, 3] = value
    for found in (entropy(weights), attention_distance(weights, (2, 3))):
        assert np.isfinite(found[0])
        assert np.isnan(found[1])


def test_negative_weights_have_no_entropy() -> None:
    weights = attention(2, 6)
    weights[1, 2, 3] = -0.5
    assert np.isnan(entropy(weights)).tolist() == [False, True]


def test_on_a_trace(trace: Trace) -> None:
    weights = trace.attention(2)
    grid, prefix = trace.patch_grid, len(trace.patch_grid.prefix)
    found = attention_distance(weights, (grid.rows, grid.cols), prefix=prefix, patch=16)
    np.testing.assert_allclose(found, distance_by_loops(weights, 3, 5, 2, 16, 16), rtol=1e-6)
    assert (entropy(weights) <= log(grid.tokens) + 1e-6).all()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"between 16 tokens, but 2 prefix tokens and 3 x 5 patches are 17"):
        attention_distance(attention(1, 16), (3, 5), prefix=2)
    for measure in (entropy, lambda weights: attention_distance(weights, (2, 2))):
        with pytest.raises(ValueError, match=r"\(heads, N, N\), got \(4, 4\)"):
            measure(np.ones((4, 4)))
        with pytest.raises(ValueError, match=r"\(heads, N, N\), got \(1, 4, 5\)"):
            measure(np.ones((1, 4, 5)))
