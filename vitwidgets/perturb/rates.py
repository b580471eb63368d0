"""What a curve over rates of occlusion has to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitwidgets.perturb.patches import Indices, Place
from vitwidgets.perturb.selection import MODES, Mode, select


class RatePoint(NamedTuple):
    """One point of a rate curve: what was asked of `select`."""

    mode: Mode
    rate: float
    seed: int


@dataclass(frozen=True, eq=False)
class Occlusion:
    """One occlusion that a rate curve needs.

    Attributes
    ----------
    patches : ndarray of int64, shape (K,)
        Patch indices, ascending.
    points : tuple of RatePoint
        All that ask for these patches, at least one.
    """

    patches: Indices
    points: tuple[RatePoint, ...]


def rate_plan(
    place: Place,
    *,
    rates: Sequence[float],
    modes: Sequence[Mode] = MODES,
    seeds: Sequence[int] = (0,),
    salience: npt.ArrayLike | None = None,
) -> list[Occlusion]:
    """List the occlusions that a curve over rates needs, each set of patches once.

    Points that choose the same patches share one occlusion: rate 0 and rate 1 of all modes and seeds, and all
    seeds of the salient modes where no salience is equal.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    rates : sequence of float
        Shares of all patches, each 0..1.
    modes : sequence of {"random", "salient", "non_salient"}
        Which curves.
    seeds : sequence of int
        Each at least 0.
    salience : array_like of float, shape (rows, cols), optional
        For all modes but ``"random"``.

    Returns
    -------
    list of Occlusion
        In the order first needed: modes, in them rates, in them seeds. Their points are all combinations of
        the three, each once.

    Raises
    ------
    ValueError, TypeError
        As `select` does.
    """
    points: dict[tuple[int, ...], list[RatePoint]] = {}
    for point in dict.fromkeys(map(RatePoint._make, product(modes, rates, seeds))):
        chosen = select(place, point.mode, point.rate, salience=salience, seed=point.seed)
        points.setdefault(tuple(np.sort(chosen).tolist()), []).append(point)
    return [Occlusion(np.array(patches, np.int64), tuple(asked)) for patches, asked in points.items()]
