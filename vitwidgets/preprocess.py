"""From an upright picture to the model input, and where each input pixel came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms import CenterCropOrPad, MaybePILToTensor, ResizeKeepRatio
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torchvision import transforms as tv

from vitwidgets import processors
from vitwidgets.anatomy import Anatomy
from vitwidgets.errors import ImageError
from vitwidgets.geometry import Frame
from vitwidgets.labels import timm_config
from vitwidgets.processors import Cropping, Processed, Resizing, Unknown

Transform: TypeAlias = Callable[[Image.Image], Tensor]

_POINTWISE = (tv.ToTensor, tv.PILToTensor, tv.ConvertImageDtype, tv.Normalize, MaybePILToTensor)


@dataclass(frozen=True)
class Preprocessing:
    """A picture's way into the model: a transform, read so that its geometry and normalisation are known.

    Parameters
    ----------
    transform : callable
        Takes a PIL image (RGB), gives a tensor of shape (C, H, W) or (1, C, H, W).
    origin : str
        Where it comes from, if not from the model itself.
    """

    transform: Transform
    origin: str = ""

    @classmethod
    def of(cls, transform: Any) -> Preprocessing:
        """Take a user's transform, or the processor of another library.

        Parameters
        ----------
        transform : callable
            A torchvision ``Compose`` or any callable; an image processor of transformers; what open_clip's
            ``create_model_and_transforms`` gives; the ``transforms()`` of torchvision's weights.
        """
        return cls(processors.adapt(transform))

    @classmethod
    def for_model(cls, model: nn.Module, anatomy: Anatomy) -> Preprocessing:
        """Find a model's own preprocessing, or else what is usual for its kind; `origin` says which.

        Parameters
        ----------
        model : nn.Module
            The model.
        anatomy : Anatomy
            Its parts.
        """
        config: dict[str, Any] = timm_config(model)
        size = anatomy.input_size or tuple(config.get("input_size", (3, 224, 224))[1:])
        found = None if config else processors.default(model, (size[0], size[1]), anatomy.patch_size)
        if found is not None:
            return cls(*found)
        return cls.from_config(
            resolve_data_config({"input_size": (anatomy.channels, *size)}, pretrained_cfg=config)
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Take the evaluation transform of a timm data config (``timm.data.resolve_model_data_config``)."""
        return cls(create_transform(**config, is_training=False))

    @property
    def steps(self) -> tuple[Any, ...]:
        """The transform's steps in order; the transform itself where it is no `Compose`."""
        if isinstance(self.transform, Processed):
            return self.transform.steps
        if isinstance(self.transform, tv.Compose):
            return tuple(self.transform.transforms)
        return (self.transform,)

    def __call__(self, image: Image.Image) -> Tensor:
        """Model input for a picture.

        Parameters
        ----------
        image : PIL.Image.Image
            Mode RGB.

        Returns
        -------
        Tensor, shape (1, C, H, W)
            Normalised, on the CPU.

        Raises
        ------
        ImageError
            If the picture is so elongated that resizing it would make it too large.
        TypeError, ValueError
            If a transform of the user's gives something that is no image tensor.
        """
        self._refuse_slivers(image)
        pixels = self.transform(image)
        if not isinstance(pixels, Tensor):
            raise TypeError(
                f"transform= must give a tensor of shape (C, H, W), got {type(pixels).__name__}; "
                "end it with ToTensor()"
            )
        if pixels.ndim == 3:
            pixels = pixels[None]
        if pixels.ndim != 4 or len(pixels) != 1 or not pixels.is_floating_point():
            raise ValueError(
                "transform= must give a float tensor of shape (C, H, W), "
                f"got {pixels.dtype} {tuple(pixels.shape)}"
            )
        return pixels

    def frame(self, width: int, height: int) -> Frame | None:
        """Which part of a `width x height` picture the model input shows; None where a step is not known."""
        frame = Frame.whole(width, height)
        for step in self.steps:
            if isinstance(step, _POINTWISE):
                continue
            rule = _RULES.get(type(step))
            if rule is None:
                return None
            frame = rule(step, frame)
        return frame

    def picture(self, pixels: npt.NDArray[np.float32]) -> Image.Image:
        """Show a model input: its normalisation undone where it is known, else stretched to its range.

        Parameters
        ----------
        pixels : ndarray, shape (H, W, C)
            Normalised model input.
        """
        norm = next((step for step in self.steps if isinstance(step, tv.Normalize)), None)
        if norm is not None and len(np.atleast_1d(norm.mean)) in (1, pixels.shape[2]):
            pixels = pixels * np.asarray(norm.std, np.float32) + np.asarray(norm.mean, np.float32)
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0)
        if norm is None and not (pixels.min() >= 0 and pixels.max() <= 1):
            pixels = pixels - pixels.min()
            pixels = pixels / (pixels.max() or 1)
        shown = pixels if pixels.shape[2] == 3 else np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
        return Image.fromarray(np.rint(shown.clip(0, 1) * 255).astype(np.uint8))

    def describe(self) -> str:
        """One line for people: sizes, crop, interpolation, normalisation."""
        words = [_WORDS[type(step)](step) for step in self.steps if type(step) in _WORDS]
        known = ", ".join(words) or getattr(self.transform, "__name__", type(self.transform).__name__)
        return f"{known} ({self.origin})" if self.origin else known

    def _refuse_slivers(self, image: Image.Image) -> None:
        """Refuse a picture so elongated that its resized copy would be huge, or have a side of no pixels."""
        step = next((step for step in self.steps if type(step) in _RESIZED), None)
        if step is None:
            return
        width, height = _RESIZED[type(step)](step, *image.size)
        limit = Image.MAX_IMAGE_PIXELS or float("inf")
        if not 0 < width * height <= limit:
            raise ImageError(
                f"the picture is too elongated ({image.width} x {image.height}): the model's preprocessing "
                f"would make it {width} x {height} pixels; crop it first"
            )


def _size_of_resize(step: tv.Resize, width: int, height: int) -> tuple[int, int]:
    """Width and height that torchvision's `Resize` gives."""
    size: int | Sequence[int] = step.size
    if isinstance(size, Sequence) and len(size) == 2:
        return size[1], size[0]
    short = size[0] if isinstance(size, Sequence) else size
    long = int(short * max(width, height) / min(width, height))
    if step.max_size is not None and long > step.max_size:
        short, long = int(step.max_size * short / long), step.max_size
    return (short, long) if width <= height else (long, short)


def _size_of_keep_ratio(step: ResizeKeepRatio, width: int, height: int) -> tuple[int, int]:
    """Width and height that timm's `ResizeKeepRatio` gives."""
    ratios = height / step.size[0], width / step.size[1]
    ratio = max(ratios) * step.longest + min(ratios) * (1.0 - step.longest)
    return round(width / ratio), round(height / ratio)


def _cropped(frame: Frame, size: Sequence[int], rounded: Callable[[float], int] = round) -> Frame:
    """Crop a frame in the middle to (height, width); where it is smaller it is padded on both sides."""
    starts = []
    for have, want in zip(frame.input, size, strict=True):
        pad = max(want - have, 0) // 2
        starts.append(rounded((max(have, want) - want) / 2.0) - pad)
    top, left = starts
    return Frame(
        frame.original,
        (size[0], size[1]),
        (*frame.to_original(left, top), *frame.to_original(left + size[1], top + size[0])),
    )


def _resized(rule: Callable[[Any, int, int], tuple[int, int]]) -> Callable[[Any, Frame], Frame]:
    def apply(step: Any, frame: Frame) -> Frame:
        height, width = frame.input
        new_width, new_height = rule(step, width, height)
        return Frame(frame.original, (new_height, new_width), frame.box)

    return apply


def _interpolation(mode: Any) -> str:
    return str(getattr(mode, "value", mode))


def _numbers(values: Any) -> str:
    return " ".join(f"{float(value):.3g}" for value in np.atleast_1d(np.asarray(values)))


def _by(size: int | Sequence[int]) -> str:
    return " x ".join(str(side) for side in size) if isinstance(size, Sequence) else str(size)


_WORDS: dict[type, Callable[[Any], str]] = {
    tv.Resize: lambda step: f"resize {_by(step.size)} ({_interpolation(step.interpolation)})",
    ResizeKeepRatio: lambda step: f"resize {_by(step.size)} ({_interpolation(step.interpolation)})",
    tv.CenterCrop: lambda step: f"centre crop {_by(step.size)}",
    CenterCropOrPad: lambda step: f"centre crop or pad {_by(step.size)}",
    tv.Normalize: lambda step: f"mean {_numbers(step.mean)}, std {_numbers(step.std)}",
    Resizing: lambda step: str(step.words),
    Cropping: lambda step: str(step.words),
    Unknown: lambda step: str(step.words),
}
_RESIZED: dict[type, Callable[[Any, int, int], tuple[int, int]]] = {
    tv.Resize: _size_of_resize,
    ResizeKeepRatio: _size_of_keep_ratio,
    Resizing: lambda step, width, height: step.sizes(width, height),
}
_RULES: dict[type, Callable[[Any, Frame], Frame]] = {
    tv.Resize: _resized(_size_of_resize),
    ResizeKeepRatio: _resized(_size_of_keep_ratio),
    Resizing: _resized(lambda step, width, height: step.sizes(width, height)),
    Cropping: lambda step, frame: _cropped(frame, step.size, floor),
    tv.CenterCrop: lambda step, frame: _cropped(frame, step.size),
    CenterCropOrPad: lambda step, frame: _cropped(frame, step.size),
}
