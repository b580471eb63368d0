"""How far, and how evenly, attention heads look."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]


def attention_distance(
    attention: npt.ArrayLike,
    grid: tuple[int, int],
    *,
    prefix: int = 0,
    patch: float | tuple[float, float] = 1.0,
) -> Floats:
    """Mean distance that each head looks across the picture.

    For each patch, the distances of the centres of all patches from its own are averaged with the attention
    that it pays them; then the mean over patches. Prefix tokens have no place: they are left out as queries
    and as keys, and each row is divided by what is left of it. Dosovitskiy et al., arXiv 2010.11929,
    figure 11; Raghu et al., arXiv 2108.08810, section 4.

    Parameters
    ----------
    attention : array_like, shape (heads, N, N)
        Attention of one block; row `i` is what token `i` attends to. Prefix tokens first.
    grid : (int, int)
        Rows and columns of the patches.
    prefix : int
        Number of prefix tokens, ``N - rows * cols``.
    patch : float or (float, float)
        Side of a patch, or its height and width, in pixels of the model input; 1 to measure in patches.

    Returns
    -------
    ndarray, shape (heads,), float64
        Pixels, from 0 (each patch looks at itself) up. Patches that pay no attention to any patch are left
        out; NaN where none is left, or attention is not finite.

    Raises
    ------
    ValueError
        If `attention` is no stack of square matrices of the size that grid and prefix tokens ask for.
    """
    weights = _weights(attention)
    rows, cols = grid
    if weights.shape[1] != prefix + rows * cols:
        raise ValueError(
            f"attention is between {weights.shape[1]} tokens, but {prefix} prefix tokens and {rows} x {cols} "
            f"patches are {prefix + rows * cols}"
        )
    weights = weights[:, prefix:, prefix:]
    height, width = patch if isinstance(patch, tuple) else (patch, patch)
    places = np.indices(grid).reshape(2, -1) * np.array([[height], [width]])
    distances = np.hypot(*(places[:, :, None] - places[:, None, :]))
    with np.errstate(invalid="ignore"):
        total = weights.sum(axis=2)
        looks = total != 0
        means = np.einsum("hij,ij->hi", weights, distances)
        means = np.divide(means, total, out=np.zeros_like(means), where=looks)
    count = looks.sum(axis=1)
    over_patches = np.full(len(weights), np.nan)
    np.divide(means.sum(axis=1), count, out=over_patches, where=count > 0)
    return over_patches


def entropy(attention: npt.ArrayLike) -> Floats:
    """Mean entropy of each head's attention: how evenly it looks.

    ``-sum p ln p`` of each token's row, averaged over tokens, prefix tokens included.

    Parameters
    ----------
    attention : array_like, shape (heads, N, N)
        Attention of one block; row `i` is what token `i` attends to, and sums to 1.

    Returns
    -------
    ndarray, shape (heads,), float64
        Nats, from 0 (each token looks at one token) to ``ln N`` (at all `N` alike); NaN where attention is
        not finite or a weight is negative.

    Raises
    ------
    ValueError
        If `attention` is no stack of square matrices.
    """
    weights = _weights(attention)
    logs = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    with np.errstate(invalid="ignore"):
        entropies = 0.0 - np.einsum("hij,hij->hi", weights, logs).mean(axis=1)
    valid = (weights >= 0).all(axis=(1, 2)) & np.isfinite(weights).all(axis=(1, 2))
    return np.where(valid, entropies, np.nan)


def _weights(attention: npt.ArrayLike) -> Floats:
    weights = np.asarray(attention, dtype=np.float64)
    if weights.ndim != 3 or weights.shape[1] != weights.shape[2]:
        raise ValueError(f"attention must have shape (heads, N, N), got {weights.shape}")
    return weights
