"""Scenes: a function of the seed alone, with masks that cover what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitwidgets.demo import KINDS, scene
from vitwidgets.demo.scenes import SHAPES, TEXTURES, _ground

SEEDS = range(12)


def shrunk(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean of every `factor` x `factor` square."""
    side = image.shape[0] // factor
    return image.reshape(side, factor, side, factor, -1).astype(float).mean(axis=(1, 3))


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and the pixels beside it."""
    padded = np.pad(mask, 1)
    high, wide = mask.shape
    return np.any([padded[y : y + high, x : x + wide] for y in range(3) for x in range(3)], axis=0)


def test_kinds() -> None:
    assert len(KINDS) == len(set(KINDS)) == len(SHAPES) * len(TEXTURES) == 16
    assert all(kind.split(" ") == [t, s] for kind in KINDS for t, s in [kind.split()])
    drawn = [kind for seed in range(200) for kind in scene(seed, size=16).kinds]
    assert set(drawn) == set(KINDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_draws_the_same_scene(seed: int) -> None:
    one, two = scene(seed, size=64), scene(seed, size=64)
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.masks, two.masks)
    assert one.kinds == two.kinds


def test_other_seeds_draw_other_scenes() -> None:
    assert len({scene(seed, size=32).image.tobytes() for seed in range(50)}) == 50


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [16, 96, 131])
def test_shapes_and_types(seed: int, size: int) -> None:
    drawn = scene(seed, size=size)
    assert (drawn.image.shape, drawn.image.dtype) == ((size, size, 3), np.uint8)
    assert (drawn.masks.shape, drawn.masks.dtype) == ((len(drawn.kinds), size, size), np.bool_)
    assert 1 <= len(drawn.kinds) <= 4
    assert set(drawn.kinds) <= set(KINDS)
    assert drawn.masks.any(axis=(1, 2)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_masks_are_disjoint_and_cover_what_is_drawn(seed: int) -> None:
    drawn = scene(seed, size=192)
    assert drawn.masks.sum(axis=0).max() == 1
    ground = np.clip(_ground(np.random.default_rng(seed), 192), 0, 1) * 255
    changed = np.abs(drawn.image - ground).max(axis=-1) > 1
    union = drawn.masks.any(axis=0)
    beside = grown(grown(union))  # a smooth edge reaches two pixels beyond the tip of a triangle
    assert not (changed & ~beside).any()
    assert (changed & union).sum() > 0.97 * union.sum()  # and inside nearly everything is


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_scene_at_any_size(seed: int) -> None:
    small, large = scene(seed, size=96), scene(seed, size=384)
    assert small.kinds == large.kinds
    shares = shrunk(large.masks.transpose(1, 2, 0), 4).transpose(2, 0, 1)
    for mask, share in zip(small.masks, shares, strict=True):
        assert (mask & (share > 0.5)).sum() > 0.9 * (mask | (share > 0.5)).sum()
    assert np.abs(shrunk(large.image, 4) - small.image).mean() < 4  # of 255


@pytest.mark.parametrize(
    ("objects", "allowed"),
    [(1, {1}), (3, {1, 2, 3}), ((1, 1), {1}), ((2, 4), {1, 2, 3, 4}), (np.int64(2), {1, 2})],
)
def test_number_of_objects(objects: Any, allowed: set[int]) -> None:
    counts = {len(scene(seed, size=32, objects=objects, radius=(0.1, 0.15)).kinds) for seed in range(40)}
    assert counts <= allowed
    assert max(counts) == max(allowed)


def test_radius_bounds_the_objects() -> None:
    for seed in range(20):
        for mask in scene(seed, size=200, objects=2, radius=(0.1, 0.2)).masks:
            rows, columns = np.nonzero(mask)
            assert 0.1 * 200 < max(np.ptp(rows), np.ptp(columns)) + 1 <= 2 * 0.2 * 200 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 15}, "size is 15; .* at least 16"),
        ({"objects": 0}, "objects is 0"),
        ({"objects": (3, 2)}, r"objects is \(3, 2\)"),
        ({"radius": (0.0, 0.1)}, "radius is"),
        ({"radius": (0.3, 0.2)}, "radius is"),
        ({"radius": (0.2, 0.51)}, "radius is .*0.5"),
        ({"seed": -1}, "non-negative"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scene(**{"seed": 0, **arguments})


def test_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="colour"):
        scene(0, colour="red")  # type: ignore[call-arg]
