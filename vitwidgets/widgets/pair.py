"""Two traces side by side under one cursor."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import traitlets as t
from anywidget import WidgetTrait
from PIL import Image, ImageDraw

from vitwidgets.widgets.base import Model
from vitwidgets.widgets.look import Look
from vitwidgets.widgets.store import TraceStore, _answers_with, _facts, _picture, needed_first

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vitwidgets.stills.view import View
    from vitwidgets.trace import Trace
    from vitwidgets.widgets.cursor import Cursor

_GAP, _HEAD = 24, 34  # of a still picture, in pixels


class LeanStore(TraceStore):
    """A store of which the page fetches what it shows and no more: for a trace that is soon replaced.

    It is none that other panels on the trace would share; those get one that sends all.

    Parameters
    ----------
    trace : Trace
        Another pass of the same model on an input of the same size as that of `like`.
    like : TraceStore
        Whose packets it has too: to find out anew which there are would cost a third of a pass.
    first : iterable of str
        As for `TraceStore`.
    """

    def __init__(self, trace: Trace, *, like: TraceStore, first: Iterable[str] = ()) -> None:
        self.trace = trace
        self._users: set[int] = set()
        names = [*like.facts["packets"], *like.facts["on_demand"]]
        self._names = set(names)
        self.add_traits(**{name: t.Bytes().tag(sync=True) for name in names})
        Model.__init__(
            self,
            facts={**_facts(trace), "packets": [], "on_demand": names},
            picture=_picture(trace.image),
            **_answers_with(trace, first),
        )


class Pair(Look):
    """A panel that shows a second trace beside the first.

    Parameters
    ----------
    trace, other : Trace
        What stands on the left and on the right.
    cursor : Cursor, optional
        As for every panel: it moves both sides.
    """

    _from_page: ClassVar[tuple[str, ...]] = (*Look._from_page, "shared_scale")
    _right: object = None  # who holds the stores of the right side
    _open: tuple[TraceStore, ...] = ()  # them, the one that is shown last

    other = WidgetTrait().tag(sync=True)
    """The `TraceStore` of the right side."""
    other.read_only = True

    shared_scale = t.Bool(True).tag(sync=True)
    """Whether the colours of both sides stand for the same values."""

    titles = t.Tuple(t.Unicode(), t.Unicode(), default_value=("", "")).tag(sync=True)
    """What the two sides are called."""

    def __init__(self, trace: Trace, other: Trace, *, cursor: Cursor | None = None, **kwargs: Any) -> None:
        self._right = object()
        super().__init__(trace, cursor=cursor, **kwargs)
        try:
            self.cursor.bind(other)
            self._show(other)
        except BaseException:
            self.close()
            raise

    def _show(self, trace: Trace, *, lean: bool = False) -> None:
        """Put a trace on the right; the one before stays open: the page shows it until it has this one."""
        first = needed_first(self.trace if lean else trace, self.overlay, self.layer)
        store = LeanStore(trace, like=self.store, first=first) if lean else TraceStore.of(trace, first=first)
        if self.offline:
            store.send()
        store.hold(self._right)
        self._open = (*(known for known in self._open if known is not store), store)
        self.shown = trace
        self.set_trait("other", store)
        self._release(2)

    def _send_all(self) -> None:
        super()._send_all()
        for store in self._open:
            store.send()

    def _release(self, keep: int) -> None:
        """Close what was shown on the right longer ago than the last `keep`."""
        old = self._open[: max(0, len(self._open) - keep)]
        self._open = self._open[len(old) :]
        for store in old:
            store.release(self._right)

    def close(self) -> None:
        """Close the panel, and the stores that nobody else uses."""
        super().close()
        self._release(0)

    def _drawn(self, width: int) -> Image.Image:
        from vitwidgets.stills.panel import still

        beside = width >= 2 * 300 + _GAP
        side = (width - _GAP) // 2 if beside else width
        views = self._view(), self._other_view()
        pictures = [
            _titled(title, still(view, self._regions, width=side))
            for title, view in zip(self.titles, views, strict=True)
        ]
        high = [picture.height for picture in pictures]
        out = Image.new("RGB", (width, max(high) if beside else sum(high)), "white")
        out.paste(pictures[0], (0, 0))
        out.paste(pictures[1], (width - side, 0) if beside else (0, high[0]))
        return out

    def _other_view(self) -> View:
        view, trace = self._view(), self.shown
        token = None if self.token is None else trace.patch_grid.index(self.token)
        return replace(view, trace=trace, spec=replace(view.spec, token=token))


def _titled(title: str, picture: Image.Image) -> Image.Image:
    from vitwidgets.lettering import fitted, font
    from vitwidgets.stills.inks import GAP, INK, TITLE

    out = Image.new("RGB", (picture.width, picture.height + _HEAD), "white")
    ImageDraw.Draw(out).text((GAP, 8), fitted(title, TITLE, picture.width - 2 * GAP), INK, font(TITLE))
    out.paste(picture, (0, _HEAD))
    return out
