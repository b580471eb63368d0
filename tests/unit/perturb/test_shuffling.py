"""Shuffling: every tile comes back once, its masks along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_inputs import make

from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput
from vitwidgets.perturb import (
    shuffle,
    shuffle_grids,
)


def tiles_of(array: Any, rows: int, cols: int) -> list[Any]:
    high, wide = array.shape[-2] // rows, array.shape[-1] // cols
    return [
        array[..., row * high : (row + 1) * high, col * wide : (col + 1) * wide]
        for row in range(rows)
        for col in range(cols)
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grid", [2, 3, (4, 5), (6, 10), (1, 2)])
def test_every_tile_comes_back_once_and_its_masks_with_it(grid: Any, channels: int) -> None:
    image = make(channels)
    labels = np.arange(12 * 30, dtype=np.uint16).reshape(12, 30)
    rows, cols = grid if isinstance(grid, tuple) else (grid, grid)
    moved = set()
    for seed in range(6):
        shuffled, along = shuffle(image, grid=grid, seed=seed, masks=labels)
        old, new = tiles_of(image.pixels, rows, cols), tiles_of(shuffled.pixels, rows, cols)
        before, after = tiles_of(labels, rows, cols), tiles_of(along, rows, cols)
        order = []
        for tile, label in zip(new, after, strict=True):
            (source,) = [number for number, other in enumerate(old) if torch.equal(tile, other)]
            np.testing.assert_array_equal(label, before[source])
            order.append(source)
        assert sorted(order) == list(range(rows * cols))
        assert along.dtype == np.uint16
        assert torch.equal(shuffle(image, grid=grid, seed=seed).pixels, shuffled.pixels)
        moved.add(tuple(order))
    assert len(moved) > 1


def test_several_masks_are_shuffled_as_one_is() -> None:
    masks = np.random.default_rng(0).random((4, 12, 30)) < 0.5
    _, along = shuffle(make(), grid=(2, 5), seed=3, masks=masks)
    assert along.shape == masks.shape
    for mask, moved in zip(masks, along, strict=True):
        np.testing.assert_array_equal(shuffle(make(), grid=(2, 5), seed=3, masks=mask)[1], moved)
    assert shuffle(make(), grid=2, masks=masks[:0])[1].shape == (0, 12, 30)


def test_one_tile_is_the_identity() -> None:
    image = make()
    masks = np.random.default_rng(0).random((2, 12, 30)) < 0.5
    same, along = shuffle(image, grid=1, seed=9, masks=masks)
    assert torch.equal(same.pixels, image.pixels)
    assert same.notes == ()
    np.testing.assert_array_equal(along, masks)
    along[:] = True
    assert not masks.all()


def test_grids_that_divide_an_input() -> None:
    image = make()
    assert shuffle_grids(image) == (1, 2, 3, 6)
    for grid in shuffle_grids(image):
        assert shuffle(image, grid=grid).size == image.size
    square = ModelInput(torch.zeros(3, 224, 224), PatchGrid(14, 14), (16, 16))
    assert {2, 4, 8, 14} <= set(shuffle_grids(square))


@pytest.mark.parametrize("grid", [0, -2, 4, 7, (12, 12), (0, 1)])
def test_grids_that_do_not(grid: Any) -> None:
    with pytest.raises(ValueError, match=r"one of 1, 2, 3, 4, 6, 12, .* one of 1, 2, 3, 5, 6, 10, 15, 30"):
        shuffle(make(), grid=grid)


@pytest.mark.parametrize("grid", [2.0, True, "2", (2, 3, 4), (2, 1.5), None])
def test_what_is_no_grid(grid: Any) -> None:
    with pytest.raises(TypeError, match="whole number"):
        shuffle(make(), grid=grid)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30, 1), (1, 1, 12, 30), (30,), ()])
def test_masks_of_another_size(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(12, 30\) or \(K, 12, 30\)"):
        shuffle(make(), grid=2, masks=np.zeros(shape, bool))
