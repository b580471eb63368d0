from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import zscore

from vitwidgets.analysis import contrast

VALUES = np.random.default_rng(2).normal(3, 5, size=(17, 9)).astype(np.float32)


@pytest.mark.parametrize("selected", [[0], [16, 3], range(17), np.array([5, 6, 7], np.int32)])
def test_is_the_mean_z_score(selected: list[int]) -> None:
    values = contrast(VALUES, selected)
    assert values.dtype == np.float32
    expected = zscore(VALUES.astype(np.float64), axis=0)[list(selected)].mean(axis=0)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_neurons_that_do_not_vary() -> None:
    values = VALUES.copy()
    values[:, 4] = 0.1
    assert contrast(values, [2])[4] == 0


def test_not_finite_stays_in_its_neuron() -> None:
    values = VALUES.copy()
    values[3, 1], values[3, 2] = np.nan, np.inf
    result = contrast(values, [0])
    assert np.isnan(result[1:3]).all()
    assert np.isfinite(np.delete(result, [1, 2])).all()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contrast(VALUES, [])
    with pytest.raises(IndexError, match=r"0\.\.16"):
        contrast(VALUES, [17])
    with pytest.raises(IndexError, match=r"0\.\.16"):
        contrast(VALUES, [-1])
    with pytest.raises(TypeError, match="row numbers"):
        contrast(VALUES, [0.5])
    with pytest.raises(ValueError, match=r"\(N, F\)"):
        contrast(VALUES[0], [0])
