"""Traces of small random models, of every shape that the widgets must cope with."""

from __future__ import annotations

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

from vitwidgets.inspector import Inspector
from vitwidgets.trace import Trace

NAMES = (
    "school bus", "café", "日本犬", "<b>bold</b> & 'quoted'", "dog\nwith a line break", "−3 × σ", "x" * 300
)  # fmt: skip


def small_model(
    *,
    size: tuple[int, int] = (48, 80),
    depth: int = 3,
    width: int = 32,
    heads: int = 2,
    classes: int = len(NAMES),
    registers: int = 1,
    class_token: bool = True,
) -> VisionTransformer:
    """Random weights; 3 x 5 patches, class token and one register unless told otherwise."""
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=size,
        patch_size=16,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=classes,
        reg_tokens=registers,
        class_token=class_token,
        global_pool="token" if class_token else "avg",
    ).eval()


def photo(width: int = 64, height: int = 40, seed: int = 0) -> np.ndarray:
    """Noise, as a picture."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def trace_of(model: VisionTransformer, picture: np.ndarray | None = None) -> Trace:
    names = NAMES if model.num_classes == len(NAMES) else None
    return Inspector(model, class_names=names).trace(photo() if picture is None else picture)


def small_trace() -> Trace:
    """L = 3, 3 x 5 patches after ``cls`` and ``reg1``, width 32, 2 heads, 128 hidden units, 7 classes."""
    return trace_of(small_model())


def broken_trace() -> Trace:
    """Activations, logits and attention that are NaN from block 2 on, infinite in one place before."""
    model = small_model()
    with torch.no_grad():
        model.blocks[1].mlp.fc2.bias[3] = float("nan")
        model.blocks[0].mlp.fc2.bias[5] = float("inf")
    return trace_of(model)
