"""The input itself: its picture, what is black, and what is no input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from small_inputs import GRID, HIGH, WIDE
from small_traces import photo
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torchvision import transforms as tv

from vitwidgets import Inspector
from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput
from vitwidgets.perturb import (
    occlude,
)
from vitwidgets.preprocess import Preprocessing

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
