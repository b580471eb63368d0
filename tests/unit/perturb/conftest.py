"""Sizes of inputs that patches cover, fall short of, or reach over."""

from __future__ import annotations

import pytest
from small_inputs import SIZES


@pytest.fixture(params=list(SIZES))
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Height and width of an input that its patches cover, fall short of, or reach over."""
    return SIZES[request.param]
