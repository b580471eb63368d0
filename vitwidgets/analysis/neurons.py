"""Which neurons set some tokens apart from the rest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def contrast(values: npt.ArrayLike, selected: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """How far each neuron's mean over the selected tokens lies from its mean over all tokens.

    Parameters
    ----------
    values : array_like, shape (N, F)
        Activation of each of `F` neurons for each token, real.
    selected : array_like of int, shape (K,)
        Rows of the selected tokens, each in ``0..N-1``, at least one.

    Returns
    -------
    ndarray, shape (F,), float32
        ``(mean(selected) - mean(all)) / std(all)`` in population standard deviations; 0 where the neuron
        does not vary, NaN where an activation is not finite.

    Raises
    ------
    ValueError
        If `values` is not two-dimensional or nothing is selected.
    TypeError
        If `selected` does not hold whole numbers.
    IndexError
        If a selected row lies outside ``0..N-1``.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"values must have shape (N, F), got {table.shape}")
    rows = np.atleast_1d(np.asarray(selected))
    if rows.size == 0:
        raise ValueError("select at least one token")
    if not np.issubdtype(rows.dtype, np.integer):
        raise TypeError(f"selected must hold row numbers, got {rows.dtype}")
    if rows.min() < 0 or rows.max() >= len(table):
        raise IndexError(f"selected rows must lie in 0..{len(table) - 1}, got {rows.min()}..{rows.max()}")
    with np.errstate(invalid="ignore", over="ignore"):
        mean, std = table.mean(axis=0), table.std(axis=0)
        distance = table[rows].mean(axis=0) - mean
        spread = np.divide(distance, std, out=np.zeros_like(distance), where=std != 0)
    contrasts: npt.NDArray[np.float32] = spread.astype(np.float32)
    return contrasts
