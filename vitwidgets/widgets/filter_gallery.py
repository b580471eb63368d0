"""The filters of the patch embedding, all at once."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import traitlets as t
from PIL import Image, ImageDraw

from vitwidgets.analysis import filters
from vitwidgets.analysis.neurons import Ranking
from vitwidgets.lettering import figure, fitted, font
from vitwidgets.widgets.base import Index, Model, built
from vitwidgets.widgets.codec import encode
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.panel import _kept
from vitwidgets.widgets.picture import Pictured

if TYPE_CHECKING:
    from vitwidgets.inspector import Inspector

SORTS = ("number", "variance", "likeness", "separation")
COMPONENTS = 28  # as many as figure 7 of the ViT paper has

INK, FAINT, ACCENT = "#1f2328", "#5f6670", "#1971c2"


class FilterGallery(Pictured, Model):
    """All filters of the patch embedding as pictures, and the principal components that they are made of.

    Filter `j` is what neuron `j` looks for in a patch, before any block mixes patches. In a picture of it
    mid-grey is zero, each colour channel stands for itself, and what reaches `limit_of` the
    filter (in `vitwidgets.analysis.views`) has full brightness. Click chooses a neuron: panels on the same
    cursor follow. Works without a kernel.

    Parameters
    ----------
    inspector : Inspector
        A model whose patches are embedded by one convolution.
    cursor : Cursor, optional
        Share one to choose the neuron of other panels; without it the gallery has its own.
    scores : Ranking or array_like of shape (D,), optional
        How well each neuron tells something: what `vitwidgets.analysis.neurons.rank` returns, or numbers of
        your own. Needed to sort by separation.
    sort, **kwargs
        The traits below: `sort`, `view`, `neuron`.

    Raises
    ------
    TypeError
        If `inspector` is not an Inspector, `cursor` not a Cursor, or a keyword is unknown.
    ValueError
        If the model has no such filters, with the reason; or if `scores` do not fit them.
    traitlets.TraitError
        If a trait is given what it cannot have.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> gallery = vw.FilterGallery(vw.Inspector("demo"), sort="likeness", neuron=3)
    >>> int(gallery.order()[0])
    3
    """

    _esm = built("filter_gallery.js")
    _css = built("vitwidgets.css")
    _from_page = ("sort", "view")
    _held = ExitStack()  # what close() lets go

    cursor = _kept()
    """The `Cursor` whose neuron is the chosen filter."""

    neuron = Index(None, allow_none=True)
    """The chosen filter, 0..D-1; None where the cursor is at a neuron that has none (one of an MLP)."""

    sort = t.Enum(SORTS, "number").tag(sync=True)
    """Which filters come first: ``"number"``; ``"variance"``, what carries most of the filter bank's
    variance; ``"likeness"``, the greatest cosine to the chosen one; ``"separation"``, the greatest of
    `scores`."""

    view = t.Enum(("filters", "components"), "filters").tag(sync=True)
    """What is shown: the filters, or their first 28 principal components."""

    bank = t.Bytes(read_only=True).tag(sync=True)
    """The filters, (D, p, q, C), as a packet of float16."""

    variance = t.Bytes(read_only=True).tag(sync=True)
    """The share of each filter in the bank's variance, (D,), as a packet of float32."""

    scores = t.Bytes(read_only=True).tag(sync=True)
    """The scores, (D,), as a packet of float32; empty where none were given."""

    components = t.Bytes(read_only=True).tag(sync=True)
    """The principal components, (28, p, q, C), as a packet of float16."""

    explained = t.Bytes(read_only=True).tag(sync=True)
    """The share of the variance that each component explains, (28,), as a packet of float32."""

    about = t.Unicode(read_only=True).tag(sync=True)
    """The model's name."""

    def __init__(
        self,
        inspector: Inspector,
        *,
        cursor: Cursor | None = None,
        sort: Literal["number", "variance", "likeness", "separation"] = "number",
        scores: Ranking | npt.ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        from vitwidgets.inspector import Inspector

        if not isinstance(inspector, Inspector):
            raise TypeError(f"FilterGallery needs an Inspector; got {type(inspector).__name__}")
        if cursor is not None and not isinstance(cursor, Cursor):
            raise TypeError(f"cursor must be a vitwidgets.Cursor; got {type(cursor).__name__}")
        self.inspector = inspector
        self._filters = inspector.filters()
        if self._filters.shape[-1] not in (1, 3):
            raise ValueError(
                f"{inspector.name} has filters of {self._filters.shape[-1]} channels; a picture has 1 or 3"
            )
        self._scores = None if scores is None else _checked(scores, len(self._filters))
        self._shares = filters.variance_share(self._filters)
        self._found = filters.principal_components(
            self._filters, count=min(COMPONENTS, self._filters[0].size)
        )
        packets = {
            "bank": encode(self._filters),
            "variance": encode(self._shares, "float32"),
            "scores": b"" if self._scores is None else encode(self._scores, "float32"),
            "components": encode(self._found[0]),
            "explained": encode(self._found[1], "float32"),
            "about": inspector.name,
        }
        with ExitStack() as held:
            if cursor is None:
                cursor = Cursor()
                held.callback(cursor.close)
            self.set_trait("cursor", cursor)
            for name, value in packets.items():
                self.set_trait(name, value)
            super().__init__(sort=sort, **kwargs)
            self._follow()
            cursor.observe(self._follow, names=["neuron", "neuron_space"])
            held.callback(cursor.unobserve, self._follow, names=["neuron", "neuron_space"])
            self._held = held.pop_all()

    @t.validate("sort")
    def _sortable(self, proposal: Any) -> Any:
        if proposal["value"] == "separation" and self._scores is None:
            raise t.TraitError(
                "sort is 'separation', but there are no scores: give scores=, "
                "as vitwidgets.analysis.neurons.rank makes them"
            )
        return proposal["value"]

    @t.validate("neuron")
    def _through_cursor(self, proposal: Any) -> Any:
        """Only a filter that there is, and that the cursor takes: a refused value changes neither."""
        chosen, last = proposal["value"], len(self._filters) - 1
        if not 0 <= chosen <= last:
            raise t.TraitError(f"neuron is {chosen}; {self.about} has the filters 0..{last}")
        if self.cursor is not None and chosen != self._at():
            before = {name: getattr(self.cursor, name) for name in ("neuron_space", "neuron")}
            with self.cursor.hold_sync():
                try:
                    self.cursor.neuron_space, self.cursor.neuron = "residual", chosen
                except t.TraitError:
                    for name, value in before.items():
                        setattr(self.cursor, name, value)
                    raise
        return chosen

    def _at(self) -> int | None:
        """The filter that the cursor is at."""
        there = self.cursor.neuron_space == "residual" and self.cursor.neuron < len(self._filters)
        return int(self.cursor.neuron) if there else None

    def _follow(self, _: Any = None) -> None:
        self.neuron = self._at()

    def order(self) -> npt.NDArray[np.intp]:
        """Numbers of the filters in the order in which they are shown.

        Returns
        -------
        ndarray, shape (D,), intp
            By number where likeness is asked for and no filter is chosen.
        """
        missing = self.sort == "likeness" and self.neuron is None
        by = cast("filters.By", "number" if missing else self.sort)
        return filters.order(self._filters, by, chosen=self.neuron, scores=self._scores)

    def _drawn(self, width: int) -> Image.Image:
        count, p, q, channels = self._filters.shape
        if self.view == "filters":
            text = f"{count} filters of {p} x {q} x {channels}, by {self.sort}"
            tiles, labels = filters.picture(self._filters)[self.order()], []
            chosen = None if self.neuron is None else int(np.argmax(self.order() == self.neuron))
        else:
            components, explained = self._found
            text = f"the filters' first {len(components)} principal components, with their share of variance"
            tiles, chosen = filters.picture(components), None
            labels = [f"{figure(100 * share)} %" for share in explained]
        return _sheet(tiles, f"{self.about} · {text}", width, labels, chosen)

    def close(self) -> None:
        """Close the gallery, and its cursor if it made one itself."""
        super().close()
        self._held.close()

    def __repr__(self) -> str:
        return f"FilterGallery({self.about}, neuron={self.neuron}, sort={self.sort!r}, view={self.view!r})"


def _checked(scores: Ranking | npt.ArrayLike, count: int) -> npt.NDArray[np.float64]:
    """Scores by the filters' numbers."""
    if isinstance(scores, Ranking):
        if scores.space != "residual":
            raise ValueError("scores rank MLP neurons, which have no filters; rank space='residual'")
        scores = scores.by_number()
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"scores must have shape ({count},), one for each filter; got {values.shape}")
    return values


def _sheet(
    tiles: npt.NDArray[np.uint8], title: str, width: int, labels: list[str], chosen: int | None
) -> Image.Image:
    """Small pictures in rows, with what is written under them, and one of them framed."""
    margin, gap, head, line = 16, 4, 34, 20 if labels else 0
    p, q = tiles.shape[1:3]
    inner = width - 2 * margin
    scale = max(1, round((72 if labels else 28) / max(p, q)))
    wide, high = q * scale, p * scale
    columns = max(1, (inner + gap) // (wide + gap))
    rows = -(-len(tiles) // columns)
    out = Image.new("RGB", (width, 2 * margin + head + rows * (high + line + gap) - gap), "white")
    draw = ImageDraw.Draw(out)
    draw.text((margin, margin), fitted(title, 18, inner), INK, font(18))
    for index, tile in enumerate(tiles):
        row, col = divmod(index, columns)
        x, y = margin + col * (wide + gap), margin + head + row * (high + line + gap)
        out.paste(Image.fromarray(tile).resize((wide, high), Image.Resampling.NEAREST), (x, y))
        if labels:
            draw.text((x + wide / 2, y + high + 2), labels[index], FAINT, font(14), "ma")
        if index == chosen:
            draw.rectangle((x - 3, y - 3, x + wide + 2, y + high + 2), outline=ACCENT, width=3)
    return out
