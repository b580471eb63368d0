"""CKA, AUC, the adjusted Rand index and chance, each against its formula or scikit-learn."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import hypergeom, multivariate_hypergeom
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from vitwidgets.analysis.agreement import adjusted_rand, auc, cka, cka_matrix, largest_by_chance


def by_hsic(a: np.ndarray, b: np.ndarray) -> float:
    """Kornblith et al., 2019: HSIC(K, M) / sqrt(HSIC(K, K) HSIC(M, M)), the centring matrix written out."""
    count = len(a)
    centring = np.eye(count) - np.ones((count, count)) / count

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        return float(np.trace(k @ centring @ m @ centring)) / (count - 1) ** 2

    k, m = a @ a.T, b @ b.T
    return float(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))


def representations(count: int, widths: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    shared = random.normal(size=(count, 3))
    return [
        (shared @ random.normal(size=(3, width)) + random.normal(size=(count, width)) + 5).astype(np.float32)
        for width in widths
    ]


@pytest.mark.parametrize(
    "count", [7, 60, 400]
)  # few and many beside the widths: products of tokens, of neurons
def test_cka_against_the_formula(count: int) -> None:
    a, b = representations(count, (12, 20, 12)), representations(count, (16, 9), seed=1)
    found = cka_matrix(a, b)
    assert found.shape == (3, 2)
    for (i, x), (j, y) in product(enumerate(a), enumerate(b)):
        expected = by_hsic(x.astype(np.float64), y.astype(np.float64))
        assert found[i, j] == pytest.approx(expected, abs=1e-10)
        assert cka(x, y) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("count", [7, 400])
def test_cka_of_a_model_with_itself(count: int) -> None:
    layers = representations(count, (12, 20, 12, 8))
    own = cka_matrix(layers)
    np.testing.assert_allclose(own, cka_matrix(layers, list(layers)), atol=1e-12)
    np.testing.assert_allclose(own, own.T, atol=1e-12)
    np.testing.assert_allclose(np.diag(own), 1)


def test_cka_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = representations(50, (60, 80))
    whole = cka_matrix(layers)
    monkeypatch.setattr("vitwidgets.analysis.agreement._CHUNK", 1000)
    np.testing.assert_allclose(cka_matrix(layers), whole, atol=1e-12)


def test_cka_sees_no_rotation_scale_or_offset() -> None:
    (layer,) = representations(40, (12,))
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))[0]
    assert cka(layer, 3 * layer @ turn + 100) == pytest.approx(1, abs=1e-9)


def test_cka_of_large_activations() -> None:
    (layer,) = representations(40, (12,))
    assert cka(layer * np.float32(1e36), layer) == pytest.approx(1)


def test_cka_of_layers_without_a_difference_is_nan() -> None:
    (layer,) = representations(40, (12,))
    constant, broken = np.full((40, 5), 0.1, np.float32), layer.copy()
    broken[3, 2] = np.nan
    found = cka_matrix([layer, constant, broken])
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[1:]).all()
    assert np.isnan(found[:, 1:]).all()


def test_cka_of_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"same tokens, but the layers have \[4, 5\]"):
        cka(np.ones((4, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"\(N, D\), got \(4,\)"):
        cka(np.ones(4), np.ones((4, 3)))
    with pytest.raises(ValueError, match="at least one layer"):
        cka_matrix([])


def test_auc_against_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for ties in (False, True):
        for shift in (-1, 0, 0.5, 9):
            same, different = random.normal(size=40) + shift, random.normal(size=70)
            if ties:
                same, different = np.round(same), np.round(different)
            truth, scores = np.repeat([1, 0], [40, 70]), np.concatenate([same, different])
            assert auc(same, different) == pytest.approx(roc_auc_score(truth, scores))


def test_auc_with_tolerance_and_without_values() -> None:
    assert auc([1, 2], [1 + 1e-12, 5]) == pytest.approx(1 / 4)
    assert auc([1, 2], [1 + 1e-12, 5], tolerance=1e-9) == pytest.approx(1.5 / 4)
    assert np.isnan(auc([], [1]))
    assert np.isnan(auc([1], []))
    assert np.isnan(auc([1, np.nan], [0, 2]))


def test_adjusted_rand_against_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        objects = random.integers(0, random.integers(1, 5), 30)
        clusters = np.where(random.random(30) < 0.6, objects, random.integers(-1, 6, 30))
        singletons = np.where(clusters < 0, 100 + np.arange(30), clusters)
        assert adjusted_rand(clusters, objects) == pytest.approx(adjusted_rand_score(objects, singletons))


def test_adjusted_rand_at_its_ends() -> None:
    assert adjusted_rand([5, 5, 3, 3], [0, 0, 1, 1]) == 1
    assert adjusted_rand([-1, -1, -1, -1], [0, 0, 1, 1]) == 0
    assert adjusted_rand([0, 0, 0, 0], [0, 0, 1, 1]) == 0
    assert adjusted_rand([-1, -1], [0, 1]) == 1
    with pytest.raises(ValueError, match="3 tokens have a cluster, but 4"):
        adjusted_rand([0, 0, 1], [0, 0, 1, 1])


@pytest.mark.parametrize("sizes", [(4,), (3, 5), (6, 2, 4), (1, 1, 2, 5)])
def test_largest_by_chance_against_enumeration(sizes: tuple[int, ...]) -> None:
    found = largest_by_chance(sizes)
    assert found.shape == (sum(sizes) + 1,)
    for drawn in range(sum(sizes) + 1):
        draws = [n for n in product(*(range(size + 1) for size in sizes)) if sum(n) == drawn]
        chances = multivariate_hypergeom(sizes, drawn).pmf(draws) if len(sizes) > 1 else [1.0]
        expected = sum(max(counts) * chance for counts, chance in zip(draws, chances, strict=True))
        assert found[drawn] == pytest.approx(expected)


def test_largest_by_chance_of_many_tokens_against_conditional_draws() -> None:
    a, b, c = 70, 50, 40
    found = largest_by_chance((a, b, c))
    for drawn in (3, 40, 80, 140):
        of_a = np.arange(drawn + 1)[:, None]
        of_b = np.arange(drawn + 1)
        of_c = drawn - of_a - of_b
        # first how many of all are of a, then how many of the rest are of b
        chance = hypergeom(a + b + c, a, drawn).pmf(of_a) * hypergeom(b + c, b, drawn - of_a).pmf(of_b)
        largest = np.maximum(np.maximum(of_a, of_b), of_c)
        assert found[drawn] == pytest.approx(np.nansum(largest * chance), rel=1e-9)


def test_largest_by_chance_of_thousands_of_tokens() -> None:
    sizes = (900, 600, 500)
    found = largest_by_chance(sizes)
    assert found[0] == 0
    assert found[1] == pytest.approx(1)
    assert found[2] == pytest.approx(1 + sum(n * (n - 1) for n in sizes) / (2000 * 1999))
    assert found[-1] == pytest.approx(900)
    assert (np.diff(found) > 0).all()
