"""Ablations and transplants: what they are, and what they come to in a pass of some model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Attention, Grid, Point, plain
from vitwidgets.edits import Attach, Edits, Stream, change, change_head, mean_of_windows, note, rewritten
from vitwidgets.errors import InterventionError
from vitwidgets.geometry import PatchGrid
from vitwidgets.replay import Replay
from vitwidgets.watch import ReachedError

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
        A token, all its neurons: a patch index or (row, column) of that layer's patch grid, or a prefix
        token's name.
    head : int, optional
        Attention head: what it adds to all tokens.
    unit : int, optional
        Hidden unit of the MLP, of all tokens.
    fill : {"zero", "mean"}
        What stands in its place: 0, or its mean over all tokens (of a token: the mean of all patch tokens;
        of a head: the mean of what it gives to all tokens).
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
        ``0..L``, or ``1..L`` for a head or a hidden unit.
    tokens : sequence of tokens, optional
        Only those, all their neurons; each a patch index or (row, column) of that layer's patch grid, or a
        prefix token's name.
    neuron : int, optional
        Only this coordinate of the residual stream, of all tokens.
    unit : int, optional
        Only this hidden unit of the MLP, of all tokens.
    head : int, optional
        Only what this attention head adds to all tokens, which takes a source whose model is at hand. At most
        one of the four; by default the whole layer.
    """

    source: Trace
    layer: int
    tokens: Sequence[Place] | None = None
    neuron: int | None = None
    unit: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("tokens", "neuron", "unit", "head") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"a transplant takes at most one of tokens, neuron, unit and head, got {given}")
        if self.tokens is not None and (
            isinstance(self.tokens, str) or not isinstance(self.tokens, Sequence)
        ):
            raise TypeError(f"tokens must be a list of tokens, got {self.tokens!r}")

    def __str__(self) -> str:
        return f"{_what(self)} of layer {self.layer} taken from another image"


Intervention: TypeAlias = "Ablation | Transplant"


def prepare(anatomy: Anatomy, interventions: Sequence[Intervention], size: Grid) -> Edits:
    """Make interventions ready for a pass of a model.

    Parameters
    ----------
    anatomy : Anatomy
        Of the model.
    interventions : sequence of Ablation or Transplant
        In the order in which they act.
    size : (int, int)
        Height and width of the model input.

    Raises
    ------
    InterventionError
        If the model has no such thing, or keeps it where it cannot be changed; or if a transplant comes from
        another patch grid. What only the pass itself shows is refused there.
    IndexError
        If a layer, head or unit is out of range; of a neuron and a token the pass says so.
    """
    stream: list[Attach] = []
    inside: dict[int, tuple[Attach, ...]] = {}
    grid = PatchGrid(*anatomy.grid(*size), anatomy.prefix)
    for one in interventions:
        if not isinstance(one, (Ablation, Transplant)):
            raise TypeError(f"expected an Ablation or a Transplant, got {type(one).__name__}")
        _within(one.layer, len(anatomy.blocks) + 1, "layer")
        if isinstance(one, Transplant):
            _check_source(one, grid)
        if one.head is None and one.unit is None:
            stream.append(_on_stream(anatomy, one, size))
            continue
        if one.layer == 0:
            raise InterventionError("layer 0 is the input: it has no heads and no MLP to change")
        made = _on_unit(anatomy, one, grid) if one.head is None else _on_head(anatomy, one, one.head, size)
        inside[one.layer] = (*inside.get(one.layer, ()), made)
    return Edits(tuple(stream), inside, tuple(str(one) for one in interventions))


# ---------------------------------------------------------------- the residual stream


def _on_stream(anatomy: Anatomy, one: Intervention, size: Grid) -> Attach:
    edit = _put_in(one) if isinstance(one, Transplant) else partial(_taken_out, one)
    return Stream(anatomy, one.layer, size).change(edit)


def _taken_out(one: Ablation, tokens: Tensor, grid: PatchGrid) -> Tensor:
    """Take a neuron or a token out of tokens (B, N, D)."""
    changed = tokens.clone()
    if one.token is not None:
        patches = tokens[:, len(grid.prefix) :]
        changed[:, grid.index(one.token)] = patches.mean(dim=1) if one.fill == "mean" else 0
        return changed
    neuron = one.neuron or 0
    _within(neuron, tokens.shape[-1], "neuron")
    changed[..., neuron] = _filling(tokens[..., neuron], one.fill)
    return changed


def _put_in(one: Transplant) -> Callable[[Tensor, PatchGrid], Tensor]:
    other = torch.from_numpy(one.source.layer(one.layer).copy())

    def edit(tokens: Tensor, grid: PatchGrid) -> Tensor:
        given = _fitting(other, tokens, f"layer {one.layer}")
        changed = tokens.clone()
        if one.neuron is not None:
            _within(one.neuron, tokens.shape[-1], "neuron")
            changed[..., one.neuron] = given[:, one.neuron]
        elif one.tokens is not None:
            rows = [grid.index(token) for token in one.tokens]
            changed[:, rows] = given[rows]
        else:
            changed[:] = given
        return changed

    return edit


# ---------------------------------------------------------------- the MLP


def _on_unit(anatomy: Anatomy, one: Intervention, grid: PatchGrid) -> Attach:
    units = anatomy.blocks[one.layer - 1].units
    if units is None:
        reason = anatomy.blocks[one.layer - 1].no_units or "it has none"
        raise InterventionError(f"block {one.layer} has no MLP to change: {reason}")
    unit = one.unit or 0
    _within(unit, units.count, f"layer {one.layer} has no MLP neuron", "its neurons")
    other = _units_of(one, units.count)[:, unit] if isinstance(one, Transplant) else None
    points = (units.point, *units.also)  # of MLPs side by side
    number, own = divmod(unit, units.count // len(points))

    def edit(tokens: Tensor) -> Tensor:
        if tokens.shape[-1] * len(points) != units.count:
            raise InterventionError(f"block {one.layer} has MLPs of several widths side by side")
        changed, column = tokens.clone(), tokens[..., own]
        if other is not None:
            changed[..., own] = _fitting(other, column, f"the MLP of block {one.layer}")
        elif isinstance(one, Ablation):
            changed[..., own] = _filling(column, one.fill)
        return changed

    order = None if anatomy.order is None else anatomy.order(grid.rows, grid.cols)
    return change(points[number], partial(rewritten, edit=edit, read=units.read or plain, order=order))


def _units_of(one: Transplant, count: int) -> Tensor:
    """Give the hidden units of the other pass, (N, count)."""
    found = torch.from_numpy(one.source.mlp(one.layer).copy())
    if found.shape[1] != count:
        raise InterventionError(
            f"block {one.layer} of the other pass has {found.shape[1]} MLP neurons, of this one {count}; a "
            "transplant needs the same model"
        )
    return found


# ---------------------------------------------------------------- attention


def _on_head(anatomy: Anatomy, one: Intervention, head: int, size: Grid) -> Attach:
    block = anatomy.blocks[one.layer - 1]
    if not block.attentions:
        reason = block.no_attention or "it has no attention map"
        raise InterventionError(f"a head of block {one.layer} cannot be changed: {reason}")
    _within(head, sum(a.heads for a in block.attentions), f"layer {one.layer} has no head", "its heads")
    attention, own = _owner(block.attentions, head)
    if isinstance(one, Transplant):
        given = _given_by(one.source, one.layer, head)
        return change_head(attention, own, lambda: partial(_next_of, cycle(given)))
    if one.fill == "zero":
        return change_head(attention, own, lambda: torch.zeros_like)
    if attention.members is None:
        return change_head(attention, own, lambda: _mean_over_tokens)
    return _mean_in_windows(Stream(anatomy, one.layer, size), block.module, attention, own)


def _owner(attentions: Sequence[Attention], head: int) -> tuple[Attention, int]:
    """Find which of several attentions side by side has a head, and its number there."""
    before = 0
    for attention in attentions:
        if head < before + attention.heads:
            return attention, head - before
        before += attention.heads
    raise IndexError(f"there is no head {head}: heads are 0..{before - 1}")


def _mean_over_tokens(given: Tensor) -> Tensor:
    return given.mean(dim=-2, keepdim=True).expand_as(given)


def _mean_in_windows(stream: Stream, block: nn.Module, attention: Attention, head: int) -> Attach:
    """Make what puts the mean over all windows of an image in the place of what a head gives."""
    members = attention.members
    assert members is not None
    seen: list[PatchGrid] = []

    def enter(value: Any) -> None:
        seen[:] = [stream.grid(plain(value))]

    def mean(given: Tensor) -> Tensor:
        grid = seen[0]
        return mean_of_windows(given, members((grid.rows, grid.cols)), grid.patches)

    def attach(stack: ExitStack) -> None:
        note(Point(block, "input"), enter)(stack)
        change_head(attention, head, lambda: mean)(stack)

    return attach


def _given_by(source: Trace, layer: int, head: int) -> list[Tensor]:
    """Compute what a head gave to all tokens in another pass, each time that its attention computes it."""
    source._there("attention", layer)
    replays = [part for part in source._record.attention[layer] if isinstance(part, Replay)]
    if not replays:
        raise InterventionError(
            f"what head {head} of layer {layer} gave in the other pass is computed by its model, which is "
            "not at hand: that trace was detached, or loaded from a file; trace its image again"
        )
    attention, own = _owner([replay.attention for replay in replays], head)
    found: list[Tensor] = []

    def look(given: Tensor) -> Tensor:
        found.append(given.clone())
        return given

    def stop(_: Any) -> None:
        raise ReachedError

    def attach(stack: ExitStack) -> None:
        change_head(attention, own, lambda: look)(stack)
        note(Point(attention.module, "output"), stop)(stack)

    replays[0].call.until(attach)
    return found


def _next_of(others: Iterator[Tensor], given: Tensor) -> Tensor:
    """Give what a head gave in another pass, for each image of this one."""
    other = next(others)
    images, rest = divmod(given.shape[0], other.shape[0])
    if rest or other.shape[1:] != given.shape[1:]:
        raise InterventionError(
            f"the head of the other pass gave {tuple(other.shape)}, this one gives {tuple(given.shape)}; a "
            "transplant needs the same model and input size"
        )
    return other.to(given).repeat(images, *[1] * (other.ndim - 1))


# ---------------------------------------------------------------- checks


def _exactly_one(one: Any, names: tuple[str, ...]) -> None:
    given = [name for name in names if getattr(one, name) is not None]
    if len(given) != 1:
        raise ValueError(f"name exactly one of {', '.join(names)}, got {given or 'none'}")


def _what(one: Any) -> str:
    for name, said in _SAID.items():
        value = getattr(one, name, None)
        if value is not None:
            return f"{said} {value}"
    tokens = (one.token,) if isinstance(one, Ablation) else one.tokens
    if tokens is None:
        return "all tokens"
    named = [f"{'token' if isinstance(token, str) else 'patch'} {token}" for token in tokens]
    return ", ".join(named) if len(named) <= _NAMED else f"{len(named)} tokens"


_SAID = {"neuron": "neuron", "unit": "MLP neuron", "head": "head"}
_NAMED = 4  # tokens that are named one by one


def _within(value: int, count: int, there_is_no: str, things: str = "") -> None:
    if isinstance(value, bool) or not 0 <= value < count:
        named = f"{there_is_no} {value}" if things else f"there is no {there_is_no} {value}"
        raise IndexError(f"{named}: {things or there_is_no + 's'} are 0..{count - 1}")


def _filling(column: Tensor, fill: Fill) -> Tensor:
    """Make what stands in the place of a number of each token, (B, N)."""
    return column.mean(dim=1, keepdim=True) if fill == "mean" else torch.zeros_like(column)


def _fitting(other: Tensor, tokens: Tensor, where: str) -> Tensor:
    if other.shape != tokens.shape[1:]:
        raise InterventionError(
            f"{where} of the other pass has shape {tuple(other.shape)}, of this one "
            f"{tuple(tokens.shape[1:])}; a transplant needs the same model and input size"
        )
    return other.to(tokens)


def _check_source(one: Transplant, grid: PatchGrid) -> None:
    if one.source.patch_grid != grid:
        raise InterventionError(
            f"the other pass has {_told(one.source.patch_grid)}, this one {_told(grid)}; a transplant needs "
            "the same model and input size"
        )


def _told(grid: PatchGrid) -> str:
    prefix = f"prefix tokens {', '.join(grid.prefix)}" if grid.prefix else "no prefix tokens"
    return f"{grid.rows} x {grid.cols} patches and {prefix}"
