"""The cursor: where a reader is looking. Panels with one cursor move together."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import traitlets as t
from anywidget import WidgetTrait

from vitwidgets.analysis.neurons import contrast
from vitwidgets.analysis.overlay import Overlay, row_of
from vitwidgets.widgets.base import Index, Model, built

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

OVERLAYS: tuple[Overlay, ...] = get_args(Overlay)
SPACES: tuple[Literal["residual", "mlp"], ...] = ("residual", "mlp")
POINTS = ("layer", "token", "head", "neuron_space", "neuron", "patches", "target", "overlay")


class Cursor(Model):
    """What is looked at: a layer, a token, a head, a neuron, some patches, a class, one overlay.

    A model without a face. Give one cursor to several panels and they follow each
    other, in the page itself, with or without a kernel. Every trait can be set,
    observed and linked (``traitlets.link``, ``ipywidgets.jslink``). Once a panel
    shows a trace through the cursor, values that the trace does not have are refused.

    Parameters
    ----------
    layer, token, head, neuron_space, neuron, patches, target, overlay
        The traits below. What is not given is chosen when the first panel takes the cursor:
        the layer at two thirds of the depth, the patch in the middle, and the neuron that sets
        that patch apart most.

    Raises
    ------
    TypeError
        If a keyword is unknown.
    traitlets.TraitError
        If a value is not one of those named below, or outside what the traces have.
    """

    _esm = built("cursor.js")
    _from_page = POINTS

    layer = Index(0).tag(sync=True)
    """Position in the residual stream: 0 (what enters the first block) to L (what the last puts out)."""

    token = t.Union([Index(), t.Unicode()], default_value=None, allow_none=True).tag(sync=True)
    """The pinned token: a patch index ``0..rows*cols-1``, a prefix token's name (``"cls"``), or None."""

    head = Index(None, allow_none=True).tag(sync=True)
    """The attention head ``0..heads-1``; None is the mean of all heads."""

    neuron_space = t.Enum(SPACES, "residual").tag(sync=True)
    """Where `neuron` lives: ``"residual"`` or ``"mlp"``. Changing it resets a `neuron` that is not there."""

    neuron = Index(0).tag(sync=True)
    """The neuron: a coordinate of the residual stream, or a hidden unit of the block's MLP."""

    patches = t.List(Index()).tag(sync=True)
    """The selected patches, as ascending patch indices without repetition."""

    target = Index(None, allow_none=True).tag(sync=True)
    """The class that is followed, 0..classes-1; None is the most probable one."""

    overlay = t.Enum(OVERLAYS, "similarity").tag(sync=True)
    """What is drawn over the image: one of ``"similarity"``, ``"attention_from"``, ``"attention_to"``,
    ``"rollout"``, ``"neuron"``, ``"view"`` (what the neuron sees), ``"evidence"`` (for the class `target`),
    ``"norm"``, ``"colours"`` (principal components), ``"none"``."""

    token_map = WidgetTrait().tag(sync=True)
    """The `TokenMap` whose clusters are outlined on the images of the same trace, while it is coloured by
    them; None where none is open. Maps set it themselves."""
    token_map.read_only = True

    def __init__(self, **kwargs: Any) -> None:
        self._traces: weakref.WeakSet[Trace] = weakref.WeakSet()
        self._given = set(kwargs)
        super().__init__(**kwargs)

    def __repr__(self) -> str:
        return f"Cursor({', '.join(f'{name}={getattr(self, name)!r}' for name in POINTS)})"

    def bind(self, trace: Trace, **to: Any) -> None:
        """Hold the cursor within `trace` from now on, and choose what nobody chose yet.

        Parameters
        ----------
        trace : Trace
            May be one of several, of different sizes.
        **to
            Where to move the cursor: its traits.

        Raises
        ------
        traitlets.TraitError
            If a value, given now or before, does not exist in `trace`. The cursor is left
            where it was, unbound.
        """
        new, given = trace not in self._traces, set(self._given)
        before = {name: getattr(self, name) for name in POINTS}
        with self.hold_sync():
            try:
                self._settle(trace, to)
                given |= set(to)
            except t.TraitError:
                if new:
                    self._traces.discard(trace)
                for name, value in before.items():
                    setattr(self, name, value)
                raise
            finally:
                self._given = given  # what was chosen here may be chosen anew for a smaller trace

    def _settle(self, trace: Trace, to: dict[str, Any]) -> None:
        start = _start(trace, to.get("neuron_space", self.neuron_space))
        free = {name: value for name, value in start.items() if name not in self._given}
        first = not self._traces
        self._traces.add(trace)
        for name in POINTS:
            if name in to:
                setattr(self, name, to[name])
            elif name in free and (first or _problem(trace, name, getattr(self, name), self.neuron_space)):
                setattr(self, name, free[name])
            else:
                self._check(name, getattr(self, name))

    @t.validate(*POINTS)
    def _validate(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        value = self._check(name, sorted(set(value)) if name == "patches" else value)
        if name == "neuron_space" and any(
            _problem(trace, "neuron", self.neuron, value) for trace in self._traces
        ):
            self.neuron = 0
        self._given.add(name)
        return value

    def _check(self, name: str, value: Any) -> Any:
        """`value`, or a TraitError that says what the bound traces have."""
        for trace in self._traces:
            problem = _problem(trace, name, value, self.neuron_space)
            if problem:
                raise t.TraitError(problem)
        return value


def _start(trace: Trace, space: str) -> dict[str, Any]:
    """Where a reader begins who said nothing: deep enough to see objects, in the middle of the image."""
    rows, cols = trace.grid
    layer, patch = max(1, round(trace.layers * 2 / 3)), (rows // 2) * cols + cols // 2
    mlp = space == "mlp"
    kept = [
        here
        for here in range(int(mlp), trace.layers + 1)
        if not trace.why_not("mlp" if mlp else "tokens", here)
    ]
    if not kept:
        return {"layer": layer, "token": patch, "neuron": 0}
    layer = min(kept, key=lambda here: abs(here - layer))
    values = trace.mlp(layer) if mlp else trace.layer(layer)
    apart = np.abs(np.nan_to_num(contrast(values, [row_of(trace, layer, len(trace.prefix) + patch)])))
    return {"layer": layer, "token": patch, "neuron": int(apart.argmax())}


def _problem(trace: Trace, name: str, value: Any, space: str) -> str | None:
    """What is wrong with `value` for this trace, or None."""

    def outside(what: str, item: int, count: int) -> str | None:
        if 0 <= item < count:
            return None
        plural = f"{what}es" if what in ("patch", "class") else f"{what}s"
        range_ = f"{plural} 0..{count - 1}" if count else f"no {plural}"
        return f"{what} is {item}; {trace.model_name} has {range_}"

    patches = trace.patch_grid.patches
    if name == "layer":
        return outside("layer", value, trace.layers + 1)
    if name == "head" and value is not None:
        return outside("head", value, trace.heads)
    if name == "neuron":
        of, kind = (trace.hidden_of, "MLP neuron") if space == "mlp" else (trace.width_of, "neuron")
        count = max(
            of(layer) for layer in range(trace.layers + 1)
        )  # what some layer has may be chosen at any
        return outside(kind, value, max(count, 1))
    if name == "target" and value is not None and trace.class_names:  # others do without a class
        return outside("class", value, len(trace.class_names))
    if name == "patches":
        return next((problem for patch in value if (problem := outside("patch", patch, patches))), None)
    if name == "token" and isinstance(value, int):
        return outside("patch", value, patches)
    if name == "token" and isinstance(value, str) and value not in trace.prefix:
        names = ", ".join(map(repr, trace.prefix)) or "none"
        return (
            f"token is {value!r}; {trace.model_name} has the prefix tokens {names} "
            f"and the patches 0..{patches - 1}"
        )
    return None
