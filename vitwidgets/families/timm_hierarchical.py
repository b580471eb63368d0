"""timm's hierarchical models: each stage has a coarser grid than the one before, most attend in windows.

Every layer is a feature map on its own grid. Attention is offered where it is one map of all tokens over each
other, or lies in windows whose tokens are known for certain; elsewhere a block says why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Arrange, Attention, Block, Grid, Point, Reader, Units, plain
from vitwidgets.errors import ModelError
from vitwidgets.families.timm_vit import channels
from vitwidgets.families.timm_windows import Members, arrange, spaced, whole, windows

_LAST = "fc2", "conv2", "ln2"  # of an MLP, under the names that timm's families give it
_COLUMNS = "layers", "stages", "levels", "transformers", "blocks"
_WITHIN_STAGE = "blocks", "transformer_encoder"
_ATTENTION = "att", "mla", "shma", "shsa"  # in the names of classes, timm's abbreviations among them
_UNKNOWN = "its attention is of a kind whose layout is not mapped"
_NO_ATTENTION = "this block convolves: it has no attention"
_NO_MLP = "this block has no MLP whose hidden units are one row for each patch"
_MAPS = "each layer is a feature map; from stage to stage the grid gets coarser and the layer wider"
_WINDOWS = (
    "attention lies within windows: patches of other windows get weight 0; where a window reaches over the "
    "edge it may also attend to padding, which is not shown, so there a row sums to less than 1"
)
_BESIDE = (
    "what a stage is given also reaches its blocks as a query of the whole picture, which is in no layer"
)
_OVERLAP = "the patches overlap: a token sees more than the cell that it is drawn in"


@dataclass(frozen=True)
class _Kind:
    """What the modules of a family do not say.

    Parameters
    ----------
    name : str
        For people.
    pixels : int
        How many pixels apart the tokens of layer 0 are; 0 if the patch embedding tells.
    why : str
        Why blocks that are not known by their class have no attention map.
    fixed : bool
        Whether no other input size is taken than the one that the model was built for.
    notes : tuple of str
        Beside that each layer is a map.
    """

    name: str
    pixels: int
    why: str = _UNKNOWN
    fixed: bool = False
    notes: tuple[str, ...] = (_OVERLAP,)


_IN_CHANNELS = "it attends from channel to channel, or convolves: there is no map from patch to patch"
_LINEAR = "its attention is linear: no weights from patch to patch are ever computed"
_SINGLE = "its attention is mixed with convolutions, on a part of the channels; its layout is not mapped"
_KINDS = {
    "SwinTransformer": _Kind("Swin", 0, notes=(_WINDOWS,)),
    "SwinTransformerV2": _Kind("Swin V2", 0, notes=(_WINDOWS,)),
    "SwinTransformerV2Cr": _Kind("Swin V2 (CR)", 0, notes=(_WINDOWS,)),
    "MaxxVit": _Kind("MaxViT or CoAtNet", 2, notes=(_OVERLAP, _WINDOWS)),
    "Hiera": _Kind("Hiera", 4, fixed=True, notes=(_OVERLAP, _WINDOWS)),
    "HieraDet": _Kind("Hiera of SAM 2", 4, notes=(_OVERLAP, _WINDOWS)),
    "MultiScaleVit": _Kind("MViTv2", 4),
    "PyramidVisionTransformerV2": _Kind("PVTv2", 4),
    "PoolingVisionTransformer": _Kind("PiT", 0, fixed=True),
    "Twins": _Kind("Twins", 4, notes=(_WINDOWS,)),
    "Levit": _Kind("LeViT", 16),
    "DaVit": _Kind("DaViT", 4, notes=(_OVERLAP, _WINDOWS)),
    "GlobalContextVit": _Kind("GC ViT", 4, notes=(_OVERLAP, _WINDOWS, _BESIDE)),
    "Nest": _Kind("NesT", 0, fixed=True, notes=(_WINDOWS,)),
    "TinyVit": _Kind("TinyViT", 4, notes=(_OVERLAP, _WINDOWS)),
    "EdgeNeXt": _Kind("EdgeNeXt", 4, _IN_CHANNELS, notes=()),
    "FastVit": _Kind("FastViT", 4),
    "EfficientFormer": _Kind("EfficientFormer", 4),
    "EfficientFormerV2": _Kind("EfficientFormerV2", 4, "its heads are mixed by convolutions, on other grids"),
    "EfficientVit": _Kind("EfficientViT (MIT)", 2, _LINEAR),
    "EfficientVitLarge": _Kind("EfficientViT (MIT)", 2, _LINEAR),
    "EfficientVitMsra": _Kind("EfficientViT (MSRA)", 16, "its heads attend one after another, in windows"),
    "NextViT": _Kind("Next-ViT", 4, "its keys are pooled, or it convolves: there is no square map"),
    "SwiftFormer": _Kind("SwiftFormer", 4, "its attention is additive: it weighs no patch for another"),
    "IFormer": _Kind("iFormer", 4, _SINGLE),
    "SHViT": _Kind("SHViT", 16, _SINGLE),
    "LowFormer": _Kind("LowFormer", 2, "its queries and keys are pooled: there is no square map"),
}  # fmt: skip


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of a timm model whose stages give feature maps, and some of whose blocks attend.

    Parameters
    ----------
    model : nn.Module
        Of timm: Swin, MaxViT, Hiera, MViTv2, PVTv2, PiT, Twins, LeViT, DaViT, GC ViT, NesT, and others.

    Returns
    -------
    Anatomy or None
        None if it is none of these. Its layers are maps on grids of their own.

    Raises
    ------
    ModelError
        If its blocks are not found where they were expected.
    """
    names = [kind.__name__ for kind in type(model).__mro__]
    if "MetaFormer" in names and any(type(part).__name__ == "Attention" for part in model.modules()):
        kind = _Kind("CAFormer", 4)
    else:
        known = [_KINDS[name] for name in names if name in _KINDS]
        if not known:
            return None
        kind = known[0]
    return _anatomy(model, kind)


def _anatomy(model: Any, kind: _Kind) -> Anatomy | None:
    embed = model.patch_embeds[0] if hasattr(model, "patch_embeds") else getattr(model, "patch_embed", None)
    size = _input_size(model, embed)
    pixels = _pixels(embed) if kind.pixels == 0 else (kind.pixels, kind.pixels)
    stem = getattr(getattr(embed, "conv", None), "kernel_size", None) if kind.name == "PiT" else None

    def grid(height: int, width: int) -> Grid:
        if stem is not None:  # PiT's patches overlap, and none reaches over the edge
            return (height - stem[0]) // pixels[0] + 1, (width - stem[1]) // pixels[1] + 1
        return -(-height // pixels[0]), -(-width // pixels[1])

    blocks = tuple(_blocks(model, kind, grid))
    if not blocks:
        raise ModelError(
            f"{type(model).__name__} cannot be traced: no blocks were found in its stages, which this "
            "release of timm seems to arrange in another way"
        )
    strict = bool(getattr(embed, "strict_img_size", False))
    if not any(block.attentions or block.no_attention != _NO_ATTENTION for block in blocks):
        return None  # FastViT's smallest are convolutional networks
    return Anatomy(
        model=model,
        family=kind.name,
        blocks=blocks,
        prefix=_prefix(model),
        channels=channels(model, model),
        classes=int(getattr(model, "num_classes", 0)),
        patch_size=pixels,
        input_size=size,
        fixed_size=kind.fixed or strict,
        pads=not hasattr(embed, "strict_img_size"),
        grid=grid,
        read=blocks[0].read or plain,
        output=partial(_output, getattr(model, "output_fmt", "NCHW") == "NHWC", _prefix(model)),
        notes=(_MAPS, *kind.notes),
    )


# ---------------------------------------------------------------- model


def _pixels(embed: Any) -> Grid:
    if hasattr(embed, "conv"):
        return int(embed.conv.stride[0]), int(embed.conv.stride[1])
    return int(embed.patch_size[0]), int(embed.patch_size[1])


def _input_size(model: Any, embed: Any) -> Grid | None:
    """Height and width that the model was built for, where it says so."""
    size = getattr(embed, "img_size", None)
    if size is None and hasattr(model, "tokens_spatial_shape"):
        size = [
            side * stride for side, stride in zip(model.tokens_spatial_shape, model.patch_stride, strict=True)
        ]
    return None if size is None else (int(size[0]), int(size[1]))


def _prefix(model: Any) -> tuple[str, ...]:
    token = getattr(model, "cls_token", None)
    return () if token is None else ("cls", "dist")[: int(token.shape[1])]


def _output(channels_last: bool, prefix: tuple[str, ...], value: Any) -> Tensor:
    """Read logits, or features (B, n) of a model that returns a map or tokens."""
    output = plain(value)
    if output.ndim == 4:
        return output.mean(dim=(1, 2) if channels_last else (2, 3))
    if output.ndim == 3:
        return output[:, 0] if prefix else output.mean(dim=1)
    return output


def _stages(model: Any) -> list[Any]:
    column = next(getattr(model, name) for name in _COLUMNS if hasattr(model, name))
    staged = any(hasattr(part, name) for part in column for name in _WITHIN_STAGE)
    nested = all(isinstance(part, (nn.Sequential, nn.ModuleList)) for part in column)
    return list(column) if staged or nested else [column]


def _blocks(model: Any, kind: _Kind, grid: Callable[[int, int], Grid]) -> Iterator[Block]:
    for number, stage in enumerate(_stages(model)):
        inside = next((getattr(stage, name) for name in _WITHIN_STAGE if hasattr(stage, name)), stage)
        place = _Place(model, kind, partial(_coarser, grid, number), stage)
        for module in _finer(inside):
            yield _block(module, place)


def _coarser(grid: Callable[[int, int], Grid], times: int, height: int, width: int) -> Grid:
    """Halve a grid some times, as convolutions with a stride of 2 do."""
    rows, cols = grid(height, width)
    return -(-rows // 2**times), -(-cols // 2**times)


def _finer(stage: Any) -> Iterator[Any]:
    """List the blocks of a stage, in the order in which they run; parts that give maps count as blocks."""
    for module in stage:
        name = type(module).__name__
        if name == "MaxxVitBlock":
            yield from (
                part for part in (module.conv, module.attn_block, module.attn_grid) if part is not None
            )
        elif name == "ParallelMaxxVitBlock":
            yield from (module.conv, module.attn)
        elif name == "Sequential":  # DaViT's pairs of blocks
            yield from module
        elif name != "Flat":  # which makes a map a sequence
            yield module


# ---------------------------------------------------------------- blocks


@dataclass(frozen=True)
class _Place:
    """Where a block is.

    Parameters
    ----------
    model : nn.Module
        The model.
    kind : _Kind
        Its family.
    grid : callable
        From height and width of an input to the grid of this stage.
    stage : nn.Module
        The stage.
    """

    model: Any
    kind: _Kind
    grid: Callable[[int, int], Grid]
    stage: Any


_Finder: TypeAlias = Callable[[Any, _Place], Block]


def _block(module: Any, place: _Place) -> Block:
    for base in type(module).__mro__:
        name = f"{base.__module__.rpartition('.')[2]}.{base.__name__}"
        if name in _FINDERS:
            return _FINDERS[name](module, place)
    return _map(module, place)


def _map(module: Any, place: _Place) -> Block:
    """Take a block that gives a map (B, D, rows, cols), with no attention to show."""
    names = [type(part).__name__.lower() for part in module.modules()]
    attends = any(mark in name for mark in _ATTENTION for name in names)
    return _make(module, _channels_last, place.kind.why if attends else _NO_ATTENTION)


def _make(module: Any, read: Reader, attention: str | tuple[Attention, ...], **more: Any) -> Block:
    """Put a block together; for the attention, or why there is none."""
    units = _units(getattr(module, "mlp", None), more.pop("units", None))
    why = attention if isinstance(attention, str) else ""
    found = () if isinstance(attention, str) else attention
    return Block(module, found, units, why, "" if units else _NO_MLP, read, **more)


def _units(mlp: Any, read: Reader | None) -> Units | None:
    """Find the units of an MLP of linear layers or of 1 x 1 convolutions."""
    last: Any = next((getattr(mlp, name) for name in _LAST if hasattr(mlp, name)), None)
    if not isinstance(last, nn.Module):
        return None
    inner = next((part for part in last.modules() if isinstance(part, (nn.Linear, nn.Conv2d))), None)
    if isinstance(inner, nn.Linear):
        return Units(Point(last, "input"), inner.in_features, read=read)
    if isinstance(inner, nn.Conv2d) and tuple(inner.kernel_size) == (1, 1) and inner.groups == 1:
        return Units(Point(last, "input"), inner.in_channels, read=_channels_last)
    return None


def _channels_last(value: Any) -> Tensor:
    return plain(value).permute(0, 2, 3, 1)


def _attend(attn: Any, layout: Arrange) -> tuple[Attention, ...]:
    return (Attention.of(attn, attn.num_heads, arrange=layout),)


def _among(attn: Any, members: Members, *, heads_first: bool = False) -> tuple[Attention, ...]:
    """Find attention in windows, computed with the windows first, or with the heads first."""
    layout, split = arrange(members, heads_first=heads_first), _windows_first if heads_first else None
    return (Attention.of(attn, attn.num_heads, arrange=layout, members=members, split=split),)


def _windows_first(values: Tensor) -> Tensor:
    return values.transpose(-4, -3)


def _in_windows(attn: Any, size: Grid, shift: Grid = (0, 0), **more: Any) -> tuple[Attention, ...]:
    return _among(attn, partial(windows, size=size, shift=shift), **more)


def _pair(value: Any) -> Grid:
    return (int(value[0]), int(value[1])) if isinstance(value, (tuple, list)) else (int(value), int(value))


def _swin(block: Any, _: _Place) -> Block:
    return _make(block, plain, _in_windows(block.attn, _pair(block.window_size), _pair(block.shift_size)))


def _partition(block: Any, _: _Place) -> Block:
    """Take one half of a MaxViT block; the other version of it has its channels first."""
    read = plain if type(block).__name__ == "PartitionAttentionCl" else _channels_last
    side = "block" if block.partition_block else "grid"
    return _make(block, read, _among(block.attn, _cut(block, side)))


def _parallel_partition(block: Any, _: _Place) -> Block:
    both = (("block", block.attn_block), ("grid", block.attn_grid))
    attentions = tuple(one for side, attn in both for one in _among(attn, _cut(block, side)))
    return _make(block, plain, attentions)


def _cut(block: Any, side: str) -> Members:
    size = _pair(block.partition_size)
    return partial(windows if side == "block" else spaced, size=size)


def _hiera(block: Any, place: _Place) -> Block:
    number = next(number for number, other in enumerate(place.model.blocks) if other is block)
    reroll = place.model.reroll
    attn = block.attn

    def read(value: Any) -> Tensor:
        tokens: Tensor = reroll(plain(value), number)
        return tokens

    def members(grid: Grid) -> Tensor:
        """Which tokens are in which mask unit: as the pass sees them, they lie in another order."""
        count = grid[0] * grid[1]
        at = reroll(torch.arange(count).reshape(1, count, 1), number).flatten()  # place in the sequence
        tokens = torch.empty(count, dtype=torch.int64)
        tokens[at] = torch.arange(count)
        units = count // attn.window_size if attn.use_mask_unit_attn else 1
        return tokens.reshape(-1, units).T

    if attn.q_stride > 1:
        return _make(
            block, read, "its queries are pooled to the next stage's grid: no square map", units=read
        )

    def lay_out(weights: Tensor, grid: Grid) -> Tensor:
        tiles = weights.reshape(attn.heads, -1, *weights.shape[-2:])
        return arrange(members, heads_first=True)(tiles, grid)

    split = _windows_first if attn.use_mask_unit_attn else None
    found = Attention.of(attn, attn.heads, arrange=lay_out, members=members, split=split)
    return _make(block, read, (found,), units=read)


def _hiera_det(block: Any, _: _Place) -> Block:
    if block.q_stride is not None:
        return _make(block, plain, "its queries are pooled to the next stage's grid: there is no square map")
    if not block.is_windowed:
        return _make(block, plain, _attend(block.attn, whole))
    return _make(block, plain, _in_windows(block.attn, _pair(block.window_size)))


def _mvit(block: Any, place: _Place) -> Block:
    why = "its queries and keys are pooled (MViTv2): there is no square map"
    return _make(block, plain, why, grid=place.grid)


def _pvt(block: Any, place: _Place) -> Block:
    attn = block.attn
    pooled = attn.sr is not None or attn.pool is not None
    why = "its keys are pooled (PVTv2): there is no square map"
    return _make(block, plain, why if pooled else _attend(attn, whole), grid=place.grid)


def _twins(block: Any, place: _Place) -> Block:
    attn = block.attn
    name = type(attn).__name__
    attention: str | tuple[Attention, ...] = "its keys are pooled (Twins): there is no square map"
    if name == "LocallyGroupedAttn":
        attention = _in_windows(attn, _pair(attn.ws))
    elif name == "GlobalSubSampleAttn" and attn.sr is None:
        attention = _attend(attn, whole)
    return _make(block, plain, attention, grid=place.grid)


def _sequence(block: Any, place: _Place) -> Block:
    """Take a block of a sequence whose tokens, prefix tokens included, all attend to each other."""
    attn = block.attn if hasattr(block, "attn") else block.token_mixer
    return _make(block, plain, _attend(attn, whole), grid=place.grid)


def _levit(block: Any, place: _Place) -> Block:
    if block.attn.use_conv:
        return _make(block, _channels_last, "its convolutional attention is not read")
    return _sequence(block, place)


def _spatial(block: Any, _: _Place) -> Block:
    found = _make(block, _channels_last, _in_windows(block.attn, _pair(block.window_size)))
    return found if block.mlp is not None else replace(found, units=None, no_units="this block has no MLP")


def _channel(block: Any, _: _Place) -> Block:
    return _make(block, _channels_last, "it attends from channel to channel: no map from patch to patch")


def _global_context(block: Any, _: _Place) -> Block:
    if block.attn.use_global:
        why = "its queries are those of the whole picture, not of its patches (GC ViT)"
        return _make(block, plain, why)
    return _make(block, plain, _in_windows(block.attn, _pair(block.window_size)))


def _nest(block: Any, place: _Place) -> Block:
    side = int(place.stage.block_size)

    def read(value: Any) -> Tensor:
        tokens = plain(value)  # (B, blocks, tokens of a block, D), of a square map
        across = round(tokens.shape[1] ** 0.5)
        tiles = tokens.reshape(tokens.shape[0], across, across, side, side, tokens.shape[-1])
        return tiles.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    found = _in_windows(block.attn, (side, side), heads_first=True)
    return _make(block, read, found, units=read)


def _tiny_vit(block: Any, _: _Place) -> Block:
    return _make(block, plain, _in_windows(block.attn, _pair(block.window_size)))


def _attention_2d(block: Any, _: _Place) -> Block:
    """Take a block of a map (B, D, rows, cols) whose tokens all attend to each other."""
    attn = block.attn if hasattr(block, "attn") else block.token_mixer
    return _make(block, _channels_last, _attend(attn, whole))


def _meta_former(block: Any, place: _Place) -> Block:
    if type(block.token_mixer).__name__ == "Attention":
        return _sequence(block, place)
    return _make(block, _channels_last, _NO_ATTENTION)


_FINDERS: dict[str, _Finder] = {
    "swin_transformer.SwinTransformerBlock": _swin,
    "swin_transformer_v2.SwinTransformerV2Block": _swin,
    "swin_transformer_v2_cr.SwinTransformerV2CrBlock": _swin,
    "maxxvit.PartitionAttentionCl": _partition,
    "maxxvit.PartitionAttention2d": _partition,
    "maxxvit.ParallelPartitionAttention": _parallel_partition,
    "maxxvit.TransformerBlock2d": _attention_2d,
    "hiera.HieraBlock": _hiera,
    "hieradet_sam2.MultiScaleBlock": _hiera_det,
    "mvitv2.MultiScaleBlock": _mvit,
    "pvt_v2.Block": _pvt,
    "twins.Block": _twins,
    "vision_transformer.Block": _sequence,  # PiT's
    "levit.LevitBlock": _levit,
    "davit.SpatialBlock": _spatial,
    "davit.ChannelBlock": _channel,
    "gcvit.GlobalContextVitBlock": _global_context,
    "nest.TransformerLayer": _nest,
    "tiny_vit.TinyVitBlock": _tiny_vit,
    "fastvit.AttentionBlock": _attention_2d,
    "efficientformer.MetaBlock1d": _sequence,
    "metaformer.MetaFormerBlock": _meta_former,
}
