"""The store: one trace's numbers, sent to the page once and shared by all its panels."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets as t
from PIL import Image

from vitwidgets.widgets.base import Model, built
from vitwidgets.widgets.codec import Dtype, encode

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

PICTURE_SIDE = 1024  # the page never draws a picture larger than this

# One packet is one array of one layer. Fields in the order in which they are fetched.
_FIELDS: dict[str, tuple[Callable[[Trace, int], Any], int, Dtype]] = {
    # field: (array of a layer, first layer that has it, dtype)
    "tokens": (lambda trace, layer: trace.tokens[layer], 0, "float16"),
    "q": (lambda trace, layer: trace.queries(layer), 1, "float16"),
    "k": (lambda trace, layer: trace.keys(layer), 1, "float16"),
    "lse": (lambda trace, layer: trace.log_normalizer(layer), 1, "float32"),
    "rollout": (lambda trace, layer: trace.rollout()[layer], 1, "float16"),
    "mlp": (lambda trace, layer: trace.mlp(layer), 1, "float16"),
}

_stores: weakref.WeakKeyDictionary[Trace, TraceStore] = weakref.WeakKeyDictionary()


class TraceStore(Model):
    """A trace as the page sees it: facts, a picture, and packets that arrive as they are asked for.

    A model without a face. Each packet is a ``Bytes`` trait named ``field_layer``
    (``tokens_6``); the page lists in `wanted` what it lacks and the kernel answers by
    setting those traits. Use `TraceStore.of`, which keeps one store per trace.

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
    """The packets that the page asks for, set by the page."""

    def __init__(self, trace: Trace, *, first: Iterable[str] = ()) -> None:
        self.trace = trace
        self._users: set[int] = set()
        names = list(packet_names(trace))
        self.add_traits(**{name: t.Bytes().tag(sync=True) for name in names})
        super().__init__(
            facts={**_facts(trace), "packets": names},
            picture=_picture(trace.image),
            **{name: packet(trace, name) for name in first},
        )

    @classmethod
    def of(cls, trace: Trace, *, first: Iterable[str] = ()) -> TraceStore:
        """The store of `trace`: the one there is, or a new one that opens with the packets `first`."""
        store = _stores.get(trace)
        if store is None:
            store = _stores[trace] = cls(trace, first=first)
        return store

    @t.observe("wanted")
    def _answer(self, change: Any) -> None:
        with self.hold_sync():
            for name in change["new"]:
                if name in self.facts["packets"] and not getattr(self, name):
                    setattr(self, name, packet(self.trace, name))

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
    for field, (_, begin, _) in _FIELDS.items():
        for layer in range(begin, trace.layers + 1):
            yield f"{field}_{layer}"


def packet(trace: Trace, name: str) -> bytes:
    """The packet called `name`, encoded."""
    field, _, layer = name.rpartition("_")
    array, _, dtype = _FIELDS[field]
    return encode(np.asarray(array(trace, int(layer))), dtype)


def needed_first(overlay: str, layer: int) -> list[str]:
    """The packets without which the first picture of `overlay` at `layer` cannot be drawn."""
    fields = {
        "attention_from": ["q", "k", "lse"],
        "attention_to": ["q", "k", "lse"],
        "rollout": ["rollout"],
        "none": [],
    }.get(overlay, [])
    return [f"tokens_{layer}", *(f"{field}_{layer}" for field in fields if layer > 0)]


def _facts(trace: Trace) -> dict[str, Any]:
    frame = trace.frame
    return {
        "model": trace.model_name,
        "rows": trace.grid[0],
        "cols": trace.grid[1],
        "prefix": list(trace.prefix),
        "layers": trace.layers,
        "width": trace.width,
        "heads": trace.heads,
        "head_dim": trace.queries(1).shape[-1],
        "hidden": trace.hidden,
        "original": list(frame.original),
        "input": list(frame.input),
        "box": list(frame.box),
        "top": _top(trace),
        "no_top": None if trace.has_predictions else "this model has no classifier",
        "notes": list(trace.notes),
    }


def _top(trace: Trace) -> list[list[str | float | None]]:
    """The first five predictions; None stands for a probability that is not finite, as JSON has no NaN."""
    top = trace.top(5) if trace.has_predictions else []
    return [[label, probability if isfinite(probability) else None] for label, probability in top]


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
