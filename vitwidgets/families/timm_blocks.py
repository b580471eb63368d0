"""Read the parts of a timm block by their names: timm's families differ in few of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from vitwidgets.anatomy import Attention, Block, Point, Units
from vitwidgets.errors import ModelError

_LAST_LINEAR = "fc2", "down_proj", "c_proj", "w3", "w2"  # of an MLP, in the order of who has both


def column(modules: Iterable[nn.Module]) -> tuple[Block, ...]:
    """Find where to watch each block of a column.

    Parameters
    ----------
    modules : iterable of nn.Module
        The blocks, in order.

    Raises
    ------
    ModelError
        If there is none, or one of them is not understood.
    """
    blocks = tuple(block(number, module) for number, module in enumerate(modules, start=1))
    if not blocks:
        raise ModelError("the model has no blocks: there is nothing to trace")
    return blocks


def block(number: int, module: Any) -> Block:
    """Find where to watch a block.

    Parameters
    ----------
    number : int
        Which block it is, from 1: for the error message.
    module : nn.Module
        The block.

    Raises
    ------
    ModelError
        If the block has no multi-head attention, or no MLP; names what is missing.
    """
    if hasattr(module, "mlp_act") and hasattr(module, "in_split"):
        return Block(module, (_in_parallel(module),), _units_in_parallel(module))
    attentions = [branch.attn for branch in getattr(module, "attns", [module]) if hasattr(branch, "attn")]
    if not attentions or not all(hasattr(attn, "num_heads") for attn in attentions):
        raise _refusal(number, module, "no multi-head attention (.attn)")
    mlps = [branch.mlp for branch in getattr(module, "ffns", [module]) if hasattr(branch, "mlp")]
    units = _units(mlps)
    if units is None:
        raise _refusal(number, module, "no MLP with hidden units (.mlp.fc2 or .mlp.w2)")
    return Block(module, tuple(map(_attention, attentions)), units)


def _refusal(number: int, module: nn.Module, problem: str) -> ModelError:
    return ModelError(
        f"block {number} ({type(module).__name__}) cannot be traced: it has {problem}; "
        "a trace needs an attention and an MLP in each block"
    )


def _attention(attn: Any) -> Attention:
    combine = _difference if hasattr(attn, "lambda_init") else None
    signed = combine is not None or hasattr(attn, "proj_w")  # talking heads mix the weights of all heads
    if not (hasattr(attn, "k_norm") and hasattr(attn, "proj")):
        return Attention.of(attn, attn.num_heads, combine=combine, signed=signed)
    span = Point(attn.k_norm, "output"), Point(attn.proj, "input")
    return Attention(attn, attn.num_heads, span, combine, signed=signed)


def _difference(attn: Any, maps: list[Tensor]) -> Tensor:
    """Combine the two maps of differential attention as the module does; spelled out, it gives one only."""
    if len(maps) == 1:
        return maps[0]
    first, second = maps
    amount: Tensor = attn._compute_lambda().detach()
    return first - amount.type_as(second) * second


def _in_parallel(module: Any) -> Attention:
    """Find the attention of a block that computes attention and MLP from one projection."""
    span = Point(module.k_norm, "output"), Point(module.mlp_act, "input")
    combine = _difference if hasattr(module, "lambda_init") else None
    return Attention(module, module.num_heads, span, combine)


def _units_in_parallel(module: Any) -> Units:
    return Units(Point(module.mlp_act, "output"), module.in_split[0])


def _units(mlps: list[Any]) -> Units | None:
    lasts = [_last_linear(mlp) for mlp in mlps]
    if not lasts or None in lasts:
        return None
    points = tuple(Point(last, "input") for last in lasts)
    count = sum(_width(last) for last in lasts)
    return Units(points[0], count, also=points[1:])


def _last_linear(mlp: Any) -> Any:
    return next((getattr(mlp, name) for name in _LAST_LINEAR if hasattr(mlp, name)), None)


def _width(last: Any) -> int:
    """Count what a linear layer takes; some wrap their linear layer in one that clips."""
    return int(getattr(last, "linear", last).in_features)
