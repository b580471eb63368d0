"""How long tokens are, and which of them are far too long."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Median absolute deviation to standard deviation, for normally distributed values.
_MAD_TO_STD = 1.4826


def norms(tokens: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Length of each token.

    Parameters
    ----------
    tokens : array_like, shape (N, D) or (L + 1, N, D)
        Token vectors, real.

    Returns
    -------
    ndarray, shape (N,) or (L + 1, N), float32
        Euclidean norms; NaN or infinite for a token that is not finite.

    Raises
    ------
    ValueError
        If `tokens` has fewer than two dimensions.
    """
    rows = np.asarray(tokens, dtype=np.float64)  # squares of large float32 activations overflow float32
    if rows.ndim < 2:
        raise ValueError(f"tokens must have shape (N, D), got {rows.shape}")
    with np.errstate(over="ignore"):
        lengths: npt.NDArray[np.float32] = np.linalg.norm(rows, axis=-1).astype(np.float32)
    return lengths


def artefacts(
    norms: npt.ArrayLike, *, prefix: int = 0, deviations: float = 6.0, ratio: float = 1.75
) -> npt.NDArray[np.bool_]:
    """Mark the patch tokens whose norm is far above that of the others of their layer.

    Vision transformers turn a few patches, mostly of plain background, into places to keep global
    information; their norms form a group of their own (Darcet et al., "Vision transformers need registers",
    2023, arXiv 2309.16588). The paper cuts DINOv2's output at a norm of 150; here the cut is relative, so
    that it holds for any model and layer: a token is marked if its norm exceeds both ::

        median + deviations * 1.4826 * MAD        (far out, for the spread of this layer)
        ratio * median                            (and notably longer)

    where the median and the median absolute deviation (MAD) are over the patch tokens of a layer. Neither
    moves much while fewer than half of the tokens are artefacts. Normally distributed tokens of the width of
    a real model (32 neurons and more) stay below both.

    Parameters
    ----------
    norms : array_like, shape (N,) or (L + 1, N)
        As `norms` gives them.
    prefix : int
        Number of prefix tokens, which stand first, do not count and are never marked.
    deviations : float
        How many robust standard deviations above the median, at least 0.
    ratio : float
        How many times the median, at least 1.

    Returns
    -------
    ndarray, shape of `norms`, bool
        A norm that is not finite is not marked.

    Raises
    ------
    ValueError
        If `norms` is not of one or two dimensions, or an option is out of range.
    """
    lengths = np.asarray(norms, dtype=np.float64)
    if lengths.ndim not in (1, 2):
        raise ValueError(f"norms must have shape (N,) or (L + 1, N), got {lengths.shape}")
    if not 0 <= prefix <= lengths.shape[-1]:
        raise ValueError(f"prefix must lie in 0..{lengths.shape[-1]}, the number of tokens; got {prefix}")
    if not deviations >= 0 or not ratio >= 1:
        raise ValueError(
            f"deviations must be at least 0 and ratio at least 1; got deviations={deviations}, ratio={ratio}"
        )
    marked = np.zeros(lengths.shape, dtype=np.bool_)
    for layer, found in zip(
        np.atleast_2d(lengths)[:, prefix:], np.atleast_2d(marked)[:, prefix:], strict=True
    ):
        finite = np.isfinite(layer)
        if finite.any():
            median = np.median(layer[finite])
            spread = _MAD_TO_STD * np.median(np.abs(layer[finite] - median))
            found[:] = finite & (layer > max(median + deviations * spread, ratio * median))
    return marked
