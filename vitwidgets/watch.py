"""Three ways to watch an attention being computed: note it, weigh it, or put other weights in its place.

A `TorchFunctionMode` sees each `scaled_dot_product_attention`, each softmax where attention is spelled out,
and `torch.nn.functional.multi_head_attention_forward` as a whole. Fused attention stays on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vitwidgets.errors import InterventionError

_FUSED = F.scaled_dot_product_attention
_WHOLE = F.multi_head_attention_forward
_SOFTMAX = frozenset({torch.softmax, Tensor.softmax, F.softmax})
_MATMUL = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm})
_EINSUM = torch.einsum


@dataclass(frozen=True, eq=False)
class Scores:
    """What the weights of one attention are computed from: ``softmax(q @ k.T * scale + bias)``.

    Parameters
    ----------
    q, k : Tensor, shape (B, heads, N, head_dim)
        Queries and keys, after their norm and rotation, as the pass had them.
    scale : float
        What ``q @ k.T`` is multiplied by.
    bias : Tensor or None, broadcastable to (B, heads, N, N)
        Added after the scale; a mask has ``-inf``.
    """

    q: Tensor
    k: Tensor
    scale: float
    bias: Tensor | None = None

    def logits(self) -> Tensor:
        """Scores before the softmax, (B, heads, N, N), float32."""
        with torch.no_grad(), torch.autocast(self.q.device.type, enabled=False):
            product = (self.q.float() * self.scale) @ self.k.float().transpose(-2, -1)
            return product if self.bias is None else product + self.bias.float()

    def weights(self) -> Tensor:
        """Attention weights, (B, heads, N, N), float32."""
        return self.logits().softmax(dim=-1)

    def copied(self, copy: Callable[[Tensor], Tensor]) -> Scores:
        """Copy queries and keys, which are views into something larger; the bias goes to the CPU."""
        bias = None if self.bias is None else self.bias.detach().cpu()
        return Scores(copy(self.q), copy(self.k), self.scale, bias)

    def reordered(self, order: Tensor) -> Scores:
        """Take the tokens in another order."""
        bias, count = self.bias, len(order)
        if bias is not None:
            bias = bias.expand(*bias.shape[:-2], count, count)[..., order, :][..., order]
        return Scores(self.q[:, :, order], self.k[:, :, order], self.scale, bias)


def scores_of_fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001 (the signature of scaled_dot_product_attention)
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Scores:
    """Read one call of `scaled_dot_product_attention`."""
    q, k, bias = query, key, attn_mask
    if enable_gqa:
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    if is_causal:
        bias = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    if bias is not None and bias.dtype == torch.bool:
        bias = torch.zeros_like(bias, dtype=q.dtype).masked_fill(~bias, float("-inf"))
    return Scores(q, k, q.shape[-1] ** -0.5 if scale is None else scale, bias)


@dataclass(frozen=True)
class Spelled:
    """An attention that is no fused call: what its softmax gave out.

    Parameters
    ----------
    shape : tuple of int
        Of the softmax; its last two are queries and keys.
    """

    shape: tuple[int, ...]


class ReachedError(Exception):
    """What was looked for has passed: the rest of the call is not needed."""


class Listener(TorchFunctionMode):
    """Notes each attention as the pass computes it, by reference, and changes nothing.

    Parameters
    ----------
    one : bool
        Whether to end the call at the first fused attention, before it is computed.
    """

    def __init__(self, *, one: bool = False) -> None:
        super().__init__()
        self.heard: list[Scores | Spelled] = []
        self._one = one

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _FUSED:
            self.heard.append(scores_of_fused(*args, **kwargs))
            if self._one:
                raise ReachedError
        result = func(*args, **kwargs)
        if func in _SOFTMAX:
            if result.ndim >= 3:
                self.heard.append(Spelled(tuple(result.shape)))
        elif func is _WHOLE:
            tokens = args[0].shape[0]  # multi_head_attention_forward takes (N, B, D)
            self.heard.append(Spelled((tokens, args[1].shape[0])))
        return result


class Weigher(TorchFunctionMode):
    """Computes the weights of each attention: where it is spelled out, those that its values really get."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []
        self._trail = _Trail()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _FUSED:
            self.maps.append(scores_of_fused(*args, **kwargs).weights())
        elif func is _WHOLE:
            output, weights = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
            assert isinstance(weights, Tensor)
            self.maps.append(weights.float())
            return output, None
        return self._trail.follow(func, args, kwargs, lambda weights: self.maps.append(weights.float()))


class Substitute(TorchFunctionMode):
    """Puts given weights in the place of those that the pass computes.

    Parameters
    ----------
    weights : Tensor
        As `Weigher` found them, combined where an attention computes several maps.
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self._weights: Tensor | None = weights
        self._trail = _Trail()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _FUSED:
            values = args[2] if len(args) > 2 else kwargs["value"]
            return self._apply(values, like=args[0] if args else kwargs["query"])
        if func is _WHOLE:
            with self:
                return _in_parts(*args, **kwargs), None
        return self._trail.follow(func, args, kwargs, lambda weights: self._take().to(weights))

    def _take(self) -> Tensor:
        """Give the weights once: of several maps over the same values the others then add nothing."""
        given, self._weights = self._weights, None
        if given is None:
            raise RuntimeError("the attention was computed more often than when it was traced")
        return given

    def _apply(self, values: Tensor, like: Tensor) -> Tensor:
        if self._weights is None:
            return values.new_zeros(*like.shape[:-1], values.shape[-1])
        weights = self._take().to(values.device)
        if weights.shape[-3] != values.shape[-3] and values.ndim == 4:
            values = values.repeat_interleave(weights.shape[-3] // values.shape[-3], dim=-3)
        return (weights @ values.float()).to(values.dtype)


class HeadEdit(TorchFunctionMode):
    """Changes what one head gives to all tokens, or looks at it.

    What is changed are the sums of values, not the weights, so that other weights may be put in their place.

    Parameters
    ----------
    head, heads : int
        Which, of how many.
    edit : callable
        From what the head gives, (B, N, head_dim) or with windows before their tokens, to what it is to give.
    split : callable, optional
        As `Attention.split`.

    Attributes
    ----------
    edited : bool
        Whether it has met the head yet.
    """

    def __init__(
        self,
        head: int,
        heads: int,
        edit: Callable[[Tensor], Tensor],
        split: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.edited = False
        self._head, self._heads, self._edit = head, heads, edit
        self._split = split or (lambda values: values)
        self._trail = _Trail()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is _FUSED:
            return self._changed(func(*args, **kwargs), self._split)
        if func is _WHOLE:
            with self:
                output = _in_parts(*args, **kwargs)
            return output, func(*args, **kwargs)[1] if kwargs.get("need_weights", True) else None
        consumed: list[Tensor] = []
        result = self._trail.follow(func, args, kwargs, consumed.append)
        if not consumed:
            return result
        if func is _EINSUM:
            axes = _axes(*args, of=consumed[0])
            return self._changed(result, lambda values: values.movedim(axes, (-3, -2)))
        return self._changed(result, self._split)

    def _changed(self, values: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """Change one head of all: in a copy, of which `split` gives a view (..., heads, N, head_dim)."""
        changed = values.clone()
        heads = split(changed)
        if heads.ndim < 4 or heads.shape[-3] != self._heads:
            raise InterventionError(
                f"no head can be told apart in the sums of values of shape {tuple(values.shape)}: of "
                f"{self._heads} heads a shape (batch, {self._heads}, tokens, head width) was expected"
            )
        self.edited = True
        one = heads.select(-3, self._head)
        one.copy_(self._edit(one))
        return changed


def _in_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _width: int,
    heads: int,
    in_weight: Tensor | None,
    in_bias: Tensor | None,
    bias_k: Tensor | None,
    _bias_v: Tensor | None,
    add_zero_attn: bool,
    _dropout: float,
    out_weight: Tensor,
    out_bias: Tensor | None,
    *,
    key_padding_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    **_others: Any,
) -> Tensor:
    """Do what `multi_head_attention_forward` does, (N, B, D), with its attention as a call of its own."""
    if bias_k is not None or add_zero_attn:
        raise InterventionError("this nn.MultiheadAttention adds keys of its own (bias_k, add_zero_attn)")
    weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    if in_weight is not None and not use_separate_proj_weight:
        weights = in_weight.chunk(3)
    biases = (None, None, None) if in_bias is None else in_bias.chunk(3)
    q, k, v = (
        F.linear(x, weight, bias).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)  # (B, heads, N, head_dim)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    mask = None if attn_mask is None else _added(attn_mask, q)
    if mask is not None and mask.ndim == 3:
        mask = mask.unflatten(0, (-1, heads))
    if key_padding_mask is not None:
        padding = _added(key_padding_mask, q)[:, None, None]
        mask = padding if mask is None else mask + padding
    mixed = F.scaled_dot_product_attention(q, k, v, mask)
    return F.linear(mixed.permute(2, 0, 1, 3).flatten(2), out_weight, out_bias)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Make what is added to the scores of a mask that is True where nothing is to be seen."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def _axes(equation: str, *operands: Tensor, of: Tensor) -> tuple[int, int]:
    """Find, from the end, the axes of heads and queries in what an einsum makes of weights (..., N, N)."""
    given, _, made = equation.replace(" ", "").partition("->")
    number = next(number for number, operand in enumerate(operands) if operand is of)
    labels = given.split(",")[number]
    head, query = labels[-3], labels[-2]
    if head not in made or query not in made:
        raise InterventionError(f"no head can be told apart in what einsum({equation!r}) makes")
    return made.index(head) - len(made), made.index(query) - len(made)


class _Trail:
    """Follows what is made of a softmax to the product with the values that consumes it."""

    def __init__(self) -> None:
        self._derived: dict[int, Tensor] = {}  # holding on to them keeps their ids unique

    def follow(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], consume: Callable[[Tensor], Any]
    ) -> Any:
        """Run one call; hand the weights to `consume` where they meet the values, and use what it returns."""
        if func in _MATMUL and self._knows(args[0]):
            other = consume(args[0])
            return func(*(args if other is None else (other, *args[1:])), **kwargs)
        if func is _EINSUM and any(self._knows(operand) for operand in args[1:]):
            operands = [
                operand if not self._knows(operand) or (other := consume(operand)) is None else other
                for operand in args[1:]
            ]
            return func(args[0], *operands, **kwargs)
        result = func(*args, **kwargs)
        starts = func in _SOFTMAX and result.ndim >= 3
        if isinstance(result, Tensor) and (starts or any(map(self._knows, args))):
            self._derived[id(result)] = result
        return result

    def _knows(self, value: Any) -> bool:
        return isinstance(value, Tensor) and id(value) in self._derived
