"""Tiny vision transformers that hide no error, their traces, and the assets beside the repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ipywidgets.widgets.widget import _instances
from small_traces import small_trace
from timm.layers import SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import ParallelScalingBlock, ResPostBlock, VisionTransformer
from timm.models.vitamin import GeGluMlp

from vitwidgets.trace import Trace

ASSETS = Path(__file__).resolve().parents[2] / "../shared/assets"

# Every variant has a grid of 3 x 5 patches, so that rows and columns cannot be confused.
SMALL: dict[str, Any] = {
    "img_size": (24, 40),
    "patch_size": 8,
    "embed_dim": 24,
    "depth": 3,
    "num_heads": 2,
    "num_classes": 7,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "class token": {},
    "registers": {"reg_tokens": 3},
    "distilled": {"model": VisionTransformerDistilled},
    "no class token": {"class_token": False, "global_pool": "avg"},
    "query and key norm": {"qk_norm": True, "reg_tokens": 1},
    "layer scale": {"init_values": 0.1, "no_embed_class": True, "reg_tokens": 1},
    "norm before": {"pre_norm": True},
    "no position": {"pos_embed": "none"},
    "norm after": {"block_fn": ResPostBlock},
    "parallel": {"block_fn": ParallelScalingBlock},
    "gated units": {"mlp_layer": SwiGLUPacked, "mlp_ratio": 2.0},
    "gated units, other names": {"mlp_layer": GeGluMlp},
    "normed units": {"scale_mlp_norm": True, "scale_attn_norm": True},
    "pooling head": {"global_pool": "map", "class_token": False},
    "any size": {"dynamic_img_size": True},
}


def build(variant: str = "class token", **changes: Any) -> VisionTransformer:
    """Build a tiny model in eval mode; biases, norms and layer scales are far from their initial values."""
    torch.manual_seed(7)
    options = {**SMALL, **VARIANTS[variant], **changes}
    model = options.pop("model", VisionTransformer)(**options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Keep the tests' own passes from fighting over the processors."""
    torch.set_num_threads(1)


@pytest.fixture
def make_vit() -> Callable[..., VisionTransformer]:
    """Build tiny models: `make_vit("registers", depth=2)`."""
    return build


@pytest.fixture(params=list(VARIANTS))
def vit(request: pytest.FixtureRequest) -> VisionTransformer:
    """Every variant in turn."""
    return build(request.param)


@pytest.fixture
def x() -> torch.Tensor:
    """A model input of 24 x 40 pixels."""
    return torch.randn(1, 3, 24, 40, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def assets() -> Path:
    """Photos and weights; skips where they are absent."""
    if not ASSETS.is_dir():
        pytest.skip("the photos and pretrained weights do not lie beside this clone (../shared/assets)")
    return ASSETS


@pytest.fixture(scope="session")
def trace() -> Trace:
    """A trace of a small model: 3 x 5 patches, two prefix tokens, class names that try everything."""
    return small_trace()


@pytest.fixture(autouse=True)
def close_widgets() -> Iterator[None]:
    """Close what a test opened."""
    before = set(_instances)
    yield
    for name in set(_instances) - before:
        if name in _instances:
            _instances[name].close()
