"""Vision transformers of torchvision: ``vit_b_16`` and its kin."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from vitwidgets.anatomy import Anatomy, Block, Grid
from vitwidgets.errors import ModelError
from vitwidgets.families.parts import attention_of, units_of

_WINDOWED = {"SwinTransformer": "Swin", "MaxVit": "MaxViT"}


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of a torchvision `VisionTransformer`.

    Parameters
    ----------
    model : nn.Module
        The model.

    Returns
    -------
    Anatomy or None
        None for any other model.

    Raises
    ------
    ModelError
        For a model that attends in windows.
    """
    for kind in type(model).__mro__:
        if kind.__name__ in _WINDOWED:
            raise ModelError(
                f"torchvision's {type(model).__name__} cannot be traced: {_WINDOWED[kind.__name__]} attends "
                "in windows, which is read of timm's models alone; take timm's of that name"
            )
    if not isinstance(model, VisionTransformer):
        return None
    patch, size = model.patch_size, model.image_size
    last = model.heads[-1] if len(model.heads) else None

    def grid(height: int, width: int) -> Grid:
        return height // patch, width // patch

    stem = "a convolutional stem embeds the patches: they overlap, and have no filters to show"
    return Anatomy(
        model=model,
        family="ViT (torchvision)",
        blocks=tuple(_block(block, model.hidden_dim) for block in model.encoder.layers),
        prefix=("cls",),
        channels=3,
        classes=last.out_features if isinstance(last, nn.Linear) else 0,
        patch_size=(patch, patch),
        input_size=(size, size),
        fixed_size=True,
        pads=False,
        grid=grid,
        notes=() if isinstance(model.conv_proj, nn.Conv2d) else (stem,),
    )


def _block(block: Any, width: int) -> Block:
    return Block(block, (attention_of(block.self_attention),), units_of(block.mlp, width))
