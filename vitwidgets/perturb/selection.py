"""Which patches to occlude: at random, or by salience.

The selections are those of Naseer et al., "Intriguing Properties of Vision Transformers" (2021,
arXiv 2105.10497, section 3.1).
"""

from __future__ import annotations

from numbers import Real
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from vitwidgets.perturb.patches import Indices, Place, check_shape, grid_of, listed, permutation

Mode = Literal["random", "salient", "non_salient"]

MODES: tuple[Mode, ...] = get_args(Mode)


def random(place: Place, rate: float, *, seed: int = 0) -> Indices:
    """Choose patches at random, all equally likely.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    rate : float
        Share of all patches, 0..1.
    seed : int
        At least 0.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, each once, in the order drawn; ``K = round(rate * patches)``, halves to the even
        number. With one seed, those of a smaller rate are the first of those of a larger one.

    Raises
    ------
    ValueError
        If `rate` lies outside 0..1.
    TypeError
        If `rate` is no number.
    """
    patches = grid_of(place).patches
    return permutation(patches, seed)[: _count(rate, patches)]


def salient(salience: npt.ArrayLike, rate: float, *, seed: int = 0) -> Indices:
    """Choose the most salient patches.

    Parameters
    ----------
    salience : array_like of float, shape (rows, cols)
        One number per patch, greater where the patch matters more: of `mask_salience`, `patch_salience`,
        `rollout_salience`, or your own.
    rate : float
        Share of all patches, 0..1; where it exceeds the salient part, the rest follows by falling salience.
    seed : int
        Orders patches of equal salience, of which a mask has many. Without equal ones it changes nothing.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, most salient first; ``K = round(rate * patches)``, halves to the even number. With one
        seed, those of a smaller rate are the first of those of a larger one.

    Raises
    ------
    ValueError
        If `rate` lies outside 0..1, or `salience` has another shape or holds NaN.
    TypeError
        If `salience` is boolean, or `rate` no number.
    """
    order = _by_salience(salience, seed)
    return order[: _count(rate, len(order))]


def non_salient(salience: npt.ArrayLike, rate: float, *, seed: int = 0) -> Indices:
    """Choose the least salient patches: the order of `salient` (of the same seed) from its end.

    Parameters
    ----------
    salience, rate, seed
        As in `salient`.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, least salient first; `K` as in `salient`, and nested in the same way.

    Raises
    ------
    ValueError, TypeError
        As `salient` does.
    """
    order = _by_salience(salience, seed)[::-1]
    return order[: _count(rate, len(order))]


def select(
    place: Place, mode: Mode, rate: float, *, salience: npt.ArrayLike | None = None, seed: int = 0
) -> Indices:
    """Choose patches by the name of a mode.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    mode : {"random", "salient", "non_salient"}
        Which of the three functions of this name.
    rate : float
        Share of all patches, 0..1.
    salience : array_like of float, shape (rows, cols), optional
        For all but ``"random"``.
    seed : int
        At least 0.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, each once.

    Raises
    ------
    ValueError
        If `mode` is unknown, `rate` lies outside 0..1, or `salience` is missing, of another shape than the
        grid, or holds NaN.
    TypeError
        If `salience` is boolean, or `rate` no number.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {listed(MODES)}, got {mode!r}")
    if mode == "random":
        return random(place, rate, seed=seed)
    if salience is None:
        raise ValueError(
            f"mode {mode!r} needs salience=, one number per patch; rollout_salience(trace) is one"
        )
    check_shape("salience", np.asarray(salience), grid_of(place))
    return (salient if mode == "salient" else non_salient)(salience, rate, seed=seed)


def _count(rate: float, patches: int) -> int:
    given: object = rate
    if isinstance(given, bool) or not isinstance(given, Real):
        raise TypeError(f"rate is a number in 0..1, got {given!r}")
    if not 0 <= rate <= 1:  # written so that NaN is refused too
        raise ValueError(f"rate is a share of the patches and lies in 0..1, got {rate}")
    return round(float(rate) * patches)


def _by_salience(salience: npt.ArrayLike, seed: int) -> Indices:
    """Patch indices, most salient first; equal ones in an order drawn by the seed."""
    array = np.asarray(salience)
    if array.dtype == bool:
        raise TypeError(
            "salience is one number per patch, not a boolean mask: use mask_salience(image, mask) for a mask "
            "in pixels, patch_salience(image, patches) for a choice of patches"
        )
    values = array.astype(np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"salience must have shape (rows, cols), one number per patch, got {values.shape}")
    unknown = int(np.isnan(values).sum())
    if unknown:
        raise ValueError(f"salience must not be NaN, and it is for {unknown} of {values.size} patches")
    return np.lexsort((permutation(values.size, seed), -values.ravel())).astype(np.int64)
