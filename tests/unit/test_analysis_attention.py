from __future__ import annotations

import numpy as np
import pytest

from vitwidgets.analysis import rollout


def attention(layers: int, tokens: int) -> np.ndarray:
    weights = np.random.default_rng(1).random((layers, tokens, tokens)) ** 4
    return weights / weights.sum(axis=-1, keepdims=True)


def test_against_plain_loops() -> None:
    blocks = attention(3, 6)
    rolled = rollout(blocks)
    expected = np.eye(6)
    np.testing.assert_array_equal(rolled[0], expected)
    for layer in range(3):
        step = np.zeros((6, 6))
        for i in range(6):
            for j in range(6):
                # rows of attention sum to 1, so that half of each token comes through the residual connection
                step[i, j] = (blocks[layer, i, j] + (i == j)) / 2
        expected = np.einsum("ik,kj->ij", step, expected)
        np.testing.assert_allclose(rolled[layer + 1], expected, atol=1e-6)


def test_rows_stay_distributions() -> None:
    rolled = rollout(attention(12, 17))
    assert rolled.shape == (13, 17, 17)
    assert rolled.dtype == np.float32
    assert rolled.min() >= 0
    np.testing.assert_allclose(rolled.sum(axis=-1), 1, atol=1e-5)


def test_rows_that_do_not_sum_to_one_are_normalised() -> None:
    np.testing.assert_allclose(rollout(3 * attention(4, 5)).sum(axis=-1), 1, atol=1e-5)


def test_nan_spreads_from_its_layer_on() -> None:
    blocks = attention(3, 4)
    blocks[1] = np.nan
    rolled = rollout(blocks)
    assert np.isfinite(rolled[:2]).all()
    assert np.isnan(rolled[2:]).all()


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 4)])
def test_bad_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(L, N, N\)"):
        rollout(np.zeros(shape))
