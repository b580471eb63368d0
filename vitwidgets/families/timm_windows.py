"""Attention inside of windows, laid out over the whole map."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from vitwidgets.anatomy import Arrange, Grid

Members: TypeAlias = Callable[[Grid], Tensor]
"""From the grid to what :func:`windows` gives: which tokens are in which window."""


def windows(grid: Grid, size: Grid, shift: Grid = (0, 0)) -> Tensor:
    """List the tokens of each window of a map.

    The map is rolled up and left by `shift`, padded to whole windows at its lower and right edge, and cut.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns of the map.
    size, shift : (int, int)
        Rows and columns of a window; how far the map is rolled.

    Returns
    -------
    Tensor of int64, shape (windows, n)
        The tokens of each window in order, counted row by row; ``rows * cols`` stands for padding.
    """
    rows, cols = grid
    index = torch.arange(rows * cols).reshape(rows, cols).roll((-shift[0], -shift[1]), dims=(0, 1))
    index = F.pad(index, (0, -cols % size[1], 0, -rows % size[0]), value=rows * cols)
    tiles = index.reshape(index.shape[0] // size[0], size[0], index.shape[1] // size[1], size[1])
    return tiles.transpose(1, 2).reshape(-1, size[0] * size[1])


def spaced(grid: Grid, size: Grid) -> Tensor:
    """List the tokens of each of MaxViT's grids: `size` tokens, spaced evenly over the whole map."""
    (rows, cols), (high, wide) = grid, size
    index = torch.arange(rows * cols).reshape(high, rows // high, wide, cols // wide)
    return index.permute(1, 3, 0, 2).reshape(-1, high * wide)


def arrange(members: Members, *, heads_first: bool = False) -> Arrange:
    """Make an `Attention.arrange` for windows.

    Parameters
    ----------
    members : callable
        From the grid to the tokens of each window, as `windows` lists them.
    heads_first : bool
        Whether the weights come as (heads, windows, n, n), else (windows, heads, n, n).
    """

    def lay_out(weights: Tensor, grid: Grid) -> Tensor:
        order = weights.shape[-4:]
        tiles = weights.reshape(order)
        return spread(tiles.transpose(0, 1) if heads_first else tiles, members(grid), grid[0] * grid[1])

    return lay_out


def whole(weights: Tensor, _: Grid) -> Tensor:
    """Take the weights of tokens that all attend to each other, in order."""
    return weights[0]


def spread(weights: Tensor, members: Tensor, count: int) -> Tensor:
    """Lay attention inside of windows out over all tokens.

    Parameters
    ----------
    weights : Tensor, shape (windows, heads, n, n)
        Of each window.
    members : Tensor, shape (windows, n)
        As :func:`windows` gives it.
    count : int
        Number of tokens, `N`.

    Returns
    -------
    Tensor, shape (heads, N, N)
        With 0 between tokens of different windows, and without the padding.

    Raises
    ------
    RuntimeError
        If the weights are not of these windows.
    """
    if (weights.shape[0], *weights.shape[2:]) != (*members.shape, members.shape[1]):
        raise RuntimeError(
            f"attention of shape {tuple(weights.shape)} does not fit {members.shape[0]} windows of "
            f"{members.shape[1]} tokens: the windows of the model have changed since it was given"
        )
    full = weights.new_zeros(weights.shape[1], count + 1, count + 1)
    full[:, members[:, :, None], members[:, None, :]] = weights.transpose(0, 1)
    return full[:, :count, :count]
