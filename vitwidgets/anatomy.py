"""Where a model keeps what a trace shows: its blocks, its heads, its hidden units, its prefix tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitwidgets.errors import ModelError


@dataclass(frozen=True)
class Point:
    """A place that a tensor passes during a forward pass: what enters a module, or what leaves it."""

    module: nn.Module
    side: Literal["input", "output"]


@dataclass(frozen=True)
class Block:
    """Where to watch one block.

    Parameters
    ----------
    module : nn.Module
        Takes and gives the residual stream, (batch, N, D).
    attention : (Point, Point)
        Between these, and as little else as possible, its attention is computed.
    hidden : Point
        Where its MLP's activations pass, (batch, N, hidden).
    heads, units : int
        Attention heads; hidden units.
    """

    module: nn.Module
    attention: tuple[Point, Point]
    hidden: Point
    heads: int
    units: int


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one plain-column vision transformer: all that is known of the model's family.

    Parameters
    ----------
    model : nn.Module
        The model.
    blocks : tuple of Block
        The `L` blocks, in order.
    prefix : tuple of str
        Names of the prefix tokens.
    width, heads, hidden : int
        `D`, heads per block, hidden units per MLP.
    channels, classes : int
        Of the input; of the output, 0 without a classifier.
    patch_size : (int, int)
        Height and width of a patch in pixels.
    input_size : (int, int) or None
        Height and width of the input that the model was built for, if for one.
    fixed_size, pads : bool
        Whether no other input is taken; whether an input is padded to whole patches.
    grid : callable
        Rows and columns of patches of an input of some height and width.
    """

    model: nn.Module
    blocks: tuple[Block, ...]
    prefix: tuple[str, ...]
    width: int
    heads: int
    hidden: int
    channels: int
    classes: int
    patch_size: tuple[int, int]
    input_size: tuple[int, int] | None
    fixed_size: bool
    pads: bool
    grid: Callable[[int, int], tuple[int, int]]


def anatomy(model: nn.Module) -> Anatomy:
    """Find the parts of a timm `VisionTransformer`.

    Parameters
    ----------
    model : nn.Module
        A timm `VisionTransformer` or a subclass: class token, distillation token, registers or pooling.

    Returns
    -------
    Anatomy

    Raises
    ------
    ModelError
        If the model is none, or its blocks hold no single map of attention; names what is missing.
    """
    if not isinstance(model, VisionTransformer):
        raise ModelError(
            f"{type(model).__name__} cannot be traced: {_what_is_missing(model)}. Give a timm "
            "VisionTransformer (ViT, DeiT, DINOv2, SigLIP, CLIP's image tower...); "
            "timm.list_models('*vit*') lists candidates"
        )
    blocks = tuple(_block(number, module) for number, module in enumerate(model.blocks, start=1))
    if not blocks:
        raise ModelError("the model has no blocks: there is nothing to trace")
    heads, units = ({block.heads for block in blocks}, {block.units for block in blocks})
    if len(heads) > 1 or len(units) > 1:
        raise ModelError(
            f"the blocks differ in shape (heads {sorted(heads)}, hidden units {sorted(units)}); "
            "a trace needs blocks of one shape"
        )
    embed = model.patch_embed

    def grid(height: int, width: int) -> tuple[int, int]:
        rows, cols = embed.dynamic_feat_size((height, width))  # the model's own grid_size may be stale
        return int(rows), int(cols)

    return Anatomy(
        model=model,
        blocks=blocks,
        prefix=_prefix(model),
        width=model.embed_dim,
        heads=blocks[0].heads,
        hidden=blocks[0].units,
        channels=model.in_chans,
        classes=model.num_classes,
        patch_size=tuple(embed.feat_ratio(as_scalar=False)),
        input_size=None if embed.img_size is None else tuple(embed.img_size),
        fixed_size=embed.strict_img_size,
        pads=embed.dynamic_img_pad,
        grid=grid,
    )


def _block(number: int, module: Any) -> Block:
    """Find where to watch a block."""
    attention: Any = getattr(module, "attn", module)
    mlp: Any = getattr(module, "mlp", module)
    last: Any = getattr(mlp, "fc2", getattr(mlp, "w2", None))  # takes the hidden units
    if hasattr(attention, "lambda_init"):
        problem = "differential attention (the difference of two maps)"
    elif hasattr(module, "attns"):
        problem = "several attentions side by side"
    elif not (hasattr(attention, "num_heads") and hasattr(attention, "k_norm")):
        problem = "no multi-head attention (.attn)"
    elif hasattr(module, "mlp_act"):  # attention and MLP in parallel, in one module
        span = Point(attention.k_norm, "output"), Point(module.mlp_act, "input")
        hidden = Point(module.mlp_act, "output")
        return Block(module, span, hidden, attention.num_heads, module.in_split[0])
    elif last is not None:
        span = Point(attention.k_norm, "output"), Point(attention.proj, "input")
        hidden = Point(last, "input")
        return Block(module, span, hidden, attention.num_heads, last.in_features)
    else:
        problem = "no MLP with hidden units (.mlp.fc2 or .mlp.w2)"
    raise ModelError(
        f"block {number} ({type(module).__name__}) cannot be traced: it has {problem}; "
        "a trace needs one attention and one MLP in each block"
    )


def _prefix(model: VisionTransformer) -> tuple[str, ...]:
    names = ["cls"] if model.has_class_token else []
    names += ["dist"] if getattr(model, "dist_token", None) is not None else []
    names += [f"reg{number}" for number in range(1, model.num_reg_tokens + 1)]
    if len(names) != model.num_prefix_tokens:
        raise ModelError(
            f"{type(model).__name__} puts {model.num_prefix_tokens} tokens before the patches, but only "
            f"these are known: {names}"
        )
    return tuple(names)


def _what_is_missing(model: nn.Module) -> str:
    """Say what of a vision transformer this model lacks."""
    kinds = {type(module).__name__.lower() for module in model.modules()}
    windows = any("window" in kind for kind in kinds)
    missing = []
    if not hasattr(model, "patch_embed"):
        missing.append("a patch embedding (.patch_embed)")
    if not hasattr(model, "blocks"):
        missing.append("one column of blocks on one patch grid (.blocks)")
    if not any("attn" in kind or "attention" in kind for kind in kinds):
        missing.append("attention between tokens")
    if windows:
        missing.append("attention over the whole picture (it attends in windows)")
    if missing:
        return "it lacks " + " and ".join(missing)
    return "it has patches, blocks and attention, but is no timm VisionTransformer"
