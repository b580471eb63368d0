"""timm's CaiT and ConViT, whose class token joins the patches late."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitwidgets.anatomy import Anatomy, Block, Grid, plain
from vitwidgets.families import timm_blocks
from vitwidgets.families.timm_vit import channels, features, grid, input_size, patch_size

_TALKING_HEADS = (
    "talking heads: the weights shown are those that the values get, mixed from the heads after the softmax, "
    "so they may be negative and a row does not sum to 1"
)


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of a timm CaiT or ConViT.

    Parameters
    ----------
    model : nn.Module
        Of timm.

    Returns
    -------
    Anatomy or None
        None if it is none of these. Of CaiT: the blocks that patches pass, without prefix tokens. Of ConViT:
        all blocks, with a class token from the start, so that all layers have the same tokens.

    Raises
    ------
    ModelError
        If its blocks are not understood.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if "Cait" in kinds:
        return _cait(model)
    if "ConVit" in kinds:
        return _convit(model)
    return None


def _column(model: Any) -> Anatomy:
    """Find what CaiT and ConViT share: a column of patches alone."""
    embed = model.patch_embed
    blocks = timm_blocks.column(model.blocks)
    return Anatomy(
        model=model,
        family=type(model).__name__,
        blocks=blocks,
        prefix=(),
        channels=channels(model, embed),
        classes=model.num_classes,
        patch_size=patch_size(embed),
        input_size=input_size(embed),
        fixed_size=getattr(embed, "strict_img_size", False),
        pads=getattr(embed, "dynamic_img_pad", False),
        grid=lambda height, width: grid(embed, height, width),
        output=features(()),
    )


def _cait(model: Any) -> Anatomy:
    return replace(
        _column(model),
        notes=(
            f"the class token joins in {len(model.blocks_token_only)} further blocks, which are not shown",
            _TALKING_HEADS,
        ),
    )


def _convit(model: Any) -> Anatomy:
    column, late = _column(model), model.local_up_to_layer
    notes = ["gated heads: the weights shown are those that the values get, mixed of content and position"]
    if model.cls_token is None or late >= len(column.blocks):
        return replace(column, notes=tuple(notes))

    def read(value: Any) -> Tensor:
        tokens = plain(value)
        if tokens.shape[1] != model.num_patches:
            return tokens
        return torch.cat((model.cls_token.expand(len(tokens), -1, -1).to(tokens), tokens), dim=1)

    def early(block: Block) -> Block:
        units = block.units and replace(block.units, read=_no_units_of_class)
        attentions = tuple(replace(attention, arrange=_class_alone) for attention in block.attentions)
        return replace(block, attentions=attentions, units=units)

    if late:
        notes.append(
            f"the class token joins after block {late}: up to there its row is what it starts as, it attends "
            "to itself alone, and its MLP units are 0"
        )
    blocks = tuple(early(block) for block in column.blocks[:late]) + column.blocks[late:]
    return replace(column, blocks=blocks, prefix=("cls",), read=read, notes=tuple(notes))


def _class_alone(weights: Tensor, _: Grid) -> Tensor:
    """Put a class token that only attends to itself before the patches."""
    weights = F.pad(weights[0], (1, 0, 1, 0))
    weights[:, 0, 0] = 1
    return weights


def _no_units_of_class(units: Tensor) -> Tensor:
    return F.pad(units, (0, 0, 1, 0))
