"""Vision transformers of Hugging Face transformers: one encoder over one grid of patches.

They differ in little but names, so the parts are found by name; which models are taken is a list, since what
cannot be read off a module is the order of its tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Attention, Block, Grid, Point, Units
from vitwidgets.errors import ModelError
from vitwidgets.families.parts import attention_in, features, heads_of, units_in


@dataclass(frozen=True)
class _Kind:
    """What the modules of a kind of model do not say.

    Parameters
    ----------
    name : str
        For people.
    sizes : {"asked", "any", "one"}
        Whether another input size is taken: if asked for (``interpolate_pos_encoding``), always, or never.
    """

    name: str
    sizes: Literal["asked", "any", "one"] = "asked"


_KINDS = {
    "aimv2": _Kind("AIMv2", "one"),
    "beit": _Kind("BEiT", "any"),
    "clip": _Kind("CLIP"),
    "data2vec": _Kind("Data2Vec Vision", "any"),
    "deit": _Kind("DeiT"),
    "dinov2": _Kind("DINOv2", "any"),
    "dinov2_with_registers": _Kind("DINOv2 with registers", "any"),
    "dinov3_vit": _Kind("DINOv3 ViT", "any"),
    "ijepa": _Kind("I-JEPA"),
    "metaclip_2": _Kind("MetaCLIP 2"),
    "siglip": _Kind("SigLIP"),
    "siglip2": _Kind("SigLIP 2", "any"),
    "vit": _Kind("ViT"),
    "vit_mae": _Kind("ViT-MAE"),
    "vit_msn": _Kind("ViT-MSN"),
    "yolos": _Kind("YOLOS", "any"),
}
_WINDOWED = {
    "swin": "Swin", "swinv2": "SwinV2", "swin2sr": "Swin2SR", "donut": "Donut's Swin", "hiera": "Hiera",
    "vitdet": "ViTDet", "sam": "SAM", "sam2": "SAM 2", "pvt": "PVT", "pvt_v2": "PVTv2", "maxvit": "MaxViT",
}  # fmt: skip
_COLUMNS = "layers", "layer", "encoder.layers", "encoder.layer", "model.layer"
_SEEN = None, "sdpa", "eager"  # implementations of attention that go through functions which can be watched


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of a vision transformer of `transformers`.

    Parameters
    ----------
    model : nn.Module
        A base model, one with a head, or a model of images and text, of which the image tower is taken.

    Returns
    -------
    Anatomy or None
        None for a model without an image encoder that is known.

    Raises
    ------
    ModelError
        If the model is known to have no single column of attention, or hides it; says what can be done.
    """
    package = _package(model)
    if package == "timm_wrapper":
        return _wrapped(model)
    if package in _WINDOWED:
        raise ModelError(
            f"{type(model).__name__} cannot be traced: {_WINDOWED[package]} attends in windows or on "
            "shrinking grids, which is read of timm's models alone; timm.list_models() has most of them"
        )
    tower = _tower(model) if package in _KINDS else None
    if tower is None:
        return None
    return _anatomy(model, tower, package)


def _package(model: nn.Module) -> str:
    """Name the folder of transformers that defines a model's class, or the class it derives from."""
    for kind in type(model).__mro__:
        parts = kind.__module__.split(".")
        if parts[:2] == ["transformers", "models"] and len(parts) > 2:
            return parts[2]
    return ""


def _wrapped(model: Any) -> Anatomy:
    """Take a timm model in transformers' clothes."""
    from vitwidgets.families import anatomy

    inner = anatomy(model.timm_model)
    return replace(
        inner,
        model=model,
        call=lambda module, x: module(pixel_values=x),
        output=partial(features, prefix=inner.prefix),
        classes=_classes(model),
    )


def _tower(model: nn.Module) -> Any:
    """Find the outermost module that embeds patches and runs a column of blocks."""
    for module in model.modules():
        if _column(module) is not None and _patches(module) is not None:
            return module
    return None


def _column(module: nn.Module) -> nn.ModuleList | None:
    for path in _COLUMNS:
        part: Any = module
        for name in path.split("."):
            part = getattr(part, name, None)
        if isinstance(part, nn.ModuleList) and len(part):
            return part
    return None


def _patches(module: Any) -> Any:
    """Find the layer that embeds patches: a convolution, or SigLIP 2's linear layer."""
    embeddings = getattr(module, "embeddings", None)
    if not isinstance(embeddings, nn.Module):
        return None
    linear = getattr(embeddings, "patch_embedding", None)
    if isinstance(linear, nn.Linear):
        return linear
    return next((part for part in embeddings.modules() if isinstance(part, nn.Conv2d)), None)


def _anatomy(model: Any, tower: Any, package: str) -> Anatomy:
    kind, config = _KINDS[package], tower.config
    if getattr(config, "mask_ratio", 0) and package == "vit_mae":
        raise ModelError(
            f"{type(model).__name__} hides {config.mask_ratio:.0%} of the patches at random and sees the "
            "rest, which has no grid; to trace the whole picture, set model.config.mask_ratio = 0 first"
        )
    column = _column(tower)
    assert column is not None
    width = int(config.hidden_size)
    blocks = tuple(_block(number, block, width) for number, block in enumerate(column, start=1))
    leading, trailing = _prefix(tower.embeddings)
    prefix = (*leading, *trailing)
    patch, native = _patch_size(tower), _native_size(tower)
    target, notes = _target(model, tower)
    square = native is None or native[0] == native[1]
    asked = kind.sizes == "asked" and square and _takes(target, "interpolate_pos_encoding")

    def grid(height: int, width: int) -> Grid:
        return height // patch[0], width // patch[1]

    def call(module: Any, x: Tensor) -> Any:
        options: dict[str, Any] = {"pixel_values": x}
        if package == "siglip2":
            options = _patchified(x, patch[0])
        elif package == "vit_mae":  # it shuffles even what it does not hide: rising noise keeps the order
            count = grid(*x.shape[2:])[0] * grid(*x.shape[2:])[1]
            options["noise"] = torch.arange(count, device=x.device).expand(len(x), -1)
        if asked and tuple(x.shape[2:]) != native:
            options["interpolate_pos_encoding"] = True
        entry: Callable[..., Any] = module.get_image_features if _is_pair(module) else module
        return entry(**options)

    def order(rows: int, cols: int) -> Tensor:
        first, patches = len(leading), rows * cols
        last = torch.arange(first + patches, first + patches + len(trailing))
        return torch.cat([torch.arange(first), last, torch.arange(first, first + patches)])

    if trailing:
        notes += (f"{len(trailing)} detection tokens follow the patches; here they stand before them",)
    if getattr(getattr(tower, "encoder", None), "interpolation", None) is not None:
        notes += ("position embeddings are added again between the blocks; a layer is shown before that",)
    return Anatomy(
        model=target,
        family=kind.name,
        blocks=blocks,
        prefix=prefix,
        channels=int(config.num_channels),
        classes=_classes(target),
        patch_size=patch,
        input_size=native,
        fixed_size=not (asked or (kind.sizes == "any" and (square or package in ("yolos", "dinov3_vit")))),
        pads=False,
        grid=grid,
        order=order if trailing else None,
        call=call,
        output=partial(features, prefix=leading),
        notes=notes,
    )


def _block(number: int, block: nn.Module, width: int) -> Block:
    attention: Any = attention_in(block)
    if attention is None:
        raise ModelError(
            f"block {number} ({type(block).__name__}) cannot be traced: it has no attention that says how "
            "many heads it has"
        )
    way = getattr(getattr(attention, "config", None), "_attn_implementation", None)
    if way not in _SEEN:
        raise ModelError(
            f"the model attends with {way}, which computes no map that can be seen; call "
            "model.set_attn_implementation('sdpa') first"
        )
    heads = heads_of(attention) or 0
    units = units_in(block, width) or _split_units(block)
    return Block(block, (Attention.of(attention, heads),), units, no_units="" if units else "has no MLP")


def _split_units(block: nn.Module) -> Units | None:
    """Find the units of an MLP in two modules, the first of which ends with the activation."""
    first = getattr(block, "intermediate", None)
    linear = getattr(first, "dense", None)
    if not (isinstance(first, nn.Module) and isinstance(linear, nn.Linear)):
        return None
    return Units(Point(first, "output"), linear.out_features)


def _prefix(embeddings: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Name the tokens before the patches, and those after them."""

    def count(name: str) -> int:
        value = getattr(embeddings, name, None)
        return value.shape[1] if isinstance(value, Tensor) and value.ndim == 3 else 0

    names = []
    if getattr(embeddings, "cls_token", getattr(embeddings, "class_embedding", None)) is not None:
        names.append("cls")
    if count("distillation_token"):
        names.append("dist")
    names += [f"reg{number}" for number in range(1, count("register_tokens") + 1)]
    return tuple(names), tuple(f"det{number}" for number in range(1, count("detection_tokens") + 1))


def _patch_size(tower: Any) -> tuple[int, int]:
    patches = _patches(tower)
    if isinstance(patches, nn.Conv2d):
        high, wide = patches.stride
        return int(high), int(wide)
    return int(tower.config.patch_size), int(tower.config.patch_size)


def _native_size(tower: Any) -> tuple[int, int] | None:
    """Height and width that the model was built for."""
    config = tower.config
    size = getattr(config, "image_size", None)
    if size is None and getattr(config, "num_patches", None):
        size = round(config.num_patches**0.5) * config.patch_size
    if size is None:
        return None
    high, wide = (size, size) if isinstance(size, int) else size
    return int(high), int(wide)


def _target(model: Any, tower: Any) -> tuple[Any, tuple[str, ...]]:
    """Choose what is called: the model, or its encoder where more follows that gives no row per image."""
    if _is_pair(model):
        return model, ("the image tower of a model of images and text; its output is the image's features",)
    name = type(model).__name__
    if model is tower or "For" not in name or _classifies(model):
        return model, ()
    return tower, (f"the encoder of {name}; what follows it is left out",)


def _is_pair(model: Any) -> bool:
    return hasattr(model, "get_image_features") and hasattr(model, "text_model")


def _classifies(model: Any) -> bool:
    return any("ForImageClassification" in kind.__name__ for kind in type(model).__mro__)


def _classes(model: Any) -> int:
    return int(model.config.num_labels) if _classifies(model) else 0


def _takes(model: Any, name: str) -> bool:
    entry = model.get_image_features if _is_pair(model) else model.forward
    parameters = inspect.signature(entry).parameters
    return name in parameters or _classifies(model)  # which hands on what it does not name


def _patchified(x: Tensor, patch: int) -> dict[str, Any]:
    """Cut pictures into patches as SigLIP 2's processor does."""
    batch, channels, height, width = x.shape
    rows, cols = height // patch, width // patch
    patches = x[..., : rows * patch, : cols * patch].reshape(batch, channels, rows, patch, cols, patch)
    return {
        "pixel_values": patches.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * cols, -1),
        "pixel_attention_mask": torch.ones(batch, rows * cols, dtype=torch.int64, device=x.device),
        "spatial_shapes": torch.tensor([[rows, cols]] * batch),
    }
