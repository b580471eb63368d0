"""Change what passes through a model in one pass, and nothing in the model: hooks that go with a stack."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Attention, Grid, Point, Reader, plain
from vitwidgets.errors import InterventionError
from vitwidgets.geometry import PatchGrid
from vitwidgets.hooks import at
from vitwidgets.watch import HeadEdit

Attach: TypeAlias = Callable[[ExitStack], None]
"""Puts hooks on a stack."""

Edit: TypeAlias = Callable[[Tensor], Tensor]
"""From tokens to changed ones, of the same shape; what it is given stays as it is."""


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


class Stream:
    """How the tokens of one layer pass between the blocks: from there to (B, N, D), and back.

    Parameters
    ----------
    anatomy : Anatomy
        Of the model.
    layer : int
        ``0..L``.
    size : (int, int)
        Height and width of the model input.
    """

    def __init__(self, anatomy: Anatomy, layer: int, size: Grid) -> None:
        block = anatomy.blocks[max(layer, 1) - 1]
        whole = anatomy.grid(*size)
        self._read = anatomy.read if layer == 0 else block.read or anatomy.read
        self._order = None if anatomy.order is None else anatomy.order(*whole)
        self._sequence = whole if layer == 0 or block.grid is None else block.grid(*size)
        self._prefix = anatomy.prefix
        self._layer = layer
        self._point = Point(block.module, "output" if layer else "input")

    def grid(self, value: Any) -> PatchGrid:
        """Give the patch grid of what passes: a map says its own."""
        tokens = self._read(value)
        shape = tuple(tokens.shape[1:3]) if tokens.ndim == 4 else self._sequence
        return PatchGrid(int(shape[0]), int(shape[1]), self._prefix)

    def change(self, edit: Callable[[Tensor, PatchGrid], Tensor]) -> Attach:
        """Make what changes the tokens (B, N, D), in the order of their patch grid."""

        def changed(value: Tensor) -> Tensor:
            grid = self.grid(value)

            def of_grid(tokens: Tensor) -> Tensor:
                if tokens.shape[1] != grid.tokens:
                    raise InterventionError(
                        f"layer {self._layer} passes {tokens.shape[1]} tokens, not the {grid.tokens} that a "
                        "trace shows, so these cannot be told apart"
                    )
                return edit(tokens, grid)

            return rewritten(value, of_grid, self._read, self._order)

        return change(self._point, changed, once=True)


def rewritten(value: Tensor, edit: Edit, read: Reader, order: Tensor | None = None) -> Tensor:
    """Edit tokens that pass in some layout.

    Parameters
    ----------
    value : Tensor
        As it passes.
    edit : callable
        Of tokens (B, N, D).
    read : callable
        As `Anatomy.read`.
    order : Tensor of int64, shape (N,), optional
        As `Anatomy.order` gives it.

    Raises
    ------
    InterventionError
        If some of the tokens that are read do not pass there.
    """

    def tokens(given: Tensor) -> Tensor:
        found = read(given).flatten(1, -2)
        return found if order is None else found[:, order.to(found.device)]

    before = tokens(value)
    if before.numel() != value.numel():
        raise InterventionError(
            f"what passes as {tuple(value.shape)} are not all of the tokens {tuple(before.shape[:2])} that a "
            "trace shows: some join later, so they cannot be changed here"
        )
    after = edit(before)
    if read is plain and order is None:
        return after.reshape(value.shape)
    places = tokens(torch.arange(value.numel(), device=value.device).view(value.shape))
    changed = torch.empty_like(value, memory_format=torch.contiguous_format)
    changed.view(-1)[places] = after
    return changed


def change(point: Point, edit: Edit, *, once: bool = False) -> Attach:
    """Make what changes a tensor, or the first of several things, where it passes a point.

    Parameters
    ----------
    point : Point
        Where.
    edit : callable
        What is done to it.
    once : bool
        Whether it is changed in the first call alone: a block that is called again within a pass, to look
        into it, is given what was changed already.
    """

    def first(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)([first(value[0]), *value[1:]])
        return edit(value)

    def attach(stack: ExitStack) -> None:
        def change_input(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if once:
                handle.remove()
            if args:
                return (first(args[0]), *args[1:]), kwargs
            name = next(iter(kwargs))
            return args, {**kwargs, name: first(kwargs[name])}

        def change_output(_module: nn.Module, _args: Any, output: Any) -> Any:
            if once:
                handle.remove()
            return first(output)

        handle = (
            point.module.register_forward_pre_hook(change_input, with_kwargs=True)
            if point.side == "input"
            else point.module.register_forward_hook(change_output)
        )
        stack.callback(handle.remove)

    return attach


def change_head(attention: Attention, head: int, make: Callable[[], Edit]) -> Attach:
    """Make what changes what one head gives to all tokens.

    Parameters
    ----------
    attention : Attention
        Of the head.
    head : int
        Which.
    make : callable
        Gives, for each call of the attention, what `HeadEdit` takes.
    """
    module = attention.module

    def attach(stack: ExitStack) -> None:
        open_now = ExitStack()
        stack.callback(open_now.close)
        last: list[HeadEdit] = []

        def begin(_module: nn.Module, _args: Any) -> None:
            open_now.close()
            last[:] = [open_now.enter_context(HeadEdit(head, attention.heads, make(), attention.split))]

        def end(_module: nn.Module, _args: Any, _output: Any) -> None:
            open_now.close()
            if not last[0].edited:
                raise InterventionError(
                    f"no head can be taken out of {type(module).__name__}: its values are summed in a way in "
                    "which no head can be told apart"
                )

        stack.callback(module.register_forward_pre_hook(begin).remove)
        stack.callback(module.register_forward_hook(end).remove)

    return attach


def mean_of_windows(values: Tensor, members: Tensor, count: int) -> Tensor:
    """Put the mean over the tokens of an image in the place of each, padding apart.

    Parameters
    ----------
    values : Tensor, shape (..., windows, n, width)
        The windows of an image follow each other; several images lie before them.
    members : Tensor of int64, shape (windows, n)
        The tokens of each window; `count` stands for padding.
    count : int
        Number of tokens.
    """
    rows = values.reshape(-1, members.numel(), values.shape[-1])
    real = (members.flatten() < count).to(values.device)
    return rows[:, real].mean(dim=1, keepdim=True).expand_as(rows).reshape(values.shape)


def note(point: Point, action: Callable[[Any], None]) -> Attach:
    """Make what hands on what passes a point, and changes nothing."""
    return lambda stack: stack.callback(at(point, action).remove)  # type: ignore[return-value]
