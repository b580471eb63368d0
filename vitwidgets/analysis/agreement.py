"""How far two views of the same tokens agree: layers with layers, clusters with objects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Floats: TypeAlias = npt.NDArray[np.float64]

_NEGLIGIBLE = 1e-18  # of a chance
_CHUNK = 2**22  # Gram entries held at once, of all layers together


def cka(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Linear centred kernel alignment of two representations of the same tokens.

    ``||B'A||² / (||A'A|| ||B'B||)`` in Frobenius norms, columns centred; the same as
    ``HSIC(K, M) / sqrt(HSIC(K, K) HSIC(M, M))`` for ``K = AA'`` and ``M = BB'`` (Kornblith et al., 2019,
    arXiv 1905.00414, section 3).

    Parameters
    ----------
    a : array_like, shape (N, D1)
        One representation, a token a row.
    b : array_like, shape (N, D2)
        Another one, of the same tokens in the same order.

    Returns
    -------
    float
        0..1; NaN where the tokens of one are all equal or not finite.

    Raises
    ------
    ValueError
        If a representation is not two-dimensional, or the numbers of tokens differ.
    """
    return float(cka_matrix([a], [b])[0, 0])


def cka_matrix(layers_a: Sequence[npt.ArrayLike], layers_b: Sequence[npt.ArrayLike] | None = None) -> Floats:
    """Linear CKA of each layer of one model with each layer of another; see `cka`.

    Parameters
    ----------
    layers_a : sequence of array_like, each of shape (N, D)
        The same `N` tokens at each layer, or of several images one below the other; widths may differ.
    layers_b : sequence of array_like, each of shape (N, D), optional
        Layers of another model, or of another image; `layers_a` itself if left out.

    Returns
    -------
    ndarray, shape (La, Lb), float64
        0..1; NaN where the tokens of a layer are all equal or not finite.

    Raises
    ------
    ValueError
        If there is no layer, a layer is not two-dimensional, or the numbers of tokens differ.
    """
    a = [_centred(layer) for layer in layers_a]
    b = a if layers_b is None else [_centred(layer) for layer in layers_b]
    if not a or not b:
        raise ValueError("CKA needs at least one layer of each model, got none")
    counts = {len(layer) for layer in (*a, *b)}
    if len(counts) > 1:
        raise ValueError(
            f"CKA compares representations of the same tokens, but the layers have {sorted(counts)} of them"
        )
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        shared, own_a, own_b = _by_tokens(a, b) if _few_tokens(a, b) else _by_features(a, b)
        matrix: Floats = shared / np.outer(np.sqrt(own_a), np.sqrt(own_b))
    return matrix


def auc(same: npt.ArrayLike, different: npt.ArrayLike, *, tolerance: float = 0.0) -> float:
    """Find how often a value of one kind exceeds a value of the other (area under the ROC curve).

    Parameters
    ----------
    same, different : array_like, shape (n,) and (m,)
        For instance the similarities of token pairs of one object, and of pairs of different objects.
    tolerance : float
        Values that differ by no more than this are tied: a tied pair counts one half.

    Returns
    -------
    float
        Share of the ``n * m`` pairs in which the value of `same` is the greater: 1 if all are, 0.5 by chance.
        NaN where there is none, or a value is NaN.
    """
    many, few = np.sort(np.ravel(different)), np.sort(np.ravel(same))
    if not many.size or not few.size or np.isnan(many[-1]) or np.isnan(few[-1]):
        return float("nan")
    swapped = few.size > many.size  # a value is looked up in the longer row
    if swapped:
        many, few = few, many
    below = np.searchsorted(many, few - tolerance, side="left")
    tied = (np.append(many, np.inf)[below] <= few + tolerance).any()
    up_to = np.searchsorted(many, few + tolerance, side="right") if tied else below
    share = float((below + up_to).sum()) / (2 * many.size * few.size)
    return 1 - share if swapped else share


def adjusted_rand(clusters: npt.ArrayLike, objects: npt.ArrayLike) -> float:
    """Adjusted Rand index of a clustering (Hubert & Arabie, 1985).

    Parameters
    ----------
    clusters : array_like of int, shape (N,)
        Cluster of each token; a token of a negative cluster (noise) is a cluster of its own.
    objects : array_like of int, shape (N,)
        Object of each token.

    Returns
    -------
    float
        1 if the clusters are the objects, 0 on average by chance, as low as -0.5.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    found, true = np.ravel(clusters), np.ravel(objects)
    if len(found) != len(true):
        raise ValueError(f"{len(found)} tokens have a cluster, but {len(true)} have an object")
    kept = found >= 0
    rows, cols = np.unique(found[kept], return_inverse=True)[1], np.unique(true, return_inverse=True)[1]
    table = np.zeros((rows.max(initial=-1) + 1, cols.max(initial=-1) + 1))
    np.add.at(table, (rows, cols[kept]), 1)
    return float(adjusted_rand_of_tables(table[None], np.bincount(cols))[0])


def adjusted_rand_of_tables(tables: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> Floats:
    """Adjusted Rand index from counts; see `adjusted_rand`.

    Parameters
    ----------
    tables : ndarray, shape (B, C, K)
        Number of tokens in each cluster and object, of several clusterings; noise is left out.
    sizes : ndarray, shape (K,)
        Number of tokens of each object, noise included.

    Returns
    -------
    ndarray, shape (B,), float64
        As low as -0.5, at most 1.
    """
    # Noise needs no row: tokens that are clusters of their own are in no pair
    both, found = _pairs(tables).sum(axis=(1, 2)), _pairs(tables.sum(axis=2)).sum(axis=1)
    true, every = _pairs(sizes).sum(), _pairs(sizes.sum())
    chance = found * true / max(every, 1)
    most = (found + true) / 2
    index = np.ones(len(tables))  # where the clusters are the objects because there is but one way
    np.divide(both - chance, most - chance, out=index, where=most != chance)
    return index


@lru_cache(maxsize=16)
def largest_by_chance(sizes: tuple[int, ...]) -> Floats:
    """Find how many tokens of one object meet by chance: what purity counts in a random cluster.

    Exact: the tokens of a cluster are drawn without putting back (multivariate hypergeometric).

    Parameters
    ----------
    sizes : tuple of int
        Number of tokens of each object, at least one object.

    Returns
    -------
    ndarray, shape (M + 1,), float64, read-only
        Mean of the largest count of one object among 0, 1... `M` tokens drawn at random from all `M`.
    """
    logs = gammaln(np.arange(sum(sizes) + 1) + 1)
    *others, largest = sorted(sizes)
    # at_most[s, m]: chance that none of the objects so far has more than m of the s tokens drawn from them
    at_most = np.tri(max(others, default=0) + 1).T
    for size in others[:-1]:
        seen = len(at_most) - 1
        shares = _shares(logs, size, seen)
        matters = shares > _NEGLIGIBLE
        starts, stops = matters.argmax(axis=1), seen + 1 - matters[:, ::-1].argmax(axis=1)
        joined = np.zeros((seen + size + 1, at_most.shape[1]))
        for j, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            joined[start + j : stop + j, j:] += shares[j, start:stop, None] * at_most[start:stop, j:]
        at_most = joined
    # excess[s, j]: by how much the largest count of s tokens of the others exceeds j, on average
    excess = np.zeros((len(at_most), largest + 1))
    excess[:, : at_most.shape[1]] = (1 - at_most)[:, ::-1].cumsum(axis=1)[:, ::-1]
    count, rest = np.arange(largest + 1)[:, None], np.arange(len(at_most))
    terms = _shares(logs, largest, len(at_most) - 1) * (count + excess.T)
    means: Floats = np.bincount((count + rest).ravel(), terms.ravel()).astype(np.float64)
    means.flags.writeable = False
    return means


def _shares(logs: Floats, size: int, others: int) -> Floats:
    """Chance that of ``j + s`` tokens drawn at random, `j` are of an object of `size` and `s` of `others`.

    Parameters
    ----------
    logs : ndarray, shape (M + 1,)
        Logarithms of the factorials of 0..M.
    size, others : int
        Numbers of tokens.

    Returns
    -------
    ndarray, shape (size + 1, others + 1), float64
        Element ``[j, s]``.
    """
    every = size + others
    own, rest, both = (logs[n] - logs[: n + 1] - logs[n::-1] for n in (size, others, every))  # ways to choose
    shares: Floats = np.exp(
        own[:, None] + rest - both[np.add.outer(np.arange(size + 1), np.arange(others + 1))]
    )
    return shares


def _pairs(counts: Any) -> Any:
    """Number of pairs within groups of so many."""
    return counts * (counts - 1.0) / 2


def _centred(layer: npt.ArrayLike) -> Floats:
    rows = np.asarray(layer, dtype=np.float64)
    if rows.ndim != 2:
        raise ValueError(f"a layer has shape (N, D), got {rows.shape}")
    with np.errstate(invalid="ignore"):
        centred: Floats = rows - rows.mean(axis=0)
        # What is left of equal tokens is rounding, not a direction
        small = np.abs(centred).max(initial=0) <= 1e-14 * np.abs(rows).max(initial=0)
    return np.zeros_like(centred) if small else centred


def _few_tokens(a: list[Floats], b: list[Floats]) -> bool:
    """Whether products of tokens (N x N, a layer) cost less than products of neurons (D x D, a pair)."""
    tokens = len(a[0])
    widths_a, widths_b = sum(layer.shape[1] for layer in a), sum(layer.shape[1] for layer in b)
    return bool(tokens * (widths_a + widths_b + len(a) * len(b)) < widths_a * widths_b)


def _by_tokens(a: list[Floats], b: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """Inner products of the Gram matrices, a block of rows at a time."""
    tokens = len(a[0])
    shared, own_a, own_b = np.zeros((len(a), len(b))), np.zeros(len(a)), np.zeros(len(b))
    step = max(1, _CHUNK // (tokens * (len(a) + len(b))))
    for start in range(0, tokens, step):
        grams_a = np.stack([(layer[start : start + step] @ layer.T).ravel() for layer in a])
        grams_b = grams_a
        if b is not a:
            grams_b = np.stack([(layer[start : start + step] @ layer.T).ravel() for layer in b])
        shared += grams_a @ grams_b.T
        own_a += np.einsum("ij,ij->i", grams_a, grams_a)
        own_b += np.einsum("ij,ij->i", grams_b, grams_b)
    return shared, own_a, own_b


def _by_features(a: list[Floats], b: list[Floats]) -> tuple[Floats, Floats, Floats]:
    """Squared norms of the products of neurons."""
    shared = np.array([[_squared(x.T @ y) for y in b] for x in a])
    own_a = np.array([_squared(x.T @ x) for x in a])
    return shared, own_a, own_a if b is a else np.array([_squared(y.T @ y) for y in b])


def _squared(product: Floats) -> float:
    return float(np.einsum("ij,ij->", product, product))
