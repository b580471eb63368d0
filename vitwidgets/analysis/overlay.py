"""One number per token, or a picture: what the cursor asks to see.

``js/src/math/overlay.ts`` says the same in the browser; shared test vectors keep the two equal. This one is
for still pictures and scripts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from vitwidgets.analysis.norms import artefacts, norms
from vitwidgets.analysis.similarity import cosine
from vitwidgets.analysis.views import global_view, limit_of, peak_of, view

Floats = npt.NDArray[np.float32]
Overlay = Literal[
    "none", "similarity", "attention_from", "attention_to", "rollout", "neuron", "view", "evidence", "norm",
    "colours",
]  # fmt: skip
Kind = Literal["tokens", "attention", "mlp", "rollout", "view", "evidence", "colours"]
RangeKind = Literal["weights", "symmetric", "span"]

# Below this part of its size, a span (or what lies below 0) is noise of float16 packets, not a picture.
_NOISE = 1e-4


class Grid(Protocol):
    """What is needed of a patch grid, as :class:`vitwidgets.geometry.PatchGrid` has it."""

    @property
    def rows(self) -> int:
        """Patches down."""

    @property
    def cols(self) -> int:
        """Patches across."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the prefix tokens."""

    @property
    def tokens(self) -> int:
        """Number of tokens `N`."""

    def name(self, index: int, /) -> str:
        """Name of a token, for people."""


class Readout(Protocol):
    """What a classifier reads of one token: ``weight @ ((x - mean(x)) / sqrt(var(x) + eps)) + bias``."""

    @property
    def weight(self) -> npt.NDArray[Any]:
        """The classifier's weights, (classes, D), the last norm's folded in."""

    @property
    def bias(self) -> npt.NDArray[Any]:
        """(classes,)."""

    @property
    def eps(self) -> float:
        """What the norm adds to the variance."""


class Source(Protocol):
    """What is needed of a trace, as :class:`vitwidgets.trace.Trace` has it."""

    @property
    def patch_grid(self) -> Grid:
        """The tokens of layer 0, in sequence order: the finest grid."""

    @property
    def layers(self) -> int:
        """Number of blocks `L`."""

    def grid_of(self, layer: int, /) -> Grid:
        """The tokens of a layer."""

    def heads_of(self, layer: int, /) -> int:
        """Attention heads of block `layer`."""

    def width_of(self, layer: int, /) -> int:
        """Residual neurons `D` of a layer."""

    def hidden_of(self, layer: int, /) -> int:
        """MLP neurons of block `layer`."""

    def why_not(self, field: Kind, layer: int, /) -> str:
        """Why a layer does not have something, as a clause; empty where it has."""

    def layer(self, layer: int, /) -> npt.NDArray[Any]:
        """Residual stream at a layer, (N, D)."""

    def attention(self, layer: int, /) -> npt.NDArray[Any]:
        """Attention of block `layer`, (heads, N, N)."""

    def mlp(self, layer: int, /) -> npt.NDArray[Any]:
        """MLP neurons of block `layer`, (N, hidden)."""

    def rollout(self) -> npt.NDArray[Any]:
        """Attention rollout, (L + 1, N, N)."""

    @property
    def pixels(self) -> npt.NDArray[Any]:
        """The model input, normalised, (H, W, C)."""

    def filters(self) -> npt.NDArray[Any]:
        """The filters of the patch embedding, (D, p, q, C)."""

    @property
    def readout(self) -> Readout | None:
        """What the classifier reads of one token."""

    @property
    def class_names(self) -> Sequence[str]:
        """One name per class."""

    @property
    def probabilities(self) -> npt.NDArray[Any]:
        """Of the classes."""

    def colours(self) -> Sequence[npt.NDArray[np.uint8]]:
        """Patch colours from principal components, (rows * cols, 3) for each layer."""


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
        Position in the sequence of layer 0; ``None`` where none is pinned.
    head
        0..heads-1; ``None`` for the mean of all.
    neuron
        0..width-1, or 0..hidden-1 in space ``"mlp"``.
    space
        ``"residual"`` or ``"mlp"``: whose neurons.
    target
        0..classes-1; ``None`` for the most probable class.
    """

    overlay: Overlay
    layer: int
    token: int | None = None
    head: int | None = None
    neuron: int = 0
    space: Literal["residual", "mlp"] = "residual"
    target: int | None = None


@dataclass(frozen=True, eq=False)
class Field:
    """One number per token, with its colour scale.

    Attributes
    ----------
    values : (N,) float32
        Prefix tokens first. May hold NaN or infinity where the model's activations do.
    grid
        Rows and columns of the patches, which are the last of the values.
    low, high
        The ends of the colour scale, ``low < high``; from the patch tokens alone.
    diverging
        The scale is symmetric about zero.
    title
        What is shown, for people.
    unit
        "cosine", "attention", "rollout", "activation", "logit" or "norm".
    marked
        Rows of the tokens that stand out: those of high norm, where norms are shown.
    """

    values: Floats
    grid: tuple[int, int]
    low: float
    high: float
    diverging: bool
    title: str
    unit: str
    marked: tuple[int, ...] = ()

    @property
    def map(self) -> Floats:
        """Values of the patches, (rows, cols)."""
        rows, cols = self.grid
        return self.values[-rows * cols :].reshape(rows, cols)


@dataclass(frozen=True, eq=False)
class NeuronView:
    """What a neuron sees of the picture from one token; :mod:`vitwidgets.analysis.views` draws it.

    Attributes
    ----------
    view : (H, W, C) float32
        Filter times pixel, times the patch's share in the token.
    values : (N,) float32
        Its sum over each patch, in the rows of the patches; 0 for prefix tokens.
    grid
        Rows and columns of the patches.
    limit
        The end of the colour scale (`vitwidgets.analysis.views.limit_of`): what is larger is clipped.
    peak
        The largest absolute value in the view: above `limit` where the scale clips.
    title
        What is shown, for people.
    unit
        "sum over the patch": of `values`.
    """

    view: Floats
    values: Floats
    grid: tuple[int, int]
    limit: float
    peak: float
    title: str
    unit: str


@dataclass(frozen=True, eq=False)
class Colours:
    """One colour per patch: nearness in colour is nearness of tokens.

    Attributes
    ----------
    rgb : (rows, cols, 3) uint8
        The first three principal components, as `vitwidgets.analysis.projection.colours` scales them.
    grid
        Rows and columns.
    title
        What is shown, for people.
    """

    rgb: npt.NDArray[np.uint8]
    grid: tuple[int, int]
    title: str


@dataclass(frozen=True)
class Missing:
    """There is nothing to show.

    Attributes
    ----------
    reason
        Why, for people; empty where nothing was asked for.
    """

    reason: str


def overlay_field(spec: Spec, source: Source) -> Field | NeuronView | Colours | Missing:
    """Find what `spec` asks for, of one layer.

    The scale spans the patch tokens (a prefix token can be a hundred times larger and would flatten the
    picture) and, for similarity, leaves out the pinned token, whose own value is 1. Similarity: least to
    greatest. Attention and rollout: 0 to greatest, or symmetric about 0 where weights are negative. Neuron
    and evidence: symmetric about 0. Norm: least to greatest.

    A view without a pinned token is the global view: every patch's local view as it is.

    Where a layer has a coarser grid than layer 0, the pinned patch stands for the cell that holds its centre.

    Parameters
    ----------
    spec
        What to show.
    source
        A trace, or whatever offers the same.

    Returns
    -------
    Field, NeuronView, Colours or Missing
        ``Missing`` says why, for a cursor that asks for what a layer does not have.
    """
    reason = _obstacle(spec, source)
    if reason is not None:
        return Missing(reason)
    layer, token = spec.layer, spec.token
    if spec.overlay == "view":
        return _view(spec, source)
    if spec.overlay == "evidence":
        target = leading(source) if spec.target is None else spec.target
        title = f"evidence for {source.class_names[target]}"
        return _field(evidence(source, layer, target), "symmetric", title, "logit", source.grid_of(layer))
    if spec.overlay == "norm":
        values, grid = norms(source.layer(layer)), source.grid_of(layer)
        marked = tuple(np.flatnonzero(artefacts(values, prefix=len(grid.prefix))).tolist())
        return replace(_field(values, "span", "token norm", "norm", grid), marked=marked)
    if spec.overlay == "colours":
        own = source.grid_of(layer).rows, source.grid_of(layer).cols
        return Colours(source.colours()[layer].reshape(*own, 3), own, "principal components")
    if token is None or spec.overlay == "neuron":
        mlp = spec.space == "mlp"
        values = (source.mlp(layer) if mlp else source.layer(layer))[:, spec.neuron]
        title = f"MLP neuron {spec.neuron}" if mlp else f"neuron {spec.neuron}"
        return _field(values, "symmetric", title, "activation", source.grid_of(layer))
    row, name, grid = row_of(source, layer, token), token_name(source, layer, token), source.grid_of(layer)
    if spec.overlay == "similarity":
        values = cosine(source.layer(layer), row)
        return _field(values, "span", f"similarity to {name}", "cosine", grid, skip=row)
    if spec.overlay == "rollout":
        # R_0 = I, also where there is no rollout of the layers that follow
        values = source.rollout()[layer, row] if layer > 0 else np.arange(grid.tokens) == row
        return _field(values, "weights", f"rollout from {name}", "rollout", grid)
    attention = source.attention(layer)
    chosen = attention.mean(axis=0) if spec.head is None else attention[spec.head]
    which = "head mean" if spec.head is None else f"head {spec.head}"
    if spec.overlay == "attention_from":
        return _field(chosen[row], "weights", f"attention from {name} · {which}", "attention", grid)
    return _field(chosen[:, row], "weights", f"attention to {name} · {which}", "attention", grid)


def evidence(source: Source, layer: int, target: int) -> Floats:
    """Read one class's logit from every token of a layer, as the model's head does from its last.

    Parameters
    ----------
    source
        A trace that has a readout as wide as this layer.
    layer : int
        0..L.
    target : int
        0..classes-1.

    Returns
    -------
    ndarray, shape (N,), float32
    """
    head, tokens = source.readout, np.asarray(source.layer(layer), np.float64)
    assert head is not None
    with np.errstate(invalid="ignore"):  # a token that is not finite gives a logit that is not
        centred = tokens - tokens.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + head.eps)
        logits: Floats = (scaled @ head.weight[target] + head.bias[target]).astype(np.float32)
    return logits


def leading(source: Source) -> int:
    """Find the most probable class."""
    return int(np.argsort(-source.probabilities, kind="stable")[0])


def cell_at(cell: int, start: tuple[int, int], to: tuple[int, int]) -> int:
    """Find the cell of one grid that holds the centre of a cell of another; both cover the same picture.

    Parameters
    ----------
    cell : int
        Index of the cell, row by row.
    start, to : (int, int)
        Rows and columns of the grid it belongs to, and of the other.

    Returns
    -------
    int
        Index in the other grid.
    """
    row, col = divmod(cell, start[1])
    return (2 * row + 1) * to[0] // (2 * start[0]) * to[1] + (2 * col + 1) * to[1] // (2 * start[1])


def row_of(source: Source, layer: int, token: int) -> int:
    """Find the row of a layer that stands for a token of layer 0, both counted in sequence order."""
    finest, own, prefix = source.patch_grid, source.grid_of(layer), len(source.patch_grid.prefix)
    if token < prefix:
        return token
    return prefix + cell_at(token - prefix, (finest.rows, finest.cols), (own.rows, own.cols))


def token_name(source: Source, layer: int, token: int) -> str:
    """Name what stands at a layer for a token of layer 0, for people."""
    finest, own, prefix = source.patch_grid, source.grid_of(layer), len(source.patch_grid.prefix)
    if token < prefix or (own.rows, own.cols) == (finest.rows, finest.cols):
        return finest.name(token)
    cell = row_of(source, layer, token) - prefix
    return f"cell {cell} (row {cell // own.cols}, column {cell % own.cols})"


def value_range(
    values: npt.ArrayLike, kind: RangeKind, start: int = 0, skip: int | None = None
) -> tuple[float, float, bool]:
    """Find the ends of a colour scale.

    Parameters
    ----------
    values : (N,) float
        NaN and infinity are left out.
    kind
        ``"weights"``: 0 to greatest, or about 0 where one is negative. ``"symmetric"``: about 0. ``"span"``:
        least to greatest. Where all are all but equal, ``"span"`` reaches to 0; where there is nothing but
        zeros (or nothing at all), ``"span"`` and ``"weights"`` are 0..1 and ``"symmetric"`` -1..1.
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
    if kind == "symmetric" or (kind == "weights" and -low > _NOISE * size):
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
    return Field(row, (grid.rows, grid.cols), low, high, diverging, title, unit)


def _view(spec: Spec, source: Source) -> NeuronView:
    """The view of a neuron from the pinned token; without one, the global view."""
    kernel, finest, prefix = source.filters()[spec.neuron], source.patch_grid, len(source.patch_grid.prefix)
    title = f"view of neuron {spec.neuron}"
    if spec.token is None:
        seen = global_view(source.pixels, kernel)
    else:
        title = f"{title} from {token_name(source, spec.layer, spec.token)}"
        alone = np.arange(finest.tokens) == spec.token
        row = source.rollout()[spec.layer, spec.token] if spec.layer > 0 else alone
        seen = view(source.pixels, kernel, row[prefix:])
    p = kernel.shape[0]
    sums = seen.reshape(finest.rows, p, finest.cols, -1).sum(axis=(1, 3), dtype=np.float64)
    values = np.concatenate([np.zeros(prefix), sums.ravel()]).astype(np.float32)
    grid = finest.rows, finest.cols
    return NeuronView(seen, values, grid, limit_of(seen), peak_of(seen), title, "sum over the patch")


def _obstacle(spec: Spec, source: Source) -> str | None:
    """Why `spec` has no field, or None where it has one."""
    if spec.overlay == "none":
        return ""
    if not 0 <= spec.layer <= source.layers:
        return f"there is no layer {spec.layer}: layers are 0..{source.layers}"
    kind = _kind(spec)
    if kind == "view" and spec.space == "mlp":
        return "an MLP neuron has no filter: choose a residual neuron to see its view"
    if spec.layer == 0 and kind in ("attention", "mlp"):
        return f"layer 0 is the input: no {'attention' if kind == 'attention' else 'MLP'} yet"
    whole = kind in ("rollout", "view") and spec.layer > 0  # it is computed of all layers at once
    layer = source.layers if whole else spec.layer
    # the global view, which no token is needed for, mixes nothing
    why = source.why_not(kind, 0 if kind == "view" and spec.token is None else layer)
    if why:
        return f"no {_NAMES.get(kind, kind)} at layer {spec.layer}: {why}"
    if spec.overlay in ("norm", "colours"):
        return None
    if spec.overlay == "evidence":
        return _outside("there is no class", spec.target or 0, "classes", len(source.class_names))
    if spec.overlay in ("neuron", "view"):
        mlp = kind == "mlp"
        # a view is made of filters, of which there are as many as there are neurons at layer 0
        at = 0 if kind == "view" else spec.layer
        neurons = source.hidden_of(at) if mlp else source.width_of(at)
        what = "MLP neuron" if mlp else "neuron"
        outside = _outside(f"layer {at} has no {what}", spec.neuron, "its neurons", neurons)
        if outside is not None or kind != "view":
            return outside
        return _obstacle_to_view(spec, source)
    if spec.token is None:
        return "pin a token to see this"
    outside = _outside("there is no token", spec.token, "tokens", source.patch_grid.tokens)
    if outside is None and kind == "attention" and spec.head is not None:
        heads = source.heads_of(spec.layer)
        return _outside(f"layer {spec.layer} has no head", spec.head, "its heads", heads)
    return outside


def _obstacle_to_view(spec: Spec, source: Source) -> str | None:
    grid = source.patch_grid
    channels = source.pixels.shape[2]
    if channels not in (1, 3):
        return f"the model sees {channels} channels: a view of 1 or 3 can be shown"
    if spec.token is None:
        return None
    if spec.layer == 0 and 0 <= spec.token < len(grid.prefix):
        return f"at layer 0 {grid.name(spec.token)} holds nothing of the picture yet"
    return _outside("there is no token", spec.token, "tokens", grid.tokens)


def _outside(there_is_no: str, index: int, things: str, count: int) -> str | None:
    return None if 0 <= index < count else f"{there_is_no} {index}: {things} are 0..{count - 1}"


_NAMES: dict[Kind, str] = {"mlp": "MLP neurons", "colours": "principal components"}


def _kind(spec: Spec) -> Kind:
    """What `spec` needs of a layer."""
    if spec.overlay in ("view", "evidence", "colours"):
        return spec.overlay
    if spec.overlay == "rollout":
        return "rollout"
    if spec.overlay in ("attention_from", "attention_to"):
        return "attention"
    return "mlp" if spec.overlay == "neuron" and spec.space == "mlp" else "tokens"
