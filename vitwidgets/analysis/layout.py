"""Tokens as points in the plane by principal components, each layer turned onto the one before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

# Tokens whose numbers differ by less than this part of the largest one differ by rounding alone.
_ROUNDING = 1e-6


def pca_layout(tokens: npt.ArrayLike) -> Floats:
    """Lay out the tokens of one layer by their first two principal components.

    Parameters
    ----------
    tokens : array_like, shape (N, D)
        Token vectors, real, at least one.

    Returns
    -------
    ndarray, shape (N, 2), float32
        Centred at 0, scaled to an RMS radius of 1; on either axis the point farthest from 0 is positive.
        NaN for a token that is not finite and takes no part; all 0 where all tokens are equal.

    Raises
    ------
    ValueError
        If `tokens` is not two-dimensional or holds no token.
    TypeError
        If it does not hold real numbers.
    """
    table = _table(tokens)
    finite: Mask = np.isfinite(table).all(axis=1)
    points: Floats = np.full((len(table), 2), np.nan, np.float32)
    if finite.any():
        points[finite], _ = unit(_principal(deviations(table if finite.all() else table[finite])))
    return points


def pca_layouts(layers: Iterable[npt.ArrayLike]) -> Floats:
    """Lay out the tokens of all layers by PCA, each turned onto the one before.

    Parameters
    ----------
    layers : iterable of array_like, shapes (N, D_l)
        Token vectors of layers 0..L, real, of the same `N` tokens.

    Returns
    -------
    ndarray, shape (L + 1, N, 2), float32
        What :func:`pca_layout` makes of each, turned by :func:`align`.

    Raises
    ------
    ValueError
        If there is no layer, they differ in their number of tokens, or one is not two-dimensional or holds no
        token.
    TypeError
        If one does not hold real numbers.
    """
    points = np.stack([pca_layout(table) for table in tables_of(layers)])
    for layer in range(1, len(points)):
        points[layer] = align(points[layer], points[layer - 1])
    return points


def align(points: npt.ArrayLike, onto: npt.ArrayLike) -> Floats:
    """Turn points about 0, by rotation and reflection, as close to others as that can bring them.

    Orthogonal Procrustes (Schönemann 1966): the orthogonal `R` of least ``norm(points @ R - onto)``.

    Parameters
    ----------
    points, onto : array_like, shape (N, 2)
        Pairs of points; a pair with a NaN does not count.

    Returns
    -------
    ndarray, shape (N, 2), float32
        ``points @ R``.

    Raises
    ------
    ValueError
        If one is not of shape (N, 2), or they differ in `N`.
    """
    a, b = np.asarray(points, np.float64), np.asarray(onto, np.float64)
    if a.ndim != 2 or a.shape[1] != 2 or a.shape != b.shape:
        raise ValueError(f"points and onto must both have shape (N, 2), got {a.shape} and {b.shape}")
    pairs = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    left, _, right = np.linalg.svd(a[pairs].T @ b[pairs])
    turned: Floats = (a @ (left @ right)).astype(np.float32)
    return turned


def _table(tokens: npt.ArrayLike) -> npt.NDArray[Any]:
    table = np.asarray(tokens)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError(f"tokens must have shape (N, D) with at least one token, got {table.shape}")
    if table.dtype.kind not in "fiub":
        raise TypeError(f"tokens must hold real numbers, got {table.dtype}")
    return table


def tables_of(layers: Iterable[npt.ArrayLike]) -> list[npt.NDArray[Any]]:
    """Tokens of layers 0..L as arrays (N, D_l), or an error that says what is wrong with them."""
    tables = [_table(tokens) for tokens in layers]
    if not tables:
        raise ValueError("give at least one layer")
    counts = [len(table) for table in tables]
    if len(set(counts)) > 1:
        raise ValueError(
            f"all layers must have the same tokens, got {counts}; lay out those of each grid by themselves"
        )
    return tables


def deviations(tokens: npt.NDArray[Any]) -> Reals:
    """Deviations from the mean token, in an arbitrary unit; all 0 where the tokens are equal."""
    values: Reals = tokens.astype(np.result_type(tokens, np.float32))
    largest = _largest(values)
    if largest > 0:
        values /= largest  # squares of large tokens would overflow
        values -= values.mean(axis=0)
        if _largest(values) < _ROUNDING:
            values[:] = 0
    return values


def _largest(values: Reals) -> float:
    return float(max(values.max(initial=0), -values.min(initial=0)))


def _principal(values: Reals) -> Doubles:
    """Coordinates (N, 2) along the first two principal components of deviations (N, D)."""
    N, D = values.shape
    wide = N <= D
    gram = values @ values.T if wide else values.T @ values
    vectors, variances = _leading(gram.astype(np.float64))
    places: Doubles = np.zeros((N, 2))
    places[:, : vectors.shape[1]] = vectors * np.sqrt(variances) if wide else values @ vectors
    farthest = places[np.abs(places).argmax(axis=0), [0, 1]]
    return places * np.where(farthest < 0, -1, 1)


def _leading(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """First two eigenvectors, as columns, and eigenvalues of a positive semidefinite matrix.

    By randomized block Krylov iteration (Musco and Musco 2015), five times faster than all eigenvectors.
    """
    basis: Doubles = np.eye(len(matrix))
    if len(matrix) > 64:
        block = noise(0, len(matrix), 4)
        blocks = []
        for _ in range(6):
            block = np.linalg.qr(matrix @ block)[0]
            blocks.append(block)
        basis = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    values, vectors = np.linalg.eigh(basis.T @ matrix @ basis)
    return basis @ vectors[:, :-3:-1], np.maximum(values[:-3:-1], 0)


def unit(places: npt.NDArray[Any]) -> tuple[Floats, float]:
    """Centre points and scale them to an RMS radius of 1; also the radius they had."""
    centred = places.astype(np.float64)
    centred -= centred.mean(axis=0)
    radius = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    unit: Floats = (centred / (radius or 1.0)).astype(np.float32)
    return unit, radius


def noise(seed: int, rows: int, cols: int = 2) -> Doubles:
    """Normal random numbers."""
    return np.random.default_rng(seed).standard_normal((rows, cols))
