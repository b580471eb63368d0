"""Two traces side by side: two images, two models, or before and after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import traitlets as t

from vitwidgets.analysis.overlay import Field, cell_at, row_of, token_name, value_range
from vitwidgets.analysis.projection import colours
from vitwidgets.images import file_name
from vitwidgets.widgets.base import built
from vitwidgets.widgets.codec import encode
from vitwidgets.widgets.pair import Pair

if TYPE_CHECKING:
    from vitwidgets.stills.view import View
    from vitwidgets.trace import Trace
    from vitwidgets.widgets.cursor import Cursor

SIDES = ("left", "right")


class Match(NamedTuple):
    """A patch of one picture that is like a token of the other.

    Attributes
    ----------
    patch : int
        Its index.
    cosine : float
        With the pinned token, -1..1.
    """

    patch: int
    cosine: float


class Compare(Pair):
    """Two images, two models, or before and after, side by side under one cursor.

    With the overlay "similarity", a patch that is clicked on one side is compared with the tokens of the
    other side too, and its best match there is outlined. Every other overlay shows each trace as it is.

    Parameters
    ----------
    trace_a, trace_b : Trace
        What stands on the left and on the right. They may differ in model, grid and depth: the cursor stays
        within what both have.
    cursor : Cursor, optional
        Share one to move together with other panels.
    titles : (str, str), optional
        What the sides are called. Without it the names of the models, where they differ, or of the files;
        "before" and "after" for two passes of one picture, and "left" and "right" otherwise.
    **kwargs
        Traits: those below, and the cursor's.

    Raises
    ------
    TypeError
        If one is no Trace, or a keyword is unknown.
    traitlets.TraitError
        If a trait does not take its value.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> inspector = vw.Inspector("demo")
    >>> a, b = inspector.trace([vw.demo.scene(7).image, vw.demo.scene(8).image])
    >>> compare = vw.Compare(a, b, layer=6, token=(4, 5))
    >>> len(compare.matches(3))
    3
    """

    _esm = built("compare.js")
    _regions = ("image",)
    _from_page = (*Pair._from_page, "side", "shared_colours")

    side = t.Enum(SIDES, "left").tag(sync=True)
    """Which side the pinned token is of: the one that was clicked last."""

    shared_colours = t.Bool(False).tag(sync=True)
    """Whether the overlay "colours" has one set of principal components, of both traces together at each
    layer, so that equal colours mean alike tokens; needs layers of equal width."""

    palette = t.Tuple(t.Bytes(), t.Bytes(), default_value=(b"", b""), read_only=True).tag(sync=True)
    """The shared colours of both sides, all layers one after another, as packets; empty until asked for."""

    def __init__(
        self, trace_a: Trace, trace_b: Trace, *, cursor: Cursor | None = None, **kwargs: Any
    ) -> None:
        from vitwidgets.trace import Trace

        for trace, which in ((trace_a, "first"), (trace_b, "second")):
            if not isinstance(trace, Trace):
                raise TypeError(f"Compare needs two Traces; the {which} is {type(trace).__name__}")
        self.traces = trace_a, trace_b
        kwargs.setdefault("titles", _names(trace_a, trace_b))
        super().__init__(trace_a, trace_b, cursor=cursor, **kwargs)

    @t.validate("shared_colours")
    def _of_one_width(self, proposal: Any) -> Any:
        reason = self._no_shared_colours() if proposal["value"] else ""
        if reason:
            raise t.TraitError(f"there are no shared colours: {reason}")
        return proposal["value"]

    def _no_shared_colours(self) -> str:
        for layer in range(self._depth() + 1):
            reason = self.why_no_matches(layer)
            if reason:
                return reason
        return ""

    def _depth(self) -> int:
        return min(trace.layers for trace in self.traces)

    @t.observe("shared_colours")
    def _paint(self, change: Any) -> None:
        if not change["new"] or self.palette[0]:
            return
        sides: tuple[list[Any], list[Any]] = ([], [])
        for layer in range(self._depth() + 1):
            tables = [trace.layer(layer)[len(trace.prefix) :] for trace in self.traces]
            for side, painted in zip(sides, colours(tables, over="images"), strict=True):
                side.append(painted)
        self.set_trait("palette", tuple(encode(np.concatenate(side), "uint8") for side in sides))

    def why_no_matches(self, layer: int | None = None) -> str:
        """Why tokens of the two sides cannot be compared at a layer; empty where they can.

        Parameters
        ----------
        layer : int, optional
            By default the cursor's.
        """
        at = self.layer if layer is None else layer
        for trace in self.traces:
            reason = trace.why_not("tokens", at)
            if reason:
                return f"{trace.model_name} has no tokens at layer {at}: {reason}"
        widths = [trace.width_of(at) for trace in self.traces]
        if widths[0] != widths[1]:
            return (
                f"the tokens of layer {at} have {widths[0]} numbers on the left and {widths[1]} on the right"
            )
        return ""

    def matches(self, count: int = 5) -> list[Match]:
        """The patches of the other side that are most like the pinned token, by cosine at the cursor's layer.

        Parameters
        ----------
        count : int
            How many at most.

        Returns
        -------
        list of Match
            Best first; patches are those of the layer's own grid. Tokens that are not finite are left out.

        Raises
        ------
        ValueError
            If no token is pinned, or the sides cannot be compared at this layer; says why.
        """
        reason = self.why_no_matches()
        if reason or self.token is None:
            raise ValueError(reason or "no token is pinned: set the cursor's token first")
        cosines = self._cosines()[len(self._sides()[1].prefix) :]
        order = np.argsort(-cosines, kind="stable")
        best = [patch for patch in order.tolist() if np.isfinite(cosines[patch])][:count]
        return [Match(patch, float(np.clip(cosines[patch], -1, 1))) for patch in best]

    def _sides(self) -> tuple[Trace, Trace]:
        """The trace of the pinned token, and the other."""
        here, there = self.traces
        return (here, there) if self.side == "left" else (there, here)

    def _cosines(self) -> npt.NDArray[np.float32]:
        """Cosine of every token of the other side with the pinned one, (N,)."""
        here, there = self._sides()
        token = here.layer(self.layer)[row_of(here, self.layer, here.patch_grid.index(self.token))]
        tokens = there.layer(self.layer)
        lengths = np.linalg.norm(tokens, axis=1) * np.linalg.norm(token)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(lengths == 0, 0, tokens @ token / lengths).astype(np.float32)

    def _view(self) -> View:
        return self._across(super()._view(), "left")

    def _other_view(self) -> View:
        return self._across(super()._other_view(), "right")

    def _across(self, view: View, side: str) -> View:
        """Show similarity to the token that is pinned on the other side, its best match outlined."""
        compared = self.overlay == "similarity" and self.token is not None and not self.why_no_matches()
        best = self.matches(1) if compared and side != self.side else []
        if not best:
            return replace(view, across=None)
        here, there = self._sides()
        values, grid = self._cosines(), there.grid_of(self.layer)
        low, high, diverging = value_range(values, "span", len(there.prefix))
        name = token_name(here, self.layer, here.patch_grid.index(self.token))
        title = f"similarity to {name} of {self.titles[SIDES.index(self.side)]}"
        field = Field(values, (grid.rows, grid.cols), low, high, diverging, title, "cosine")
        finest = there.patch_grid
        match = cell_at(best[0].patch, (grid.rows, grid.cols), (finest.rows, finest.cols))
        return replace(view, across=field, spec=replace(view.spec, token=len(there.prefix) + match))


def _names(trace_a: Trace, trace_b: Trace) -> tuple[str, str]:
    """What two traces differ in: the model, the file or, of one picture, what was done between."""
    if trace_a.model_name != trace_b.model_name:
        return trace_a.model_name, trace_b.model_name
    images = trace_a.image, trace_b.image
    files = file_name(images[0]), file_name(images[1])
    if all(files) and files[0] != files[1]:
        return files
    same = images[0].size == images[1].size and np.array_equal(np.asarray(images[0]), np.asarray(images[1]))
    return ("before", "after") if same else ("left", "right")
