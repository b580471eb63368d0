"""timm's encoder of Segment Anything: tokens on a map, most blocks attend in windows."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Arrange, Grid
from vitwidgets.families import timm_blocks
from vitwidgets.families.parts import features
from vitwidgets.families.timm_vit import channels, grid, input_size, patch_size
from vitwidgets.families.timm_windows import spread, windows

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
    blocks = timm_blocks.column(
        parts.blocks, lambda module: _arrange(module.attn.num_heads, module.window_size)
    )
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


def _arrange(heads: int, window: int) -> Arrange:
    def arrange(weights: Tensor, grid: Grid) -> Tensor:
        weights = weights.reshape(-1, heads, *weights.shape[-2:])  # SAM folds its heads into the batch
        if window == 0:
            return weights[0]
        return spread(weights, windows(grid, (window, window)), grid[0] * grid[1])

    return arrange
