"""Masks of the picture become objects of patches: areas are exact, the rules are the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitwidgets.analysis.objects import coverage, find_objects
from vitwidgets.errors import ImageError
from vitwidgets.geometry import Frame, PatchGrid

GRID = PatchGrid(3, 5, ("cls", "reg1"))


def boxes(height: int, width: int, *sides: tuple[int, int, int, int]) -> np.ndarray:
    """One boolean mask for each (top, left, bottom, right)."""
    masks = np.zeros((len(sides), height, width), bool)
    for mask, (top, left, bottom, right) in zip(masks, sides, strict=True):
        mask[top:bottom, left:right] = True
    return masks


def counted_coverage(mask: np.ndarray, grid: PatchGrid, frame: Frame) -> np.ndarray:
    """Brute force: look up the mask in each quarter of a pixel; a patch begins at a half or a whole one."""
    height, width = mask.shape
    found = np.zeros((grid.rows, grid.cols))
    for patch in range(grid.patches):
        left, top, right, bottom = frame.patch_box(grid, patch)
        quarters = [
            (int(np.floor(y)), int(np.floor(x)))
            for y in np.arange(top + 0.25, bottom, 0.5)
            for x in np.arange(left + 0.25, right, 0.5)
        ]
        hits = [mask[y, x] for y, x in quarters if 0 <= y < height and 0 <= x < width]
        found[divmod(patch, grid.cols)] = sum(hits) / len(quarters)
    return found


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((0, 0, 40, 30), id="squashed"),
        pytest.param((7.5, 2, 32.5, 23), id="centre crop"),
        pytest.param((-10, 0, 50, 30), id="padded at the sides"),
        pytest.param((0, -12, 40, 42), id="padded above and below"),
    ],
)
def test_coverage_against_counting(box: tuple[float, float, float, float]) -> None:
    masks = np.random.default_rng(0).random((3, 30, 40)) < 0.5
    masks[1, 8:20, 5:30] = True
    frame = Frame((40, 30), (48, 80), box)
    found = coverage(masks, GRID, frame=frame)
    for mask, cover in zip(masks, found, strict=True):
        np.testing.assert_allclose(cover, counted_coverage(mask, GRID, frame), atol=1e-12)


def test_coverage_is_exact() -> None:
    # patches of 2 x 2 pixels; the crop begins in the middle of a pixel
    mask = np.zeros((1, 6, 11), bool)
    mask[0, 0, 0] = mask[0, 5, 10] = True
    frame = Frame((11, 6), (48, 80), (0.5, 0, 10.5, 6))
    expected = np.zeros((3, 5))
    expected[0, 0] = expected[2, 4] = 0.5 / 4
    np.testing.assert_allclose(coverage(mask, GRID, frame=frame)[0], expected, atol=1e-15)


def test_masks_at_any_size_are_the_model_input_without_a_frame() -> None:
    small = np.random.default_rng(1).random((2, 9, 20)) < 0.5
    large = small.repeat(7, axis=1).repeat(3, axis=2)
    np.testing.assert_allclose(coverage(small, GRID), coverage(large, GRID), atol=1e-12)


def test_a_patch_belongs_to_the_object_that_covers_most_of_it() -> None:
    # patches of 10 x 10 pixels
    masks = boxes(30, 50, (0, 0, 30, 14), (0, 14, 30, 24), (0, 25, 30, 29))
    found = find_objects(masks, GRID, labels={1: "cat", 2: "dog", 3: "tie"})
    # column 1: 40 % object 1, 60 % object 2; column 2: 40 % object 2 against 40 % object 3, the first wins
    assert found.of_patch.reshape(3, 5).tolist() == [[0, 1, 1, -1, -1]] * 3
    assert found.of_patch.dtype == np.int64
    assert (found.rows, found.cols) == (3, 5)
    assert found.values == (1, 2, 3)
    assert found.labels == ("cat", "dog", "tie")
    assert found.patches.tolist() == [3, 6, 0]
    assert not found.counts
    assert found.why_not == "object 3 (tie) has no patches, and 3 are needed"


def test_the_least_cover_is_forty_percent() -> None:
    masks = boxes(30, 50, (0, 0, 30, 4), (0, 10, 30, 20))
    assert find_objects(masks, GRID).of_patch.reshape(3, 5)[:, 0].tolist() == [0, 0, 0]
    masks[0, 29, 3] = False
    assert find_objects(masks, GRID).of_patch.reshape(3, 5)[:, 0].tolist() == [0, 0, -1]


def test_the_least_area() -> None:
    # 0.14 ** 2 of 100 x 100 pixels are 196: 14 x 14 is enough, and one pixel less is not
    masks = boxes(100, 100, (0, 0, 14, 14), (0, 0, 50, 50), (50, 50, 64, 64), (50, 0, 100, 50))
    masks[2, 50, 50] = False
    found = find_objects(masks, PatchGrid(4, 4))
    assert found.values == (1, 2, 4)
    assert found.dropped == {3: "it covers 1.95% of the model input, less than 1.96%"}


def test_a_dropped_object_takes_no_patch() -> None:
    # object 1 covers 60 % of the first patch of 10 x 10 pixels, object 2 the rest of it and of its rows
    masks = boxes(100, 100, (0, 0, 10, 6), (0, 6, 40, 100), (60, 0, 100, 100))
    found = find_objects(masks, PatchGrid(10, 10))
    assert found.values == (2, 3)
    assert found.of_patch[0] == 0
    assert found.counts
    assert found.why_not == ""


def test_area_is_that_of_the_model_input() -> None:
    masks = boxes(100, 200, (0, 0, 100, 60), (0, 90, 100, 110))
    crop = Frame((200, 100), (64, 64), (50, 0, 150, 100))
    found = find_objects(masks, PatchGrid(4, 4), frame=crop)
    assert found.of_patch.reshape(4, 4).tolist() == [[0, 1, 1, -1]] * 4
    assert coverage(masks, PatchGrid(4, 4), frame=crop).mean(axis=(1, 2)) == pytest.approx([0.1, 0.2])
    outside = Frame((200, 100), (64, 64), (100, 0, 200, 100))
    assert set(find_objects(masks, PatchGrid(4, 4), frame=outside).dropped) == {1}


@pytest.mark.parametrize(
    ("sides", "why"),
    [
        ([], "it has no object"),
        ([(0, 0, 30, 20)], "it has only one object"),
        ([(0, 0, 30, 20), (0, 0, 3, 3)], "it has only one object that is large enough"),
        ([(0, 0, 3, 3)], "it has no object that is large enough"),
        ([(0, 0, 30, 20), (0, 20, 20, 30)], "object 2 has 2 patches, and 3 are needed"),
        ([(0, 0, 10, 10), (0, 20, 30, 40)], "object 1 has one patch, and 3 are needed"),
    ],
)
def test_why_a_picture_does_not_count(sides: list[tuple[int, int, int, int]], why: str) -> None:
    found = find_objects(boxes(30, 50, *sides), GRID)
    assert not found.counts
    assert found.why_not == why


def test_all_ways_to_give_masks(tmp_path: Path) -> None:
    masks = boxes(30, 50, (0, 0, 30, 20), (0, 20, 30, 40))
    image = (masks * np.array([1, 2])[:, None, None]).sum(axis=0).astype(np.uint8)
    palette = Image.fromarray(image)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    assert palette.mode == "P"
    palette.save(tmp_path / "mask.png")
    expected = find_objects(masks, GRID)
    assert expected.counts
    given = [list(masks), tuple(masks), image, image.astype(np.int64), palette, Image.fromarray(image)]
    for way in [*given, tmp_path / "mask.png", str(tmp_path / "mask.png")]:
        found = find_objects(way, GRID)
        np.testing.assert_array_equal(found.of_patch, expected.of_patch)
        assert found.values == expected.values
        assert found.labels == expected.labels == ("object 1", "object 2")
    one = find_objects(masks[0], GRID)
    assert one.values == (1,)
    assert one.of_patch.reshape(3, 5).tolist() == [[0, 0, -1, -1, -1]] * 3


def test_void_and_gaps_in_the_numbers() -> None:
    image = np.zeros((30, 50), np.uint8)
    image[:, :20], image[:, 20:30], image[:, 30:] = 7, 255, 3
    found = find_objects(image, GRID, labels={3: "dog", 7: "cat", 9: "cow"})
    assert found.values == (3, 7)
    assert found.labels == ("dog", "cat")
    assert found.of_patch.reshape(3, 5).tolist() == [[1, 1, -1, 0, 0]] * 3
    assert found.dropped == {255: "it is void"}
    assert found.counts
    void = find_objects(np.full((30, 50), 255), GRID)
    assert void.why_not == "it has no object"
    assert (void.of_patch == -1).all()


def test_nothing_is_marked() -> None:
    empties: list[Any] = [[], np.zeros((0, 30, 50), bool), np.zeros((30, 50), int)]
    for empty in empties:
        found = find_objects(empty, GRID, frame=Frame.whole(50, 30))
        assert (found.of_patch == -1).all()
        assert found.of_patch.shape == (15,)
        assert found.why_not == "it has no object"
    assert find_objects(np.zeros((2, 30, 50), bool), GRID).why_not == "it has no object that is large enough"


def test_a_sequence_of_labels_names_the_masks_in_order() -> None:
    masks = boxes(30, 50, (0, 0, 30, 20), (0, 20, 30, 40))
    assert find_objects(masks, GRID, labels=("magpie", "magpie")).labels == ("magpie", "magpie")


def test_masks_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"masks are 30 x 50 pixels, but the picture is 60 x 100.*NEAREST"):
        find_objects(np.ones((30, 50), int), GRID, frame=Frame.whole(100, 60))
    with pytest.raises(ValueError, match=r"masks are 50 x 30 pixels, but the picture is 30 x 50"):
        find_objects(np.ones((1, 50, 30), bool), GRID, frame=Frame.whole(50, 30))
    with pytest.raises(ValueError, match=r"masks\[0\] is 30 x 50 and masks\[1\] is 30 x 40"):
        find_objects([np.ones((30, 50), bool), np.ones((30, 40), bool)], GRID)


def test_what_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"float64 \(30, 50\)"):
        find_objects(np.ones((30, 50)), GRID)
    with pytest.raises(ValueError, match=r"masks\.astype\(bool\)"):
        find_objects(np.ones((2, 30, 50), np.uint8), GRID)
    with pytest.raises(ValueError, match=r"masks\[0\] is uint8 .* mask\.astype\(bool\)"):
        find_objects([np.ones((30, 50), np.uint8)], GRID)
    with pytest.raises(ValueError, match=r"\(K, H, W\) or \(H, W\)"):
        find_objects(np.ones((1, 2, 30, 50), bool), GRID)
    with pytest.raises(ValueError, match="no pixels"):
        find_objects(np.ones((0, 50), int), GRID)
    with pytest.raises(ValueError, match="got -1"):
        find_objects(np.full((30, 50), -1), GRID)
    with pytest.raises(ValueError, match="mode RGB"):
        find_objects(Image.new("RGB", (50, 30)), GRID)
    with pytest.raises(ImageError, match="there is no mask"):
        find_objects(tmp_path / "none.png", GRID)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageError, match="no picture that Pillow can read"):
        find_objects(tmp_path / "text.png", GRID)


def test_labels_that_do_not_fit() -> None:
    masks = boxes(30, 50, (0, 0, 30, 20), (0, 20, 30, 40), (0, 40, 1, 41))
    assert find_objects(masks, GRID, labels={1: "cat", 2: "dog"}).counts  # object 3 is too small to need one
    with pytest.raises(ValueError, match=r"no class name for the mask values \[2\]; it names \[1\]"):
        find_objects(masks, GRID, labels={1: "cat"})
    with pytest.raises(TypeError, match="the string 'cat'"):
        find_objects(masks, GRID, labels="cat")


@pytest.mark.assets
def test_a_photo_with_a_palette_mask(assets: Path) -> None:
    name = "000000000599"
    with Image.open(assets / f"coco/images/{name}.jpg") as photo:
        width, height = photo.size
    squashed = Frame((width, height), (224, 224), (0, 0, width, height))
    mask = assets / f"coco/masks/{name}.png"
    found = find_objects(mask, PatchGrid(14, 14), frame=squashed)
    assert found.counts
    assert found.patches.sum() == (found.of_patch >= 0).sum()
    with Image.open(mask) as image:
        values = np.asarray(image)
    for value in found.values:
        cover = coverage((values == value)[None], PatchGrid(14, 14), frame=squashed)
        assert cover.mean() == pytest.approx((values == value).mean())
