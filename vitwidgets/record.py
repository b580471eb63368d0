"""What one forward pass leaves behind of one image, and how the rest is computed from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Attention, Grid, Point, Units
from vitwidgets.watch import Scores, Weigher

Precision: TypeAlias = Literal["float16", "float32"]

_HALF = frozenset({torch.float16, torch.bfloat16})


class Shelf:
    """Keeps compact copies on the CPU, in float16 or float32; half-precision tensors keep their dtype.

    All copies of a trace lie in one piece of memory as far as they fit: many small ones between the large
    temporaries of a pass would keep the freed memory around them from being used again.

    Parameters
    ----------
    precision : {"float16", "float32"}
        Of the copies. Values beyond 65,504 become infinite in float16: `Record.overflowed` says so.
    """

    def __init__(self, precision: Precision) -> None:
        self._half = precision == "float16"
        self._piece = torch.empty(0)
        self._used = 0

    def dtype_of(self, x: Tensor) -> torch.dtype:
        """Dtype that a copy of `x` has."""
        if x.dtype in _HALF:
            return x.dtype
        return torch.float16 if self._half else torch.float32

    def reserve(self, numel: int, like: Tensor) -> None:
        """Make room for `numel` numbers; memory that is never written to is never taken."""
        self._piece = torch.empty(numel, dtype=self.dtype_of(like))

    def copy(self, x: Tensor) -> Tensor:
        """Copy a tensor; called within ``torch.no_grad``."""
        dtype, count = self.dtype_of(x), x.numel()
        end = self._used + count
        if dtype != self._piece.dtype or end > self._piece.numel():
            return x.to(dtype=dtype, copy=True).cpu()
        place = self._piece[self._used : end].view(x.shape)
        self._used = end
        return place.copy_(x)


class Weights(Protocol):
    """Where the weights of one attention come from."""

    def raw(self) -> Tensor:
        """Weights as the module uses them, float32."""

    def tensors(self) -> list[Tensor]:
        """What is kept in memory for them."""


@dataclass(frozen=True, eq=False)
class FromScores(Weights):
    """Weights that are the softmax of kept queries and keys."""

    scores: Scores

    def raw(self) -> Tensor:
        """Weights, (1, heads, N, N)."""
        return self.scores.weights()

    def tensors(self) -> list[Tensor]:
        """Queries, keys and bias."""
        bias = [] if self.scores.bias is None else [self.scores.bias]
        return [self.scores.q, self.scores.k, *bias]


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
class Call:
    """One call of a module, to be repeated: its arguments, the first of them kept compact.

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
    """

    module: nn.Module
    tokens: Tensor
    name: str | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dtype: torch.dtype
    device: torch.device
    state: tuple[tuple[int, int], ...] = field(default=())

    def tensors(self) -> list[Tensor]:
        """All tensors among the arguments."""
        others = [*self.args, *self.kwargs.values()]
        return [self.tokens, *(value for value in others if isinstance(value, Tensor))]

    def again(self) -> Any:
        """Call the module as before, in eval mode.

        Raises
        ------
        RuntimeError
            If the module's weights have changed since, so that it would give something else.
        """
        if state_of(self.module) != self.state:
            raise RuntimeError(
                f"the weights of the model have changed since this trace (in {type(self.module).__name__}), "
                "so this part of it can no longer be computed; trace the image again, or save() a trace "
                "before its model changes"
            )
        tokens = self.tokens.to(device=self.device, dtype=self.dtype)
        args, kwargs = self.args, self.kwargs
        if self.name is None:
            args = (tokens, *args)
        else:
            kwargs = {self.name: tokens, **kwargs}
        with torch.no_grad(), eval_mode(self.module):
            return self.module(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Replay(Weights):
    """Weights that are computed by calling the attention again: any kind, without keeping heads x N x N."""

    attention: Attention
    call: Call

    def raw(self) -> Tensor:
        """Weights as the module uses them: (1, heads, N, N), or one map per window."""
        weigher = Weigher()
        with plain_attention(), weigher:
            self.call.again()
        maps = weigher.maps
        if self.attention.combine is not None:
            return self.attention.combine(self.attention.module, maps).float().cpu()
        if len(maps) != 1:
            raise RuntimeError(
                f"{type(self.attention.module).__name__} computed {len(maps)} maps of attention when called "
                "again, and one in the traced pass; it is no pure function of its input"
            )
        return maps[0].cpu()

    def tensors(self) -> list[Tensor]:
        """What the attention was called with."""
        return self.call.tensors()


class _ReachedError(Exception):
    """The units passed: the rest of the call is not needed."""


@dataclass(frozen=True, eq=False)
class UnitsReplay(Weights):
    """Hidden units that are computed by calling the MLP again, up to where they pass."""

    units: Units
    call: Call

    def raw(self) -> Tensor:
        """Hidden units, (1, N, hidden) or (1, rows, cols, hidden)."""
        points = (self.units.point, *self.units.also)
        found: dict[int, Tensor] = {}

        def take(number: int, value: Tensor) -> None:
            found[number] = value.detach()
            if len(found) == len(points):
                raise _ReachedError

        with ExitStack() as stack:
            for number, point in enumerate(points):
                stack.callback(at(point, partial(take, number)).remove)
            with suppress(_ReachedError):
                self.call.again()
        units = torch.cat([found[number] for number in range(len(points))], dim=-1)
        return (units if self.units.read is None else self.units.read(units)).float().cpu()

    def tensors(self) -> list[Tensor]:
        """What the MLP was called with."""
        return self.call.tensors()


@dataclass(eq=False)
class Record:
    """What one pass leaves behind of one image: tensors on the CPU.

    Layers are numbered ``0..L``; what was not asked for is absent.

    Parameters
    ----------
    depth : int
        Number of blocks, `L`.
    layers : dict of int to Tensor
        The residual stream, (N, D) each, in the order of the patch grid.
    grids : list of (int, int)
        Rows and columns of the patch grid at each layer.
    widths : list of int
        Width of each layer.
    attention : dict of int to sequence of Weights
        Of each block; several side by side share its heads.
    units : dict of int to Weights
        Of each block's MLP.
    heads, hidden : list of int
        Of each block, with a 0 for layer 0 and where there is none.
    output : Tensor, shape (classes,)
        Logits, or features where there is no classifier.
    missing : dict
        ``missing[field][layer]``: why something is absent, as a clause for a reader.
    was_training : bool
        Whether some part of the model was in train mode and had to be switched.
    precision : {"float16", "float32"}
        How it is kept.
    anatomy : Anatomy or None
        Of the model; None if the record comes from a file.
    order : Tensor or None
        Sequence index of each token of the patch grid, where the model has them in another order.
    prefix : int
        Number of prefix tokens.
    images : int
        How many images the pass saw.
    """

    depth: int
    grids: list[Grid]
    widths: list[int]
    heads: list[int]
    hidden: list[int]
    output: Tensor
    layers: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, tuple[Weights, ...]] = field(default_factory=dict)
    units: dict[int, Weights] = field(default_factory=dict)
    missing: dict[str, dict[int, str]] = field(default_factory=dict)
    was_training: bool = False
    precision: Precision = "float32"
    anatomy: Anatomy | None = None
    order: Tensor | None = None
    prefix: int = 0
    images: int = 1

    def weights(self, layer: int) -> Tensor:
        """Attention of block `layer`, (heads, N, N), float32, in the order of the patch grid."""
        parts = self.anatomy.blocks[layer - 1].attentions if self.anatomy else ()
        maps = []
        for number, weights in enumerate(self.attention[layer]):
            raw = weights.raw()
            arrange = parts[number].arrange if parts and not isinstance(weights, Kept) else None
            found = raw.reshape(-1, *raw.shape[-2:]) if arrange is None else arrange(raw, self.grids[layer])
            kept_in_order = isinstance(weights, (FromScores, Kept))
            maps.append(
                found if kept_in_order or self.order is None else found[:, self.order][:, :, self.order]
            )
        return maps[0] if len(maps) == 1 else torch.cat(maps)

    def hidden_units(self, layer: int) -> Tensor:
        """Hidden units of block `layer`, (N, hidden), float32, in the order of the patch grid."""
        units = self.units[layer]
        found = units.raw()
        found = found.reshape(-1, found.shape[-1])
        absent = self.prefix + self.grids[layer][0] * self.grids[layer][1] - len(found)
        if absent > 0:  # prefix tokens that join in a later block
            found = torch.cat([found.new_zeros(absent, found.shape[1]), found])
        return found if self.order is None or isinstance(units, Kept) else found[self.order]

    def tensors(self) -> Iterator[Tensor]:
        """All that is kept in memory."""
        yield from self.layers.values()
        for parts in self.attention.values():
            for weights in parts:
                yield from weights.tensors()
        for units in self.units.values():
            yield from units.tensors()
        yield self.output

    def overflowed(self) -> bool:
        """Whether a layer was too large for float16 (or was not finite to begin with)."""
        ends = [end for t in self.layers.values() if t.dtype == torch.float16 for end in torch.aminmax(t)]
        return bool(ends) and not bool(torch.stack(ends).isfinite().all())

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors take, each counted once."""
        return sum({tensor.data_ptr(): tensor.nbytes for tensor in self.tensors()}.values())


def at(point: Point, action: Any, *, with_call: bool = False) -> torch.utils.hooks.RemovableHandle:
    """Hand what passes a point to an action, whose result is not used: a hook's would replace the value.

    With `with_call` the action is given all positional and keyword arguments of the module.
    """
    if point.side == "input":

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if with_call:
                action(args, kwargs)
            else:
                action(args[0] if args else next(iter(kwargs.values())))

        return point.module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        action(output)

    return point.module.register_forward_hook(after)


def state_of(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Tell where a module's parameters are and how often they were written: it changes when they do."""
    return tuple(
        (p.data_ptr(), 0 if p.is_inference() else p._version)
        for part in _parts(module)
        for p in part._parameters.values()
        if p is not None
    )


def _parts(module: nn.Module) -> list[nn.Module]:
    """List a module and all that is in it; a walk that takes a tenth of the time of `modules`."""
    found = [module]
    for part in found:
        found.extend(child for child in part._modules.values() if child is not None)
    return found


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[bool]:
    """Eval mode for a while; every module gets its own flag back, whatever happens. Says if any changed."""
    training = [part for part in _parts(model) if part.training]
    try:
        if training:
            model.eval()
        yield bool(training)
    finally:
        for module in training:
            module.training = True


@contextmanager
def plain_attention() -> Iterator[None]:
    """Turn off the fast path of `nn.MultiheadAttention`, which computes attention where nothing sees it."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
