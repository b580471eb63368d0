"""Patches as people name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vitwidgets.geometry import Patches, PatchGrid
from vitwidgets.model_input import ModelInput

Indices: TypeAlias = npt.NDArray[np.int64]


class HasPatchGrid(Protocol):
    """Anything with a patch grid: a `ModelInput`, an `Inspector`, a `Trace`."""

    @property
    def patch_grid(self) -> PatchGrid:
        """Its patches."""


Place: TypeAlias = "PatchGrid | HasPatchGrid"


def patch_indices(place: Place, patches: Patches) -> Indices:
    """Read a choice of patches.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    patches
        As `vitwidgets.geometry.PatchGrid.choose` takes them.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, ascending, each once.

    Raises
    ------
    IndexError
        If a patch lies outside the grid.
    ValueError
        If a boolean array has another shape than the grid.
    TypeError
        If `patches` holds something that is no patch.
    """
    return grid_of(place).choose(patches)


def grid_of(place: object) -> PatchGrid:
    """Find the patch grid of a place, or a TypeError."""
    grid = getattr(place, "patch_grid", place)
    if not isinstance(grid, PatchGrid):
        raise TypeError(
            f"a PatchGrid is needed, or a ModelInput, an Inspector or a Trace, not {type(place).__name__}"
        )
    return grid


def on_grid(grid: PatchGrid, chosen: Indices) -> npt.NDArray[np.bool_]:
    """Mark chosen patches, (rows, cols)."""
    flags = np.zeros(grid.patches, dtype=bool)
    flags[chosen] = True
    return flags.reshape(grid.rows, grid.cols)


def check_input(image: object, name: str) -> None:
    """Refuse for the function `name` what is no `ModelInput`."""
    if not isinstance(image, ModelInput):
        raise TypeError(
            f"{name} takes a ModelInput, not {type(image).__name__}; make one: inspector.input(image)"
        )


def check_shape(what: str, array: npt.NDArray[Any], grid: PatchGrid) -> None:
    """Refuse an array that has another shape than the grid."""
    if array.shape != (grid.rows, grid.cols):
        raise ValueError(
            f"{what} must have the patch grid's shape ({grid.rows}, {grid.cols}), got {array.shape}"
        )


def permutation(count: int, seed: int) -> Indices:
    """Draw an order of 0..count-1, all equally likely."""
    return np.random.default_rng(seed).permutation(count).astype(np.int64)


def listed(things: Iterable[object]) -> str:
    """Write things in a row."""
    return ", ".join(map(repr, things))
