"""What a still picture shows of a trace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from vitwidgets.analysis.overlay import Colours, Field, Missing, NeuronView, Source, Spec, overlay_field
from vitwidgets.analysis.views import Mode
from vitwidgets.groups import Group

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

Outcome: TypeAlias = Field | NeuronView | Colours | Missing


@dataclass(frozen=True)
class View:
    """What a still picture shows of a trace.

    Attributes
    ----------
    trace : Trace
        Whose activations.
    spec : Spec
        Overlay, layer, token, head and neuron.
    patches : tuple of int
        The selected patches.
    opacity : float
        Of the overlay, 0..1.
    smooth : bool
        Blend between patches.
    mode : str
        How a neuron's view is drawn: "signed", "positive" or "magnitude".
    groups : tuple of Group
        What is outlined on the image.
    tinted : bool
        Whether the patches of groups are tinted too, on the bare photo.
    across : Field or None
        What is shown in place of what `spec` asks for: similarity to a token of another trace.
    """

    trace: Trace
    spec: Spec
    patches: tuple[int, ...] = ()
    opacity: float = 0.65
    smooth: bool = False
    mode: Mode = "signed"
    across: Field | None = None
    groups: tuple[Group, ...] = ()
    tinted: bool = False

    @cached_property
    def source(self) -> Source:
        """The trace; what is computed from the model is kept for the next map of the same layer."""
        return cast("Source", _Remembering(self.trace))

    def field(self, **change: object) -> Outcome:
        """The overlay, with some of its specification changed."""
        if self.across is not None and not change:
            return self.across
        return overlay_field(replace(self.spec, **change), self.source)  # type: ignore[arg-type]


class _Remembering:
    """A trace that keeps the last attention and the last MLP that it was asked for, and its colours."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.attention = lru_cache(1)(trace.attention)
        self.mlp = lru_cache(1)(trace.mlp)
        self.colours = lru_cache(1)(trace.colours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trace, name)
