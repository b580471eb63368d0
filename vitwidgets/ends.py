"""The two ends of a model: the filters that read the pixels, and the head that reads the last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy
from vitwidgets.hooks import State, parts_of, state_of

Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Readout:
    """What a head reads of one token: a layer norm and a linear layer, folded into one.

    Parameters
    ----------
    weight : ndarray, shape (classes, D)
        Weights of the linear layer, times those of the norm.
    bias : ndarray, shape (classes,)
        What the linear layer makes of the norm's bias, plus its own.
    eps : float
        The norm's.
    """

    weight: Array
    bias: Array
    eps: float

    def read(self, tokens: npt.ArrayLike) -> Array:
        """Read tokens.

        Parameters
        ----------
        tokens : array_like, shape (..., D)
            Of any layer.

        Returns
        -------
        ndarray, shape (..., classes), float32
            The logits that each token alone would give.
        """
        x = np.asarray(tokens, np.float32)
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.eps)
        return np.asarray(x @ self.weight.T + self.bias, np.float32)


@dataclass(frozen=True, eq=False)
class Ends:
    """Both ends of a model, as arrays; for what there is not, the reason.

    Parameters
    ----------
    filters : ndarray, shape (D, p, q, C), or str
        The kernels of the patch embedding.
    readout : Readout or str
        What the head reads of a token.
    """

    filters: Array | str
    readout: Readout | str


class LiveEnds:
    """Finds both ends of a model, and gives them as long as they are what they were.

    Parameters
    ----------
    anatomy : Anatomy
        Of the model.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self._convolution = _convolution(anatomy)
        self._head = _head(anatomy)
        ends = (self._convolution, *(() if isinstance(self._head, str) else self._head))
        self._parts = [part for end in ends if isinstance(end, nn.Module) for part in parts_of(end)]
        self._known: tuple[State, Ends] | None = None

    def state(self) -> State:
        """What they are like now."""
        return state_of(self._parts)

    def at(self, state: State) -> Ends:
        """Give both ends as they were in some state.

        Raises
        ------
        RuntimeError
            If they have changed since.
        """
        if self._known is not None and self._known[0] == state:
            return self._known[1]
        if self.state() != state:
            raise RuntimeError(
                "the patch embedding or the head of the model has changed since this trace; trace the image "
                "again, or detach() a trace before its model changes"
            )
        filters = self._convolution
        ends = Ends(
            filters if isinstance(filters, str) else _array(filters.weight.permute(0, 2, 3, 1)),
            self._head if isinstance(self._head, str) else _folded(*self._head),
        )
        self._known = state, ends
        return ends


def _convolution(anatomy: Anatomy) -> nn.Conv2d | str:
    """Find the convolution that makes tokens of patches."""
    for module in anatomy.model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == anatomy.channels:
            size, step = tuple(module.kernel_size), tuple(module.stride)
            whole = size == step == tuple(anatomy.patch_size) and module.groups == 1 == max(module.dilation)
            if whole and module.padding in ((0, 0), "valid"):
                return module
            break
    return "its patch embedding is not one convolution of whole patches, so it has no filters to show"


def _head(anatomy: Anatomy) -> tuple[nn.LayerNorm, nn.Linear] | str:
    """Find the norm and the linear layer that make logits of a token."""
    if anatomy.classes == 0:
        return "the model has no classifier"
    last = next(
        (part for part in (_linear(anatomy.model, name) for name in _HEADS) if part is not None), None
    )
    if last is None or last.out_features != anatomy.classes:
        return "its head is not one linear layer, so it reads no single token"
    inside = {part for block in anatomy.blocks for part in parts_of(block.module)}
    outside = [part for part in anatomy.model.modules() if part not in inside]
    norms = [part for part in outside if isinstance(part, nn.LayerNorm)]
    fitting = [norm for norm in norms if norm.normalized_shape == (last.in_features,)]
    if not fitting:
        return (
            f"its head reads {last.in_features} numbers, and no layer norm of as many stands between it and "
            "the last block"
        )
    before = [norm for norm in fitting if outside.index(norm) < outside.index(last)]
    return (before or fitting)[-1], last


_HEADS = "head", "heads", "classifier", "mlp_head", "fc", "timm_model.head"


def _linear(model: nn.Module, name: str) -> nn.Linear | None:
    """Give a linear layer by its name, or the only one within a module of that name."""
    try:
        found = model.get_submodule(name)
    except AttributeError:
        return None
    linears = [part for part in parts_of(found) if isinstance(part, nn.Linear)]
    return linears[0] if len(linears) == 1 else None


def _folded(norm: nn.LayerNorm, linear: nn.Linear) -> Readout:
    weight, bias = _array(linear.weight), np.zeros(linear.out_features, np.float32)
    if linear.bias is not None:
        bias = bias + _array(linear.bias)
    if norm.bias is not None:
        bias = bias + weight @ _array(norm.bias)
    if norm.weight is not None:
        weight = weight * _array(norm.weight)
    return Readout(weight, bias, float(norm.eps))


def _array(values: Tensor) -> Array:
    return values.detach().cpu().float().contiguous().numpy().copy()
