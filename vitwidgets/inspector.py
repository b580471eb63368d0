"""A model with its preprocessing, patch grid and class names."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from vitwidgets import card, loading
from vitwidgets.capture import FIELDS, capture, run
from vitwidgets.ends import LiveEnds
from vitwidgets.errors import Cancelled, ImageError, ModelError
from vitwidgets.families import anatomy
from vitwidgets.geometry import Frame, PatchGrid
from vitwidgets.hooks import eval_mode, turn
from vitwidgets.images import ImageSource, open_image
from vitwidgets.interventions import Ablation, Intervention, Transplant, prepare
from vitwidgets.labels import class_names as name_classes
from vitwidgets.labels import label_config, timm_config
from vitwidgets.model_input import ModelInput
from vitwidgets.preprocess import Preprocessing, Transform
from vitwidgets.shelf import Precision
from vitwidgets.trace import Trace

Traceable: TypeAlias = "ImageSource | Tensor | ModelInput"
"""A picture, a tensor taken as it is, or a model input."""

_T = TypeVar("_T")

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class Inspector:
    """A vision transformer, ready to be watched.

    Parameters
    ----------
    model : str or nn.Module
        ``"demo"`` (the embedded model); a timm name, loaded with its pretrained weights; or a model already
        in memory: of timm, transformers, torchvision, open_clip, or your own with `blocks`. It may be wrapped
        by ``torch.compile`` or ``DataParallel``: what is inside is watched.
    weights : path, optional
        With a timm name: a checkpoint to load instead of timm's own (``pretrained_cfg_overlay``).
    transform : callable, optional
        From a PIL image (RGB) to a tensor (C, H, W), or an image processor of transformers; by default that
        of the model's own library. Where it is a torchvision ``Compose`` of known steps, or a processor, the
        original picture stays; of any other transform the geometry is not known, and a trace shows what the
        model saw instead.
    class_names : sequence of str, optional
        One name per class; by default those of timm's ImageNet info where they are known.
    device : torch.device or str, optional
        Default: the device that the model is on.
    dtype : torch.dtype or str, optional
        Default: the dtype that the model has. A module of yours is copied, not changed, if `device` or
        `dtype` differ from its own.
    blocks : str or sequence of nn.Module, optional
        For a model of your own: its blocks in order, or the dotted name of the list that holds them.

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
    layers : int
        Number of blocks, `L`.
    width : int or None
        Of the residual stream, `D`; None where the model does not say, or it grows from stage to stage.
    class_names : tuple of str
        One per class; empty if the model has no classifier.
    preprocessing : Preprocessing
        From a picture to the model input.
    anatomy : Anatomy
        Where the model keeps what a trace shows.
    own_blocks : bool
        Whether its blocks were named with `blocks`.

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
        blocks: str | Sequence[nn.Module] | None = None,
    ) -> None:
        _keep_freed_memory()
        module, name, given = loading.find(model, weights)
        anatomy(module, blocks=blocks)  # refuse what cannot be traced before it is copied
        names = {part: name for name, part in module.named_modules()}
        self.model = loading.place(module, device, dtype, copied=isinstance(model, nn.Module))
        self.name = name
        if blocks is not None and not isinstance(blocks, str):  # of the copy, if it is one
            blocks = [self.model.get_submodule(names[block]) for block in blocks]
        self.anatomy = parts = anatomy(self.model, blocks=blocks)
        self.own_blocks = blocks is not None
        self._ends = LiveEnds(parts)
        self._compiled = any(hasattr(part, "_orig_mod") for part in self.model.modules())
        self.width = _width(self.model)
        self._too_large = False
        self.layers = len(parts.blocks)
        self.patch_size = parts.patch_size

        config = timm_config(self.model)
        size = parts.input_size or config.get("input_size", (3, 224, 224))[1:]
        self._own_transform = transform is not None
        self.preprocessing = (
            Preprocessing.of(transform)
            if transform is not None
            else Preprocessing.for_model(self.model, parts)
        )
        self.patch_grid = self._grid_of(*size)
        known = given if class_names is None else class_names
        self.class_names = name_classes(parts.classes, label_config(self.model), known)

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

    @overload
    def trace(
        self,
        image: list[Traceable] | tuple[Traceable, ...],
        *,
        precision: Precision = ...,
        keep: Collection[str] = ...,
        layers: Collection[int] | None = ...,
        ablate: Ablation | Sequence[Ablation] = ...,
        patch_from: Transplant | Sequence[Transplant] = ...,
        cancelled: Callable[[], bool] | None = ...,
    ) -> list[Trace]: ...

    @overload
    def trace(
        self,
        image: Traceable,
        *,
        precision: Precision = ...,
        keep: Collection[str] = ...,
        layers: Collection[int] | None = ...,
        ablate: Ablation | Sequence[Ablation] = ...,
        patch_from: Transplant | Sequence[Transplant] = ...,
        cancelled: Callable[[], bool] | None = ...,
    ) -> Trace: ...

    def trace(
        self,
        image: Traceable | list[Traceable] | tuple[Traceable, ...],
        *,
        precision: Precision = "float16",
        keep: Collection[str] = FIELDS,
        layers: Collection[int] | None = None,
        ablate: Ablation | Sequence[Ablation] = (),
        patch_from: Transplant | Sequence[Transplant] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> Trace | list[Trace]:
        """Watch the model see an image, or several: one forward pass, in eval mode, without gradients.

        Parameters
        ----------
        image : path, PIL image, ndarray, Tensor or ModelInput; or a list of them
            A picture as `vitwidgets.images.open_image` takes it; a float tensor of shape (C, H, W) or
            (1, C, H, W), which is taken as it is: resized and normalised already; or what `input` gave. The
            images of a list go through the model as one batch.
        precision : {"float16", "float32"}
            How the trace is kept. float16 is within 5e-4 of each value; a model whose layers go beyond its
            range (65,504) is traced once more, in float32, and from then on at once.
        keep : collection of {"tokens", "attention", "mlp"}
            What to keep; the rest costs no memory.
        layers : collection of int, optional
            Of ``0..L``: which layers to keep; by default all.
        ablate : Ablation or sequence of Ablation
            What to take out in this pass: a neuron, a head, a token, an MLP neuron. The model is not changed.
        patch_from : Transplant or sequence of Transplant
            Activations of another pass to put in the place of this one's, after the ablations.
        cancelled : callable, optional
            Asked before each layer whether to stop.

        Returns
        -------
        Trace, or a list of them

        Raises
        ------
        ImageError
            If a picture cannot be read or has another shape than the model takes.
        ModelError
            If the pass is not understood.
        InterventionError
            If the model has no place for an ablation or a transplant.
        IndexError
            If a layer, neuron, head or token of one is out of range.
        Cancelled
            If it was asked to stop.
        ValueError
            If `precision`, `keep` or `layers` is none of these.
        """
        _check_choices(precision, keep, layers, self.layers)
        several = isinstance(image, (list, tuple))
        if several and not image:
            raise ImageError("there is no image to trace: the list is empty")
        interventions: list[Intervention] = [*_listed(ablate), *_listed(patch_from)]
        traces = self._pass(
            list(image) if isinstance(image, (list, tuple)) else [image],
            interventions,
            precision=precision,
            keep=keep,
            layers=layers,
            cancelled=cancelled,
        )
        return traces if several else traces[0]

    def input(self, image: Traceable) -> ModelInput:
        """Give what the model would be given for an image, to look at or to change before `trace`.

        Parameters
        ----------
        image : path, PIL image, ndarray, Tensor or ModelInput
            As for `trace`.

        Returns
        -------
        ModelInput
            Traced, it gives the logits of `image`; the picture of that trace is what the model sees of it.

        Raises
        ------
        ImageError
            If the picture cannot be read or has another shape than the model takes.
        """
        x, _, _, notes = self._input(image)
        return ModelInput.of(
            x[0],
            patch_grid=self._grid_of(*x.shape[2:]),
            patch_size=self.patch_size,
            preprocessing=self.preprocessing,
            notes=notes,
        )

    def logits(
        self,
        images: Iterable[Traceable],
        *,
        batch: int = 16,
        progress: Callable[[int], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Run the model on many images, and keep nothing but what it puts out.

        Parameters
        ----------
        images : iterable
            Each as for `trace`; they may be made as they are asked for.
        batch : int
            How many go through the model at once, at least 1.
        progress : callable, optional
            Told after each batch how many images are done.
        cancelled : callable, optional
            Asked before each batch whether to stop.

        Returns
        -------
        ndarray, shape (images, classes), float32

        Raises
        ------
        ImageError
            If a picture cannot be read or has another shape than the model takes.
        Cancelled
            If it was asked to stop.
        ValueError
            If `batch` is less than 1, or there is no image.
        """
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        rows: list[Tensor] = []
        remaining, done = iter(images), 0
        while inputs := [self._pixels(image) for image in islice(remaining, batch)]:
            if cancelled is not None and cancelled():
                raise Cancelled(f"cancelled after {done} images")
            shapes = {tuple(x.shape[1:]) for x in inputs}
            if len(shapes) > 1:
                raise ImageError(
                    f"images {done + 1} to {done + len(inputs)} make model inputs of different shapes "
                    f"{sorted(shapes)}; run them with batch=1"
                )
            x = torch.cat(inputs).to(self.device, self.dtype)
            with turn, torch.no_grad(), eval_mode(self.model), self._eager(), self._explained():
                rows.append(run(self.anatomy, x).float().cpu())
            done += len(inputs)
            if progress is not None:
                progress(done)
        if not rows:
            raise ImageError("there is no image to run the model on")
        return torch.cat(rows).numpy()

    def filters(self) -> npt.NDArray[np.float32]:
        """Give the filters of the patch embedding.

        Returns
        -------
        ndarray, shape (D, p, q, C)
            Filter `j` is the kernel of neuron `j`: what it looks for in a patch of p x q normalised pixels.

        Raises
        ------
        ValueError
            If patches are not embedded by one convolution; says so.
        """
        found = self._ends.at(self._ends.state()).filters
        if isinstance(found, str):
            raise ValueError(f"{self.name} has no filters: {found}")
        return found

    def _pass(
        self,
        images: Sequence[Traceable],
        interventions: Sequence[Intervention],
        *,
        precision: Precision,
        keep: Collection[str],
        layers: Collection[int] | None,
        cancelled: Callable[[], bool] | None,
    ) -> list[Trace]:
        inputs = [self._input(image) for image in images]
        shapes = {tuple(x.shape[1:]) for x, *_ in inputs}
        if len(shapes) > 1:
            raise ImageError(
                f"the images make model inputs of different shapes {sorted(shapes)}; trace them one by one"
            )
        batch = inputs[0][0] if len(inputs) == 1 else torch.cat([x for x, *_ in inputs])
        batch = batch.to(self.device, self.dtype)
        precision = "float32" if self._too_large else precision
        high, wide = batch.shape[2:]
        watch = partial(
            capture,
            self.anatomy,
            batch,
            keep=keep,
            layers=layers,
            edits=prepare(self.anatomy, interventions, (high, wide)),
            cancelled=cancelled,
        )
        with self._eager(), self._explained():
            records = watch(precision=precision)
            if precision == "float16" and any(record.overflowed for record in records):
                self._too_large = True  # from now on at once
                records = watch(precision="float32")
        ends = partial(self._ends.at, self._ends.state())
        traces = []
        for record, (x, picture, frame, notes) in zip(records, inputs, strict=True):
            rows, cols = record.grids[0]
            height, width = rows * self.patch_size[0], cols * self.patch_size[1]
            if record.was_training:
                notes.append("the model is in train mode; it was traced in eval mode")
            notes.extend(record.edits.notes)
            traces.append(
                Trace(
                    record,
                    pixels=_covered(x[0], height, width),
                    prefix=self.prefix,
                    frame=(frame or Frame.whole(x.shape[3], x.shape[2])).resized(height, width),
                    preprocessing=self.preprocessing,
                    image=picture,
                    model_name=self.name,
                    class_names=self.class_names,
                    notes=[*notes, *self.anatomy.notes],
                    given=x.to(self.dtype).cpu(),
                    ends=ends,
                )
            )
        return traces

    def _pixels(self, image: Traceable) -> Tensor:
        """Model input alone: the picture of one that was changed takes time to make."""
        return self._input(image.pixels if isinstance(image, ModelInput) else image)[0]

    def _input(self, image: Traceable) -> tuple[Tensor, Image.Image | None, Frame | None, list[str]]:
        """Model input, original picture, frame, and what a reader should know."""
        notes: list[str] = []
        frame: Frame | None
        if isinstance(image, ModelInput):
            x, picture, notes = _batch(image.pixels), image.picture, list(image.notes)
            frame = Frame.whole(x.shape[3], x.shape[2])
        elif isinstance(image, Tensor):
            x, picture = _batch(image), None
            frame = Frame.whole(x.shape[3], x.shape[2])
        else:
            x, picture, frame = self._prepare(open_image(image))
            if frame is None:
                notes.append(
                    "the geometry of transform= is not known: the picture shown is what the model saw"
                )
        self._check(x)
        return x, picture, frame, notes

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what to do about an operation that half precision does not have."""
        try:
            yield
        except (RuntimeError, NotImplementedError) as error:
            if "not implemented for" not in str(error) or self.dtype.itemsize >= 4:
                raise
            kind = str(self.dtype).removeprefix("torch.")
            raise ModelError(
                f"an operation of this model does not exist for {kind} on {self.device.type} ({error}); "
                'trace it with Inspector(model, dtype="float32")'
            ) from error

    @contextmanager
    def _eager(self) -> Iterator[None]:
        """Run compiled parts as plain Python: a compiled one calls no hook."""
        with ExitStack() as stack:
            if self._compiled:
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            yield

    def __repr__(self) -> str:
        return card.text(self.name, self._facts())

    def _repr_html_(self) -> str:
        return card.html(self.name, self._facts(), self.patch_grid)

    def _facts(self) -> dict[str, str]:
        grid, (high, wide) = self.patch_grid, self.patch_size
        return {
            "grid": f"{grid.rows} x {grid.cols} patches of {high} x {wide} px",
            "prefix tokens": ", ".join(grid.prefix) or "none",
            "family": self.anatomy.family,
            "depth": f"{self.layers} layers" + (f" x {self.width}" if self.width else ""),
            "heads": _each(sum(a.heads for a in block.attentions) for block in self.anatomy.blocks),
            "MLP": _each(0 if block.units is None else block.units.count for block in self.anatomy.blocks),
            "preprocessing": self.preprocessing.describe(),
            "classes": _classes(self.class_names),
            "runs on": f"{self.device}, {str(self.dtype).removeprefix('torch.')}",
        }

    def _grid_of(self, height: int, width: int) -> PatchGrid:
        return PatchGrid(*self.anatomy.grid(height, width), self.anatomy.prefix)

    def _prepare(self, picture: Image.Image) -> tuple[Tensor, Image.Image | None, Frame | None]:
        """Model input, original picture and frame; without the latter two where the geometry is not known."""
        if self.anatomy.channels != 3 and not self._own_transform:
            raise ImageError(
                f"the model takes {self.anatomy.channels} channels, so the usual preprocessing of pictures "
                "does not apply; pass transform= to Inspector, or trace a preprocessed tensor"
            )
        x = self.preprocessing(picture)
        frame = self.preprocessing.frame(*picture.size)
        if frame is None or frame.input != tuple(x.shape[2:]):
            return x, None, None
        return x, picture, frame

    def _check(self, x: Tensor) -> None:
        parts, size = self.anatomy, tuple(x.shape[2:])
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


def _check_choices(
    precision: object, keep: Collection[str], layers: Collection[int] | None, depth: int
) -> None:
    if precision not in ("float16", "float32"):
        raise ValueError(f'precision must be "float16" or "float32", got {precision!r}')
    if isinstance(keep, str) or not set(keep) <= set(FIELDS) or not keep:
        raise ValueError(f"keep must name at least one of {', '.join(map(repr, FIELDS))}, got {keep!r}")
    wrong = [layer for layer in layers or () if not 0 <= layer <= depth]
    if wrong or (layers is not None and not layers):
        raise ValueError(f"layers must be some of 0..{depth}, got {wrong or list(layers or ())}")


def _listed(given: _T | Sequence[_T]) -> list[_T]:
    return list(given) if isinstance(given, (list, tuple)) else [cast(_T, given)]


def _width(model: nn.Module) -> int | None:
    """Read the width of the residual stream off a model, under the names that libraries give it."""
    for holder in (model, getattr(model, "config", None)):
        for name in ("embed_dim", "hidden_size", "hidden_dim"):
            width = getattr(holder, name, None)
            if isinstance(width, int):
                return width
    return None


def _each(counts: Iterable[int]) -> str:
    """Say a number that may differ from block to block: each different one once, in order."""
    return ", ".join(dict.fromkeys(str(count) if count else "none" for count in counts))


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
        many = "; give several as a list" if x.ndim == 4 else ""
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
