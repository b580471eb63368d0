"""What a model is given, as something to look at and to change before the model sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitwidgets.geometry import PatchGrid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from vitwidgets.preprocess import Preprocessing

PerChannel: TypeAlias = "tuple[float, ...]"


@dataclass(frozen=True, eq=False, repr=False)
class ModelInput:
    """One model input: resized, cropped and normalised, with the patches it will be cut into.

    Made by `Inspector.input`, changed by `vitwidgets.perturb`, taken by `Inspector.trace`. It stands for what
    the model sees, not for the picture it came from: a trace of it shows `picture`.

    Parameters
    ----------
    pixels : Tensor, shape (C, H, W)
        Normalised, of a float dtype (float32 unless a tensor of another was given). Not to be written to.
    patch_grid : PatchGrid
        Patches and prefix tokens.
    patch_size : (int, int)
        Height and width of a patch in pixels. Patch ``(r, c)`` starts at pixel row ``r * height`` and column
        ``c * width``. The patches may reach over the input's right and bottom edges, where the model pads,
        or end before them, where it cuts.
    mean, std : tuple of float, or None
        Per channel: ``pixels = (picture / 255 - mean) / std``. None where the normalisation is not known.
    notes : tuple of str
        What a reader should know: how it was changed, what is not known of it.

    Raises
    ------
    TypeError
        If `pixels` is no float tensor.
    ValueError
        If `pixels` is not (C, H, W), the patches lie outside it, or `mean` and `std` do not fit its channels.
    """

    pixels: Tensor
    patch_grid: PatchGrid
    patch_size: tuple[int, int]
    mean: PerChannel | None = None
    std: PerChannel | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from torch import Tensor

        pixels: object = self.pixels
        if not isinstance(pixels, Tensor) or not pixels.is_floating_point():
            kind = pixels.dtype if isinstance(pixels, Tensor) else type(pixels).__name__
            raise TypeError(f"pixels must be a float tensor of shape (C, H, W), got {kind}")
        if self.pixels.ndim != 3 or 0 in self.pixels.shape:
            raise ValueError(f"pixels must have shape (C, H, W), got {tuple(self.pixels.shape)}")
        self._check_patches()
        self._check_normalisation()

    @classmethod
    def of(
        cls,
        pixels: Tensor,
        *,
        patch_grid: PatchGrid,
        patch_size: tuple[int, int],
        preprocessing: Preprocessing,
        notes: Sequence[str] = (),
    ) -> ModelInput:
        """Make the input that some preprocessing gave, with its normalisation where it is known.

        Without a ``Normalize`` step, pixels that all lie in 0..1 are taken as the picture itself (mean 0,
        std 1), as `Preprocessing.picture` does.

        Parameters
        ----------
        pixels : Tensor, shape (C, H, W)
            What it gave.
        patch_grid, patch_size, notes
            As in the class.
        preprocessing : Preprocessing
            Whose ``Normalize`` step names mean and std.
        """
        mean, std = _normalisation(preprocessing, pixels)
        return cls(pixels.cpu(), patch_grid, patch_size, mean, std, tuple(notes))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])

    @cached_property
    def picture(self) -> Image.Image | None:
        """What the model sees, RGB, pixel by pixel: the normalisation undone, rounded to 8 bits.

        Values beyond black and white are cut off, NaN is black. None where `mean` and `std` are not known or
        there are neither one nor three channels.
        """
        if self.mean is None or self.std is None or len(self.pixels) not in (1, 3):
            return None
        pixels = self.pixels.detach().cpu().float().permute(1, 2, 0).numpy()
        shown = pixels * np.array(self.std, np.float32) + np.array(self.mean, np.float32)
        shown = np.nan_to_num(shown, nan=0.0).clip(0, 1)
        levels = np.rint(shown * 255).astype(np.uint8)
        return Image.fromarray(np.broadcast_to(levels, (*self.size, 3)).copy())

    def changed(self, pixels: Tensor, *notes: str) -> ModelInput:
        """Give the same input with other pixels, and say how they were changed.

        Parameters
        ----------
        pixels : Tensor, shape (C, H, W)
            Normalised in the same way.
        *notes : str
            Added to those there are.
        """
        return replace(self, pixels=pixels, notes=(*self.notes, *notes))

    def __repr__(self) -> str:
        grid, (high, wide) = self.patch_grid, self.patch_size
        shape = " x ".join(str(side) for side in self.pixels.shape)
        text = f"ModelInput({shape}, {grid.rows} x {grid.cols} patches of {high} x {wide} px)"
        return text + "".join(f"\n  note: {note}" for note in self.notes)

    def _check_patches(self) -> None:
        grid, (high, wide), (height, width) = self.patch_grid, self.patch_size, self.size
        if high < 1 or wide < 1:
            raise ValueError(f"a patch has at least one pixel each way, got {high} x {wide}")
        if (grid.rows - 1) * high >= height or (grid.cols - 1) * wide >= width:
            raise ValueError(
                f"{grid.rows} x {grid.cols} patches of {high} x {wide} pixels do not fit an input of "
                f"{height} x {width}: the last ones would lie outside"
            )

    def _check_normalisation(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither")
        channels = len(self.pixels)
        if self.mean is not None and self.std is not None:
            if not len(self.mean) == len(self.std) == channels:
                raise ValueError(
                    f"mean and std must have one number for each of the {channels} channels, "
                    f"got {len(self.mean)} and {len(self.std)}"
                )
            if 0 in self.std:
                raise ValueError(f"std must not be 0 in any channel, got {self.std}")


def _normalisation(
    preprocessing: Preprocessing, pixels: Tensor
) -> tuple[PerChannel, PerChannel] | tuple[None, None]:
    from torchvision import transforms as tv

    channels = len(pixels)
    step = next((step for step in preprocessing.steps if isinstance(step, tv.Normalize)), None)
    if step is None:
        plain = bool(((pixels >= 0) & (pixels <= 1)).all())
        return ((0.0,) * channels, (1.0,) * channels) if plain else (None, None)
    mean, std = (np.atleast_1d(np.asarray(part, np.float64)) for part in (step.mean, step.std))
    if len(mean) not in (1, channels) or len(std) not in (1, channels):
        return None, None
    return _each(mean, channels), _each(std, channels)


def _each(values: npt.NDArray[np.float64], channels: int) -> PerChannel:
    return tuple(float(value) for value in np.broadcast_to(values, channels))
