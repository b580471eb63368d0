"""Watch one forward pass: nothing in the model is changed, nothing is left behind.

Fused attention stays on, so the pass costs what it always costs. What each block was given is kept, compact:
the layers of the residual stream. Attention and hidden units are computed exactly from it when somebody asks,
by the block itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitwidgets.anatomy import Anatomy, Attention, Block, Grid, plain
from vitwidgets.edits import UNCHANGED, Edits
from vitwidgets.errors import Cancelled, ModelError
from vitwidgets.hooks import State, eval_mode, plain_attention, state_of, turn
from vitwidgets.record import Record
from vitwidgets.replay import Call, Replay, UnitsReplay
from vitwidgets.shelf import Precision, Shelf

FIELDS = ("tokens", "attention", "mlp")
"""What `capture` can keep."""

_understood: WeakKeyDictionary[Anatomy, set[Attention]] = WeakKeyDictionary()  # and which are plain
_handed_on: WeakSet[Anatomy] = WeakSet()


def capture(
    anatomy: Anatomy,
    x: Tensor,
    *,
    precision: Precision = "float16",
    keep: Collection[str] = FIELDS,
    layers: Collection[int] | None = None,
    edits: Edits = UNCHANGED,
    cancelled: Callable[[], bool] | None = None,
) -> list[Record]:
    """Run one forward pass, without gradients and in eval mode, and keep what a trace shows.

    Afterwards the model is as before, each module's train flag too, also after an exception. The first time
    each attention is called once more, to see whether it is understood: that costs up to half a pass.

    Parameters
    ----------
    anatomy : Anatomy
        Of the model to run.
    x : Tensor, shape (B, C, H, W)
        Model input, on the model's device and of its dtype.
    precision : {"float16", "float32"}
        How to keep it.
    keep : collection of str
        Of `FIELDS`.
    layers : collection of int, optional
        Of ``0..L``; by default all.
    edits : Edits
        What is changed in this pass.
    cancelled : callable, optional
        Asked before each layer whether to stop.

    Returns
    -------
    list of Record
        One per image. The output is bit-equal to that of the model in eval mode without the watch.

    Raises
    ------
    ModelError
        If a block did not run once, or its attention is computed in a way that is not understood.
    Cancelled
        If it was asked to stop.
    """
    keeper = _Keeper(anatomy, x, precision, set(keep), layers, edits, cancelled)
    try:
        with turn, ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(plain_attention())
            was_training, parts = stack.enter_context(eval_mode(anatomy.model))
            keeper.state = state_of(parts)
            edits.attach(stack)
            keeper.attach(stack)
            output = run(anatomy, x)
        records = keeper.finish(output, was_training)
        if "attention" in keep and anatomy not in _understood:
            _understand(anatomy, records[0])
        if keeper.links == len(anatomy.blocks) and not any(b.read or b.grid for b in anatomy.blocks):
            _handed_on.add(anatomy)
        return records
    except BaseException:
        keeper.records.clear()  # the traceback holds on to this frame; it need not hold on to the tensors
        raise


def _understand(anatomy: Anatomy, record: Record) -> None:
    """See whether each attention is computed in a way that is understood."""
    plain: set[Attention] = set()
    for parts in record.attention.values():
        for weights in parts:
            assert isinstance(weights, Replay)
            scores = weights.look()
            if scores is not None and scores.bias is None:
                plain.add(weights.attention)
    if len(record.attention) == sum(bool(block.attentions) for block in anatomy.blocks):
        _understood[anatomy] = plain


def run(anatomy: Anatomy, x: Tensor) -> Tensor:
    """Call the model on a batch; its logits or features, (B, classes)."""
    returned = anatomy.model(x) if anatomy.call is None else anatomy.call(anatomy.model, x)
    output = returned if anatomy.output is None else anatomy.output(returned)
    if not isinstance(output, Tensor):
        raise ModelError(f"the model returned {type(output).__name__}; a trace needs one tensor")
    return output


class _Keeper:
    """Sits at the blocks of a model and keeps what passes, image by image."""

    def __init__(
        self,
        anatomy: Anatomy,
        x: Tensor,
        precision: Precision,
        keep: set[str],
        layers: Collection[int] | None,
        edits: Edits,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        depth = len(anatomy.blocks)
        self.anatomy = anatomy
        self.images = len(x)
        self.edits = edits
        self.cancelled = cancelled
        self.precision = precision
        self.shelves = [Shelf(precision) for _ in range(self.images)]
        self.keep = keep
        self.layers = set(range(depth + 1) if layers is None else layers)
        self.size = int(x.shape[2]), int(x.shape[3])
        self.grid: Grid = anatomy.grid(*self.size)
        self.order = None if anatomy.order is None else anatomy.order(*self.grid)
        self.grids: list[Grid] = []
        self.widths: list[int] = []
        self.records = [
            Record(
                depth=depth,
                grids=self.grids,
                widths=self.widths,
                heads=[0, *(sum(a.heads for a in b.attentions) for b in anatomy.blocks)],
                hidden=[0, *(0 if b.units is None else b.units.count for b in anatomy.blocks)],
                output=torch.empty(0),
                precision=precision,
                anatomy=anatomy,
                order=self.order,
                prefix=len(anatomy.prefix),
                images=self.images,
                edits=edits,
            )
            for _ in range(self.images)
        ]
        self.ran = [0] * depth
        self.state: State = {}
        self.links = 0  # blocks that were given the very tensor that the one before put out
        self._handed_on = anatomy in _handed_on
        self._stream: tuple[Tensor, int, list[Tensor]] | None = None

    # ------------------------------------------------------------------ attaching

    def attach(self, stack: ExitStack) -> None:
        """Put hooks on every block; they go with the stack."""
        handles: list[RemovableHandle] = []

        def remove() -> None:
            for handle in handles:
                handle.remove()

        stack.callback(remove)
        for number, block in enumerate(self.anatomy.blocks, start=1):
            if number == 1 or self._handed_on or (number in self.layers and self._inside(block)):
                enter = self._entering(number, block)
                handles.append(block.module.register_forward_pre_hook(enter, with_kwargs=True))
            if number == len(self.anatomy.blocks) or not self._handed_on:
                handles.append(block.module.register_forward_hook(self._leaving(number, block)))

    def _inside(self, block: Block) -> bool:
        """Whether something is wanted that the block computes on its way."""
        attention = "attention" in self.keep and bool(block.attentions)
        return attention or ("mlp" in self.keep and block.units is not None)

    def _entering(self, number: int, block: Block) -> Callable[..., None]:
        wanted = number in self.layers and self._inside(block)

        stream = number == 1 or self._handed_on  # else what the block before put out was read already
        previous = number - 1

        def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if stream:
                first = args[0] if args else next(iter(kwargs.values()))
                self.ran[previous] += self._handed_on
                self._layer(previous, self.anatomy.read(first), self.grid)
            if wanted:
                self._given(number, block, args, kwargs)

        return enter

    def _leaving(self, number: int, block: Block) -> Callable[..., None]:
        read = block.read or self.anatomy.read
        grid = self.grid if block.grid is None else block.grid(*self.size)

        def leave(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            self.ran[number - 1] += not self._handed_on
            self._layer(number, read(output), grid)

        return leave

    # ------------------------------------------------------------------ the stream

    def _layer(self, number: int, tokens: Tensor, grid: Grid) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("the pass was cancelled")
        if tokens.ndim == 4:
            grid = int(tokens.shape[1]), int(tokens.shape[2])
            tokens = tokens.flatten(1, 2)
        prefix = len(self.anatomy.prefix)
        images, count, width = tokens.shape
        if images != self.images or count != prefix + grid[0] * grid[1]:
            raise ModelError(
                f"the model made {count} tokens of this input, but {prefix} prefix tokens and "
                f"{grid[0]} x {grid[1]} patches are {prefix + grid[0] * grid[1]}"
            )
        if self.order is not None:
            tokens = tokens[:, self.order.to(tokens.device)]
        if number == 0:
            self._reserve(tokens)
        self.grids[number:] = [grid]
        self.widths[number:] = [width]
        if "tokens" in self.keep and number in self.layers:
            parts = self._compact(tokens)
            self._stream = None if tokens.is_inference() else (tokens, tokens._version, parts)
            for record, part in zip(self.records, parts, strict=True):
                record.layers[number] = part

    def _reserve(self, tokens: Tensor) -> None:
        """Make room for what a plain column keeps: its layers, each of which the next block is given."""
        kept = self.layers if "tokens" in self.keep else set()
        given = {number - 1 for number in self.layers if number > 0} if self.keep - {"tokens"} else set()
        for shelf in self.shelves:
            shelf.reserve(len(kept | given), tokens[:1])

    # ------------------------------------------------------------------ what blocks are given

    def _given(self, number: int, block: Block, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        grid = self.grid if block.grid is None else block.grid(*self.size)
        count = len(self.anatomy.prefix) + grid[0] * grid[1]
        known = _understood.get(self.anatomy)
        calls = self._calls(number, block.module, args, kwargs)
        for record, call in zip(self.records, calls, strict=True):
            if "attention" in self.keep and block.attentions:
                record.attention[number] = tuple(
                    Replay(number, one, call, count, self.precision, None if known is None else one in known)
                    for one in block.attentions
                )
            if "mlp" in self.keep and block.units is not None:
                record.units[number] = UnitsReplay(block.units, call)

    def _calls(
        self, number: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Call]:
        """Keep a call for each image."""
        name = None if args else next(iter(kwargs))
        first = plain(args[0] if args else kwargs[name or ""])
        tokens = self._compact(first)
        return [
            Call(
                module,
                tokens[index],
                name,
                tuple(self._own(value, first, index) for value in args[1:]),
                {key: self._own(value, first, index) for key, value in kwargs.items() if key != name},
                first.dtype,
                first.device,
                self.state,
                self.edits.of(number),
            )
            for index in range(self.images)
        ]

    def _own(self, value: Any, first: Tensor, index: int) -> Any:
        """Give an image's part of an argument that has one for each; any other by reference."""
        folded = first.shape[0] != self.images  # into windows: a mask for each of as many windows is no batch
        if self.images == 1 or folded or not isinstance(value, Tensor) or value.ndim <= 2:
            return value
        return value[index : index + 1] if value.shape[0] == self.images else value

    def _compact(self, x: Tensor) -> list[Tensor]:
        """Copy a tensor's share of each image; of the last layer, if nobody wrote to it, there are copies."""
        if self._stream is not None:
            tokens, version, parts = self._stream
            if tokens is x and x._version == version:
                self.links += 1
                return parts
        share = x.shape[0] // self.images
        return [
            shelf.copy(x if self.images == 1 else x[index * share : (index + 1) * share])
            for index, shelf in enumerate(self.shelves)
        ]

    def finish(self, output: Tensor, was_training: bool) -> list[Record]:
        """Check that each block ran once; give every image its output."""
        self._stream = None
        for number, times in enumerate(self.ran, start=1):
            if times != 1:
                module = type(self.anatomy.blocks[number - 1].module).__name__
                raise ModelError(
                    f"block {number} ({module}) ran {times} times in one forward pass; a trace needs each of "
                    f"the {len(self.ran)} blocks to run once"
                )
        if output.shape[:1] != (self.images,):
            raise ModelError(
                f"the model returned shape {tuple(output.shape)} for {self.images} "
                f"image{'s' if self.images > 1 else ''}; a trace needs one row for each"
            )
        missing = self._missing()
        for index, record in enumerate(self.records):
            record.output = output[index].detach().to("cpu", copy=True)
            record.layers = {number: tokens[0] for number, tokens in record.layers.items()}
            record.was_training = was_training
            record.overflowed = self.shelves[index].overflowed()
            record.missing = missing
        return self.records

    def _missing(self) -> dict[str, dict[int, str]]:
        """Say why something is absent."""
        missing: dict[str, dict[int, str]] = {name: {} for name in (*FIELDS, "rollout")}
        for number in range(len(self.anatomy.blocks) + 1):
            for name in FIELDS:
                if name not in self.keep:
                    missing[name][number] = f"not kept: trace with {name!r} in keep="
                elif number not in self.layers:
                    missing[name][number] = f"layer {number} was not kept: trace with it in layers="
            if number == 0:
                missing["attention"][0] = "layer 0 is the input: no attention yet"
                missing["mlp"][0] = "layer 0 is the input: no MLP yet"
                continue
            block = self.anatomy.blocks[number - 1]
            if any(attention.signed for attention in block.attentions):
                missing["rollout"][number] = "weights here may be negative, and are no shares to be chained"
            if not block.attentions:
                missing["attention"][number] = block.no_attention or "this block has no attention map"
            if block.units is None:
                missing["mlp"][number] = block.no_units or "this block has no MLP"
        return missing
