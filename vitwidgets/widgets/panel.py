"""What the panels share: a trace, a cursor, and the cursor's traits as their own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import traitlets as t
from anywidget import WidgetTrait
from PIL import Image

from vitwidgets.widgets.base import Index, Model, built
from vitwidgets.widgets.cursor import OVERLAYS, POINTS, SPACES, Cursor
from vitwidgets.widgets.picture import Pictured
from vitwidgets.widgets.store import TraceStore, needed_first

if TYPE_CHECKING:
    from vitwidgets.stills.view import View
    from vitwidgets.trace import Trace


def _kept() -> Any:
    """Make a trait for a widget that a panel keeps as long as it lives."""
    trait = WidgetTrait().tag(sync=True)
    trait.read_only = True
    return trait


class Panel(Pictured, Model):
    """A view of one trace that follows one cursor.

    Parameters
    ----------
    trace : Trace
        What `Inspector.trace` returned.
    cursor : Cursor, optional
        Share one to make panels move together; without it the panel has its own.
    offline : bool
        The trait below.
    layer, token, head, neuron, neuron_space, patches, target, overlay
        Where to start: set on the cursor.

    Raises
    ------
    TypeError
        If `trace` is not a Trace, `cursor` not a Cursor, or a keyword is unknown.
    traitlets.TraitError
        If a value is outside what the trace has; the message says the range.
    """

    _css = built("vitwidgets.css")
    _regions: ClassVar[tuple[str, ...]] = ()
    _held = ExitStack()  # what close() lets go

    store = _kept()
    """The `TraceStore` that the panel reads; panels on one trace share it."""

    cursor = _kept()
    """The `Cursor` that the panel follows."""

    offline = t.Bool(False)
    """Whether all that the panel can show is sent at once, so that a page saved with its widgets shows it
    without a kernel. Otherwise the page asks for views, evidence and colours when a reader first looks at
    them, and for the rest while it is open: a notebook that was run without a page has next to nothing.
    It is 2.6 MB for the embedded model, 8 for DeiT-Tiny and 30 for ViT-B/16 at 224 pixels; in a notebook a
    third more. A token map is in the page where it is open (`Explorer.show_map`)."""

    layer = Index()
    """Position in the residual stream, 0..L."""

    token = t.Any(None)
    """The pinned token: patch index, ``(row, col)`` (read back as an index), prefix token's name, or None."""

    head = Index(None, allow_none=True)
    """The attention head, 0..heads-1; None is the mean."""

    neuron = Index()
    """The neuron, a residual coordinate or an MLP hidden unit."""

    neuron_space = t.Enum(SPACES, "residual")
    """Where `neuron` lives: ``"residual"`` or ``"mlp"``."""

    patches = t.List(Index())
    """The selected patches, as ascending patch indices."""

    target = Index(None, allow_none=True)
    """The class that is followed, 0..classes-1; None is the most probable one."""

    overlay = t.Enum(OVERLAYS, "similarity")
    """What is drawn over the image; `Cursor.overlay` lists the names."""

    def __init__(self, trace: Trace, *, cursor: Cursor | None = None, **kwargs: Any) -> None:
        from vitwidgets.trace import Trace

        if not isinstance(trace, Trace):
            raise TypeError(
                f"{type(self).__name__} needs a Trace, as Inspector.trace(image) returns; "
                f"got {type(trace).__name__}"
            )
        if cursor is not None and not isinstance(cursor, Cursor):
            raise TypeError(f"cursor must be a vitwidgets.Cursor; got {type(cursor).__name__}")
        self.trace = trace
        points = {name: kwargs.pop(name) for name in POINTS if name in kwargs}
        if "token" in points:
            points["token"] = self._patch(points["token"])
        with ExitStack() as held:
            if cursor is None:
                cursor = Cursor()
                held.callback(cursor.close)
            cursor.bind(trace, **points)
            store = TraceStore.of(trace, first=needed_first(trace, cursor.overlay, cursor.layer))
            store.hold(self)
            held.callback(store.release, self)
            self.set_trait("store", store)
            self.set_trait("cursor", cursor)
            super().__init__(**kwargs)
            for name in POINTS:
                setattr(self, name, getattr(cursor, name))
            cursor.observe(self._follow, names=list(POINTS))
            held.callback(cursor.unobserve, self._follow, names=list(POINTS))
            self.observe(self._lead_to_none, names=["token", "head", "target"])
            self._held = held.pop_all()

    def _patch(self, token: Any) -> Any:
        """A ``(row, col)`` pair as a patch index; anything else as it is."""
        if isinstance(token, (tuple, list)):
            grid = self.trace.patch_grid
            try:
                return grid.token(grid.index(tuple(token)))
            except (ValueError, IndexError, TypeError) as error:
                raise t.TraitError(str(error)) from error
        return token

    @t.validate(*POINTS)
    def _through_cursor(self, proposal: Any) -> Any:
        """Only what the cursor takes: a refused value changes neither."""
        name, value = proposal["trait"].name, proposal["value"]
        if self.cursor is None or value is getattr(self.cursor, name):  # to follow is not to choose
            return value
        setattr(self.cursor, name, self._patch(value) if name == "token" else value)
        return getattr(self.cursor, name)

    @t.observe("offline")
    def _when_offline(self, _: Any) -> None:
        if self.offline:
            self._send_all()

    def _send_all(self) -> None:
        """Send the page all that the panel can show."""
        self.store.send()

    def _follow(self, change: Any) -> None:
        setattr(self, change["name"], change["new"])

    def _lead_to_none(self, change: Any) -> None:
        """Tell the cursor too: traitlets takes None without calling the validator."""
        if change["new"] is None:
            setattr(self.cursor, change["name"], None)

    def close(self) -> None:
        """Close the panel, its cursor if it made one itself, and the store if it was the last to use it."""
        super().close()
        self._held.close()

    def __repr__(self) -> str:
        points = ", ".join(f"{name}={getattr(self, name)!r}" for name in POINTS)
        return f"{type(self).__name__}({self.trace.model_name}, {points})"

    def _drawn(self, width: int) -> Image.Image:
        from vitwidgets.stills.panel import still

        return still(self._view(), self._regions, width=width)

    def _view(self) -> View:
        from vitwidgets.analysis.overlay import Spec
        from vitwidgets.stills.view import View

        token = None if self.token is None else self.trace.patch_grid.index(self.token)
        spec = Spec(self.overlay, self.layer, token, self.head, self.neuron, self.neuron_space, self.target)
        return View(self.trace, spec, tuple(self.patches))
