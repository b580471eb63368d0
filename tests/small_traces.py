"""Traces of small random models, of every shape that the widgets must cope with."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer

from vitwidgets.geometry import Frame
from vitwidgets.inspector import Inspector
from vitwidgets.record import Record
from vitwidgets.replay import Kept
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


def biased_trace() -> Trace:
    """Attention that is no softmax of queries times keys alone: a BEiT, L = 2, 3 x 5 patches, ``cls``."""
    torch.manual_seed(0)
    model = Beit(
        img_size=(48, 80), patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=len(NAMES),
        use_rel_pos_bias=True,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return trace_of(model.eval())


def staged_trace() -> Trace:
    """L = 4 on ever coarser grids after ``cls``, made by hand: no model is at hand.

    Attention comes as weights, at layer 2 with negative ones; layer 4 has none, layer 1 has no MLP.
    """
    grids = [(6, 10), (6, 10), (3, 5), (3, 5), (1, 2)]
    widths, heads, hidden = [8, 8, 16, 16, 24], [0, 2, 3, 3, 0], [0, 0, 32, 32, 48]
    random = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random)

    counts = [1 + rows * cols for rows, cols in grids]
    record = Record(
        depth=4, grids=grids, widths=widths, heads=heads, hidden=hidden, output=draw(len(NAMES)), prefix=1,
        missing={"attention": {4: "its attention pools"}, "mlp": {1: "it has no MLP"}},
    )  # fmt: skip
    for layer, count in enumerate(counts):
        record.layers[layer] = draw(count, widths[layer])
        if heads[layer]:
            scores = draw(heads[layer], count, count)
            record.attention[layer] = (Kept(scores / 4 if layer == 2 else (2 * scores).softmax(-1)),)
        if hidden[layer]:
            record.units[layer] = Kept(draw(count, hidden[layer]))
    picture = Image.fromarray(photo(150, 90))
    return Trace(
        record, pixels=draw(3, 48, 80), prefix=("cls",), frame=Frame((150, 90), (48, 80), (0, 0, 150, 90)),
        preprocessing=None, image=picture, model_name="staged", class_names=NAMES, notes=[],
    )  # fmt: skip
