"""What families of several libraries share: attention and units within a block, features of an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vitwidgets.anatomy import Attention, Point, Units, plain
from vitwidgets.errors import ModelError

_HEADS = "num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads"
_MLPS = "mlp", "ffn", "feed_forward", "feedforward", "ff", "mlp_block", "fc"
_FEATURES = "logits", "image_embeds", "pooler_output", "last_hidden_state"


def heads_of(module: nn.Module) -> int | None:
    """Number of heads that a module says it has."""
    counts = (getattr(module, name, None) for name in _HEADS)
    return next((count for count in counts if isinstance(count, int) and count > 0), None)


def attention_in(block: nn.Module) -> nn.Module | None:
    """Find the attention of a block: the innermost of its modules so named that knows its heads."""
    found: nn.Module | None = None
    for name, module in block.named_modules():
        named = "att" in name.rpartition(".")[2].lower() or "att" in type(module).__name__.lower()
        within = found is None or any(module is part for part in found.modules())
        if module is not block and named and within and heads_of(module) is not None:
            found = module
    return found


def attention_of(module: nn.Module) -> Attention:
    """Watch a whole attention module that knows its heads."""
    heads = heads_of(module)
    assert heads is not None
    return Attention.of(module, heads)


def units_in(block: nn.Module, width: int) -> Units | None:
    """Find the hidden units of a block's MLP: what enters the last linear layer that gives tokens again."""
    mlp = next((module for name, module in block.named_children() if name.lower() in _MLPS), None)
    if mlp is None:
        mlp = next((part for part in block.children() if "mlp" in type(part).__name__.lower()), None)
    return None if mlp is None else units_of(mlp, width)


def units_of(mlp: nn.Module, width: int) -> Units | None:
    """Find the hidden units of an MLP, whose tokens have `width` numbers."""
    linears = [module for module in mlp.modules() if isinstance(module, nn.Linear)]
    last = next((linear for linear in reversed(linears) if linear.out_features == width), None)
    if last is None or len(linears) < 2:
        return None
    return Units(Point(last, "input"), last.in_features)


def turned(value: Any) -> Tensor:
    """Read tokens that pass as (N, B, D)."""
    return plain(value).transpose(0, 1)


def one_by_one(model: nn.Module, x: Tensor) -> Any:
    """Refuse a batch whose images cannot be told apart: they lie along the second axis of every tensor.

    Raises
    ------
    ModelError
        If there are several images.
    """
    if len(x) > 1:
        raise ModelError(
            f"the blocks of {type(model).__name__} take tokens as (N, B, D); trace its images one by one, or "
            "build it with batch_first=True"
        )
    return model(x)


def features(output: Any, prefix: Sequence[str] = ()) -> Tensor:
    """Logits or features (B, n) of what a model returns.

    Parameters
    ----------
    output : Any
        A tensor; several things, of which the first counts; or an object or a dict that holds logits, pooled
        features or the last layer.
    prefix : sequence of str
        Names of the prefix tokens: of a last layer the class token is taken, else the mean of the patches.

    Raises
    ------
    TypeError
        If none of these is in it.
    """
    for name in _FEATURES:
        value = output.get(name) if isinstance(output, dict) else getattr(output, name, None)
        if isinstance(value, Tensor):
            return _rows(value, prefix)
    if isinstance(output, Tensor):
        return _rows(output, prefix)
    if isinstance(output, (tuple, list)) and output:
        return features(output[0], prefix)
    maps = getattr(output, "feature_maps", None)
    if maps:
        return _rows(maps[-1].flatten(2).transpose(1, 2), ())
    raise TypeError(f"the model returned {type(output).__name__}, with no logits or features that are known")


def _rows(value: Tensor, prefix: Sequence[str]) -> Tensor:
    if value.ndim == 4:
        value = value.flatten(2).transpose(1, 2)
    if value.ndim == 3:
        value = value[:, 0] if "cls" in prefix else value[:, len(prefix) :].mean(dim=1)
    return value
