"""timm's encoder of Segment Anything: tokens on a map, most blocks attend in windows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Block, Grid
from vitwidgets.families import timm_blocks
from vitwidgets.families.parts import features
from vitwidgets.families.timm_vit import channels, grid, input_size, patch_size
from vitwidgets.families.timm_windows import Members, spread, windows

_WINDOWS = (
    "in blocks with windows, patches of other windows get weight 0; a window that reaches over the edge also "
    "attends to padding, which is not shown, so there a row sums to less than 1"
)


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of a timm `VisionTransformerSAM`.

    Parameters
    ----------
    model : nn.Module
        Of timm.

    Returns
    -------
    Anatomy or None
        None if it is another model. Attention of a window is laid out over the whole picture.

    Raises
    ------
    ModelError
        If its blocks are not understood.
    """
    if "VisionTransformerSAM" not in {kind.__name__ for kind in type(model).__mro__}:
        return None
    parts: Any = model
    embed = parts.patch_embed
    blocks = tuple(map(_windowed, timm_blocks.column(parts.blocks)))
    windowed = sum(module.window_size > 0 for module in parts.blocks)
    return Anatomy(
        model=model,
        family=f"{type(model).__name__} (windows in {windowed} of {len(blocks)} blocks)",
        blocks=blocks,
        prefix=(),
        channels=channels(model, embed),
        classes=parts.num_classes,
        patch_size=patch_size(embed),
        input_size=input_size(embed),
        fixed_size=embed.strict_img_size or parts.rope_global is not None,
        pads=embed.dynamic_img_pad,
        grid=lambda height, width: grid(embed, height, width),
        output=features,
        notes=(_WINDOWS,) if windowed else (),
    )


def _windowed(block: Block) -> Block:
    """Say how a block's attention is laid out: SAM folds its heads into the batch."""
    window = getattr(block.module, "window_size", 0)
    (attention,) = block.attentions
    heads = attention.heads

    def split(values: Tensor) -> Tensor:
        found: Tensor = values.unflatten(0, (-1, heads))
        return found

    def arrange(weights: Tensor, grid: Grid) -> Tensor:
        weights = split(weights.reshape(-1, *weights.shape[-2:]))
        return weights[0] if members is None else spread(weights, members(grid), grid[0] * grid[1])

    members: Members | None = partial(windows, size=(window, window)) if window else None
    return replace(block, attentions=(replace(attention, arrange=arrange, members=members, split=split),))
