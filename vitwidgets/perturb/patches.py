"""Patches as people name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput

Indices: TypeAlias = npt.NDArray[np.int64]
Patches: TypeAlias = "Iterable[int | tuple[int, int]] | npt.NDArray[Any]"


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
    patches : iterable or ndarray
        Patch indices ``0..rows*cols-1`` and pairs (row, column), also mixed; an integer array of shape (K,),
        or (K, 2) of pairs; or a boolean array of shape (rows, cols). One pair alone goes in a list:
        ``(3, 5)`` is patches 3 and 5, ``[(3, 5)]`` is the patch of row 3 and column 5.

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
    named, given = grid_of(place), cast(object, patches)
    grid = PatchGrid(named.rows, named.cols)  # a prefix token is no patch
    if hasattr(given, "__array__"):
        array = np.asarray(given)
        if array.dtype == bool:
            check_shape("a boolean choice of patches", array, grid)
            return np.flatnonzero(array).astype(np.int64)
        given = array.tolist()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"patches must be a list of patches, got {given!r}; one patch alone goes in a list")
    return np.array(sorted({_patch(grid, patch) for patch in given}), dtype=np.int64)


def grid_of(place: object) -> PatchGrid:
    """Find the patch grid of a place, or a TypeError."""
    grid = getattr(place, "patch_grid", place)
    if not isinstance(grid, PatchGrid):
        raise TypeError(
            f"a PatchGrid is needed, or a ModelInput, an Inspector or a Trace, not {type(place).__name__}"
        )
    return grid


def _patch(grid: PatchGrid, patch: Any) -> int:
    if isinstance(patch, str):
        raise TypeError(f"{patch!r} is no patch: give patch indices 0..{grid.patches - 1} or (row, column)")
    return grid.index(tuple(patch) if isinstance(patch, (list, np.ndarray)) else patch)


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
