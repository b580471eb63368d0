"""Clusters are scikit-learn's; matched over layers they keep their numbers."""

from __future__ import annotations

from itertools import permutations
from typing import get_args

import numpy as np
import pytest
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_rand_score

from vitwidgets.analysis.clusters import Method, cluster, match


@pytest.fixture
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """45 tokens around three far centres, (45, 20), and which is whose."""
    random = np.random.default_rng(0)
    of_token = np.repeat([0, 1, 2], 15)
    tokens = 20 * random.normal(size=(3, 20))[of_token] + random.normal(size=(45, 20))
    return tokens.astype(np.float32), of_token


@pytest.mark.parametrize("method", ["kmeans", "agglomerative"])
def test_a_known_number_of_groups_is_found(method: Method, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, of_token = blobs
    labels = cluster(tokens, method, n_clusters=3)
    assert labels.dtype == np.int64
    assert labels.shape == (45,)
    assert adjusted_rand_score(of_token, labels) == 1


def test_dbscan_finds_the_groups_by_itself(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, of_token = blobs
    assert adjusted_rand_score(of_token, cluster(tokens)) == 1
    lonely = np.vstack([tokens, 1000 * np.ones((1, 20), np.float32)])
    assert cluster(lonely, eps=10)[-1] == -1


def test_options_are_those_of_scikit_learn(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, _ = blobs
    steps = [float(np.linalg.norm(a - b)) for a, b in zip(tokens[1:], tokens[:-1], strict=True)]
    for options, expected in (
        ({"method": "dbscan"}, DBSCAN(eps=np.mean(steps), min_samples=3)),
        (
            {"method": "dbscan", "eps": 6.5, "min_samples": 5, "metric": "cityblock"},
            DBSCAN(eps=6.5, min_samples=5, metric="cityblock"),
        ),
        ({"method": "kmeans", "n_clusters": 5}, KMeans(5, n_init=4, random_state=0)),
        ({"method": "kmeans", "random_state": 7}, KMeans(4, n_init=4, random_state=7)),
        ({"method": "agglomerative"}, AgglomerativeClustering(4, metric="cosine", linkage="average")),
        (
            {"method": "agglomerative", "metric": "euclidean", "linkage": "ward"},
            AgglomerativeClustering(4, linkage="ward"),
        ),
    ):
        np.testing.assert_array_equal(cluster(tokens, **options), expected.fit_predict(tokens))


def test_the_same_each_time(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, _ = blobs
    for method in get_args(Method):
        np.testing.assert_array_equal(cluster(tokens, method), cluster(tokens, method))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e20])
def test_equal_tokens_are_one_cluster(value: float) -> None:
    assert cluster(np.full((9, 30), value, np.float32)).tolist() == [0] * 9


def test_bad_arguments() -> None:
    tokens = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.raises(ValueError, match="n_clusters=6 is more than the 5 tokens"):
        cluster(tokens, "kmeans", n_clusters=6)
    with pytest.raises(ValueError, match="n_clusters=4 is more than the 3 tokens"):
        cluster(tokens[:3], "agglomerative")
    with pytest.raises(ValueError, match=r"no method 'optics'; choose one of dbscan, kmeans, agglomerative"):
        cluster(tokens, "optics")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="dbscan has no option n_clusters; its options are algorithm, eps"):
        cluster(tokens, "dbscan", n_clusters=3)
    with pytest.raises(ValueError, match=r"\(P, D\) with at least one row, got \(0, 3\)"):
        cluster(tokens[:0])
    with pytest.raises(ValueError, match=r"\(P, D\)"):
        cluster(tokens[0])
    tokens[3, 1], tokens[4, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 5 tokens are not finite \(the first is 3\)"):
        cluster(tokens)


def test_numbers_are_kept_over_layers() -> None:
    layers = [
        [4, 4, 4, 7, 7, 7, -1, -1],
        [1, 1, 0, 0, 0, 0, 2, 2],  # 4 and 7 lose and gain a token; what was noise is new
        [0, 0, 0, 0, 0, 0, 0, -1],  # 7 takes all
        [-1, 1, 1, 0, 0, 0, 0, 0],  # the greater part stays 7, the other is new again
    ]
    found = match(layers)
    assert [layer.tolist() for layer in found] == [
        [4, 4, 4, 7, 7, 7, -1, -1],
        [4, 4, 7, 7, 7, 7, 8, 8],
        [7, 7, 7, 7, 7, 7, 7, -1],
        [-1, 9, 9, 7, 7, 7, 7, 7],
    ]
    assert all(layer.dtype == np.int64 for layer in found)


def test_as_many_tokens_as_possible_keep_their_number() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        before, after = random.integers(0, 4, 25), random.integers(-1, 4, 25)
        found = match([before, after])[1]
        best = max(
            sum(((after == number) & (before == name)).sum() for number, name in enumerate(names))
            for names in permutations(range(4))
        )
        assert ((found == before) & (found >= 0)).sum() == best
        # only the numbers change
        assert adjusted_rand_score(after, found) == 1
        np.testing.assert_array_equal(found == -1, after == -1)


def test_clusters_that_share_nothing_are_new() -> None:
    assert match([[0, 0, 1, 1, -1, -1], [-1, -1, -1, -1, 0, 0]])[1].tolist() == [-1, -1, -1, -1, 2, 2]
    assert match([[-1, -1], [3, 5], [5, 3]])[1].tolist() == [0, 1]
    assert match([[-1, -1], [3, 5], [5, 3]])[2].tolist() == [0, 1]


def test_match_of_nothing_and_of_what_does_not_fit() -> None:
    assert match([]) == []
    assert match([[-1, -1, -2]])[0].tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match=r"same P tokens, got shapes \[\(2,\), \(3,\)\]"):
        match([[0, 1], [0, 1, 2]])
