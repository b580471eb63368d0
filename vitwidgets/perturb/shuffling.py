"""Cut a model input into tiles and lay them out in another order.

As in Naseer et al., "Intriguing Properties of Vision Transformers" (2021, arXiv 2105.10497, section 3.3).
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from vitwidgets.model_input import ModelInput
from vitwidgets.perturb.patches import Indices, check_input, listed, permutation


@overload
def shuffle(
    image: ModelInput, *, grid: int | tuple[int, int] = ..., seed: int = ..., masks: None = ...
) -> ModelInput: ...


@overload
def shuffle(
    image: ModelInput, *, grid: int | tuple[int, int] = ..., seed: int = ..., masks: npt.ArrayLike
) -> tuple[ModelInput, npt.NDArray[Any]]: ...


def shuffle(
    image: ModelInput,
    *,
    grid: int | tuple[int, int] = 4,
    seed: int = 0,
    masks: npt.ArrayLike | None = None,
) -> ModelInput | tuple[ModelInput, npt.NDArray[Any]]:
    """Cut a model input into equal tiles and lay them out in another order.

    Tiles are cut in pixels, not in patches: 4 x 4 tiles of 224 pixels are 3.5 patches of 16 wide.

    Parameters
    ----------
    image : ModelInput
        Of ``Inspector.input(image)``.
    grid : int or (int, int)
        Tiles each way, or down and across; they must divide the height and the width: `shuffle_grids` lists
        what does. 1 leaves everything in place.
    seed : int
        At least 0. All orders are equally likely, so one of few tiles may be the old one.
    masks : array_like, shape (H, W) or (K, H, W), optional
        A label image, or masks, in pixels of the model input: they are shuffled along.

    Returns
    -------
    ModelInput, or (ModelInput, ndarray) where `masks` are given
        The masks have their shape and dtype, and are new.

    Raises
    ------
    ValueError
        If `grid` does not divide the input, or `masks` has another size.
    TypeError
        If `image` is no `ModelInput`, or `grid` is neither a whole number nor two.
    """
    check_input(image, "shuffle")
    rows, cols = _tiles(grid, image)
    height, width = image.size
    along = None if masks is None else _masks(masks, height, width)
    source = _source(height, width, rows, cols, permutation(rows * cols, seed))
    shuffled = image
    if rows * cols > 1:
        import torch

        index = torch.from_numpy(source).to(image.pixels.device)
        pixels = image.pixels.flatten(1)[:, index]
        shuffled = image.changed(pixels, f"shuffled in {rows} x {cols} tiles (seed {seed})")
    if along is None:
        return shuffled
    return shuffled, along.reshape(*along.shape[:-2], height * width)[..., source]


def shuffle_grids(image: ModelInput) -> tuple[int, ...]:
    """List the numbers of tiles each way that `shuffle` takes for an input, ascending from 1."""
    height, width = image.size
    return tuple(number for number in _divisors(height) if width % number == 0)


def _tiles(grid: object, image: ModelInput) -> tuple[int, int]:
    pair = grid if isinstance(grid, tuple) else (grid, grid)
    if len(pair) != 2 or not all(isinstance(n, Integral) and not isinstance(n, bool) for n in pair):
        raise TypeError(f"grid must be a whole number or two of them, (rows, cols), got {grid!r}")
    (rows, cols), (height, width) = pair, image.size
    if rows < 1 or cols < 1 or height % rows or width % cols:
        raise ValueError(
            f"{rows} x {cols} tiles do not divide an input of {height} x {width} pixels; tiles down must be "
            f"one of {listed(_divisors(height))}, tiles across one of {listed(_divisors(width))}"
        )
    return int(rows), int(cols)


def _masks(masks: npt.ArrayLike, height: int, width: int) -> npt.NDArray[Any]:
    array = np.asarray(masks)
    if array.ndim not in (2, 3) or array.shape[-2:] != (height, width):
        raise ValueError(
            f"masks must have shape ({height}, {width}) or (K, {height}, {width}), as the model input has, "
            f"got {array.shape}"
        )
    return array


def _source(height: int, width: int, rows: int, cols: int, order: Indices) -> Indices:
    """For each place, (H, W), the flat index of the pixel that comes to lie there; tile `order[i]` to `i`."""
    high, wide = height // rows, width // cols
    tiles = np.arange(height * width).reshape(rows, high, cols, wide).swapaxes(1, 2)
    moved = tiles.reshape(rows * cols, high, wide)[order].reshape(rows, cols, high, wide)
    return moved.swapaxes(1, 2).reshape(height, width)


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]
