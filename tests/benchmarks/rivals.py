"""The other ways to get at attention and activations, as people write them, to measure beside a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import set_fused_attn
from timm.models import create_model
from timm.utils import AttentionExtract
from torch import Tensor, nn


def unfused(name: str, **options: Any) -> nn.Module:
    """Build a model whose attention is spelled out, so that hooks can see it."""
    set_fused_attn(False)
    try:
        return create_model(name, **options).eval()
    finally:
        set_fused_attn(True)


def attention_extract(model: nn.Module) -> Callable[[Tensor], object]:
    """timm's `AttentionExtract`: the attention of all blocks, nothing else."""
    extract = AttentionExtract(model, method="hook")

    @torch.no_grad()
    def run(x: Tensor) -> object:
        return extract(x)

    return run


def hooks(model: nn.Module) -> Callable[[Tensor], object]:
    """The usual recipe: a forward hook for each block, each attention's dropout and each MLP's activation."""
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            kept[name] = output

        return hook

    blocks: Any = model.blocks
    for number, block in enumerate(blocks):
        block.register_forward_hook(keep(f"layer {number}"))
        block.attn.attn_drop.register_forward_hook(keep(f"attention {number}"))
        block.mlp.act.register_forward_hook(keep(f"mlp {number}"))

    @torch.no_grad()
    def run(x: Tensor) -> object:
        kept.clear()
        model(x)
        return dict(kept)

    return run
