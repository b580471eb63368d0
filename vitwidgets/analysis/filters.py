"""The filters of the patch embedding: in which order, what they are made of, what they look like."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from vitwidgets.analysis.projection import pca
from vitwidgets.analysis.similarity import cosine
from vitwidgets.analysis.views import display

Floats = npt.NDArray[np.float64]
By = Literal["number", "variance", "likeness", "separation"]


def order(
    bank: npt.ArrayLike,
    by: By = "number",
    *,
    chosen: int | None = None,
    scores: npt.ArrayLike | None = None,
) -> npt.NDArray[np.intp]:
    """Sort filters.

    Parameters
    ----------
    bank : array_like, shape (D, p, q, C)
        The filters.
    by : {"number", "variance", "likeness", "separation"}
        ``"number"``: 0 first. ``"variance"``: those first that carry most of the bank's variance
        (`variance_share`). ``"likeness"``: greatest cosine to `chosen` first, its negative last.
        ``"separation"``: greatest of `scores` first.
    chosen : int, optional
        A filter, ``0..D-1``; needed for likeness. It comes first itself.
    scores : array_like, shape (D,), optional
        One number per filter; needed for separation. ``Ranking.by_number()`` of
        `vitwidgets.analysis.neurons.rank` gives them.

    Returns
    -------
    ndarray, shape (D,), intp
        Numbers of the filters. Equals stand by number; what is NaN stands last.

    Raises
    ------
    ValueError
        If `by` is unknown, or what it needs is missing or of another shape.
    IndexError
        If `chosen` is out of range.
    """
    flat = _flat(bank)
    if by == "number":
        return np.arange(len(flat))
    if by == "variance":
        keys = variance_share(bank)
    elif by == "likeness":
        keys = _likeness(flat, chosen)
    elif by == "separation":
        keys = _given(scores, len(flat))
    else:
        raise ValueError(f"by must be one of {', '.join(get_args(By))}; got {by!r}")
    return np.argsort(-keys, kind="stable")  # numpy puts NaN last


def variance_share(bank: npt.ArrayLike) -> Floats:
    """How much of the filter bank's total variance each filter carries.

    The total is the sum of squared distances of all filters from the mean filter, which is also what the
    principal components divide among them.

    Parameters
    ----------
    bank : array_like, shape (D, p, q, C)
        The filters.

    Returns
    -------
    ndarray, shape (D,), float64
        In 0..1, with sum 1; all 0 where the filters are equal. A filter with NaN or infinity has NaN, and
        does not count for the others.

    Raises
    ------
    ValueError
        If `bank` is not four-dimensional.
    """
    flat = _flat(bank)
    shares = np.full(len(flat), np.nan)
    finite = np.isfinite(flat).all(axis=1)
    if finite.any():
        squares = ((flat[finite] - flat[finite].mean(axis=0)) ** 2).sum(axis=1)
        total = squares.sum()
        shares[finite] = squares / total if total > 0 else 0.0
    return shares


def principal_components(bank: npt.ArrayLike, *, count: int = 28) -> tuple[Floats, Floats]:
    """Find the principal components of the filters, as in figure 7 of the ViT paper (arXiv 2010.11929).

    Parameters
    ----------
    bank : array_like, shape (D, p, q, C)
        The filters; those with NaN or infinity do not count.
    count : int
        How many, at least 1.

    Returns
    -------
    components : ndarray, shape (count, p, q, C), float64
        Of length 1, with the sign rule of `vitwidgets.analysis.projection.pca`; zero from where nothing is
        left to explain.
    explained : ndarray, shape (count,), float64
        Share of the total variance, in 0..1, never rising.

    Raises
    ------
    ValueError
        If `bank` is not four-dimensional or `count` is less than 1.
    """
    found = pca(_flat(bank), components=count)
    return found.components.reshape(count, *np.shape(bank)[1:]), found.explained


def picture(kernel: npt.ArrayLike, *, limit: float | None = None) -> npt.NDArray[np.uint8]:
    """Turn a filter into a picture: 0 is mid-grey.

    Parameters
    ----------
    kernel : array_like, shape (p, q, C) or (K, p, q, C)
        One filter, or several; `C` is 3, or 1 for grey.
    limit : float, optional
        The absolute value that gets full brightness. Default: `vitwidgets.analysis.views.limit_of` each
        filter.

    Returns
    -------
    ndarray, shape (p, q, 3) or (K, p, q, 3), uint8

    Raises
    ------
    ValueError
        As `vitwidgets.analysis.views.display`.
    """
    return display(kernel, "signed", limit=limit)


def _flat(bank: npt.ArrayLike) -> Floats:
    filters = np.asarray(bank, dtype=np.float64)
    if filters.ndim != 4:
        raise ValueError(f"bank must have shape (D, p, q, C), got {filters.shape}")
    return filters.reshape(len(filters), -1)


def _likeness(flat: Floats, chosen: int | None) -> Floats:
    if chosen is None:
        raise ValueError("likeness to which filter? Give chosen=, the number of one")
    if not 0 <= chosen < len(flat):
        raise IndexError(f"filter {chosen} is out of range; there are 0..{len(flat) - 1}")
    keys = cosine(flat, chosen).astype(np.float64)
    keys[chosen] = np.inf
    return keys


def _given(scores: npt.ArrayLike | None, count: int) -> Floats:
    if scores is None:
        raise ValueError("separation needs scores=, one number per filter, e.g. rank(...).by_number()")
    keys = np.asarray(scores, dtype=np.float64)
    if keys.shape != (count,):
        raise ValueError(f"scores must have shape ({count},), one per filter, got {keys.shape}")
    return keys
