from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from vitwidgets.analysis.filters import order, picture, principal_components, variance_share
from vitwidgets.colormap import NON_FINITE

BANK = np.random.default_rng(6).normal(0.3, 1, size=(40, 3, 5, 3)).astype(np.float32)
BANK *= np.linspace(0.2, 2, 40, dtype=np.float32).reshape(-1, 1, 1, 1)
FLAT = BANK.reshape(40, -1).astype(np.float64)


def test_by_number() -> None:
    assert order(BANK).tolist() == list(range(40))


def test_variance_shares_add_up_to_what_the_components_explain() -> None:
    shares = variance_share(BANK)
    assert shares.sum() == pytest.approx(1)
    total = PCA().fit(FLAT).explained_variance_.sum() * 39
    for number in (0, 17, 39):
        assert shares[number] == pytest.approx(np.sum((FLAT[number] - FLAT.mean(axis=0)) ** 2) / total)


def test_by_variance() -> None:
    found = order(BANK, "variance")
    assert sorted(found) == list(range(40))
    assert (np.diff(variance_share(BANK)[found]) <= 0).all()
    assert found[0] > 30


def test_by_likeness() -> None:
    bank = BANK.copy()
    bank[9], bank[30] = 3 * bank[12], -bank[12]
    found = order(bank, "likeness", chosen=12)
    assert found[:2].tolist() == [12, 9]
    assert found[-1] == 30
    likeness = cosine_similarity(bank.reshape(40, -1))[12]
    assert (np.diff(likeness[found]) <= 1e-6).all()


def test_by_separation_equals_stand_by_number() -> None:
    scores = np.zeros(40)
    scores[[3, 20, 7]] = 0.9, 0.2, 0.9
    scores[0] = np.nan
    found = order(BANK, "separation", scores=scores)
    assert found[:5].tolist() == [3, 7, 20, 1, 2]
    assert found[-1] == 0


def test_filters_that_are_not_finite_stand_last() -> None:
    bank = BANK.copy()
    bank[5, 0, 0, 0], bank[2, 1, 1, 1] = np.nan, np.inf
    assert order(bank, "variance")[-2:].tolist() == [2, 5]
    assert order(bank, "likeness", chosen=0)[-2:].tolist() == [2, 5]
    good = np.delete(BANK, [2, 5], axis=0)
    np.testing.assert_allclose(np.delete(variance_share(bank), [2, 5]), variance_share(good))
    np.testing.assert_allclose(principal_components(bank)[0], principal_components(good)[0])


def test_equal_filters_carry_nothing() -> None:
    assert not variance_share(np.repeat(BANK[:1], 6, axis=0)).any()
    assert np.isnan(variance_share(np.full_like(BANK, np.nan))).all()


def test_principal_components_against_sklearn() -> None:
    components, explained = principal_components(BANK)
    assert components.shape == (28, 3, 5, 3)
    reference = PCA(28, svd_solver="full").fit(FLAT)
    np.testing.assert_allclose(explained, reference.explained_variance_ratio_, rtol=1e-9)
    cosines = np.sum(components.reshape(28, -1) * reference.components_, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, rtol=1e-9)


def test_signs_of_components_do_not_hang_on_the_order_or_on_noise() -> None:
    components, _ = principal_components(BANK, count=5)
    np.testing.assert_allclose(principal_components(BANK[::-1], count=5)[0], components, atol=1e-9)
    noise = np.random.default_rng(0).normal(size=BANK.shape) * 1e-4
    np.testing.assert_allclose(principal_components(BANK + noise, count=5)[0], components, atol=1e-2)


def test_more_components_than_there_are() -> None:
    components, explained = principal_components(BANK[:4], count=10)
    assert components.shape == (10, 3, 5, 3)
    assert explained.sum() == pytest.approx(1)
    assert components[:3].any(axis=(1, 2, 3)).all()
    assert not components[3:].any()
    assert not explained[3:].any()


def test_pictures() -> None:
    kernel = np.zeros((2, 3, 3))
    kernel[0, 0], kernel[1, 2] = [4, 2, -4], np.nan
    shown = picture(kernel)
    assert shown.dtype == np.uint8
    assert shown[0, 0].tolist() == [255, 192, 1]
    assert shown[0, 1].tolist() == [128, 128, 128]
    np.testing.assert_array_equal(shown[1, 2], NON_FINITE)
    assert picture(kernel, limit=8)[0, 0].tolist() == [192, 160, 65]


def test_many_pictures_each_with_its_own_limit() -> None:
    shown = picture(BANK)
    assert shown.shape == (40, 3, 5, 3)
    for number in (0, 39):
        np.testing.assert_array_equal(shown[number], picture(BANK[number]))
    assert (np.abs(shown.astype(int) - 128).max(axis=(1, 2, 3)) == 127).all()


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="one of number, variance, likeness, separation; got 'size'"):
        order(BANK, "size")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Give chosen="):
        order(BANK, "likeness")
    for chosen in (40, -1):
        with pytest.raises(IndexError, match=r"out of range; there are 0\.\.39"):
            order(BANK, "likeness", chosen=chosen)
    with pytest.raises(ValueError, match="needs scores="):
        order(BANK, "separation")
    with pytest.raises(ValueError, match=r"shape \(40,\), one per filter, got \(39,\)"):
        order(BANK, "separation", scores=np.zeros(39))
    with pytest.raises(ValueError, match=r"\(D, p, q, C\), got \(3, 5, 3\)"):
        order(BANK[0])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        principal_components(BANK, count=0)
