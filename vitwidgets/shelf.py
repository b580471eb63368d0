"""Compact copies of what passes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Precision: TypeAlias = Literal["float16", "float32"]

_HALF = frozenset({torch.float16, torch.bfloat16})


class Shelf:
    """Keeps compact copies on the CPU, in float16 or float32; half-precision tensors keep their dtype.

    Copies of one shape lie in one piece of memory: many small ones between the large temporaries of a pass
    would keep the freed memory around them from being used again.

    Parameters
    ----------
    precision : {"float16", "float32"}
        Of the copies. Values beyond 65,504 become infinite in float16: `overflowed` says so.
    """

    def __init__(self, precision: Precision) -> None:
        self._half = precision == "float16"
        self._piece = torch.empty(0)
        self._places: list[Tensor] = []
        self._beside: list[Tensor] = []

    def dtype_of(self, x: Tensor) -> torch.dtype:
        """Dtype that a copy of `x` has."""
        if x.dtype in _HALF:
            return x.dtype
        return torch.float16 if self._half else torch.float32

    def reserve(self, count: int, like: Tensor) -> None:
        """Make room for copies of tensors of one shape; memory that is never written to is never taken."""
        self._piece = torch.empty((count, *like.shape), dtype=self.dtype_of(like))
        self._places = list(self._piece.unbind())[::-1]

    def copy(self, x: Tensor) -> Tensor:
        """Copy a tensor; called within ``torch.no_grad``."""
        places = self._places
        if places and places[-1].shape == x.shape and places[-1].dtype == self.dtype_of(x):
            return places.pop().copy_(x)
        self._beside.append(x.to(dtype=self.dtype_of(x), copy=True).cpu())
        return self._beside[-1]

    def overflowed(self) -> bool:
        """Whether some copy in float16 is not finite: too large, or not finite to begin with."""
        used = self._piece[: len(self._piece) - len(self._places)]
        halves = [one for one in (used, *self._beside) if one.dtype == torch.float16]
        # NaN and infinity cannot hide in a sum; a sum may be too large itself
        return any(not _finite(one.sum()) and not _finite(one.abs().max()) for one in halves)


def _finite(number: Tensor) -> bool:
    return bool(number.isfinite())
