"""Model inputs of 3 x 5 patches that perturbations are tried on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput

ROWS, COLS = 3, 5
HIGH, WIDE = 4, 6
GRID = PatchGrid(ROWS, COLS, ("cls", "reg1"))
SALIENCE = np.random.default_rng(8).normal(size=(ROWS, COLS))
TIED = (SALIENCE > 0.3).astype(np.float32)
SIZES = {"whole": (12, 30), "cut": (15, 33), "padded": (10, 27)}


def make(channels: int = 3, size: tuple[int, int] = SIZES["whole"], **known: Any) -> ModelInput:
    """An input of 3 x 5 patches of 4 x 6 pixels; noise, all different."""
    pixels = torch.randn(channels, *size, generator=torch.Generator().manual_seed(4))
    return ModelInput(pixels, GRID, (HIGH, WIDE), **known)


def patch_of(y: int, x: int) -> int | None:
    row, col = y // HIGH, x // WIDE
    return row * COLS + col if row < ROWS and col < COLS else None
