"""Occluding: these pixels and no others, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from small_inputs import COLS, GRID, HIGH, ROWS, WIDE, make, patch_of
from small_traces import photo, small_model

from vitwidgets import Inspector
from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput
from vitwidgets.perturb import (
    FILLS,
    mask_salience,
    occlude,
    patch_indices,
    shuffle,
)


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
