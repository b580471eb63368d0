"""How much each patch matters: from a mask, from chosen patches, from the model itself."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vitwidgets.geometry import Patches
from vitwidgets.model_input import ModelInput
from vitwidgets.perturb.patches import (
    HasPatchGrid,
    Place,
    check_input,
    grid_of,
    on_grid,
    patch_indices,
)

Salience: TypeAlias = npt.NDArray[np.float32]


class HasRollout(HasPatchGrid, Protocol):
    """What is needed of a trace, as :class:`vitwidgets.trace.Trace` has it."""

    def rollout(self) -> npt.NDArray[np.float32]:
        """Attention rollout, (L + 1, N, N)."""


def mask_salience(image: ModelInput, mask: npt.ArrayLike) -> Salience:
    """Salience of patches from a mask: how much of each patch it covers.

    Parameters
    ----------
    image : ModelInput
        Whose patches.
    mask : array_like of bool, shape (H, W)
        In pixels of the model input, True where it matters.

    Returns
    -------
    ndarray, shape (rows, cols), float32
        In 0..1. What a patch reaches over the edge of the input counts as not covered.

    Raises
    ------
    ValueError
        If `mask` has another shape than the model input.
    TypeError
        If `mask` is not boolean, or `image` is no `ModelInput`.
    """
    check_input(image, "mask_salience")
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"a mask is boolean, got {array.dtype}; of a label image, pass labels == number")
    height, width = image.size
    if array.shape != (height, width):
        raise ValueError(
            f"the mask must have the model input's shape ({height}, {width}), got {array.shape}; "
            "vitwidgets.study.label_image(mask, trace.frame) resizes and crops it as the picture was"
        )
    (high, wide), grid = image.patch_size, image.patch_grid
    whole = np.pad(array, ((0, -height % high), (0, -width % wide)))
    cells: Salience = whole.reshape(len(whole) // high, high, -1, wide).mean(axis=(1, 3), dtype=np.float32)
    return cells[: grid.rows, : grid.cols]


def patch_salience(place: Place, patches: Patches) -> Salience:
    """Salience of patches from a choice: 1 for those chosen, 0 for the rest.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    patches
        As `patch_indices` takes them.

    Returns
    -------
    ndarray, shape (rows, cols), float32

    Raises
    ------
    IndexError, ValueError, TypeError
        As `patch_indices` does.
    """
    grid = grid_of(place)
    return on_grid(grid, patch_indices(grid, patches)).astype(np.float32)


def rollout_salience(trace: HasRollout) -> Salience:
    """Salience of patches as the model itself has it: attention rollout of the last layer.

    Parameters
    ----------
    trace : Trace
        Of the unchanged input.

    Returns
    -------
    ndarray, shape (rows, cols), float32
        The class token's row, or without one the mean of the patches' rows; columns of prefix tokens are left
        out, so the sum is at most 1.

    Raises
    ------
    ValueError
        If the trace has no rollout; says why.
    """
    grid = trace.patch_grid
    last = trace.rollout()[-1][:, len(grid.prefix) :]
    row = last[grid.index("cls")] if "cls" in grid.prefix else last[len(grid.prefix) :].mean(axis=0)
    return np.asarray(row, np.float32).reshape(grid.rows, grid.cols)
