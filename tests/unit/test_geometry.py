from __future__ import annotations

import numpy as np
import pytest

from vitwidgets.geometry import Frame, PatchGrid

GRID = PatchGrid(3, 5, ("cls", "reg1"))


def test_counts() -> None:
    assert (GRID.patches, GRID.tokens) == (15, 17)


def test_every_token_has_one_place() -> None:
    names = ["cls", "reg1", *range(15)]
    assert [GRID.index(name) for name in names] == list(range(17))
    assert [GRID.token(index) for index in range(17)] == names


def test_row_and_column() -> None:
    order = np.arange(15).reshape(3, 5)
    for row in range(3):
        for col in range(5):
            assert GRID.index((row, col)) == GRID.index(int(order[row, col]))
    assert GRID.index(np.int64(4)) == 6


def test_names_for_people() -> None:
    assert GRID.name(0) == "cls"
    assert GRID.name(2 + 13) == "patch 13 (row 2, column 3)"


@pytest.mark.parametrize("token", [-1, 15, (3, 0), (0, 5), (-1, 0)])
def test_outside_the_grid(token: int | tuple[int, int]) -> None:
    with pytest.raises(IndexError, match=r"0\.\.14.*\(2, 4\)"):
        GRID.index(token)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match="'cls', 'reg1'"):
        GRID.index("dist")


@pytest.mark.parametrize("token", [1.0, True, None, (1, 2, 3), [0, 1]])
def test_no_token(token: object) -> None:
    with pytest.raises(TypeError, match="no token"):
        GRID.index(token)  # type: ignore[arg-type]


@pytest.mark.parametrize("index", [-1, 17])
def test_outside_the_sequence(index: int) -> None:
    with pytest.raises(IndexError, match=r"0\.\.16"):
        GRID.token(index)


def test_bad_grids() -> None:
    with pytest.raises(ValueError, match="0 x 5"):
        PatchGrid(0, 5)
    with pytest.raises(ValueError, match="different names"):
        PatchGrid(1, 1, ("cls", "cls"))


def test_frame_maps_there_and_back() -> None:
    frame = Frame(original=(640, 427), input=(24, 40), box=(100.0, -20.0, 500.0, 220.0))
    assert frame.to_original(0, 0) == (100.0, -20.0)
    assert frame.to_original(40, 24) == (500.0, 220.0)
    assert frame.to_original(10, 6) == (200.0, 40.0)
    for point in ((0.0, 0.0), (13.5, 7.25), (40.0, 24.0)):
        assert frame.to_input(*frame.to_original(*point)) == pytest.approx(point)


def test_patch_boxes_tile_the_frame() -> None:
    frame = Frame(original=(640, 427), input=(24, 40), box=(100.0, -20.0, 500.0, 220.0))
    assert frame.patch_box(GRID, 0) == (100.0, -20.0, 180.0, 60.0)
    assert frame.patch_box(GRID, 14) == (420.0, 140.0, 500.0, 220.0)
    assert frame.patch_box(GRID, 7) == (260.0, 60.0, 340.0, 140.0)
    with pytest.raises(IndexError, match=r"0\.\.14"):
        frame.patch_box(GRID, 15)


def test_resized_keeps_the_scale() -> None:
    frame = Frame(original=(640, 427), input=(24, 40), box=(100.0, -20.0, 500.0, 220.0)).resized(32, 30)
    assert frame.input == (32, 30)
    assert frame.box == (100.0, -20.0, 400.0, 300.0)
