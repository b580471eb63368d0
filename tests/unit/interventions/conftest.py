"""A tiny model to change, and a second image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitwidgets import Inspector


@pytest.fixture
def model(make_vit: Callable[..., VisionTransformer]) -> VisionTransformer:
    return make_vit()


@pytest.fixture
def inspector(model: VisionTransformer) -> Inspector:
    return Inspector(model)


@pytest.fixture
def other(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(8))
