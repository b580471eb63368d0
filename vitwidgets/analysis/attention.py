"""How attention carries the input through the layers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def rollout(mean_attention: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Attention rollout (Abnar & Zuidema, 2020, arXiv 2005.00928).

    ``R_0 = I`` and ``R_l = A_l R_(l-1)``, where ``A_l`` is the attention of block `l` averaged over its
    heads, plus the identity for the residual connection, each row divided by its sum.

    Parameters
    ----------
    mean_attention : array_like, shape (L, N, N)
        Attention of each block averaged over its heads; row `i` is what token `i` attends to.

    Returns
    -------
    ndarray, shape (L + 1, N, N), float32
        Element ``[l, i, j]`` is the share of input token `j` in token `i` of layer `l`; each row sums to 1.

    Raises
    ------
    ValueError
        If `mean_attention` is not a stack of square matrices.
    """
    attention = np.asarray(mean_attention, dtype=np.float32)
    if attention.ndim != 3 or attention.shape[1] != attention.shape[2]:
        raise ValueError(f"mean_attention must have shape (L, N, N), got {attention.shape}")
    count = attention.shape[1]
    rolled = np.empty((len(attention) + 1, count, count), dtype=np.float32)
    rolled[0] = np.eye(count, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        for layer, block in enumerate(attention, start=1):
            mixed = block + rolled[0]
            mixed /= mixed.sum(axis=1, keepdims=True)
            np.matmul(mixed, rolled[layer - 1], out=rolled[layer])
    return rolled
