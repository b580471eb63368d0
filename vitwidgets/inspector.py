"""A model with its preprocessing, patch grid and class names."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from torch.nn import functional as F

from vitwidgets import card, loading
from vitwidgets.anatomy import anatomy
from vitwidgets.capture import capture
from vitwidgets.errors import ImageError, ModelError
from vitwidgets.geometry import Frame, PatchGrid
from vitwidgets.images import ImageSource, open_image
from vitwidgets.labels import class_names as name_classes
from vitwidgets.preprocess import Preprocessing, Transform
from vitwidgets.trace import Trace

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class Inspector:
    """A vision transformer, ready to be watched.

    Parameters
    ----------
    model : str or nn.Module
        ``"demo"`` (the embedded model); a timm name, loaded with its pretrained weights; or a timm
        `VisionTransformer` already in memory.
    weights : path, optional
        With a timm name: a checkpoint to load instead of timm's own (``pretrained_cfg_overlay``).
    transform : callable, optional
        From a PIL image (RGB) to a tensor (C, H, W); by default the evaluation transform of timm's data
        config. Where it is a torchvision ``Compose`` of known steps the original picture stays; of any other
        transform the geometry is not known, and a trace shows what the model saw instead.
    class_names : sequence of str, optional
        One name per class; by default those of timm's ImageNet info where they are known.
    device : torch.device or str, optional
        Default: the device that the model is on.
    dtype : torch.dtype or str, optional
        Default: the dtype that the model has. A module of yours is copied, not changed, if `device` or
        `dtype` differ from its own.

    Attributes
    ----------
    model : nn.Module
        The model.
    name : str
        Its timm name, or its class.
    patch_grid : PatchGrid
        Patches and prefix tokens of its input.
    patch_size : (int, int)
        Height and width of a patch in pixels.
    layers, width, heads, hidden : int
        Blocks `L`, width `D`, heads per block, hidden units per MLP.
    class_names : tuple of str
        One per class; empty if the model has no classifier.
    preprocessing : Preprocessing
        From a picture to the model input.

    Raises
    ------
    ModelError
        If the model is unknown or cannot be traced.
    WeightsError
        If its weights cannot be had or do not fit.
    """

    def __init__(
        self,
        model: str | nn.Module = "demo",
        *,
        weights: str | os.PathLike[str] | None = None,
        transform: Transform | None = None,
        class_names: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> None:
        _keep_freed_memory()
        module, name, given = loading.find(model, weights)
        anatomy(module)  # refuse what cannot be traced before it is copied
        self.model = loading.place(module, device, dtype, copied=isinstance(model, nn.Module))
        self.name = name
        self._anatomy = parts = anatomy(self.model)
        self.layers = len(parts.blocks)
        self.width = parts.width
        self.heads = parts.heads
        self.hidden = parts.hidden
        self.patch_size = parts.patch_size

        config: dict[str, Any] = dict(getattr(self.model, "pretrained_cfg", None) or {})
        size = parts.input_size or config.get("input_size", (3, 224, 224))[1:]
        self._own_transform = transform is not None
        self.preprocessing = (
            Preprocessing(transform)
            if transform is not None
            else Preprocessing.from_config(
                resolve_data_config({"input_size": (parts.channels, *size)}, pretrained_cfg=config)
            )
        )
        self.patch_grid = self._grid_of(*size)
        self.class_names = name_classes(parts.classes, config, given if class_names is None else class_names)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch grid."""
        return self.patch_grid.rows, self.patch_grid.cols

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the prefix tokens, in sequence order."""
        return self.patch_grid.prefix

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's weights."""
        return next(self.model.parameters()).dtype

    def trace(self, image: ImageSource | Tensor) -> Trace:
        """Watch the model see one image: one forward pass, in eval mode, without gradients.

        Parameters
        ----------
        image : path, PIL image, ndarray or Tensor
            A picture as `vitwidgets.images.open_image` takes it; or a float tensor of shape (C, H, W) or
            (1, C, H, W), which is taken as it is: resized and normalised already.

        Returns
        -------
        Trace

        Raises
        ------
        ImageError
            If the picture cannot be read or has another shape than the model takes.
        """
        notes = []
        if isinstance(image, Tensor):
            x, picture = _batch(image), None
            frame: Frame | None = Frame.whole(x.shape[3], x.shape[2])
        else:
            x, picture, frame = self._prepare(open_image(image))
            if frame is None:
                notes.append(
                    "the geometry of transform= is not known: the picture shown is what the model saw"
                )
        self._check(x)
        grid = self._grid_of(*x.shape[2:])
        height, width = grid.rows * self.patch_size[0], grid.cols * self.patch_size[1]
        record = capture(self._anatomy, x.to(self.device, self.dtype))
        if record.layers[0].shape[1] != grid.tokens:
            raise ModelError(
                f"the model made {record.layers[0].shape[1]} tokens of this input, but {len(grid.prefix)} "
                f"prefix tokens and {grid.rows} x {grid.cols} patches are {grid.tokens}"
            )
        if record.was_training:
            notes.append("the model is in train mode; it was traced in eval mode")
        return Trace(
            record,
            pixels=_covered(x[0], height, width),
            patch_grid=grid,
            frame=(frame or Frame.whole(x.shape[3], x.shape[2])).resized(height, width),
            preprocessing=self.preprocessing,
            image=picture,
            model_name=self.name,
            class_names=self.class_names,
            notes=notes,
        )

    def __repr__(self) -> str:
        return card.text(self.name, self._facts())

    def _repr_html_(self) -> str:
        return card.html(self.name, self._facts(), self.patch_grid)

    def _facts(self) -> dict[str, str]:
        grid, (high, wide) = self.patch_grid, self.patch_size
        return {
            "grid": f"{grid.rows} x {grid.cols} patches of {high} x {wide} px",
            "prefix tokens": ", ".join(grid.prefix) or "none",
            "depth": f"{self.layers} layers",
            "width": f"{self.width}, MLP {self.hidden}",
            "heads": str(self.heads),
            "preprocessing": self.preprocessing.describe(),
            "classes": _classes(self.class_names),
            "runs on": f"{self.device}, {str(self.dtype).removeprefix('torch.')}",
        }

    def _grid_of(self, height: int, width: int) -> PatchGrid:
        return PatchGrid(*self._anatomy.grid(height, width), self._anatomy.prefix)

    def _prepare(self, picture: Image.Image) -> tuple[Tensor, Image.Image | None, Frame | None]:
        """Model input, original picture and frame; without the latter two where the geometry is not known."""
        if self._anatomy.channels != 3 and not self._own_transform:
            raise ImageError(
                f"the model takes {self._anatomy.channels} channels, so timm's preprocessing of pictures "
                "does not apply; pass transform= to Inspector, or trace a preprocessed tensor"
            )
        x = self.preprocessing(picture)
        frame = self.preprocessing.frame(*picture.size)
        if frame is None or frame.input != tuple(x.shape[2:]):
            return x, None, None
        return x, picture, frame

    def _check(self, x: Tensor) -> None:
        parts, size = self._anatomy, tuple(x.shape[2:])
        if x.shape[1] != parts.channels:
            raise ImageError(
                f"the model takes {parts.channels} channels, got an input of shape {tuple(x.shape)}"
            )
        if parts.fixed_size and parts.input_size not in (None, size):
            raise ImageError(
                f"the model takes {_by(parts.input_size)} pixels (height x width), got {_by(size)}; "
                "pass the picture itself to have it resized, or build the model with img_size="
            )
        whole = all(side % patch == 0 for side, patch in zip(size, parts.patch_size, strict=True))
        if not (whole or parts.pads or parts.fixed_size):
            raise ImageError(
                f"input sides must be multiples of the patch size {_by(parts.patch_size)}, got {_by(size)}"
            )


def _keep_freed_memory() -> None:
    """Let the memory of a dropped trace serve the next one: fresh pages cost more than all of the watching.

    glibc returns freed memory to the system beyond a threshold that a ViT-B exceeds; this raises it.
    Allocators of other systems have no such call and are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def _covered(pixels: Tensor, height: int, width: int) -> Tensor:
    """Pad or cut an input where the model does so, to what its patches cover."""
    if pixels.shape[1:] == (height, width):
        return pixels.cpu()
    return F.pad(pixels, (0, width - pixels.shape[2], 0, height - pixels.shape[1])).cpu()


def _batch(x: Tensor) -> Tensor:
    shape = tuple(x.shape)
    if x.ndim == 3:
        x = x[None]
    if x.ndim != 4 or len(x) != 1:
        many = "; trace one image at a time" if x.ndim == 4 else ""
        raise ImageError(f"a preprocessed tensor has shape (C, H, W) or (1, C, H, W), got {shape}{many}")
    if not x.is_floating_point():
        raise ImageError(
            f"a tensor is taken as preprocessed, so it must be float, got {x.dtype}; "
            "pass raw pixels as a numpy array"
        )
    return x.detach().clone()  # a trace must not change when its input does


def _by(size: Sequence[int] | None) -> str:
    return " x ".join(str(side) for side in size or ())


def _classes(names: Sequence[str]) -> str:
    if not names:
        return "none (no classifier)"
    return f"{len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
