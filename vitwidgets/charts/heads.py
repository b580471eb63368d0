"""What each attention head does, layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bqplot
import numpy as np
import pandas as pd

from vitwidgets.analysis import heads
from vitwidgets.charts.chart import Chart
from vitwidgets.plot import PALETTE, Axis, Floats, Plot, Points, ticks
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import Cursor

TALLEST = 1.06  # of what is drawn, to the top of a chart


def attention_distance(trace: Trace, *, cursor: Cursor | None = None) -> Chart:
    """Draw how far each attention head looks, layer by layer; a click on a head sets the cursor.

    Parameters
    ----------
    trace : Trace
        Whose attention.
    cursor : Cursor, optional
        Its layer and head are set by a click.

    Returns
    -------
    Chart
        `data` has a row for each layer that has attention (index) and a column for each head: the mean
        distance in pixels of the model input, as `vitwidgets.analysis.heads.attention_distance` defines it.

    Raises
    ------
    ValueError
        If the trace has no attention.
    """

    def measure(layer: int) -> Floats:
        grid = trace.grid_of(layer)
        high, wide = trace.pixels.shape[:2]
        return heads.attention_distance(
            trace.attention(layer), (grid.rows, grid.cols), prefix=len(trace.prefix),
            patch=(high / grid.rows, wide / grid.cols),
        )  # fmt: skip

    return _by_head(trace, measure, cursor, "mean attention distance", "distance", "pixels")


def head_entropy(trace: Trace, *, cursor: Cursor | None = None) -> Chart:
    """Draw how evenly each attention head looks, layer by layer; a click on a head sets the cursor.

    Parameters
    ----------
    trace, cursor
        As in `attention_distance`.

    Returns
    -------
    Chart
        `data` as in `attention_distance`: entropy in nats, as `vitwidgets.analysis.heads.entropy` defines it.

    Raises
    ------
    ValueError
        If the trace has no attention.
    """
    return _by_head(
        trace, lambda layer: heads.entropy(trace.attention(layer)), cursor, "attention entropy", "entropy",
        "nats",
    )  # fmt: skip


def _by_head(
    trace: Trace, measure: Callable[[int], Floats], cursor: Cursor | None, title: str, what: str, unit: str
) -> Chart:
    layers = [layer for layer in range(1, trace.layers + 1) if not trace.why_not("attention", layer)]
    if not layers:
        raise ValueError(f"{trace.model_name} has no attention to draw: {trace.why_not('attention', 1)}")
    data = pd.DataFrame({layer: pd.Series(measure(layer)) for layer in layers}).T.rename_axis("layer")
    data.columns.name = "head"
    long = data.stack().reset_index(name=unit)
    first, last, top = layers[0] - 0.5, layers[-1] + 0.5, TALLEST * _largest(data)
    dots = Points(
        long["layer"].to_numpy(np.float64), long[unit].to_numpy(np.float64),
        tuple(f"layer {layer}, head {head}" for layer, head in long[["layer", "head"]].to_numpy()),
        PALETTE[0],
    )  # fmt: skip
    plot = Plot(
        f"{title}, one point per head", Axis("layer", first, last, ticks(first, last, 1.0)),
        Axis(f"{what} ({unit})", 0, top, ticks(0, top)), (dots,),
    )  # fmt: skip
    chart = Chart(plot, data, cursor)
    (points,) = chart.figure.marks
    points.tooltip = bqplot.Tooltip(fields=["name", "y"], labels=["", unit], formats=["", ".3g"])

    def clicked(_mark: Any, event: Any) -> None:
        place = long.iloc[event["data"]["index"]]
        if cursor is not None:
            cursor.layer, cursor.head = int(place["layer"]), int(place["head"])

    def show(_: Any) -> None:
        if cursor is not None:
            here = long.index[(long["layer"] == cursor.layer) & (long["head"] == cursor.head)]
            points.selected = np.asarray(here, np.int64)
            chart.plot = replace(chart.plot, marks=(replace(dots, chosen=tuple(here.tolist())),))

    points.on_element_click(clicked)
    chart._follow("layer", show)
    chart._follow("head", show)
    return chart


def _largest(data: pd.DataFrame) -> float:
    values = data.to_numpy(np.float64)
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0
