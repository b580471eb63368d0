"""Curves over layers, with the present layer marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from PIL import Image

from vitwidgets.charts import drawing
from vitwidgets.charts.chart import Chart
from vitwidgets.charts.legend import legend
from vitwidgets.plot import FAINT, MARKERS, PALETTE, Axis, Band, Curve, Floats, Mark, Plot, keys, ticks
from vitwidgets.stills import chart as stills
from vitwidgets.study.grouping_study import GroupingStudy
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.picture import Pictured

VARIANTS = {"position": "position alone", "random": "random weights"}
NARROWEST = 250  # of one of several charts, in CSS pixels

Frames = Mapping[str, pd.DataFrame]


def lines(
    data: pd.DataFrame,
    *,
    cursor: Cursor | None = None,
    baselines: Frames | None = None,
    low: pd.DataFrame | None = None,
    high: pd.DataFrame | None = None,
    band: str = "interval",
    title: str = "",
    label: str = "",
    limits: tuple[float, float] | None = None,
) -> Chart:
    """Draw curves over layers, with a handle on the present layer that can be dragged.

    Parameters
    ----------
    data : pandas.DataFrame
        One curve per column, one row per layer; the index is the number of the layer. NaN leaves a gap.
    cursor : Cursor, optional
        Its layer is the one marked: the handle moves it and follows it.
    baselines : dict of str to pandas.DataFrame, optional
        Faint curves of the same columns and layers, by what they are called: what the curves are to be
        compared with. Each is dashed in its own way.
    low, high : pandas.DataFrame, optional
        Edges of a band about each curve, with the columns and layers of `data`. NaN leaves a gap.
    band : str
        What the band is, in the legend.
    title, label : str
        What it is, and what the vertical axis counts.
    limits : (float, float), optional
        Ends of the vertical axis; by default whatever the curves need.

    Returns
    -------
    Chart

    Raises
    ------
    ValueError
        If there is no curve or no layer, or only one edge of a band.
    """
    plot = _plot(
        data, dict(baselines or {}), _edges(low, high, data.columns), names={}, band=band, title=title,
        label=label, limits=limits,
    )  # fmt: skip
    return _chart(replace(plot, keyed=len(keys(plot.marks)) > 1), data, cursor)


class GroupingChart(Pictured, ipywidgets.VBox):
    """The grouping curves of a trace or a study, one small chart each, with the present layer marked in all.

    Parameters
    ----------
    frame : pandas.DataFrame or GroupingStudy
        One row per layer, indexed by its number, as `vitwidgets.analysis.grouping.curves` gives it. Columns
        that are not numbers are left out. Of a study: the means over its images, each with its 95 % interval
        as a band where there are several images, beside the baselines that it has.
    cursor : Cursor, optional
        Its layer is marked; dragging the mark moves it.
    baselines : dict of str to pandas.DataFrame, optional
        The same curves where nothing has been learned, by what they are called: drawn faint, each dashed in
        its own way. Grouping means something where it beats them. By default those of the study.
    low, high : pandas.DataFrame, optional
        Edges of a band about each curve; by default those of the study.
    band : str
        What the band is, in the legend.
    columns : sequence of str, optional
        Which curves; by default all that are there.
    across : int
        How many charts stand side by side, at most: fewer where there is no room.

    Attributes
    ----------
    charts : dict of str to Chart
        By column.
    data : pandas.DataFrame
        What was given; of a study the means.

    Raises
    ------
    ValueError
        If the frame has none of the columns, only one edge of the band is given, or `across` is less than 1.
    """

    _shown = 840

    def __init__(
        self,
        frame: pd.DataFrame | GroupingStudy,
        cursor: Cursor | None = None,
        *,
        baselines: Frames | None = None,
        low: pd.DataFrame | None = None,
        high: pd.DataFrame | None = None,
        band: str = "95 % interval",
        columns: Sequence[str] | None = None,
        across: int = 3,
    ) -> None:
        if across < 1:
            raise ValueError(f"across is {across}; at least one chart stands in a row")
        if isinstance(frame, GroupingStudy):
            frame, beside, edges = _of_study(frame)
            baselines = beside if baselines is None else baselines
            low, high = edges if low is None and high is None else (low, high)
        numbers = list(frame.select_dtypes("number").columns) if columns is None else list(columns)
        absent = [name for name in numbers if name not in frame]
        if absent or not numbers:
            there = ", ".join(map(str, frame.columns)) or "none"
            raise ValueError(f"no column {absent or 'of numbers'} to draw; the frame has {there}")
        self.data, self._across = frame, across
        within = _edges(low, high, numbers)
        plots = {
            name: _plot(
                frame[[name]], dict(baselines or {}), within, names={name: "model"}, band=band,
                title=str(name).replace("_", " "),
            )
            for name in numbers
        }  # fmt: skip
        self.charts = {name: _chart(plot, frame[[name]], cursor) for name, plot in plots.items()}
        for chart in self.charts.values():
            chart.figure.layout.height, chart.layout.margin = "220px", "0"
        self._keys = keys([mark for plot in plots.values() for mark in plot.marks])
        at_least = f"max({NARROWEST}px, {100 / across:.2f}% - 8px)"
        grid = ipywidgets.GridBox(
            list(self.charts.values()),
            layout=ipywidgets.Layout(
                grid_template_columns=f"repeat(auto-fill, minmax({at_least}, 1fr))", width="100%"
            ),
        )
        told = [ipywidgets.HTML(legend(self._keys))] if len(self._keys) > 1 else []
        super().__init__([grid, *told])

    def _drawn(self, width: int) -> Image.Image:
        plots = [chart.plot for chart in self.charts.values()]
        return stills.draw_several(plots, self._keys, across=self._across, width=width)

    def __repr__(self) -> str:
        return f"GroupingChart({', '.join(map(str, self.charts))})"

    def close(self) -> None:
        """Close all charts."""
        for child in self.children:
            for chart in getattr(child, "children", ()):
                chart.close()
            child.close()
        super().close()


_Edges = tuple[pd.DataFrame, pd.DataFrame]


def _of_study(
    study: GroupingStudy,
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], _Edges | tuple[None, None]]:
    """Means, baselines by what they are called, and the edges of the interval where there is one."""
    baselines = {
        name: study.mean(variant)  # type: ignore[arg-type]
        for variant, name in VARIANTS.items()
        if (study.rows["variant"] == variant).any()
    }
    model = study.summary().xs("model")
    low, high = (model.xs(edge, axis=1, level=1) for edge in ("low", "high"))
    return study.mean(), baselines, (low, high) if study.images > 1 else (None, None)


def _edges(low: pd.DataFrame | None, high: pd.DataFrame | None, columns: Any) -> _Edges | None:
    """Both edges of the band, of `columns`, or none."""
    if low is None and high is None:
        return None
    if low is None or high is None:
        raise ValueError(f"a band has two edges: give {'low' if low is None else 'high'} too")
    return low.reindex(columns=columns), high.reindex(columns=columns)


def _plot(
    data: pd.DataFrame,
    baselines: Frames,
    edges: _Edges | None,
    *,
    names: Mapping[str, str],
    band: str,
    title: str,
    label: str = "",
    limits: tuple[float, float] | None = None,
) -> Plot:
    """Curves, bands and baselines; `names` is what columns are called in the legend."""
    if data.empty:
        raise ValueError("there is nothing to draw: the frame has no rows or no columns")
    layers = np.asarray(data.index, np.float64)
    compared = {name: frame.reindex(columns=data.columns) for name, frame in baselines.items()}
    within = [] if edges is None else [edge[data.columns].reindex(data.index) for edge in edges]
    low, high = limits or _ends([data, *compared.values(), *within])
    marks: list[Mark] = []
    for number, column in enumerate(data.columns):
        colour = PALETTE[number % len(PALETTE)]
        if within:
            below, above = (_numbers(edge[column]) for edge in within)
            marks.append(Band(band, layers, below, above, colour))
        for look, (name, frame) in enumerate(compared.items()):
            dash, marker = FAINT[look % len(FAINT)]
            if column in baselines[name]:
                x, y = np.asarray(frame.index, np.float64), _numbers(frame[column])
                marks.append(Curve(name, x, y, colour, dash, marker, faint=True))
        shape = MARKERS[number % len(MARKERS)]
        name = names.get(column, str(column))
        marks.append(Curve(name, layers, _numbers(data[column]), colour, marker=shape))
    first, last = float(layers.min()), float(layers.max())
    return Plot(
        title, Axis("layer", first, last, ticks(first, last, 1.0)), Axis(label, low, high, ticks(low, high)),
        tuple(marks),
    )  # fmt: skip


def _numbers(values: Any) -> Floats:
    return np.asarray(values, np.float64)


def _chart(plot: Plot, data: pd.DataFrame, cursor: Cursor | None) -> Chart:
    """A chart whose present layer is marked by a line, with a handle at its foot that moves it."""
    if cursor is None:
        return Chart(plot, data)
    layers = np.asarray(data.index, np.float64)
    chart = Chart(plot, data, cursor)
    line, handle = drawing.handle(chart.plot, chart._scales)

    def show(layer: int) -> None:
        at = float(np.clip(layer, layers.min(), layers.max()))
        chart.plot = replace(chart.plot, present=at)
        line.x = np.array([at, at])
        if handle.x.tolist() != [at]:
            handle.unobserve(moved, names=["x"])
            handle.x = np.array([at])
            handle.observe(moved, names=["x"])

    held = False

    def moved(change: Any) -> None:
        nearest = int(layers[np.abs(layers - float(np.asarray(change["new"])[0])).argmin()])
        if nearest != cursor.layer:
            cursor.layer = nearest
        elif not held:
            show(nearest)  # a page that is busy sends the last place after it was let go

    def hold(yes: bool) -> None:
        nonlocal held
        held = yes
        if not held:
            show(cursor.layer)

    handle.observe(moved, names=["x"])
    handle.on_drag_start(lambda *_: hold(True))
    handle.on_drag_end(lambda *_: hold(False))
    chart.figure.marks = [*chart.figure.marks, line, handle]
    chart._follow("layer", show)
    return chart


def _ends(frames: Sequence[pd.DataFrame]) -> tuple[float, float]:
    """The least and the greatest of all numbers, and 0 where all are positive and it is near."""
    values = np.concatenate([frame.to_numpy(np.float64).ravel() for frame in frames])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if 0 <= low <= high / 2:
        low = 0.0
    margin = 0.06 * (high - low) or 0.5
    return (low if low == 0 else low - margin), high + margin
