"""Attention and hidden units, computed when somebody asks: a block is called again, as far as it takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vitwidgets.anatomy import Attention, Units
from vitwidgets.errors import ModelError
from vitwidgets.hooks import State, at, eval_mode, parts_of, plain_attention, state_of, turn
from vitwidgets.shelf import Precision, Shelf
from vitwidgets.watch import Listener, ReachedError, Scores, Spelled, Weigher


class Weights(Protocol):
    """Where the weights of one attention, or the hidden units of an MLP, come from."""

    def raw(self) -> Tensor:
        """They themselves, as the module uses them, float32."""

    def tensors(self) -> list[Tensor]:
        """What is kept in memory for them."""


@dataclass(frozen=True, eq=False)
class Kept(Weights):
    """Weights, or units, that are kept as they are: those of a trace that comes from a file."""

    values: Tensor

    def raw(self) -> Tensor:
        """What was kept, float32."""
        return self.values.float()

    def tensors(self) -> list[Tensor]:
        """That itself."""
        return [self.values]


@dataclass(frozen=True, eq=False)
class FromScores(Weights):
    """Weights that are the softmax of kept queries and keys."""

    scores: Scores

    def raw(self) -> Tensor:
        """Weights, (1, heads, N, N)."""
        return self.scores.weights()

    def tensors(self) -> list[Tensor]:
        """Queries, keys and bias."""
        return _tensors_of(self.scores)


@dataclass(eq=False, slots=True, repr=False)
class Call:
    """One call of a block, to be repeated: its arguments, the first of them kept compact.

    Parameters
    ----------
    module : nn.Module
        What was called.
    tokens : Tensor
        Its first argument, for one image.
    name : str or None
        The name it was passed by, None if by position.
    args, kwargs
        The others.
    dtype, device
        Of the first argument.
    state : dict
        Of the model's parameters at that time: see `state_of`.
    edits : tuple of callable
        What changed its inside in that pass; each puts its hooks on a stack.
    """

    module: nn.Module
    tokens: Tensor
    name: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dtype: torch.dtype
    device: torch.device
    state: State
    edits: tuple[Callable[[ExitStack], None], ...] = ()

    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        others = [*self.args, *self.kwargs.values()]
        return [self.tokens, *(value for value in others if isinstance(value, Tensor))]

    def until(self, attach: Callable[[ExitStack], None]) -> None:
        """Call the module as before, in eval mode, up to where something attached says that it is enough.

        Parameters
        ----------
        attach : callable
            Puts hooks on what is inside; they go with the stack that it is given. A hook ends the call by
            raising `ReachedError`.

        Raises
        ------
        RuntimeError
            If the module's weights have changed since, so that it would give something else.
        """
        parts = parts_of(self.module)
        now = state_of(parts)
        known = {number: self.state[number] for number in (*now, *map(id, parts)) if number in self.state}
        if known != now:
            raise RuntimeError(
                "the weights of the model, or hooks in it, have changed since this trace (in "
                f"{type(self.module).__name__}), so this part of it can no longer be computed; trace the "
                "image again, or detach() a trace before its model changes"
            )
        tokens = self.tokens.to(device=self.device, dtype=self.dtype)
        args, kwargs = self.args, self.kwargs
        if self.name is None:
            args = (tokens.clone() if tokens is self.tokens else tokens, *args)
        else:
            kwargs = {self.name: tokens.clone() if tokens is self.tokens else tokens, **kwargs}
        with turn, ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(eval_mode(self.module))
            stack.enter_context(plain_attention())
            if any(hasattr(part, "_orig_mod") for part in parts):
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            for edit in self.edits:
                edit(stack)
            attach(stack)
            with suppress(ReachedError):
                self.module(*args, **kwargs)


@dataclass(eq=False, slots=True, repr=False)
class Replay(Weights):
    """Weights that the block computes when it is called again, and as little else as possible.

    Queries and keys are kept once they were asked for, where they say all.

    Parameters
    ----------
    number : int
        Of the block, for messages.
    attention : Attention
        Which of its attentions.
    call : Call
        Of the block.
    count : int
        Number of tokens, `N`.
    precision : {"float16", "float32"}
        How queries and keys are kept.
    plain : bool or None
        Whether it is the softmax of queries times keys and nothing else; None if that is not known.
    """

    number: int
    attention: Attention
    call: Call
    count: int
    precision: Precision
    plain: bool | None = None
    _scores: Scores | None = None
    _looked: bool = False

    @property
    def scores(self) -> Scores | None:
        """Queries and keys, for one image, in sequence order; None where they do not say all.

        Raises
        ------
        ModelError
            If the attention is computed in a way that is not understood.
        """
        if not self._looked:
            self._scores = self.look()
            self._looked = True
        return self._scores

    def look(self) -> Scores | None:
        """Find out how the attention is computed; compact queries and keys if they say all.

        Raises
        ------
        ModelError
            If it is computed in a way that is not understood.
        """
        listener = Listener(one=self.plain is True)
        self._watch(listener)
        heard = listener.heard
        if not heard:
            raise _not_understood(self.number, self.attention.module)
        if len(heard) == 1 and self._is_plain(heard[0]):
            assert isinstance(heard[0], Scores)
            return heard[0].copied(Shelf(self.precision).copy)
        self._check_heard(heard)
        return None

    def raw(self) -> Tensor:
        """Weights as the module uses them: (1, heads, N, N), or one map per window."""
        scores = self.scores
        if scores is not None:
            return scores.weights()
        weigher = Weigher()
        self._watch(weigher)
        maps = weigher.maps
        if self.attention.combine is not None:
            return self.attention.combine(self.attention.module, maps).float().cpu()
        if len(maps) != 1:
            raise RuntimeError(
                f"{type(self.attention.module).__name__} computed {len(maps)} maps of attention when called "
                "again; it is no pure function of its input"
            )
        return maps[0].cpu()

    def tensors(self) -> list[Tensor]:
        """What the block was called with, and what is kept since."""
        return [*self.call.tensors(), *(() if self._scores is None else _tensors_of(self._scores))]

    def _watch(self, mode: TorchFunctionMode) -> None:
        """Call the block again and watch between where queries meet keys; end there."""
        watching = ExitStack()

        def begin(_: Any) -> None:
            watching.close()
            watching.enter_context(mode)

        def end(_: Any) -> None:
            raise ReachedError

        def attach(stack: ExitStack) -> None:
            stack.enter_context(watching)
            first, last = self.attention.span
            stack.callback(at(first, begin).remove)
            stack.callback(at(last, end).remove)

        self.call.until(attach)

    def _is_plain(self, heard: Scores | Spelled) -> bool:
        """Whether queries and keys say all: (1, heads, N, head_dim), and at most a small bias."""
        if isinstance(heard, Spelled) or self.attention.arrange or self.attention.combine:
            return False
        q, k, bias = heard.q, heard.k, heard.bias
        small = bias is None or bias.numel() <= q.numel()
        expected = (1, self.attention.heads, self.count)
        return q.ndim == 4 and q.shape[:3] == expected and k.shape[:3] == expected and small

    def _check_heard(self, heard: list[Scores | Spelled]) -> None:
        name = type(self.attention.module).__name__
        if self.attention.combine is None and sum(isinstance(one, Scores) for one in heard) > 1:
            raise ModelError(
                f"block {self.number} ({name}) computed attention {len(heard)} times; a trace needs exactly "
                "one, or to know how they are combined"
            )
        if self.attention.arrange is not None:
            return
        one = heard[-1]
        shape = (one.q.shape[-2], one.k.shape[-2]) if isinstance(one, Scores) else one.shape[-2:]
        if tuple(shape) != (self.count, self.count):
            raise ModelError(
                f"block {self.number} ({name}) computed attention of {shape[0]} over {shape[1]}, not of its "
                f"{self.count} tokens over each other: there is no token-by-token map"
            )


@dataclass(eq=False, slots=True, repr=False)
class UnitsReplay(Weights):
    """Hidden units that are computed by calling the block again, up to where they pass."""

    units: Units
    call: Call

    def raw(self) -> Tensor:
        """Hidden units, (1, N, hidden) or (1, rows, cols, hidden)."""
        points = (self.units.point, *self.units.also)
        found: dict[int, Tensor] = {}

        def take(number: int, value: Tensor) -> None:
            found[number] = value.detach()
            if len(found) == len(points):
                raise ReachedError

        def attach(stack: ExitStack) -> None:
            for number, point in enumerate(points):
                stack.callback(at(point, partial(take, number)).remove)

        self.call.until(attach)
        units = torch.cat([found[number] for number in range(len(points))], dim=-1)
        return (units if self.units.read is None else self.units.read(units)).float().cpu()

    def tensors(self) -> list[Tensor]:
        """What the block was called with."""
        return self.call.tensors()


def _tensors_of(scores: Scores) -> list[Tensor]:
    return [scores.q, scores.k, *(() if scores.bias is None else (scores.bias,))]


def _not_understood(number: int, module: nn.Module) -> ModelError:
    """Say that a block's attention was not heard."""
    return ModelError(
        f"block {number} ({type(module).__name__}) computed no attention in a way that is understood "
        "(scaled_dot_product_attention, matmul and softmax, or nn.MultiheadAttention)"
    )
