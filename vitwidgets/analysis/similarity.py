"""Which tokens are alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def cosine(tokens: npt.ArrayLike, index: int) -> npt.NDArray[np.float32]:
    """Cosine of each token with one of them.

    Parameters
    ----------
    tokens : array_like, shape (N, D)
        Token vectors, real.
    index : int
        Sequence index of the token to compare with, ``0..N-1``.

    Returns
    -------
    ndarray, shape (N,), float32
        Cosines in -1..1; 0 for a vector of length 0, NaN for one that is not finite.

    Raises
    ------
    ValueError
        If `tokens` is not two-dimensional.
    IndexError
        If `index` lies outside ``0..N-1``.
    """
    rows = np.asarray(tokens, dtype=np.float64)  # squares of large float32 activations overflow float32
    if rows.ndim != 2:
        raise ValueError(f"tokens must have shape (N, D), got {rows.shape}")
    if not 0 <= index < len(rows):
        raise IndexError(f"token index {index} is out of range; there are 0..{len(rows) - 1}")
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(rows, axis=1)
        dots = rows @ rows[index]
        products = lengths * lengths[index]
        values = np.divide(dots, products, out=np.zeros_like(dots), where=products != 0)
        cosines: npt.NDArray[np.float32] = np.clip(values, -1.0, 1.0).astype(np.float32)
    return cosines
