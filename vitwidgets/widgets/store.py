"""The store: one trace's numbers, sent to the page once and shared by all its panels."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
import traitlets as t
from PIL import Image

from vitwidgets.analysis.overlay import Kind
from vitwidgets.widgets.base import Model, built
from vitwidgets.widgets.codec import Dtype, encode, refuse

if TYPE_CHECKING:
    from vitwidgets.check import Check
    from vitwidgets.trace import Trace

PICTURE_SIDE = 1024  # the page never draws a picture larger than this

LARGEST = 12_000_000  # bytes of one layer's attention, head by head; what is larger is sent as its mean
LARGEST_MAP = 24_000_000  # bytes of one map of tokens x tokens; what is larger is not sent

# Most packets are one array of one layer. Fields in the order in which they are fetched: large ones last.
_FIELDS: dict[str, tuple[Callable[[Trace, int], Any], Dtype | None]] = {
    "tokens": (lambda trace, layer: trace.layer(layer), "float16"),
    "q": (lambda trace, layer: trace.queries(layer), "float16"),
    "k": (lambda trace, layer: trace.keys(layer), "float16"),
    "lse": (lambda trace, layer: trace.log_normalizer(layer), "float32"),
    "rollout": (lambda trace, layer: trace.rollout()[layer], "float16"),
    "mlp": (lambda trace, layer: trace.mlp(layer), "float16"),
    "attention": (lambda trace, layer: trace.attention(layer), None),
    "attention_mean": (lambda trace, layer: trace.attention(layer).mean(axis=0), None),
}

# Fetched only when something shows them: of the whole trace, and (the last) of one layer.
_WHOLE: dict[str, Callable[[Trace], Any]] = {
    "filters": lambda trace: trace.filters(),
    "pixels": lambda trace: trace.pixels,
    "readout": lambda trace: _readout(trace),
}
_COLOURS = "colours"

_stores: weakref.WeakKeyDictionary[Trace, TraceStore] = weakref.WeakKeyDictionary()


class TraceStore(Model):
    """A trace as the page sees it: facts, a picture, and packets that arrive as they are asked for.

    A model without a face. Each packet is a ``Bytes`` trait named ``field_layer``
    (``tokens_6``) or, of the whole trace, ``field``; the page lists in `wanted` what it
    lacks and the kernel answers by setting those traits. The page fetches ``facts["packets"]``
    by itself, ``facts["on_demand"]`` only when something shows them; `send` sends them unasked. Use
    `TraceStore.of`, which keeps one store per trace.

    Parameters
    ----------
    trace : Trace
        What `Inspector.trace` returned.
    first : iterable of str
        Packets to send along when the store opens, so that the first picture needs no question.
    """

    _esm = built("trace_store.js")
    _from_page = ("wanted",)

    facts = t.Dict().tag(sync=True)
    """Names, grid, sizes, predictions and the frame of the picture: everything that is not an array."""

    picture = t.Bytes().tag(sync=True)
    """The original picture, at most 1024 pixels a side, as a JPEG or PNG file."""

    wanted = t.List(t.Unicode()).tag(sync=True)
    """What the page asks for, set by the page: packets, or ``"check"``."""

    check: Any = t.Dict(default_value=None, allow_none=True).tag(sync=True)
    """What `Trace.check` found: ``passed`` (None if it could not run), the errors ``attention`` and
    ``logits``, and ``text``; None as long as nobody asked."""

    def __init__(self, trace: Trace, *, first: Iterable[str] = ()) -> None:
        self.trace = trace
        self._users: set[int] = set()
        names, rest = list(packet_names(trace)), list(names_on_demand(trace))
        self._names = {*names, *rest}
        self.add_traits(**{name: t.Bytes().tag(sync=True) for name in (*names, *rest)})
        super().__init__(
            facts={**_facts(trace), "packets": names, "on_demand": rest},
            picture=_picture(trace.image),
            check=None if trace.checked is None else _found(trace.checked),
            **_answers_with(trace, first),
        )

    @classmethod
    def of(cls, trace: Trace, *, first: Iterable[str] = ()) -> TraceStore:
        """The store of `trace`: the one there is, or a new one that opens with the packets `first`."""
        store = _stores.get(trace)
        if store is None:
            store = _stores[trace] = cls(trace, first=first)
        return store

    def send(self, names: Iterable[str] | None = None) -> None:
        """Send packets to the page; those that it has are not sent again.

        Parameters
        ----------
        names : iterable of str, optional
            Their names; others are left out. By default all that there are.
        """
        asked = self._names if names is None else self._names.intersection(names)
        lacking = sorted(name for name in asked if not getattr(self, name))
        with self.hold_sync():
            for name, answer in _answers_with(self.trace, lacking).items():
                setattr(self, name, answer)

    @t.observe("wanted")
    def _answer(self, change: Any) -> None:
        self.send(change["new"])
        if "check" in change["new"] and self.check is None:
            self.check = _check(self.trace)

    def hold(self, panel: object) -> None:
        """Keep the store open for `panel`."""
        self._users.add(id(panel))

    def release(self, panel: object) -> None:
        """Forget `panel`, which is closed; with the last one the store closes and its bytes are freed."""
        self._users.discard(id(panel))
        if not self._users:
            self.close()

    def close(self) -> None:
        """Close the store and forget it; a later panel on the same trace opens a new one."""
        if self.comm is not None and _stores.get(self.trace) is self:
            del _stores[self.trace]
        super().close()


def packet_names(trace: Trace) -> Iterator[str]:
    """Every packet that `trace` has, field by field, as ``field_layer``."""
    layers = [_fields_of(trace, layer) for layer in range(trace.layers + 1)]
    for field in _FIELDS:
        for layer, fields in enumerate(layers):
            if field in fields:
                yield f"{field}_{layer}"


def names_on_demand(trace: Trace) -> Iterator[str]:
    """The packets that are not fetched before something shows them."""
    layers = range(trace.layers + 1)
    if not _why_not(trace, "view", 0):
        yield from ("filters", "pixels")
    if not all(_why_not(trace, "evidence", layer) for layer in layers):
        yield "readout"
    yield from (f"{_COLOURS}_{layer}" for layer in layers if not _why_not(trace, "colours", layer))


def packet(trace: Trace, name: str) -> bytes:
    """The packet called `name`, encoded."""
    if name in _WHOLE:
        return encode(_WHOLE[name](trace), "float16")
    field, _, layer = name.rpartition("_")
    array, dtype = _FIELDS[field]
    values = np.asarray(array(trace, int(layer)))
    if dtype is None:  # attention within windows is next to nothing but zeros
        dtype = "sparse" if np.count_nonzero(values) < 0.9 * values.size else "float16"
    return encode(values, dtype)


def needed_first(trace: Trace, overlay: str, layer: int) -> list[str]:
    """The packets without which the first picture of `overlay` at `layer` cannot be drawn."""
    shown = ("tokens", *_SHOWN.get(overlay, ()))
    there = [f"{field}_{layer}" for field in _fields_of(trace, layer) if field in shown]
    rest = {"view": ("filters", "pixels"), "evidence": ("readout",), "colours": (f"{_COLOURS}_{layer}",)}
    wanted = rest.get(overlay, ())
    return there + [name for name in names_on_demand(trace) if name in wanted] if wanted else there


_ATTENTION = ("q", "k", "lse", "attention", "attention_mean")
_SHOWN: dict[str, tuple[str, ...]] = {
    "attention_from": _ATTENTION,
    "attention_to": _ATTENTION,
    "rollout": ("rollout",),
    "view": ("rollout",),
}


def _fields_of(trace: Trace, layer: int) -> list[str]:
    """The fields of the packets that there are of a layer."""
    kinds: tuple[Kind, ...] = ("tokens", "mlp", "rollout") if layer > 0 else ("tokens",)
    fields: list[str] = [kind for kind in kinds if not _why_not(trace, kind, layer)]
    return fields + (_attention_fields(trace, layer) if layer > 0 else [])


def _attention_fields(trace: Trace, layer: int) -> list[str]:
    """As what a layer's attention is sent: what it is computed from, or itself, or the mean of its heads."""
    if _why_not(trace, "attention", layer):
        return []
    if trace.has_queries(layer):
        return ["q", "k", "lse"]
    return ["attention" if trace.heads_of(layer) * _map_bytes(trace, layer) <= LARGEST else "attention_mean"]


def _why_not(trace: Trace, field: Kind, layer: int) -> str:
    """Why the page gets no `field` of a layer, as a clause; empty where it does."""
    if field == "colours":  # the components are those of all layers
        return next((why for at in range(trace.layers + 1) if (why := trace.why_not(field, at))), "")
    if field in ("view", "evidence"):
        try:
            why = trace.why_not(field, layer)
        except RuntimeError as error:  # the model has changed since
            return str(error)
        if why or field == "evidence":
            return why or _too_many_classes(trace)
        return _why_not(trace, "rollout", layer)
    whole = field == "rollout" and layer > 0  # it is computed of all layers at once
    why = trace.why_not(field, trace.layers if whole else layer)
    if why or layer == 0 or field in ("tokens", "mlp") or _map_bytes(trace, layer) <= LARGEST_MAP:
        return why
    if field == "attention" and trace.has_queries(layer):
        return ""
    return f"{trace.grid_of(layer).tokens} x {trace.grid_of(layer).tokens} weights are too large to send"


def _too_many_classes(trace: Trace) -> str:
    head = trace.readout
    if head is None or 2 * head.weight.size <= LARGEST_MAP:
        return ""
    return f"what the head reads for {len(head.weight)} classes is too large to send"


def _readout(trace: Trace) -> npt.NDArray[np.float32]:
    """Weights of the head with the bias as a last column, (classes, D + 1)."""
    head = trace.readout
    assert head is not None
    return np.column_stack([head.weight, head.bias])


def _map_bytes(trace: Trace, layer: int) -> int:
    return 2 * trace.grid_of(layer).tokens ** 2


def _answers_with(trace: Trace, names: Iterable[str]) -> dict[str, bytes]:
    """Packets, or why there are none: what is computed by the model can fail."""
    answers: dict[str, bytes] = {}
    for name in names:
        if name.startswith(f"{_COLOURS}_"):
            answers |= _colours(trace)  # those of all layers are found together, and take little room
            continue
        try:
            answers[name] = packet(trace, name)
        except (RuntimeError, MemoryError) as error:
            answers[name] = refuse(str(error) or type(error).__name__)
    return answers


def _colours(trace: Trace) -> dict[str, bytes]:
    layers = range(trace.layers + 1)
    try:
        answers = [encode(colours, "uint8") for colours in trace.colours()]
    except (RuntimeError, MemoryError, np.linalg.LinAlgError) as error:
        answers = [refuse(str(error) or type(error).__name__) for _ in layers]
    return {f"{_COLOURS}_{layer}": answer for layer, answer in zip(layers, answers, strict=True)}


def _check(trace: Trace) -> dict[str, Any]:
    try:
        return _found(trace.check())
    except Exception as error:  # whatever a model's own code raises; the page waits for an answer
        return {"passed": None, "attention": None, "logits": None, "text": str(error) or type(error).__name__}


def _found(check: Check) -> dict[str, Any]:
    """A check for the page; None stands for what there is not, or is not finite."""
    errors = {"attention": check.worst if check.attention else None, "logits": check.logits}
    finite = {
        name: value if value is not None and isfinite(value) else None for name, value in errors.items()
    }
    return {"passed": bool(check.passed), **finite, "text": check.text}


def _facts(trace: Trace) -> dict[str, Any]:
    frame, layers = trace.frame, range(trace.layers + 1)
    grids = [trace.grid_of(layer) for layer in layers]
    return {
        "model": trace.model_name,
        "rows": trace.grid[0],
        "cols": trace.grid[1],
        "prefix": list(trace.prefix),
        "layers": trace.layers,
        "grids": [[grid.rows, grid.cols] for grid in grids],
        "widths": [trace.width_of(layer) for layer in layers],
        "heads": [trace.heads_of(layer) for layer in layers],
        "hidden": [trace.hidden_of(layer) for layer in layers],
        "missing": {field: why for field in get_args(Kind) if (why := _missing(trace, field))},
        "original": list(frame.original),
        "input": list(frame.input),
        "box": list(frame.box),
        "top": _top(trace),
        "leading": _leading(trace),
        "classes": list(trace.class_names),
        "patch": [frame.input[0] // trace.grid[0], frame.input[1] // trace.grid[1]],
        "channels": int(trace.pixels.shape[2]),
        "eps": _eps(trace),
        "no_top": None if trace.has_predictions else "this model has no classifier",
        "notes": list(trace.notes),
    }


def _missing(trace: Trace, field: Kind) -> dict[str, str]:
    """Why the page gets no `field`, by layer (as text: so JSON has its keys)."""
    first = 1 if field in ("attention", "mlp") else 0  # what the input has not, no reader misses
    reasons = {str(layer): _why_not(trace, field, layer) for layer in range(first, trace.layers + 1)}
    return {layer: reason for layer, reason in reasons.items() if reason}


def _top(trace: Trace) -> list[list[str | float | None]]:
    """The first five predictions; None stands for a probability that is not finite, as JSON has no NaN."""
    top = trace.top(5) if trace.has_predictions else []
    return [[label, probability if isfinite(probability) else None] for label, probability in top]


def _eps(trace: Trace) -> float:
    """What the head's norm adds to the variance; 0 where nothing is read."""
    try:
        return 0.0 if trace.readout is None else trace.readout.eps
    except RuntimeError:  # as `missing` says of "evidence"
        return 0.0


def _leading(trace: Trace) -> list[int]:
    """The classes of the first five predictions."""
    if not trace.has_predictions:
        return []
    return [int(index) for index in np.argsort(-trace.probabilities, kind="stable")[:5]]


def _picture(image: Image.Image) -> bytes:
    """A PNG where that is small (drawn pictures), otherwise a JPEG."""
    shown = image.copy()
    shown.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    jpeg = BytesIO()
    shown.save(jpeg, "JPEG", quality=90)
    if shown.width * shown.height > 512 * 512:
        return jpeg.getvalue()
    png = BytesIO()
    shown.save(png, "PNG")
    return min(png.getvalue(), jpeg.getvalue(), key=len)
