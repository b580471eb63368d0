from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitwidgets.analysis.norms import artefacts, norms
from vitwidgets.trace import Trace


def gaussian(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_norms_against_a_plain_loop() -> None:
    tokens = gaussian(17, 24)
    found = norms(tokens)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [sum(float(x) ** 2 for x in row) ** 0.5 for row in tokens], rtol=1e-6)


def test_norms_of_all_layers(trace: Trace) -> None:
    found = norms(trace.tokens)
    assert found.shape == (trace.layers + 1, trace.patch_grid.tokens)
    for layer in range(trace.layers + 1):
        np.testing.assert_array_equal(found[layer], norms(trace.layer(layer)))


def test_large_and_broken_tokens() -> None:
    assert norms(np.array([[3e30, 4e30]], np.float32)) == pytest.approx([5e30])
    found = norms(np.array([[np.nan, 1.0], [np.inf, 1.0], [3.0, 4.0]]))
    assert np.isnan(found[0])
    assert found[1:].tolist() == [np.inf, 5]


@pytest.mark.parametrize("width", [32, 192, 768])
@pytest.mark.parametrize("count", [15, 196, 1369])
def test_no_false_alarm_on_gaussian_tokens(width: int, count: int) -> None:
    for seed in range(5):
        assert not artefacts(norms(gaussian(count, width, seed))).any()


def test_no_false_alarm_on_equal_norms() -> None:
    assert not artefacts(np.full(20, 3.0)).any()
    assert not artefacts(np.zeros(20)).any()
    nearly = np.full(20, 3.0)
    nearly[4] += 1e-3
    assert not artefacts(nearly).any()


@pytest.mark.parametrize("share", [1, 10, 80])
def test_planted_artefacts_are_found(share: int) -> None:
    tokens = gaussian(196, 192)
    tokens[:share] *= 2.5
    assert np.flatnonzero(artefacts(norms(tokens))).tolist() == list(range(share))


def test_prefix_tokens_neither_count_nor_are_marked() -> None:
    tokens = gaussian(100, 64)
    tokens[:2] *= 50
    tokens[7] *= 4
    assert np.flatnonzero(artefacts(norms(tokens), prefix=2)).tolist() == [7]
    few = norms(tokens)[:5]
    few[:2] = 1000
    assert not artefacts(few, prefix=2).any()


def test_layers_are_judged_one_by_one() -> None:
    lengths = np.stack([norms(gaussian(60, 32, seed)) * 10**seed for seed in range(4)])
    lengths[2, 11] *= 5
    found = artefacts(lengths, prefix=1)
    assert found.shape == lengths.shape
    assert np.argwhere(found).tolist() == [[2, 11]]
    for layer in range(4):
        np.testing.assert_array_equal(found[layer], artefacts(lengths[layer], prefix=1))


def test_options_move_the_cut() -> None:
    lengths = np.array([9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 10.0, 30.0])  # median 10, MAD 0.5 or 1
    assert artefacts(lengths).nonzero()[0].tolist() == [7]
    assert not artefacts(lengths, ratio=3).any()
    assert not artefacts(lengths, deviations=30).any()


def test_norms_that_are_not_finite_are_not_marked() -> None:
    lengths = norms(gaussian(50, 32))
    lengths[3], lengths[4] = np.nan, np.inf
    lengths[9] *= 5
    assert np.flatnonzero(artefacts(lengths)).tolist() == [9]
    assert not artefacts(np.full(5, np.nan)).any()


def test_no_patches_at_all() -> None:
    assert artefacts(np.ones(3), prefix=3).tolist() == [False] * 3


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"\(N, D\), got \(4,\)"):
        norms(np.zeros(4))
    with pytest.raises(ValueError, match=r"\(L \+ 1, N\), got \(1, 2, 3\)"):
        artefacts(np.zeros((1, 2, 3)))
    for prefix in (-1, 5):
        with pytest.raises(ValueError, match=r"0\.\.4, the number of tokens"):
            artefacts(np.zeros(4), prefix=prefix)
    bad: list[dict[str, Any]] = [
        {"deviations": -1},
        {"ratio": 0.5},
        {"ratio": np.nan},
        {"deviations": np.nan},
    ]
    for options in bad:
        with pytest.raises(ValueError, match="deviations must be at least 0 and ratio at least 1"):
            artefacts(np.zeros(4), **options)
