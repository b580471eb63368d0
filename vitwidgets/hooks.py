"""Sit in a model for a while: hooks, eval mode, and what the model was like at that time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

from vitwidgets.anatomy import Point

State: TypeAlias = dict[int, tuple[int, ...]]
"""By identity: of parameters where they are and how often they were written, of modules their hooks."""

turn = threading.RLock()
"""Held by whoever hooks or calls a model, whatever the thread: hooks and train flags are the model's own, the
fast path of attention is the process's, so two that watch at the same time would hear each other."""

_ONLOOKERS = frozenset({"vitwidgets", "transformers"})  # whose hooks watch, and change nothing


def at(point: Point, action: Callable[[Any], None]) -> torch.utils.hooks.RemovableHandle:
    """Hand what passes a point to an action, whose result is not used: a hook's would replace the value."""
    if point.side == "input":

        def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            action(args[0] if args else next(iter(kwargs.values())))

        return point.module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        action(output)

    return point.module.register_forward_hook(after)


def state_of(parts: list[nn.Module]) -> State:
    """Tell where the parameters of some modules are, how often they were written, and who hooked the modules.

    It changes when the modules would compute something else.
    """
    parameters = [p for part in parts for p in part._parameters.values() if p is not None]
    state: State
    try:
        state = {id(p): (p.data_ptr(), p._version) for p in parameters}
    except RuntimeError:  # those made in inference mode count no versions
        state = {id(p): (p.data_ptr(), 0 if p.is_inference() else p._version) for p in parameters}
    for part in parts:
        if part._forward_hooks or part._forward_pre_hooks:
            hooks = (*part._forward_hooks.items(), *part._forward_pre_hooks.items())
            others = tuple(
                number for number, hook in hooks if str(hook.__module__).split(".")[0] not in _ONLOOKERS
            )
            if others:
                state[id(part)] = others
    return state


def parts_of(module: nn.Module) -> list[nn.Module]:
    """List a module and all that is in it; a walk that takes a tenth of the time of `modules`."""
    found = [module]
    for part in found:
        if part._modules:
            found.extend(child for child in part._modules.values() if child is not None)
    return found


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[tuple[bool, list[nn.Module]]]:
    """Eval mode for a while; every module gets its own flag back, whatever happens.

    Says if any changed, and lists the modules.
    """
    parts = parts_of(model)
    training = [part for part in parts if part.training]
    try:
        if training:
            model.eval()
        yield bool(training), parts
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
