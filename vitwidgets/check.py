"""The proof that what a trace shows is what the model computed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitwidgets.anatomy import Attention, Point, plain
from vitwidgets.capture import run
from vitwidgets.hooks import at, eval_mode, plain_attention, turn
from vitwidgets.record import Record
from vitwidgets.replay import Weights
from vitwidgets.watch import Substitute

TOLERANCE = {torch.float32: 1e-4, torch.float16: 3e-3, torch.bfloat16: 3e-2}
"""Largest relative error of attention that passes, by the coarsest dtype involved."""


@dataclass(frozen=True)
class Check:
    """What `check` found.

    Parameters
    ----------
    attention : dict of int to float
        For each block that has an attention map: the largest difference between what its attention puts out
        with the trace's weights in the place of its own, and what it really puts out, relative to the largest
        of the latter.
    logits : float
        The largest difference between the trace's logits and those of a plain forward pass: 0 is bit-equal.
    tolerance, logits_tolerance : float
        What `attention` and `logits` may reach: the latter 0, unless the image was traced in a batch, which a
        machine may compute in another order than one image alone.
    """

    attention: dict[int, float]
    logits: float
    tolerance: float
    logits_tolerance: float = 0.0

    @property
    def worst(self) -> float:
        """The largest error of any block; 0 if there is none to check."""
        return max(self.attention.values(), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether every attention is reproduced and the logits are bit-equal."""
        return self.worst <= self.tolerance and self.logits <= self.logits_tolerance

    @property
    def text(self) -> str:
        """The result in one sentence."""
        logits = "bit-equal" if self.logits == 0 else f"off by {self.logits:.1e}"
        if not self.attention:
            return f"no attention to verify; logits {logits}"
        if self.worst <= self.tolerance:
            return (
                f"attention reproduced to {self.worst:.0e} in {len(self.attention)} blocks; logits {logits}"
            )
        block = max(self.attention, key=lambda number: self.attention[number])
        return f"attention of block {block} differs by {self.worst:.1e}; logits {logits}"


def check(record: Record, x: Tensor) -> Check:
    """Run the model once more and hold the trace against it, block by block.

    Of each block ``attention(l) @ v``, brought through the module's own projection, is compared with what the
    module puts out in this pass; and the trace's logits with those of this pass, which nothing watches.

    Parameters
    ----------
    record : Record
        Of a pass, with its anatomy.
    x : Tensor, shape (1, C, H, W)
        What the model was given in that pass.

    Returns
    -------
    Check

    Raises
    ------
    RuntimeError
        If the model has changed since the pass.
    """
    anatomy = record.anatomy
    if anatomy is None:
        raise RuntimeError("the model is not at hand: this trace was detached, or loaded from a file")
    errors: dict[int, float] = {}
    busy: set[int] = set()
    with turn, ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(plain_attention())
        stack.enter_context(eval_mode(anatomy.model))
        record.edits.attach(stack)
        for number, kept in record.attention.items():
            block = anatomy.blocks[number - 1]
            for attention, weights in zip(block.attentions, kept, strict=True):
                stack.callback(_compare(number, attention, weights, busy, errors))
        first = next(anatomy.model.parameters())
        output = run(anatomy, x.to(first.device))[0].to("cpu")
    kept_dtypes = [t.dtype for ts in record.attention.values() for w in ts for t in w.tensors()[:1]]
    dtypes = {*kept_dtypes, x.dtype}
    difference = (output.double() - record.output.double()).abs()
    same = torch.equal(output.nan_to_num(), record.output.nan_to_num())
    batch_slack = 0.0 if record.images == 1 else 1e-4 * float(output.double().nan_to_num().abs().max())
    return Check(
        attention=dict(sorted(errors.items())),
        logits=0.0 if same else float(difference.nan_to_num(torch.inf).max()),
        tolerance=max((TOLERANCE.get(dtype, 1e-4) for dtype in dtypes), default=1e-4),
        logits_tolerance=batch_slack,
    )


def _compare(
    number: int, attention: Attention, weights: Weights, busy: set[int], errors: dict[int, float]
) -> Any:
    """Watch one attention module, unless some block is busy being called again; returns how to stop."""
    put_out: list[Tensor] = []
    end = attention.span[1]
    # A module that is more than its attention, like a whole block, would hide an error in its residual.
    target = end.module if end.side == "output" else attention.module

    def note(output: Any) -> None:
        put_out.append(plain(output).double())

    def after(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
        if busy:
            return
        real = put_out[-1]
        busy.add(number)  # to weigh and to substitute calls the module again
        try:
            with Substitute(weights.raw()):
                module(*args, **kwargs)
            again = put_out[-1]
        finally:
            busy.clear()
            put_out.clear()
        scale = float(real.abs().max()) or 1.0
        error = float((again - real).abs().max()) / scale
        errors[number] = max(errors.get(number, 0.0), error if error == error else torch.inf)

    handles = (
        at(Point(target, "output"), note),
        attention.module.register_forward_hook(after, with_kwargs=True),
    )

    def stop() -> None:
        for handle in handles:
            handle.remove()

    return stop
