from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from small_traces import biased_trace, photo, small_model, staged_trace, trace_of
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torchvision import transforms as tv

from vitwidgets import Inspector
from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput
from vitwidgets.perturb import (
    FILLS,
    MODES,
    RatePoint,
    mask_salience,
    non_salient,
    occlude,
    patch_indices,
    patch_salience,
    random,
    rate_plan,
    rollout_salience,
    salient,
    select,
    shuffle,
    shuffle_grids,
)
from vitwidgets.preprocess import Preprocessing
from vitwidgets.trace import Trace

ROWS, COLS = 3, 5
HIGH, WIDE = 4, 6
GRID = PatchGrid(ROWS, COLS, ("cls", "reg1"))
SALIENCE = np.random.default_rng(8).normal(size=(ROWS, COLS))
TIED = (SALIENCE > 0.3).astype(np.float32)
SIZES = {"whole": (12, 30), "cut": (15, 33), "padded": (10, 27)}


def make(channels: int = 3, size: tuple[int, int] = SIZES["whole"], **known: Any) -> ModelInput:
    """An input of 3 x 5 patches of 4 x 6 pixels; noise, all different."""
    pixels = torch.randn(channels, *size, generator=torch.Generator().manual_seed(4))
    return ModelInput(pixels, GRID, (HIGH, WIDE), **known)


@pytest.fixture(params=list(SIZES))
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Height and width of an input that its patches cover, fall short of, or reach over."""
    return SIZES[request.param]


def patch_of(y: int, x: int) -> int | None:
    row, col = y // HIGH, x // WIDE
    return row * COLS + col if row < ROWS and col < COLS else None


def fill_by_hand(image: ModelInput, fill: str) -> np.ndarray:
    pixels = image.pixels.double().numpy()
    filled = np.empty_like(pixels)
    for channel, plane in enumerate(pixels):
        if fill == "black" and image.mean is not None and image.std is not None:
            filled[channel] = (0 - image.mean[channel]) / image.std[channel]
        elif fill == "black":
            filled[channel] = plane.min()
        elif fill == "mean":
            filled[channel] = plane.sum() / plane.size
        else:
            filled[channel] = gaussian_filter(plane, (HIGH / 2, WIDE / 2), mode="mirror", truncate=3)
    return filled


# ---------------------------------------------------------------- occluding


@pytest.mark.parametrize("known", [{}, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS)
def test_occludes_these_pixels_and_no_others(
    fill: Any, channels: int, known: dict[str, Any], size: tuple[int, int]
) -> None:
    image = make(channels, size, **{name: values[:channels] for name, values in known.items()})
    before = image.pixels.clone()
    chosen = {0, 7, 9, 14}
    hidden = occlude(image, chosen, fill=fill)
    expected = fill_by_hand(image, fill)
    for channel in range(channels):
        for y in range(size[0]):
            for x in range(size[1]):
                value = float(hidden.pixels[channel, y, x])
                if patch_of(y, x) in chosen:
                    assert value == pytest.approx(expected[channel, y, x], abs=1e-5)
                else:
                    assert value == float(before[channel, y, x])
    assert torch.equal(image.pixels, before)
    assert hidden.pixels.dtype == torch.float32


def test_blur_of_an_input_smaller_than_its_kernel() -> None:
    image = ModelInput(torch.rand(1, 4, 6), PatchGrid(1, 1), (4, 6))
    expected = gaussian_filter(image.pixels[0].double().numpy(), (2, 3), mode="mirror", radius=(3, 5))
    np.testing.assert_allclose(occlude(image, [0], fill="blur").pixels[0], expected, atol=1e-6)
    single = ModelInput(torch.rand(3, 1, 7), PatchGrid(1, 7), (1, 1))
    assert torch.isfinite(occlude(single, range(7), fill="blur").pixels).all()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("nothing", [[], (), set(), np.array([], int), np.zeros((ROWS, COLS), bool)])
def test_occluding_nothing_changes_nothing(nothing: Any, fill: Any) -> None:
    image = make()
    same = occlude(image, nothing, fill=fill)
    assert torch.equal(same.pixels, image.pixels)
    assert same.notes == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("fill", FILLS)
def test_every_float_dtype_stays_as_it_is(fill: Any, dtype: torch.dtype) -> None:
    image = ModelInput(make().pixels.to(dtype), GRID, (HIGH, WIDE), (0.5,) * 3, (0.2,) * 3)
    hidden = occlude(image, [6], fill=fill)
    assert hidden.pixels.dtype == dtype
    changed = (hidden.pixels != image.pixels).any(dim=0)
    assert changed[4:8, 6:12].any()
    changed[4:8, 6:12] = False
    assert not changed.any()


def test_nan_elsewhere_stays_where_it_is() -> None:
    image = make()
    image.pixels[:, 0, 0] = torch.nan
    assert torch.isnan(occlude(image, [14]).pixels[:, 0, 0]).all()


@pytest.mark.parametrize(
    "patches",
    [
        [2, 13],
        (13, 2),
        {2, 13},
        [13, 2, 2, 13, (2, 3)],
        [(0, 2), (2, 3)],
        [(0, 2), 13],
        [[0, 2], [2, 3]],
        np.array([13, 2], np.int16),
        np.array([[0, 2], [2, 3]]),
        torch.tensor([2, 13]),
        range(2, 14, 11),
        np.isin(np.arange(15), [2, 13]).reshape(ROWS, COLS),
        torch.isin(torch.arange(15), torch.tensor([2, 13])).reshape(ROWS, COLS),
    ],
)
def test_ways_to_choose_patches(patches: Any) -> None:
    image = make()
    chosen = patch_indices(image, patches)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == [2, 13]
    assert torch.equal(occlude(image, patches).pixels, occlude(image, [2, 13]).pixels)


def test_patches_may_come_one_by_one() -> None:
    assert patch_indices(GRID, (index for index in (4, 1, 4))).tolist() == [1, 4]


def test_notes_say_what_was_done() -> None:
    hidden = occlude(make(notes=("first",)), [3, 3, 4], fill="mean")
    twice = shuffle(hidden, grid=(2, 3), seed=5)
    assert twice.notes == ("first", "2 of 15 patches occluded (mean)", "shuffled in 2 x 3 tiles (seed 5)")
    assert repr(twice).splitlines() == [
        "ModelInput(3 x 12 x 30, 3 x 5 patches of 4 x 6 px)",
        "  note: first",
        "  note: 2 of 15 patches occluded (mean)",
        "  note: shuffled in 2 x 3 tiles (seed 5)",
    ]


@pytest.mark.parametrize("patch", [-1, 15, (3, 0), (0, 5), (-1, 0)])
def test_patches_outside_the_grid(patch: Any) -> None:
    with pytest.raises(IndexError, match=r"0\.\.14"):
        occlude(make(), [0, patch])


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        (["cls"], "'cls' is no patch"),
        ("cls", "one patch alone goes in a list"),
        (3, "one patch alone goes in a list"),
        (np.int64(3), "one patch alone goes in a list"),
        (None, "one patch alone goes in a list"),
        ([0.5], "no token"),
        ([True], "no token"),
        (np.zeros((2, 3), int), "no token"),
    ],
)
def test_what_is_no_patch(patches: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        occlude(make(), patches)


def test_bad_occlusions() -> None:
    with pytest.raises(ValueError, match=r"\(3, 5\), got \(5, 3\)"):
        occlude(make(), np.ones((COLS, ROWS), bool))
    with pytest.raises(ValueError, match="'black', 'mean', 'blur', got 'white'"):
        occlude(make(), [], fill="white")  # type: ignore[arg-type]
    for image in ("dog.jpg", make().pixels, Image.new("RGB", (30, 12))):
        with pytest.raises(TypeError, match=r"inspector\.input\(image\)"):
            occlude(image, [0])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"inspector\.input\(image\)"):
            shuffle(image)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"inspector\.input\(image\)"):
            mask_salience(image, np.ones((12, 30), bool))  # type: ignore[arg-type]


# ---------------------------------------------------------------- the model


def input_of(inspector: Inspector, picture: np.ndarray) -> ModelInput:
    pixels = inspector.preprocessing(Image.fromarray(picture))[0]
    return ModelInput.of(
        pixels,
        patch_grid=inspector.patch_grid,
        patch_size=inspector.patch_size,
        preprocessing=inspector.preprocessing,
    )


def test_what_the_model_says() -> None:
    """Nothing occluded and the identity change no logit; an occlusion is the same edit made by hand."""
    inspector = Inspector(small_model())
    image = input_of(inspector, photo())
    logits = inspector.trace(Image.fromarray(photo())).logits
    for same in (occlude(image, []), shuffle(image, grid=1)):
        np.testing.assert_array_equal(inspector.trace(same.pixels).logits, logits)
    by_hand, black = image.pixels.clone(), input_of(inspector, np.zeros((40, 64, 3), np.uint8)).pixels
    by_hand[:, 16:32, 48:64] = black[:, 16:32, 48:64]
    hidden = inspector.trace(occlude(image, [(1, 3)]).pixels).logits
    np.testing.assert_array_equal(hidden, inspector.trace(by_hand).logits)
    assert np.abs(hidden - logits).max() > 1e-3


# ---------------------------------------------------------------- selecting


@pytest.mark.parametrize(
    "choose",
    [
        lambda rate, seed: random(GRID, rate, seed=seed),
        lambda rate, seed: salient(SALIENCE, rate, seed=seed),
        lambda rate, seed: non_salient(SALIENCE, rate, seed=seed),
        lambda rate, seed: salient(TIED, rate, seed=seed),
        lambda rate, seed: non_salient(TIED, rate, seed=seed),
    ],
)
def test_a_smaller_rate_is_the_beginning_of_a_larger_one(choose: Callable[[float, int], Any]) -> None:
    for seed in range(5):
        everything = choose(1.0, seed)
        assert sorted(everything.tolist()) == list(range(15))
        for rate in np.linspace(0, 1, 41):
            chosen = choose(rate, seed)
            assert chosen.dtype == np.int64
            assert chosen.tolist() == everything[: round(rate * 15)].tolist()


def test_random_draws_all_patches_alike() -> None:
    draws = [random(GRID, 0.4, seed=seed) for seed in range(2000)]
    share = np.bincount(np.concatenate(draws), minlength=15) / len(draws)
    np.testing.assert_allclose(share, 0.4, atol=0.05)
    assert draws[3].tolist() == random(make(), 0.4, seed=3).tolist()


def test_halves_go_to_the_even_number() -> None:
    assert [len(random(PatchGrid(1, 5), rate)) for rate in (0.1, 0.3, 0.5, 0.7)] == [0, 2, 2, 4]


def test_salient_and_non_salient_are_the_two_ends() -> None:
    order = sorted(range(15), key=lambda patch: -SALIENCE.flat[patch])
    for seed in (0, 1):  # without equal ones the seed changes nothing
        assert salient(SALIENCE, 0.4, seed=seed).tolist() == order[:6]
        assert non_salient(SALIENCE, 0.4, seed=seed).tolist() == order[::-1][:6]


def test_equal_salience_is_drawn_by_the_seed() -> None:
    inside = set(np.flatnonzero(TIED).tolist())
    chosen = [salient(TIED, len(inside) / 15, seed=seed).tolist() for seed in range(20)]
    assert {frozenset(patches) for patches in chosen} == {frozenset(inside)}
    assert len({tuple(patches) for patches in chosen}) > 10
    for seed in range(20):
        ends = [*salient(TIED, 0.4, seed=seed), *non_salient(TIED, 0.6, seed=seed)]
        assert sorted(ends) == list(range(15))


@pytest.mark.parametrize("rate", [-0.01, 1.01, 50, np.nan, np.inf])
def test_rates_outside_0_to_1(rate: float) -> None:
    choices: list[Callable[[], object]] = [
        lambda: random(GRID, rate),
        lambda: salient(SALIENCE, rate),
        lambda: non_salient(SALIENCE, rate),
        lambda: rate_plan(GRID, rates=[0.5, rate], modes=["random"]),
    ]
    for choose in choices:
        with pytest.raises(ValueError, match=r"0\.\.1, got"):
            choose()


@pytest.mark.parametrize("rate", ["0.5", True, None])
def test_rates_that_are_no_numbers(rate: Any) -> None:
    for choose in (lambda: random(GRID, rate), lambda: salient(SALIENCE, rate)):
        with pytest.raises(TypeError, match=r"number in 0\.\.1"):
            choose()


def test_bad_salience() -> None:
    unknown = SALIENCE.copy()
    unknown[1, 2] = np.nan
    for choose in (salient, non_salient):
        with pytest.raises(ValueError, match="NaN, and it is for 1 of 15 patches"):
            choose(unknown, 0.5)
        with pytest.raises(ValueError, match=r"\(rows, cols\)"):
            choose(SALIENCE.ravel(), 0.5)
        with pytest.raises(TypeError, match="mask_salience"):
            choose(np.ones((12, 30), bool), 0.5)


def test_select_by_name() -> None:
    image = make()
    assert select(image, "random", 0.6, seed=2).tolist() == random(image, 0.6, seed=2).tolist()
    for mode, choose in (("salient", salient), ("non_salient", non_salient)):
        chosen = select(image, mode, 0.6, salience=TIED, seed=2)  # type: ignore[arg-type]
        assert chosen.tolist() == choose(TIED, 0.6, seed=2).tolist()
    with pytest.raises(ValueError, match="'random', 'salient', 'non_salient', got 'foreground'"):
        select(image, "foreground", 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs salience="):
        select(image, "salient", 0.5)
    with pytest.raises(ValueError, match=r"\(3, 5\), got \(5, 3\)"):
        select(image, "salient", 0.5, salience=SALIENCE.T)
    with pytest.raises(TypeError, match="PatchGrid is needed"):
        select((3, 5), "random", 0.5)  # type: ignore[arg-type]


# ---------------------------------------------------------------- salience


def test_mask_salience_is_the_covered_part(size: tuple[int, int]) -> None:
    image = make(size=size)
    mask = np.random.default_rng(1).random(size) < 0.3
    covered = np.zeros(15)
    for y in range(size[0]):
        for x in range(size[1]):
            patch = patch_of(y, x)
            if patch is not None:
                covered[patch] += mask[y, x] / (HIGH * WIDE)
    salience = mask_salience(image, mask)
    assert salience.dtype == np.float32
    assert salience.shape == (ROWS, COLS)
    np.testing.assert_allclose(salience.ravel(), covered, atol=1e-6)


def test_bad_masks() -> None:
    with pytest.raises(ValueError, match=r"\(12, 30\), got \(30, 12\)"):
        mask_salience(make(), np.ones((30, 12), bool))
    with pytest.raises(ValueError, match=r"\(12, 30\), got \(1, 12, 30\)"):
        mask_salience(make(), np.ones((1, 12, 30), bool))
    with pytest.raises(TypeError, match="labels == number"):
        mask_salience(make(), np.ones((12, 30), int))


def test_patch_salience() -> None:
    salience = patch_salience(make(), [(1, 2), 14])
    assert np.argwhere(salience == 1).tolist() == [[1, 2], [2, 4]]
    assert salience.sum() == 2
    assert set(salient(salience, 2 / 15).tolist()) == {7, 14}


def rolled(trace: Trace) -> np.ndarray:
    """Rollout of the last layer, by plain matrix products in double precision."""
    product = np.eye(trace.patch_grid.tokens)
    for layer in range(1, trace.layers + 1):
        mixed = trace.attention(layer).astype(np.float64).mean(axis=0) + np.eye(len(product))
        product = mixed / mixed.sum(axis=1, keepdims=True) @ product
    return product


def test_rollout_salience_with_a_class_token(trace: Trace) -> None:
    salience = rollout_salience(trace)
    assert salience.dtype == np.float32
    assert salience.shape == (ROWS, COLS)
    np.testing.assert_allclose(salience, rolled(trace)[0, 2:].reshape(ROWS, COLS), atol=1e-6)


def test_rollout_salience_without_a_class_token() -> None:
    trace = trace_of(small_model(class_token=False, registers=2))
    assert trace.prefix == ("reg1", "reg2")
    expected = sum(rolled(trace)[2 + patch, 2:] for patch in range(15)) / 15
    np.testing.assert_allclose(rollout_salience(trace).ravel(), expected, atol=1e-6)


def test_rollout_salience_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no rollout: the patch grid changes"):
        rollout_salience(staged_trace())
    assert np.isfinite(rollout_salience(biased_trace())).all()


# ---------------------------------------------------------------- rate curves


def test_a_rate_plan_has_every_point_once() -> None:
    rates, seeds = [0, 0.2, 0.5, 1], [0, 1, 2, 3]
    plan = rate_plan(make(), rates=rates, seeds=seeds, salience=SALIENCE)
    points = [point for occlusion in plan for point in occlusion.points]
    assert len(points) == len(set(points)) == 3 * 4 * 4
    for occlusion in plan:
        for mode, rate, seed in occlusion.points:
            chosen = select(GRID, mode, rate, salience=SALIENCE, seed=seed)
            assert occlusion.patches.tolist() == sorted(chosen.tolist())
    sets = [tuple(occlusion.patches) for occlusion in plan]
    assert len(sets) == len(set(sets))
    # nothing, everything, four seeds of two rates at random, and two rates of either end
    assert len(plan) == 1 + 1 + 4 * 2 + 2 * 2


def test_a_rate_plan_draws_equal_salience_anew() -> None:
    plan = rate_plan(GRID, rates=[0.1], modes=["salient"], seeds=range(30), salience=TIED)
    assert 1 < len(plan) <= 30
    assert plan[0].points[0] == RatePoint("salient", 0.1, 0)
    inside = set(np.flatnonzero(TIED).tolist())
    assert all(set(occlusion.patches.tolist()) < inside for occlusion in plan)


def test_rate_plans_that_ask_twice_or_for_nothing() -> None:
    twice = rate_plan(GRID, rates=[0.2, 0.2], modes=["random"], seeds=[1, 1])
    assert [occlusion.points for occlusion in twice] == [(RatePoint("random", 0.2, 1),)]
    assert rate_plan(GRID, rates=[], modes=["random"]) == []
    with pytest.raises(ValueError, match="needs salience="):
        rate_plan(GRID, rates=[0.5])
    assert set(MODES) == {"random", "salient", "non_salient"}


# ---------------------------------------------------------------- shuffling


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


# ---------------------------------------------------------------- the input itself

NORMALISED = {"input_size": (3, 24, 40), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "crop_pct": 1.0}


def prepared(preprocessing: Preprocessing, picture: Image.Image) -> ModelInput:
    return ModelInput.of(
        preprocessing(picture)[0],
        patch_grid=PatchGrid(3, 5),
        patch_size=(8, 8),
        preprocessing=preprocessing,
        notes=["one"],
    )


def test_the_picture_is_the_crop_that_the_model_sees() -> None:
    picture = Image.fromarray(photo(40, 24))
    image = prepared(Preprocessing.from_config(NORMALISED), picture)
    assert image.notes == ("one",)
    assert image.size == (24, 40)
    assert image.mean == pytest.approx((0.5, 0.4, 0.3))
    assert image.std == pytest.approx((0.2, 0.3, 0.4))
    assert image.picture is not None
    np.testing.assert_array_equal(np.asarray(image.picture), np.asarray(picture))
    shown = occlude(image, [(1, 2)]).picture
    expected = np.array(picture)
    expected[8:16, 16:24] = 0
    np.testing.assert_array_equal(np.asarray(shown), expected)


def test_black_is_what_a_black_picture_has() -> None:
    """Bit by bit."""
    preprocessing = Preprocessing.from_config(NORMALISED)
    image = prepared(preprocessing, Image.fromarray(photo(40, 24)))
    black = prepared(preprocessing, Image.new("RGB", (40, 24)))
    assert torch.equal(occlude(image, range(15)).pixels, black.pixels)


def test_normalisation_with_one_number_for_all_channels() -> None:
    steps = tv.Compose([tv.ToTensor(), tv.Normalize(0.5, 0.25)])
    image = prepared(Preprocessing.of(steps), Image.fromarray(photo(40, 24)))
    assert (image.mean, image.std) == ((0.5,) * 3, (0.25,) * 3)


def test_without_normalisation_the_pixels_are_the_picture() -> None:
    picture = Image.fromarray(photo(40, 24))
    image = prepared(Preprocessing.of(tv.ToTensor()), picture)
    assert (image.mean, image.std) == ((0.0,) * 3, (1.0,) * 3)
    np.testing.assert_array_equal(np.asarray(image.picture), np.asarray(picture))


@pytest.mark.parametrize(("scale", "shift"), [(255, 0), (1, -0.5)])
def test_a_picture_that_cannot_be_known(scale: float, shift: float) -> None:
    def unknown(picture: Image.Image) -> Tensor:
        pixels: Tensor = tv.ToTensor()(picture)
        return pixels * scale + shift

    image = prepared(Preprocessing.of(unknown), Image.fromarray(photo(40, 24)))
    assert (image.mean, image.std, image.picture) == (None, None, None)
    hidden = occlude(image, [0]).pixels
    assert torch.equal(hidden[:, 0, 0], image.pixels.flatten(1).min(dim=1).values)
    four = ModelInput(torch.rand(4, 12, 30), GRID, (HIGH, WIDE), (0.0,) * 4, (1.0,) * 4)
    assert four.picture is None
    mismatched = Preprocessing.of(tv.Compose([tv.ToTensor(), tv.Normalize((0.5,) * 3, (0.5,) * 3)]))
    two = ModelInput.of(
        torch.rand(2, 12, 30), patch_grid=GRID, patch_size=(HIGH, WIDE), preprocessing=mismatched
    )
    assert (two.mean, two.std) == (None, None)


def test_the_picture_of_one_channel_and_of_odd_values() -> None:
    pixels = torch.rand(1, 12, 30)
    pixels[0, 0, :4] = torch.tensor([torch.nan, torch.inf, -torch.inf, 2.0])
    picture = ModelInput(pixels, GRID, (HIGH, WIDE), (0.0,), (1.0,)).picture
    assert picture is not None
    assert picture.mode == "RGB"
    shown = np.asarray(picture)
    assert shown[0, :4, 0].tolist() == [0, 255, 0, 255]
    for channel in range(3):
        np.testing.assert_array_equal(shown[1:, :, channel], np.rint(pixels[0, 1:].numpy() * 255))


def test_bad_model_inputs() -> None:
    pixels = torch.zeros(3, 12, 30)
    with pytest.raises(TypeError, match=r"float tensor of shape .* got ndarray"):
        ModelInput(pixels.numpy(), GRID, (HIGH, WIDE))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got torch\.uint8"):
        ModelInput(pixels.byte(), GRID, (HIGH, WIDE))
    for wrong in (pixels[None], pixels[0], pixels[:0]):
        with pytest.raises(ValueError, match=r"shape \(C, H, W\)"):
            ModelInput(wrong, GRID, (HIGH, WIDE))
    with pytest.raises(ValueError, match="3 x 5 patches of 6 x 4 pixels do not fit an input of 12 x 30"):
        ModelInput(pixels, GRID, (WIDE, HIGH))
    with pytest.raises(ValueError, match="at least one pixel"):
        ModelInput(pixels, GRID, (0, 6))
    with pytest.raises(ValueError, match="both mean and std"):
        ModelInput(pixels, GRID, (HIGH, WIDE), mean=(0.0,) * 3)
    with pytest.raises(ValueError, match="each of the 3 channels, got 1 and 3"):
        ModelInput(pixels, GRID, (HIGH, WIDE), (0.0,), (1.0,) * 3)
    with pytest.raises(ValueError, match="std must not be 0"):
        ModelInput(pixels, GRID, (HIGH, WIDE), (0.0,) * 3, (1.0, 0.0, 1.0))


def test_selecting_needs_neither_torch_nor_timm() -> None:
    code = (
        "import sys; from vitwidgets import PatchGrid; from vitwidgets.perturb import random\n"
        "random(PatchGrid(3, 5), 0.5); print([name for name in ('torch', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_padding_models_tell_the_same_patches(make_vit: Callable[..., VisionTransformer]) -> None:
    """Where a model pads its input, an occluded patch is the one that the model's grid names."""
    inspector = Inspector(make_vit("any size", dynamic_img_pad=True))
    pixels = torch.randn(3, 21, 35, generator=torch.Generator().manual_seed(1))
    plain = inspector.trace(pixels)
    image = ModelInput(pixels, plain.patch_grid, inspector.patch_size)
    hidden = inspector.trace(occlude(image, [(2, 4)], fill="mean").pixels)
    differs = (hidden.layer(0) != plain.layer(0)).any(axis=1)
    assert np.flatnonzero(differs).tolist() == [plain.patch_grid.index((2, 4))]
