"""Watch one forward pass: nothing in the model is changed, nothing is left behind.

Fused attention stays on, so the pass costs what it always costs. Of each block the layer, the queries and
keys (or what its attention was called with) and what its MLP was called with are kept, compact; all else is
computed exactly from them when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Attention, Block, Grid, Point, plain
from vitwidgets.errors import ModelError
from vitwidgets.record import (
    Call,
    FromScores,
    Precision,
    Record,
    Replay,
    Shelf,
    UnitsReplay,
    Weights,
    at,
    eval_mode,
    plain_attention,
    state_of,
)
from vitwidgets.watch import Listener, Scores, Spelled

FIELDS = ("tokens", "attention", "mlp")
"""What `capture` can keep."""


def capture(
    anatomy: Anatomy,
    x: Tensor,
    *,
    precision: Precision = "float16",
    keep: Collection[str] = FIELDS,
    layers: Collection[int] | None = None,
) -> list[Record]:
    """Run one forward pass, without gradients and in eval mode, and keep what a trace shows.

    Afterwards the model is as before, each module's train flag too, also after an exception.

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

    Returns
    -------
    list of Record
        One per image. The output is bit-equal to that of the model in eval mode without the watch.

    Raises
    ------
    ModelError
        If a block did not run once, or its attention is computed in a way that is not understood.
    """
    keeper = _Keeper(anatomy, x, precision, set(keep), layers)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(plain_attention())
            was_training = stack.enter_context(eval_mode(anatomy.model))
            keeper.attach(stack)
            output = run(anatomy, x)
        return keeper.finish(output, was_training)
    except BaseException:
        keeper.records.clear()  # the traceback holds on to this frame; it need not hold on to the tensors
        raise


def run(anatomy: Anatomy, x: Tensor) -> Tensor:
    """Call the model on a batch; its logits or features, (B, classes)."""
    returned = anatomy.model(x) if anatomy.call is None else anatomy.call(anatomy.model, x)
    output = returned if anatomy.output is None else anatomy.output(returned)
    if not isinstance(output, Tensor):
        raise ModelError(f"the model returned {type(output).__name__}; a trace needs one tensor")
    return output


class _Keeper:
    """Sits at the points of a model and keeps what passes, image by image."""

    def __init__(
        self,
        anatomy: Anatomy,
        x: Tensor,
        precision: Precision,
        keep: set[str],
        layers: Collection[int] | None,
    ) -> None:
        depth = len(anatomy.blocks)
        self.anatomy = anatomy
        self.images = len(x)
        self.shelves = [Shelf(precision) for _ in range(self.images)]
        self.keep = keep
        self.layers = set(range(depth + 1) if layers is None else layers)
        self.size = int(x.shape[2]), int(x.shape[3])
        self.grid: Grid = anatomy.grid(*self.size)
        self.order = None if anatomy.order is None else anatomy.order(*self.grid)
        self.records = [
            Record(
                depth=depth,
                grids=[],
                widths=[],
                heads=[0, *(sum(a.heads for a in b.attentions) for b in anatomy.blocks)],
                hidden=[0, *(0 if b.units is None else b.units.count for b in anatomy.blocks)],
                output=torch.empty(0),
                precision=precision,
                anatomy=anatomy,
                order=self.order,
                prefix=len(anatomy.prefix),
                images=self.images,
            )
            for _ in range(self.images)
        ]
        self.ran = [0] * depth
        self._listener = Listener()
        self._listening = False
        self._stream: tuple[Tensor, list[Tensor]] | None = None

    # ------------------------------------------------------------------ attaching

    def attach(self, stack: ExitStack) -> None:
        """Put hooks on every point; they go with the stack."""
        first = self.anatomy.blocks[0]
        stack.callback(self._rest)
        stack.callback(at(Point(first.module, "input"), lambda value: self._layer(0, value)).remove)
        for number, block in enumerate(self.anatomy.blocks, start=1):
            if number in self.layers:
                self._attach_inside(stack, number, block)
            leave = Point(block.module, "output")
            stack.callback(at(leave, self._leaving(number)).remove)

    def _attach_inside(self, stack: ExitStack, number: int, block: Block) -> None:
        if "attention" in self.keep:
            for place, attention in enumerate(block.attentions):
                for handle in self._watch(number, place, attention):
                    stack.callback(handle.remove)
        if "mlp" in self.keep and block.units is not None:
            units = block.units

            def keep_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                for record, call in zip(self.records, self._calls(units.module, args, kwargs), strict=True):
                    record.units[number] = UnitsReplay(units, call)

            stack.callback(at(Point(units.module, "input"), keep_call, with_call=True).remove)

    def _leaving(self, number: int) -> Callable[[Any], None]:
        def leave(value: Any) -> None:
            self.ran[number - 1] += 1
            self._layer(number, value)

        return leave

    # ------------------------------------------------------------------ the stream

    def _layer(self, number: int, value: Any) -> None:
        block = self.anatomy.blocks[max(number, 1) - 1]
        read = (block.read if number > 0 else None) or self.anatomy.read
        tokens = read(value)
        grid = self.grid if number == 0 or block.grid is None else block.grid(*self.size)
        if tokens.ndim == 4:
            grid = int(tokens.shape[1]), int(tokens.shape[2])
        prefix = len(self.anatomy.prefix)
        count = prefix + grid[0] * grid[1]
        if tokens.ndim == 4:
            tokens = tokens.flatten(1, 2)
        if tokens.shape[:2] != (self.images, count):
            raise ModelError(
                f"the model made {tokens.shape[1]} tokens of this input, but {prefix} prefix tokens and "
                f"{grid[0]} x {grid[1]} patches are {count}"
            )
        if self.order is not None:
            tokens = tokens[:, self.order.to(tokens.device)]
        if number == 0:
            self._reserve(tokens)
        wanted = "tokens" in self.keep and number in self.layers
        self._stream = None
        parts = self._compact(tokens) if wanted else None
        if parts is not None:
            self._stream = tokens, parts  # a block that is called as a whole is given this very tensor
        for index, record in enumerate(self.records):
            record.grids[number:] = [grid]
            record.widths[number:] = [int(tokens.shape[2])]
            if parts is not None:
                record.layers[number] = parts[index].reshape(count, -1)

    def _reserve(self, tokens: Tensor) -> None:
        """Make room for what a plain column keeps: layers, queries, keys and what each MLP is given."""
        blocks = len(self.layers - {0})
        each = len(self.layers) * ("tokens" in self.keep)
        each += blocks * (2 * ("attention" in self.keep) + ("mlp" in self.keep))
        for shelf in self.shelves:
            shelf.reserve(each * (tokens.numel() // self.images), tokens)

    # ------------------------------------------------------------------ attention

    def _watch(self, number: int, place: int, attention: Attention) -> list[Any]:
        given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def remember(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given[:] = [(args, kwargs)]

        def end(_: Any) -> None:
            self._rest()
            heard, self._listener.heard = self._listener.heard, []
            # What a block hears before its span's end may belong to a span that is still open around it.
            self._attention(number, place, attention, heard, *given.pop())

        begin, leave = attention.span
        return [
            at(Point(attention.module, "input"), remember, with_call=True),
            at(begin, self._listen),
            at(leave, end),
        ]

    def _listen(self, _: Any) -> None:
        self._rest()
        self._listener.heard = []
        self._listener.__enter__()  # type: ignore[no-untyped-call]
        self._listening = True

    def _rest(self) -> None:
        """Stop listening, if listening: after an exception it still is."""
        if self._listening:
            self._listening = False
            self._listener.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _attention(
        self,
        number: int,
        place: int,
        attention: Attention,
        heard: list[Scores | Spelled],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if not heard:
            raise _not_understood(number, attention.module)
        tokens = len(self.anatomy.prefix) + self.grid[0] * self.grid[1]
        found: list[Weights]
        if len(heard) == 1 and self._is_plain(attention, heard[0], tokens):
            found = list(self._scores(heard[0]))
        else:
            self._check_heard(number, attention, heard, tokens)
            found = [Replay(attention, call) for call in self._calls(attention.module, args, kwargs)]
        for record, weights in zip(self.records, found, strict=True):
            before = record.attention.get(number, ()) if place > 0 else ()
            record.attention[number] = (*before, weights)

    def _is_plain(self, attention: Attention, heard: Scores | Spelled, tokens: int) -> bool:
        """Whether queries and keys say all: (B, heads, N, head_dim), and at most a small bias."""
        if isinstance(heard, Spelled) or attention.arrange is not None or attention.combine is not None:
            return False
        q, k, bias = heard.q, heard.k, heard.bias
        expected = (self.images, attention.heads, tokens)
        small = bias is None or bias.numel() <= q.numel()
        return q.ndim == 4 and q.shape[:3] == expected and k.shape[:3] == expected and small

    def _check_heard(
        self, number: int, attention: Attention, heard: list[Scores | Spelled], tokens: int
    ) -> None:
        if attention.combine is None and sum(isinstance(one, Scores) for one in heard) > 1:
            raise ModelError(
                f"block {number} ({type(attention.module).__name__}) computed attention {len(heard)} times; "
                "a trace needs exactly one, or to know how they are combined"
            )
        if attention.arrange is not None:
            return
        one = heard[-1]
        shape = (one.q.shape[-2], one.k.shape[-2]) if isinstance(one, Scores) else one.shape[-2:]
        if tuple(shape) != (tokens, tokens):
            raise ModelError(
                f"block {number} ({type(attention.module).__name__}) computed attention of {shape[0]} over "
                f"{shape[1]}, not of its {tokens} tokens over each other: there is no token-by-token map"
            )

    def _scores(self, heard: Scores | Spelled) -> list[Weights]:
        assert isinstance(heard, Scores)
        q, k, bias = heard.q, heard.k, heard.bias
        if self.order is not None:
            order = self.order.to(q.device)
            q, k = q[:, :, order], k[:, :, order]
            if bias is not None:
                bias = bias.expand(*bias.shape[:-2], q.shape[2], q.shape[2])[..., order, :][..., order]
        qs, ks = self._compact(q), self._compact(k)
        kept: list[Weights] = []
        for index in range(self.images):
            own = bias
            if bias is not None:
                own = bias[index : index + 1] if bias.ndim == 4 and bias.shape[0] == self.images else bias
                own = own.detach().cpu()
            kept.append(FromScores(Scores(qs[index], ks[index], heard.scale, own)))
        return kept

    # ------------------------------------------------------------------ keeping

    def _calls(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Call]:
        """Keep a call for each image."""
        name = None if args else next(iter(kwargs))
        first = plain(args[0] if args else kwargs[name or ""])
        tokens = self._compact(first)
        state = state_of(module)
        return [
            Call(
                module,
                tokens[index],
                name,
                tuple(self._own(value, first, index) for value in args[1:]),
                {key: self._own(value, first, index) for key, value in kwargs.items() if key != name},
                first.dtype,
                first.device,
                state,
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
        """Copy a tensor's share of each image; of the last layer the copies that there are."""
        if self._stream is not None and self._stream[0] is x:
            return self._stream[1]
        share = x.shape[0] // self.images
        parts = [
            shelf.copy(x if self.images == 1 else x[index * share : (index + 1) * share])
            for index, shelf in enumerate(self.shelves)
        ]
        return parts

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
        for number, block in enumerate(self.anatomy.blocks, start=1):
            if "attention" in self.keep and number in self.layers and block.attentions:
                found = len(self.records[0].attention.get(number, ()))
                if found != len(block.attentions):
                    raise _not_understood(number, block.attentions[found].module)
        if output.shape[:1] != (self.images,):
            raise ModelError(
                f"the model returned shape {tuple(output.shape)} for {self.images} "
                f"image{'s' if self.images > 1 else ''}; a trace needs one row for each"
            )
        for index, record in enumerate(self.records):
            record.output = output[index].detach().to("cpu", copy=True)
            record.was_training = was_training
            record.missing = self._missing()
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


def _not_understood(number: int, module: nn.Module) -> ModelError:
    return ModelError(
        f"block {number} ({type(module).__name__}) computed no attention in a way that is understood "
        "(scaled_dot_product_attention, matmul and softmax, or nn.MultiheadAttention)"
    )
