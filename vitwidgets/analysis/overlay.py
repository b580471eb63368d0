"""One number per token: what the cursor asks to see.

``js/src/math/overlay.ts`` says the same in the browser; shared test vectors keep the two equal. This one is
for still pictures and scripts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vitwidgets.analysis.similarity import cosine

Floats = npt.NDArray[np.float32]
Overlay = Literal["none", "similarity", "attention_from", "attention_to", "rollout", "neuron"]
RangeKind = Literal["positive", "symmetric", "span"]

# Below this part of its size, a span is noise of float16 packets, not a picture.
_NOISE = 1e-4


class Grid(Protocol):
    """What is needed of a patch grid, as :class:`vitwidgets.geometry.PatchGrid` has it."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the prefix tokens."""

    @property
    def tokens(self) -> int:
        """Number of tokens `N`."""

    def name(self, index: int, /) -> str:
        """Name of a token, for people."""


class Source(Protocol):
    """What is needed of a trace, as :class:`vitwidgets.trace.Trace` has it."""

    @property
    def patch_grid(self) -> Grid:
        """The tokens, in sequence order."""

    @property
    def layers(self) -> int:
        """Number of blocks `L`."""

    @property
    def width(self) -> int:
        """Residual neurons `D`."""

    @property
    def heads(self) -> int:
        """Attention heads of each block."""

    @property
    def hidden(self) -> int:
        """MLP neurons of each block."""

    @property
    def tokens(self) -> npt.NDArray[Any]:
        """Residual stream, (L + 1, N, D)."""

    def attention(self, layer: int, /) -> npt.NDArray[Any]:
        """Attention of block `layer`, (heads, N, N)."""

    def mlp(self, layer: int, /) -> npt.NDArray[Any]:
        """MLP neurons of block `layer`, (N, hidden)."""

    def rollout(self) -> npt.NDArray[Any]:
        """Attention rollout, (L + 1, N, N)."""


@dataclass(frozen=True)
class Spec:
    """What to show.

    Attributes
    ----------
    overlay
        Which quantity.
    layer
        0..L.
    token
        Position in the sequence; ``None`` where none is pinned.
    head
        0..heads-1; ``None`` for the mean of all.
    neuron
        0..width-1, or 0..hidden-1 in space ``"mlp"``.
    space
        ``"residual"`` or ``"mlp"``: whose neurons.
    """

    overlay: Overlay
    layer: int
    token: int | None = None
    head: int | None = None
    neuron: int = 0
    space: Literal["residual", "mlp"] = "residual"


@dataclass(frozen=True, eq=False)
class Field:
    """One number per token, with its colour scale.

    Attributes
    ----------
    values : (N,) float32
        Prefix tokens first. May hold NaN or infinity where the model's activations do.
    low, high
        The ends of the colour scale, ``low < high``; from the patch tokens alone.
    diverging
        The scale is symmetric about zero.
    title
        What is shown, for people.
    unit
        "cosine", "attention", "rollout" or "activation".
    """

    values: Floats
    low: float
    high: float
    diverging: bool
    title: str
    unit: str


@dataclass(frozen=True)
class Missing:
    """There is nothing to show.

    Attributes
    ----------
    reason
        Why, for people; empty where nothing was asked for.
    """

    reason: str


def overlay_field(spec: Spec, source: Source) -> Field | Missing:
    """Find what `spec` asks for, of one layer.

    The scale spans the patch tokens (a prefix token can be a hundred times larger and would flatten the
    picture) and, for similarity, leaves out the pinned token, whose own value is 1. Similarity: least to
    greatest. Attention and rollout: 0 to greatest. Neuron: symmetric about 0.

    Parameters
    ----------
    spec
        What to show.
    source
        A trace, or whatever offers the same.

    Returns
    -------
    Field or Missing
        ``Missing`` says why, for a cursor that asks for what a layer does not have.
    """
    reason = _obstacle(spec, source)
    if reason is not None:
        return Missing(reason)
    layer, token, grid = spec.layer, spec.token, source.patch_grid
    if token is None or spec.overlay == "neuron":
        mlp = spec.space == "mlp"
        values = (source.mlp(layer) if mlp else source.tokens[layer])[:, spec.neuron]
        title = f"MLP neuron {spec.neuron}" if mlp else f"neuron {spec.neuron}"
        return _field(values, "symmetric", title, "activation", grid)
    name = grid.name(token)
    if spec.overlay == "similarity":
        values = cosine(source.tokens[layer], token)
        return _field(values, "span", f"similarity to {name}", "cosine", grid, skip=token)
    if spec.overlay == "rollout":
        return _field(source.rollout()[layer, token], "positive", f"rollout from {name}", "rollout", grid)
    attention = source.attention(layer)
    chosen = attention.mean(axis=0) if spec.head is None else attention[spec.head]
    which = "head mean" if spec.head is None else f"head {spec.head}"
    if spec.overlay == "attention_from":
        return _field(chosen[token], "positive", f"attention from {name} · {which}", "attention", grid)
    return _field(chosen[:, token], "positive", f"attention to {name} · {which}", "attention", grid)


def value_range(
    values: npt.ArrayLike, kind: RangeKind, start: int = 0, skip: int | None = None
) -> tuple[float, float, bool]:
    """Find the ends of a colour scale.

    Parameters
    ----------
    values : (N,) float
        NaN and infinity are left out.
    kind
        ``"positive"``: 0 to greatest. ``"symmetric"``: about 0. ``"span"``: least to greatest. Where all are
        all but equal, ``"span"`` reaches to 0; where there is nothing but zeros (or nothing at all),
        ``"span"`` and ``"positive"`` are 0..1 and ``"symmetric"`` -1..1.
    start
        First index that counts.
    skip
        An index that does not.

    Returns
    -------
    low, high : float
        ``low < high``.
    diverging : bool
        They lie as far below 0 as above.
    """
    v = np.array(values, np.float64)
    counts = np.isfinite(v)
    counts[:start] = False
    if skip is not None:
        counts[skip] = False
    low, high = float(v[counts].min(initial=np.inf)), float(v[counts].max(initial=-np.inf))
    size = max(-low, high)
    if kind == "symmetric":
        return (-size, size, True) if size > 0 else (-1.0, 1.0, True)
    if kind == "span" and high - low > _NOISE * size:
        return low, high, False
    if kind == "span" and low <= high < 0:
        return low, 0.0, False
    return 0.0, high if high > 0 else 1.0, False


def _field(
    values: npt.NDArray[Any], kind: RangeKind, title: str, unit: str, grid: Grid, skip: int | None = None
) -> Field:
    row = np.ascontiguousarray(values, np.float32)
    low, high, diverging = value_range(row, kind, len(grid.prefix), skip)
    return Field(row, low, high, diverging, title, unit)


def _obstacle(spec: Spec, source: Source) -> str | None:
    """Why `spec` has no field, or None where it has one."""
    if spec.overlay == "none":
        return ""
    if not 0 <= spec.layer <= source.layers:
        return f"there is no layer {spec.layer}: layers are 0..{source.layers}"
    attention = spec.overlay in ("attention_from", "attention_to")
    if spec.layer == 0 and attention:
        return "layer 0 is the input: no attention yet"
    if spec.overlay == "neuron":
        mlp = spec.space == "mlp"
        if spec.layer == 0 and mlp:
            return "layer 0 is the input: no MLP yet"
        neurons = source.hidden if mlp else source.width
        if 0 <= spec.neuron < neurons:
            return None
        return f"there is no {'MLP ' if mlp else ''}neuron {spec.neuron}: neurons are 0..{neurons - 1}"
    if spec.token is None:
        return "pin a token to see this"
    tokens = source.patch_grid.tokens
    if not 0 <= spec.token < tokens:
        return f"there is no token {spec.token}: tokens are 0..{tokens - 1}"
    if attention and spec.head is not None and not 0 <= spec.head < source.heads:
        return f"there is no head {spec.head}: heads are 0..{source.heads - 1}"
    return None
