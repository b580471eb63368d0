"""What all charts share: a live figure, a still picture beside it, and a cursor to follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets
import pandas as pd
from PIL import Image

from vitwidgets.charts import drawing
from vitwidgets.charts.legend import legend
from vitwidgets.plot import Mark, Plot, keys
from vitwidgets.stills import chart as stills
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.picture import Pictured


class Chart(Pictured, ipywidgets.VBox):
    """A figure with the numbers that it shows.

    Parameters
    ----------
    plot : Plot
        What to draw.
    data : pandas.DataFrame
        Its numbers.
    cursor : Cursor, optional
        What it follows and moves.
    below : sequence of Widget
        What stands below the figure and its legend.

    Attributes
    ----------
    plot : vitwidgets.plot.Plot
        What is drawn, live and still.
    figure : bqplot.Figure
        It live; its marks and axes may be changed, which the still picture does not follow.
    data : pandas.DataFrame
        What it shows.
    cursor : Cursor or None
        What it follows and moves.
    """

    _unlink: tuple[Callable[[], None], ...] = ()

    def __init__(
        self,
        plot: Plot,
        data: pd.DataFrame,
        cursor: Cursor | None = None,
        *,
        below: Sequence[ipywidgets.Widget] = (),
    ) -> None:
        self.plot, self.data, self.cursor = plot, data, cursor
        self.figure, self._scales = drawing.figure(plot)
        self._legend = ipywidgets.HTML(legend(keys(plot.marks)))
        super().__init__([self.figure, *([self._legend] if plot.keyed else []), *below])

    def _drawn(self, width: int) -> Image.Image:
        return stills.draw(self.plot, width=width)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.plot.title!r})"

    def _draw(self, title: str, marks: Sequence[Mark]) -> None:
        """Draw other marks on the same axes."""
        self.plot = replace(self.plot, title=title, marks=tuple(marks), note="")
        self.figure.title, self.figure.marks = title, drawing.marks(self.plot, self._scales)
        self._legend.value = legend(keys(self.plot.marks))

    def _follow(self, name: str, handler: Callable[[Any], None]) -> None:
        """Call `handler` with the value of a trait of the cursor, now and whenever it changes."""
        if self.cursor is None:
            return
        cursor = self.cursor

        def changed(change: Any) -> None:
            handler(change["new"])

        cursor.observe(changed, names=[name])
        self._unlink = (*self._unlink, lambda: cursor.unobserve(changed, names=[name]))
        handler(getattr(cursor, name))

    def close(self) -> None:
        """Close the chart; the cursor forgets it."""
        for unlink in self._unlink:
            unlink()
        self._unlink = ()
        for child in self.children:
            child.close()
        super().close()
