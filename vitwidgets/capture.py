"""Watch one forward pass: nothing in the model is changed, nothing is left behind.

Fused attention stays on: a `TorchFunctionMode` sees each `scaled_dot_product_attention` (or the softmax,
where attention is spelled out) and keeps the queries and keys by reference; forward hooks keep the layers. So
the pass costs what it always costs, and attention is recomputed exactly when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from vitwidgets.anatomy import Anatomy, Point
from vitwidgets.errors import ModelError

_MATMUL = frozenset({torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm})
_SOFTMAX = frozenset({torch.softmax, Tensor.softmax, F.softmax})


@dataclass(frozen=True, eq=False)
class Scores:
    """What the attention of one block is computed from: ``softmax(q @ k.T * scale + bias)``.

    Parameters
    ----------
    q, k : Tensor, shape (1, heads, N, head_dim)
        Queries and keys, after their norm and rotation, as the pass had them.
    scale : float
        What ``q @ k.T`` is multiplied by.
    bias : Tensor or None, broadcastable to (1, heads, N, N)
        Added after the scale; a mask has ``-inf``.
    """

    q: Tensor
    k: Tensor
    scale: float
    bias: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Record:
    """What one forward pass leaves behind: tensors on the CPU, in the dtype of the pass.

    Parameters
    ----------
    layers : list of Tensor, L + 1 of shape (1, N, D)
        The residual stream: what enters the first block, then what each block puts out.
    scores : list of Scores, L
        Of each block.
    hidden : list of Tensor, L of shape (1, N, hidden)
        MLP activations of each block.
    output : Tensor
        What the model returned: logits of shape (1, classes), or features where it has no classifier.
    was_training : bool
        Whether some part of the model was in train mode and had to be switched.
    """

    layers: list[Tensor]
    scores: list[Scores]
    hidden: list[Tensor]
    output: Tensor
    was_training: bool


def capture(anatomy: Anatomy, x: Tensor) -> Record:
    """Run one forward pass, without gradients and in eval mode, and keep what a trace shows.

    Afterwards the model is as before, each module's train flag too, also after an exception.

    Parameters
    ----------
    anatomy : Anatomy
        Of the model to run.
    x : Tensor, shape (1, C, H, W)
        Model input, on the model's device and of its dtype.

    Returns
    -------
    Record
        The output is bit-equal to that of the model in eval mode without the watch.

    Raises
    ------
    ModelError
        If a block computed no attention, or several, or in a way that is not understood.
    """
    layers: list[Tensor] = []
    hidden: list[Tensor] = []
    watch = _Watch()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        was_training = stack.enter_context(_eval_mode(anatomy.model))
        stack.callback(watch.stop)
        stack.callback(_at(Point(anatomy.blocks[0].module, "input"), layers.append).remove)
        for block in anatomy.blocks:
            begin, end = block.attention
            stack.callback(_at(begin, watch.start).remove)
            stack.callback(_at(end, watch.stop).remove)
            stack.callback(_at(block.hidden, hidden.append).remove)
            stack.callback(_at(Point(block.module, "output"), layers.append).remove)
        output = anatomy.model(x)
    ran = len(layers) - 1, len(watch.seen), len(hidden)
    if set(ran) != {len(anatomy.blocks)}:
        raise ModelError(
            f"the pass ran {ran[0]} blocks, {ran[1]} attentions and {ran[2]} MLPs; a trace needs each of the "
            f"{len(anatomy.blocks)} blocks once, with one of both"
        )
    return _finish(layers, watch.seen, hidden, output, was_training)


def _at(point: Point, action: Callable[[Tensor], None]) -> RemovableHandle:
    """Hand the tensor that passes a point to an action, which returns None: all else would replace it."""
    if point.side == "input":
        return point.module.register_forward_pre_hook(lambda _module, args: action(args[0]))
    return point.module.register_forward_hook(lambda _module, _args, output: action(output))


class _Watch(TorchFunctionMode):
    """Keeps queries and keys of each attention.

    It is on while a block attends and off in between: to see all the other calls would cost time for nothing,
    and an attention pooling head is not part of the column.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[Scores]] = []
        self._on = False
        self._product: tuple[Tensor, Tensor, Tensor] | None = None

    def start(self, _: Tensor) -> None:
        """Switch on, for the next block."""
        self.stop()
        self.seen.append([])
        self.__enter__()  # type: ignore[no-untyped-call]
        self._on = True

    def stop(self, _: Tensor | None = None) -> None:
        """Switch off, if on: after an exception it still is."""
        if self._on:
            self._on = False
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            self.seen[-1].append(_scores_of_fused(*args, **kwargs))
        elif func in _MATMUL:
            self._product = (result, *args) if len(args) == 2 else None
        elif func in _SOFTMAX and self._product is not None and args and args[0] is self._product[0]:
            _, q, k_transposed = self._product
            self.seen[-1].append(Scores(q, k_transposed.transpose(-2, -1), 1.0))
            self._product = None
        return result


def _scores_of_fused(
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


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[bool]:
    """Eval mode for a while; every module gets its own flag back, whatever happens. Says if any changed."""
    training = _in_training(model)
    try:
        if training:
            model.eval()
        yield bool(training)
    finally:
        for module in training:
            module.training = True


def _in_training(model: nn.Module) -> list[nn.Module]:
    """Find the modules in train mode; a walk that takes a tenth of the time of `modules`."""
    found, waiting = [], [model]
    while waiting:
        module = waiting.pop()
        if module.training:
            found.append(module)
        waiting.extend(child for child in module._modules.values() if child is not None)
    return found


def _finish(
    layers: list[Tensor], seen: list[list[Scores]], hidden: list[Tensor], output: object, was_training: bool
) -> Record:
    """Check that each block left what it should, and bring all to the CPU (no copy if it is there)."""
    for number, found in enumerate(seen, start=1):
        if len(found) != 1:
            raise ModelError(
                f"block {number} computed attention {len(found)} times in a way that is understood "
                "(scaled_dot_product_attention, or matmul and softmax); a trace needs exactly one"
            )
    if not isinstance(output, Tensor):
        raise ModelError(f"the model returned {type(output).__name__}; a trace needs one tensor")
    return Record(
        layers=[layer.cpu() for layer in layers],
        scores=[_on_cpu(scores) for (scores,) in seen],
        hidden=[units.cpu() for units in hidden],
        output=output.cpu(),
        was_training=was_training,
    )


def _on_cpu(scores: Scores) -> Scores:
    if scores.q.device.type == "cpu":
        return scores
    bias = None if scores.bias is None else scores.bias.cpu()
    return Scores(scores.q.cpu(), scores.k.cpu(), scores.scale, bias)
