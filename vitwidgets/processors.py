"""The preprocessing of other libraries than timm, read so that its geometry is known.

The pixels always come from the library's own processor; what is read of it says where each of them came from.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torch import Tensor, nn
from torchvision import transforms as tv

Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Resizing:
    """A step that resizes the whole picture.

    Parameters
    ----------
    words : str
        For people.
    sizes : callable
        From width and height to those after it.
    """

    words: str
    sizes: Callable[[int, int], Size]


@dataclass(frozen=True)
class Cropping:
    """A step that crops in the middle, half pixels rounded down.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    """

    size: Size

    @property
    def words(self) -> str:
        """For people."""
        return f"centre crop {self.size[0]} x {self.size[1]}"


@dataclass(frozen=True)
class Unknown:
    """A step whose geometry is not known.

    Parameters
    ----------
    words : str
        For people.
    """

    words: str


@dataclass(frozen=True)
class Processed:
    """A transform that runs a library's own processor.

    Parameters
    ----------
    run : callable
        From a PIL image to a tensor (C, H, W) or (1, C, H, W).
    steps : tuple
        What it does, in order, as far as geometry and normalisation go.
    """

    run: Callable[[Image.Image], Tensor]
    steps: tuple[Any, ...]

    def __call__(self, image: Image.Image) -> Tensor:
        """Model input for a picture."""
        return self.run(image)


def adapt(transform: Any) -> Any:
    """Make a transform with known steps of another library's processor; any other transform stays as it is.

    Parameters
    ----------
    transform : callable
        An image processor of transformers (or a processor that has one), a preset of torchvision's weights, a
        ``Compose`` of open_clip.
    """
    processor = getattr(transform, "image_processor", transform)
    if all(hasattr(processor, name) for name in ("image_mean", "do_resize", "do_normalize")):
        return _of_transformers(processor)
    if all(hasattr(transform, name) for name in ("resize_size", "crop_size", "mean", "std", "interpolation")):
        return _of_torchvision(transform)
    if isinstance(transform, tv.Compose):
        return _of_open_clip(transform)
    return transform


def default(model: nn.Module, size: Size, patch: Size) -> tuple[Any, str] | None:
    """Find the preprocessing of a model that is not timm's.

    Parameters
    ----------
    model : nn.Module
        Any model.
    size, patch : (int, int)
        Height and width of its input, and of a patch.

    Returns
    -------
    transform : callable
    origin : str
        Where it comes from, if not from the model itself, for people.
    None, if the model is not of transformers, torchvision or open_clip.
    """
    modules = [kind.__module__.split(".") for kind in type(model).__mro__]
    for parts in modules:
        if parts[:2] == ["transformers", "models"]:
            return _default_of_transformers(model, parts[2], size, patch)
        if parts[0] == "open_clip":
            return _default_of_open_clip(model, size)
        if parts[0] == "torchvision":
            return _default_of_torchvision(size)
    return None


# ---------------------------------------------------------------- transformers

_FILTERS = "nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"  # in PIL's numbering
_COMMON = (
    "transformers.image_processing_"  # modules whose resize, crop and order of steps are those read here
)
_OWN_ORDER = "BeitImageProcessor", "DINOv3ViTImageProcessor", "Siglip2ImageProcessor", "YolosImageProcessor"
_PROCESSORS = {
    "aimv2": "CLIPImageProcessor", "beit": "BeitImageProcessor", "clip": "CLIPImageProcessor",
    "data2vec": "BeitImageProcessor", "deit": "DeiTImageProcessor", "dinov2": "BitImageProcessor",
    "dinov2_with_registers": "BitImageProcessor", "dinov3_vit": "DINOv3ViTImageProcessor",
    "ijepa": "ViTImageProcessor", "metaclip_2": "CLIPImageProcessor", "siglip": "SiglipImageProcessor",
    "siglip2": "Siglip2ImageProcessor", "vit": "ViTImageProcessor", "vit_mae": "ViTImageProcessor",
    "vit_msn": "ViTImageProcessor", "yolos": "YolosImageProcessor",
}  # fmt: skip
# The published checkpoints of these normalise with ImageNet's statistics, whatever their processor says.
_IMAGENET = "deit", "dinov2", "dinov2_with_registers", "ijepa", "vit_mae", "vit_msn"


def _of_transformers(processor: Any) -> Processed:
    def run(image: Image.Image) -> Tensor:
        made = processor(images=image, return_tensors="pt")
        pixels: Tensor = made["pixel_values"]
        return _joined(pixels, made["spatial_shapes"], processor.patch_size) if pixels.ndim == 3 else pixels

    steps: list[Any] = []
    own = not _inherits(processor, "_preprocess")
    if own and type(processor).__name__.removesuffix("Pil") not in _OWN_ORDER:
        steps.append(Unknown(type(processor).__name__))
    if processor.do_resize:
        steps.append(_resizing(processor))
    if getattr(processor, "do_center_crop", False):
        size = dict(processor.crop_size)
        square = {"height", "width"} <= size.keys()
        steps.append(Cropping((size["height"], size["width"])) if square else Unknown("centre crop"))
    if getattr(processor, "do_pad", False) and getattr(processor, "pad_size", None):
        steps.append(Unknown("pad"))
    if processor.do_normalize:
        steps.append(tv.Normalize(processor.image_mean, processor.image_std))
    return Processed(run, tuple(steps))


def _resizing(processor: Any) -> Resizing | Unknown:
    """Read how a processor resizes."""
    resample = getattr(processor.resample, "value", processor.resample)
    way = f"({_FILTERS[resample] if resample in range(len(_FILTERS)) else resample})"
    own = sys.modules[type(processor).__module__]
    if hasattr(processor, "max_num_patches"):
        patch, most = processor.patch_size, processor.max_num_patches

        def fit(width: int, height: int) -> Size:
            return _turned(own.get_image_size_for_max_num_patches(height, width, patch, most))

        return Resizing(f"resize to at most {most} patches {way}", fit)
    ratio: Any = getattr(own, "get_size_with_aspect_ratio_yolos", None)  # it rounds to whole patches
    size = {name: side for name, side in dict(processor.size).items() if side}
    if ratio is None and not _inherits(processor, "resize"):
        return Unknown(f"resize by {type(processor).__name__}")
    if size.keys() == {"height", "width"}:
        target = size["width"], size["height"]
        return Resizing(f"resize {target[1]} x {target[0]} {way}", lambda _width, _height: target)
    if size.keys() == {"shortest_edge"}:
        short = size["shortest_edge"]
        return Resizing(f"resize {short} {way}", lambda width, height: _short_side(width, height, short))
    if size.keys() == {"shortest_edge", "longest_edge"}:
        from transformers.image_transforms import get_size_with_aspect_ratio

        rule, edges = ratio or get_size_with_aspect_ratio, (size["shortest_edge"], size["longest_edge"])
        words = f"resize {edges[0]}, at most {edges[1]} {way}"
        return Resizing(words, lambda width, height: _turned(rule((height, width), *edges)))
    return Unknown(f"resize {size} {way}")


def _inherits(processor: Any, method: str) -> bool:
    """Whether a method is the library's common one, not one of this processor's own."""
    owner = next((kind for kind in type(processor).__mro__ if method in vars(kind)), None)
    return owner is not None and owner.__module__.startswith(_COMMON)


def _turned(size: Any) -> Size:
    return int(size[1]), int(size[0])


def _short_side(width: int, height: int, short: int) -> Size:
    long = int(short * max(width, height) / min(width, height))
    return (short, long) if width <= height else (long, short)


def _joined(patches: Tensor, shapes: Tensor, patch: int) -> Tensor:
    """Put the patches that SigLIP 2's processor cuts together again."""
    rows, cols = (int(number) for number in shapes[0])
    image = patches[0, : rows * cols].reshape(rows, cols, patch, patch, -1)
    return image.permute(4, 0, 2, 1, 3).reshape(-1, rows * patch, cols * patch)


def _default_of_transformers(model: Any, package: str, size: Size, patch: Size) -> tuple[Any, str] | None:
    if package == "timm_wrapper":
        return None
    saved = _saved(getattr(model, "name_or_path", ""))
    if saved is not None:
        return _of_transformers(saved), ""
    name = _PROCESSORS.get(package)
    if name is None:
        return None
    origin = f"{name} with its usual settings: no processor of the model's own was found"
    return _of_transformers(_sized(name, package, size, patch)), origin


def _saved(path: Any) -> Any:
    """Load the processor that lies beside a model's weights, if it is on this machine."""
    if not path:
        return None
    from transformers import AutoImageProcessor

    load: Any = AutoImageProcessor.from_pretrained
    try:
        return load(path, local_files_only=True, trust_remote_code=False)
    except Exception:  # none, or none that can be read: describe() says that it is not used
        return None


def _sized(name: str, package: str, size: Size, patch: Size) -> Any:
    """Make a kind's usual processor for an input of some size."""
    import transformers

    make = getattr(transformers, name)
    options: dict[str, Any] = {}
    if package in _IMAGENET:
        options.update(image_mean=list(IMAGENET_DEFAULT_MEAN), image_std=list(IMAGENET_DEFAULT_STD))
    height, width = size
    if package == "siglip2":
        patches = (height // patch[0]) * (width // patch[1])
        return make(patch_size=patch[0], max_num_patches=patches, **options)
    if package.startswith("dinov2") or package in ("clip", "metaclip_2", "aimv2"):
        margin = 256 / 224 if package.startswith("dinov2") else 1
        options.update(size={"shortest_edge": round(max(size) * margin)})
        options.update(crop_size={"height": height, "width": width})
    elif package == "deit":
        options.update(size={"height": round(height * 256 / 224), "width": round(width * 256 / 224)})
        options.update(crop_size={"height": height, "width": width})
    else:
        options.update(size={"height": height, "width": width})
    return make(**options)


# ---------------------------------------------------------------- torchvision, open_clip


def _of_torchvision(preset: Any) -> Processed:
    steps = (
        tv.Resize(preset.resize_size, preset.interpolation),
        tv.CenterCrop(preset.crop_size),
        tv.Normalize(preset.mean, preset.std),
    )
    return Processed(preset, steps)


def _default_of_torchvision(size: Size) -> tuple[Any, str]:
    steps = [
        tv.Resize(round(max(size) * 256 / 224)),
        tv.CenterCrop(size),
        tv.ToTensor(),
        tv.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    ]
    return tv.Compose(steps), "torchvision's usual; transform=weights.transforms() is a checkpoint's own"


def _of_open_clip(transform: tv.Compose) -> Any:
    steps: list[Any] = []
    for step in transform.transforms:
        kind = getattr(step, "__name__", type(step).__name__)
        if getattr(step, "__module__", "") != "open_clip.transform":
            steps.append(step)
        elif kind == "ResizeKeepRatio":
            steps.append(ResizeKeepRatio(step.size, step.longest, step.interpolation.value))
        elif kind == "CenterCropOrPad":
            steps.append(CenterCropOrPad(step.size))
        elif kind not in ("MaybeConvertMode", "MaybeToTensor", "_convert_to_rgb"):
            steps.append(step)
    return transform if steps == transform.transforms else Processed(transform, tuple(steps))


def _default_of_open_clip(model: Any, size: Size) -> tuple[Any, str]:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    tower = getattr(model, "visual", model)
    config = dict(getattr(tower, "preprocess_cfg", None) or {})
    origin = "" if config else "open_clip's usual: the model has no preprocess_cfg"
    transform = image_transform_v2(PreprocessCfg(**{"size": size, **config}), is_train=False)
    return _of_open_clip(transform), origin
