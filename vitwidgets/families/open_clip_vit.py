"""Image towers of open_clip: its own vision transformers, and timm's in its clothes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from vitwidgets.anatomy import Anatomy, Block, Grid, Reader, plain
from vitwidgets.errors import ModelError
from vitwidgets.families.parts import attention_of, features, one_by_one, turned, units_of


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of an image tower of open_clip.

    Parameters
    ----------
    model : nn.Module
        A tower, or a whole model of images and text, of which the image tower is taken.

    Returns
    -------
    Anatomy or None
        None for a model without an image tower.

    Raises
    ------
    ModelError
        If the tower is no vision transformer.
    """
    if isinstance(model, TimmModel):
        return _timm(model)
    if isinstance(model, VisionTransformer):
        return _native(model)
    tower = getattr(model, "visual", None)
    if not isinstance(tower, nn.Module):
        return None
    found = find(tower)
    if found is None:
        raise ModelError(
            f"{type(model).__name__} cannot be traced: its image tower is a {type(tower).__name__}, no "
            "vision transformer with one column of blocks"
        )
    return replace(
        found,
        notes=(
            *found.notes,
            "the image tower of a model of images and text; its output is the image's features",
        ),
    )


def _timm(tower: Any) -> Anatomy:
    from vitwidgets.families import anatomy

    inner = anatomy(tower.trunk)
    return replace(inner, model=tower, classes=0, output=partial(features, prefix=inner.prefix))


def _native(tower: Any) -> Anatomy:
    high, wide = tower.patch_size
    sequence_first = not tower.transformer.batch_first

    def grid(height: int, width: int) -> Grid:
        return height // high, width // wide

    width = tower.conv1.out_channels
    return Anatomy(
        model=tower,
        family="ViT (open_clip)",
        blocks=tuple(
            _block(block, width, turned if sequence_first else None) for block in tower.transformer.resblocks
        ),
        prefix=("cls",),
        channels=tower.conv1.in_channels,
        classes=0,
        patch_size=(high, wide),
        input_size=tuple(tower.image_size),
        fixed_size=True,
        pads=False,
        grid=grid,
        read=turned if sequence_first else plain,
        call=one_by_one if sequence_first else None,
        output=partial(features, prefix=("cls",)),
    )


def _block(block: Any, width: int, read: Reader | None) -> Block:
    units = units_of(block.mlp, width)
    return Block(block, (attention_of(block.attn),), units and replace(units, read=read))
