"""Which tokens of a layer form groups, and which groups of two layers are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import DBSCAN, AgglomerativeClustering, KMeans

Ints: TypeAlias = npt.NDArray[np.int64]
Method: TypeAlias = Literal["dbscan", "kmeans", "agglomerative"]

NOISE = -1

_ESTIMATORS: Mapping[str, Any] = {
    "dbscan": DBSCAN,
    "kmeans": KMeans,
    "agglomerative": AgglomerativeClustering,
}
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "dbscan": {"min_samples": 3},
    "kmeans": {"n_clusters": 4, "n_init": 4, "random_state": 0},
    "agglomerative": {"n_clusters": 4, "linkage": "average", "metric": "cosine"},
}


def cluster(tokens: npt.ArrayLike, method: Method = "dbscan", **options: Any) -> Ints:
    """Cluster the tokens of one layer.

    Parameters
    ----------
    tokens : array_like, shape (P, D)
        One token a row.
    method : str
        ``"dbscan"``, ``"kmeans"`` or ``"agglomerative"``.
    **options
        Those of scikit-learn's ``DBSCAN``, ``KMeans`` or ``AgglomerativeClustering``. Defaults that are not
        scikit-learn's: for DBSCAN ``min_samples=3`` and ``eps`` the mean Euclidean distance of consecutive
        tokens; for k-means ``n_clusters=4, n_init=4, random_state=0``; for agglomerative clustering
        ``n_clusters=4, linkage="average", metric="cosine"``.

    Returns
    -------
    ndarray, shape (P,), int64
        Cluster of each token, 0 and up; -1 for noise, which only DBSCAN knows.

    Raises
    ------
    ValueError
        If `tokens` is not two-dimensional, is empty or not finite; if there are more clusters than tokens; if
        there is no such method, or scikit-learn does not take the value of an option.
    TypeError
        If the method has no such option.
    """
    rows = np.asarray(tokens)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"tokens must have shape (P, D) with at least one row, got {rows.shape}")
    if method not in _ESTIMATORS:
        raise ValueError(f"there is no method {method!r}; choose one of {', '.join(get_args(Method))}")
    broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if broken.size:
        raise ValueError(
            f"{broken.size} of {len(rows)} tokens are not finite (the first is {broken[0]}); leave them out, "
            "or choose another layer"
        )
    known = sorted(_ESTIMATORS[method]().get_params())
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"{method} has no option {', '.join(unknown)}; its options are {', '.join(known)}")
    settings = {**_DEFAULTS[method], **options}
    if method == "dbscan" and "eps" not in settings:
        settings["eps"] = _usual_step(rows)
    wanted = settings.get("n_clusters")
    if wanted is not None and wanted > len(rows):
        raise ValueError(f"n_clusters={wanted} is more than the {len(rows)} tokens; ask for fewer clusters")
    labels: Ints = _ESTIMATORS[method](**settings).fit_predict(rows).astype(np.int64)
    return labels


def match(labels: Sequence[npt.ArrayLike]) -> list[Ints]:
    """Renumber the clusters of each layer so that a cluster keeps its number, and colour, over the layers.

    The clusters of a layer take the numbers of those of the layer before so that as many tokens as possible
    keep their number (linear assignment on shared tokens). A cluster that shares no token with the one that
    is left for it is new and gets a number that no layer before has used. Numbers of the first layer are
    kept.

    Parameters
    ----------
    labels : sequence of array_like of int, each of shape (P,)
        Cluster of each of the same tokens at each layer; negative for noise.

    Returns
    -------
    list of ndarray, each of shape (P,), int64
        New numbers; noise is -1.

    Raises
    ------
    ValueError
        If the layers differ in their number of tokens.
    """
    layers = [np.asarray(layer).astype(np.int64) for layer in labels]
    shapes = {layer.shape for layer in layers}
    if len(shapes) > 1 or any(layer.ndim != 1 for layer in layers):
        raise ValueError(f"each layer has a label for each of the same P tokens, got shapes {sorted(shapes)}")
    matched: list[Ints] = []
    fresh = 0
    for layer in layers:
        names = _inherited(layer, matched[-1]) if matched else {}
        numbers = np.full(layer.shape, NOISE)
        for number in np.unique(layer[layer >= 0]).tolist():
            name = names.get(number)
            if name is None:
                name = fresh if matched else number
            fresh = max(fresh, name + 1)
            numbers[layer == number] = name
        matched.append(numbers)
    return matched


def _inherited(layer: Ints, before: Ints) -> dict[int, int]:
    """Numbers of the layer before that clusters of this one take."""
    new, old = np.unique(layer[layer >= 0]), np.unique(before[before >= 0])
    shared = np.zeros((len(new), len(old)), np.int64)
    both = (layer >= 0) & (before >= 0)
    np.add.at(shared, (np.searchsorted(new, layer[both]), np.searchsorted(old, before[both])), 1)
    rows, cols = linear_sum_assignment(shared, maximize=True)
    taken = zip(rows.tolist(), cols.tolist(), strict=True)
    return {int(new[row]): int(old[col]) for row, col in taken if shared[row, col]}


def _usual_step(rows: npt.NDArray[Any]) -> float:
    """Mean distance of consecutive tokens; anything above 0 where all are equal, for DBSCAN takes no 0."""
    places = rows.astype(np.float64)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return float(steps.sum()) / max(len(steps), 1) or float(np.linalg.norm(places[0])) or 1.0
