"""Change what a block computes in one pass, and nothing in the model: ablations and transplants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Point, plain
from vitwidgets.errors import InterventionError
from vitwidgets.watch import HeadEdit

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

Fill: TypeAlias = Literal["zero", "mean"]
Place: TypeAlias = "int | str | tuple[int, int]"


@dataclass(frozen=True)
class Ablation:
    """Take one thing out of a layer: name exactly one of `neuron`, `token`, `head` and `unit`.

    Parameters
    ----------
    layer : int
        ``0..L`` for a neuron or a token of the residual stream, which is changed where it leaves block
        `layer` (layer 0: where it enters the first); ``1..L`` for a head or a hidden unit of that block.
    neuron : int, optional
        Coordinate of the residual stream, of all tokens.
    token : int, str or (int, int), optional
        A token, all its neurons: a patch index, (row, column), or a prefix token's name.
    head : int, optional
        Attention head: what it adds to all tokens.
    unit : int, optional
        Hidden unit of the MLP, of all tokens.
    fill : {"zero", "mean"}
        What stands in its place: 0, or its mean over all tokens (of a token: the mean of all patch tokens).
        Of a head, the mean of what it gives to all tokens.
    """

    layer: int
    neuron: int | None = None
    token: Place | None = None
    head: int | None = None
    unit: int | None = None
    fill: Fill = "zero"

    def __post_init__(self) -> None:
        _exactly_one(self, ("neuron", "token", "head", "unit"))
        if self.fill not in ("zero", "mean"):
            raise ValueError(f'fill must be "zero" or "mean", got {self.fill!r}')

    def __str__(self) -> str:
        return f"{_what(self)} of layer {self.layer} set to {'0' if self.fill == 'zero' else 'its mean'}"


@dataclass(frozen=True, eq=False)
class Transplant:
    """Put activations of another pass in the place of this one's ("activation patching").

    Parameters
    ----------
    source : Trace
        The other pass, of the same model on an input of the same size.
    layer : int
        ``0..L``, or ``1..L`` for a hidden unit.
    tokens : sequence of tokens, optional
        Only those, all their neurons; each a patch index, (row, column), or a prefix token's name.
    neuron : int, optional
        Only this coordinate of the residual stream, of all tokens.
    unit : int, optional
        Only this hidden unit of the MLP, of all tokens. At most one of the three; by default the whole layer.
    """

    source: Trace
    layer: int
    tokens: Sequence[Place] | None = None
    neuron: int | None = None
    unit: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("tokens", "neuron", "unit") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"a transplant takes at most one of tokens, neuron and unit, got {given}")
        if self.tokens is not None and (
            isinstance(self.tokens, str) or not isinstance(self.tokens, Sequence)
        ):
            raise TypeError(f"tokens must be a list of tokens, got {self.tokens!r}")

    def __str__(self) -> str:
        return f"{_what(self)} of layer {self.layer} taken from another image"


Intervention: TypeAlias = "Ablation | Transplant"
Attach: TypeAlias = Callable[[ExitStack], None]


@dataclass(frozen=True, eq=False)
class Edits:
    """Interventions, ready for one pass.

    Parameters
    ----------
    stream : tuple of callable
        What changes the residual stream between the blocks; each puts its hooks on a stack.
    inside : dict of int to tuple of callable
        By block, what changes its inside: this also holds when the block is called again.
    notes : tuple of str
        What was changed, for people.
    """

    stream: tuple[Attach, ...] = ()
    inside: dict[int, tuple[Attach, ...]] | None = None
    notes: tuple[str, ...] = ()

    def attach(self, stack: ExitStack) -> None:
        """Put all hooks on a stack."""
        for one in self.stream:
            one(stack)
        for block in self.inside or {}:
            for one in self.of(block):
                one(stack)

    def of(self, block: int) -> tuple[Attach, ...]:
        """What changes the inside of a block."""
        return (self.inside or {}).get(block, ())


UNCHANGED = Edits()
"""No intervention."""


def prepare(
    anatomy: Anatomy, interventions: Sequence[Intervention], index: Callable[[Any], int], tokens: int
) -> Edits:
    """Make interventions ready for a pass of a model.

    Parameters
    ----------
    anatomy : Anatomy
        Of the model.
    interventions : sequence of Ablation or Transplant
        In the order in which they act.
    index : callable
        From a token as people name it to its place in the sequence.
    tokens : int
        Number of tokens, `N`.

    Raises
    ------
    InterventionError
        If the model has no such thing, or keeps it where it cannot be changed.
    IndexError
        If a layer, neuron, head, unit or token is out of range.
    """
    stream: list[Attach] = []
    inside: dict[int, tuple[Attach, ...]] = {}
    for one in interventions:
        if not isinstance(one, (Ablation, Transplant)):
            raise TypeError(f"expected an Ablation or a Transplant, got {type(one).__name__}")
        _within(one.layer, len(anatomy.blocks) + 1, "layer")
        if isinstance(one, Transplant):
            _check_source(one, tokens)
        head = one.head if isinstance(one, Ablation) else None
        if head is None and one.unit is None:
            stream.append(_on_stream(anatomy, one, _edit_of_stream(one, index, len(anatomy.prefix), tokens)))
            continue
        if one.layer == 0:
            raise InterventionError("layer 0 is the input: it has no heads and no MLP to change")
        made = _on_head(anatomy, one) if head is not None else _on_unit(anatomy, one, tokens)
        inside[one.layer] = (*inside.get(one.layer, ()), made)
    return Edits(tuple(stream), inside, tuple(str(one) for one in interventions))


# ---------------------------------------------------------------- the residual stream


def _edit_of_stream(
    one: Intervention, index: Callable[[Any], int], prefix: int, count: int
) -> Callable[[Tensor], Tensor]:
    """Make what changes tokens (B, N, D); where they lie on a map, (B, rows, cols, D), only neurons."""
    if isinstance(one, Transplant):
        other = torch.from_numpy(one.source.layer(one.layer).copy())
        rows = None if one.tokens is None else [index(token) for token in one.tokens]

        def transplant(tokens: Tensor) -> Tensor:
            given = other.to(tokens)
            if given.shape != (tokens.shape[1:-1].numel(), tokens.shape[-1]):
                raise InterventionError(
                    f"layer {one.layer} of the other pass has shape {tuple(given.shape)}, of this one "
                    f"{tuple(tokens.shape[1:])}; a transplant needs the same model and input size"
                )
            changed = tokens.clone()
            if one.neuron is not None:
                _within(one.neuron, tokens.shape[-1], "neuron")
                changed[..., one.neuron] = given[:, one.neuron].view(tokens.shape[1:-1])
            elif rows is not None:
                _check_sequence(tokens, count, one.layer)
                changed[:, rows] = given[rows]
            else:
                changed[:] = given.view(tokens.shape[1:])
            return changed

        return transplant
    row = None if one.token is None else index(one.token)

    def ablate(tokens: Tensor) -> Tensor:
        changed = tokens.clone()
        if row is not None:
            _check_sequence(tokens, count, one.layer)
            changed[:, row] = tokens[:, prefix:].mean(dim=1) if one.fill == "mean" else 0
            return changed
        neuron = one.neuron or 0
        _within(neuron, tokens.shape[-1], "neuron")
        changed[..., neuron] = _mean(tokens[..., neuron]) if one.fill == "mean" else 0
        return changed

    return ablate


def _on_stream(anatomy: Anatomy, one: Intervention, edit: Callable[[Tensor], Tensor]) -> Attach:
    block = anatomy.blocks[max(one.layer, 1) - 1]
    if anatomy.read is not plain or block.read is not None or anatomy.order is not None:
        raise InterventionError(
            f"the tokens of {anatomy.family} pass in a layout of their own; neurons and tokens can be "
            "changed in models that pass them as one sequence (batch, tokens, width)"
        )
    point = Point(block.module, "output" if one.layer else "input")
    return lambda stack: stack.callback(_change(point, edit).remove)  # type: ignore[return-value]


def _change(point: Point, edit: Callable[[Tensor], Tensor]) -> torch.utils.hooks.RemovableHandle:
    """Change what passes a point: a tensor, or the first of several things."""

    def first(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)([first(value[0]), *value[1:]])
        return edit(value)

    if point.side == "input":

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (first(args[0]), *args[1:]), kwargs
            name = next(iter(kwargs))
            return args, {**kwargs, name: first(kwargs[name])}

        return point.module.register_forward_pre_hook(before, with_kwargs=True)
    return point.module.register_forward_hook(lambda _module, _args, output: first(output))


# ---------------------------------------------------------------- within a block


def _on_unit(anatomy: Anatomy, one: Intervention, count: int) -> Attach:
    block = anatomy.blocks[one.layer - 1]
    if block.units is None:
        raise InterventionError(f"block {one.layer} has no MLP to change: {block.no_units or 'it has none'}")
    if block.units.also or block.units.read is not None:
        raise InterventionError(f"block {one.layer} has several MLPs, or units in a layout of their own")
    unit = one.unit or 0
    _within(unit, block.units.count, f"layer {one.layer} has no MLP neuron", "its neurons")
    other = _units_of(anatomy, one, block.units.count) if isinstance(one, Transplant) else None
    zero = isinstance(one, Ablation) and one.fill == "zero"

    def edit(units: Tensor) -> Tensor:
        changed, column = units.clone(), units[..., unit]
        if not zero and units.ndim == 3 and anatomy.read is not plain:
            _check_sequence(units, count, one.layer)
        if other is not None:
            changed[..., unit] = other[:, unit].to(units).view(column.shape[1:])
        else:
            changed[..., unit] = 0 if zero else _mean(column)
        return changed

    point = block.units.point
    return lambda stack: stack.callback(_change(point, edit).remove)  # type: ignore[return-value]


def _units_of(anatomy: Anatomy, one: Transplant, count: int) -> Tensor:
    """Give the hidden units of the other pass, in the order in which the block has its tokens."""
    found = torch.from_numpy(one.source.mlp(one.layer).copy())
    if found.shape[1] != count:
        raise InterventionError(
            f"block {one.layer} of the other pass has {found.shape[1]} MLP neurons, of this one {count}; a "
            "transplant needs the same model"
        )
    if anatomy.order is None:
        return found
    return found[anatomy.order(*one.source.grid).argsort()]


def _on_head(anatomy: Anatomy, one: Intervention) -> Attach:
    assert isinstance(one, Ablation)
    block, head = anatomy.blocks[one.layer - 1], one.head or 0
    if len(block.attentions) != 1 or block.attentions[0].arrange is not None:
        reason = block.no_attention or "it has several attentions, or attends in windows"
        raise InterventionError(f"a head of block {one.layer} cannot be taken out: {reason}")
    attention = block.attentions[0]
    if isinstance(attention.module, nn.MultiheadAttention):
        raise InterventionError(
            f"block {one.layer} attends by nn.MultiheadAttention, which gives its heads only together; "
            "neurons, tokens and MLP neurons can be taken out"
        )
    _within(head, attention.heads, f"layer {one.layer} has no head", "its heads")
    return lambda stack: _during(attention.module, stack, lambda: HeadEdit(head, mean=one.fill == "mean"))


def _during(module: nn.Module, stack: ExitStack, make: Callable[[], HeadEdit]) -> None:
    """Edit a head while an attention is computed."""
    open_now = ExitStack()
    stack.callback(open_now.close)
    last: list[HeadEdit] = []

    def begin(_module: nn.Module, _args: Any) -> None:
        open_now.close()
        last[:] = [open_now.enter_context(make())]

    def end(_module: nn.Module, _args: Any, _output: Any) -> None:
        open_now.close()
        if not last[0].edited:
            raise InterventionError(
                f"no head can be taken out of {type(module).__name__}: its values are summed in a way in "
                "which no head can be told apart"
            )

    stack.callback(module.register_forward_pre_hook(begin).remove)
    stack.callback(module.register_forward_hook(end).remove)


def _mean(column: Tensor) -> Tensor:
    """Mean over the tokens of each image, in a shape that spreads over them."""
    return column.flatten(1).mean(dim=1).view(-1, *[1] * (column.ndim - 1))


# ---------------------------------------------------------------- checks


def _exactly_one(one: Any, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(one, name) is not None]
    if len(given) != 1:
        raise ValueError(f"name exactly one of {', '.join(names)}, got {given or 'none'}")


def _what(one: Any) -> str:
    names = ("neuron", "token", "tokens", "head", "unit")
    for field in fields(one):
        value = getattr(one, field.name)
        if field.name in names and value is not None:
            return f"{'MLP neuron' if field.name == 'unit' else field.name} {value}"
    return "all tokens"


def _within(value: int, count: int, there_is_no: str, things: str = "") -> None:
    if isinstance(value, bool) or not 0 <= value < count:
        named = f"{there_is_no} {value}" if things else f"there is no {there_is_no} {value}"
        raise IndexError(f"{named}: {things or there_is_no + 's'} are 0..{count - 1}")


def _check_sequence(tokens: Tensor, count: int, layer: int) -> None:
    if tokens.ndim != 3 or tokens.shape[1] != count:
        raise InterventionError(
            f"layer {layer} passes as {tuple(tokens.shape)}, not as a sequence (batch, {count}, width) of "
            "the tokens of layer 0, so these cannot be told apart; a neuron can be set to 0"
        )


def _check_source(one: Transplant, tokens: int) -> None:
    if one.source.patch_grid.tokens != tokens:
        raise InterventionError(
            f"the other pass has {one.source.patch_grid.tokens} tokens, this one {tokens}; a transplant "
            "needs the same model and input size"
        )
