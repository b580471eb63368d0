"""The embedded model's architecture: a standard timm ``VisionTransformer``."""

from __future__ import annotations

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer

from vitwidgets.demo.scenes import KINDS

SIDE, PATCH = 96, 8
GRID = SIDE // PATCH
WIDTH, DEPTH, HEADS = 128, 8, 4


def build() -> VisionTransformer:
    """Build the architecture with fresh weights.

    Returns
    -------
    timm.models.vision_transformer.VisionTransformer
        8 blocks, width 128, 4 heads, 12 x 12 patches and a class token, with fixed sine-cosine
        positions to start from and its preprocessing in ``pretrained_cfg``.
    """
    model = VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=len(KINDS),
    )
    with torch.no_grad():
        place = build_sincos2d_pos_embed([GRID, GRID], dim=WIDTH)
        assert model.pos_embed is not None
        model.pos_embed[0, 1:] = place * 0.3
    model.pretrained_cfg = {  # type: ignore[assignment]
        "input_size": (3, SIDE, SIDE),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "crop_pct": 1.0,
        "crop_mode": "center",
        "interpolation": "bicubic",
        "num_classes": len(KINDS),
    }
    return model
