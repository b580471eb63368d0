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
from vitwidgets.widgets.panel import SHOWN
from vitwidgets.widgets.picture import beside


class Pictured(ipywidgets.VBox):
    """Widgets one under another that show a still picture where no widget runs."""

    _shown = SHOWN  # width of the picture in a page without widgets, in CSS pixels

    def still(self, *, width: int = 1200) -> Image.Image:
        """What the charts show now, as a still picture, drawn without a browser.

        Parameters
        ----------
        width : int
            Width of the picture in pixels, at least 300.

        Returns
        -------
        PIL.Image.Image
            RGB, on white.

        Raises
        ------
        ValueError
            If `width` is under 300.
        """
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data = super()._repr_mimebundle_(**kwargs)
        return beside((data, {}), lambda: self.still(width=self._shown * 3 // 2), self._shown, self.log)


class Chart(Pictured):
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

    def still(self, *, width: int = 1200) -> Image.Image:
        """The chart as it is now, as a still picture: see `Pictured.still`."""
        return stills.draw(self.plot, width=width)

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
