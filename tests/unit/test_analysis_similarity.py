from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from vitwidgets.analysis import cosine


def test_against_scipy() -> None:
    tokens = np.random.default_rng(0).normal(size=(17, 24)).astype(np.float32)
    expected = 1 - cdist(tokens, tokens, "cosine")
    for index in range(17):
        values = cosine(tokens, index)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[index], atol=1e-6)


def test_zero_vectors() -> None:
    tokens = np.array([[0.0, 0.0], [3.0, 4.0], [-3.0, -4.0]])
    assert cosine(tokens, 0).tolist() == [0, 0, 0]
    assert cosine(tokens, 1).tolist() == [0, 1, -1]


def test_large_activations_do_not_overflow() -> None:
    assert cosine(np.array([[3e30, 4e30], [4e30, 3e30]], np.float32), 0) == pytest.approx([1, 0.96])


def test_not_finite_says_so() -> None:
    values = cosine(np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]]), 0)
    assert values[0] == pytest.approx(1)
    assert np.isnan(values[1:]).all()


def test_bad_arguments() -> None:
    with pytest.raises(IndexError, match=r"0\.\.2"):
        cosine(np.zeros((3, 2)), 3)
    with pytest.raises(IndexError, match=r"0\.\.2"):
        cosine(np.zeros((3, 2)), -1)
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        cosine(np.zeros(3), 0)
