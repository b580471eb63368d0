"""Layers against layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitwidgets.analysis.agreement import cka_matrix
from vitwidgets.charts.chart import Chart
from vitwidgets.plot import Axis, Cells, Plot, ticks
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import Cursor


def cka(trace_a: Trace, trace_b: Trace | None = None, *, cursor: Cursor | None = None) -> Chart:
    """Draw how alike the layers of one model, or of two, see the patches of a picture.

    Parameters
    ----------
    trace_a, trace_b : Trace
        Of one picture by two models, or of two pictures; by default the layers of one trace with each other.
        The patch grids must be the same.
    cursor : Cursor, optional
        A click sets its layer: the row's, a layer of the first.

    Returns
    -------
    Chart
        `data` has a row for each layer of the first, 0..L, and a column for each of the second: linear CKA of
        their patch tokens, as `vitwidgets.analysis.agreement.cka` defines it.

    Raises
    ------
    ValueError
        If the patch grids differ, or a trace lacks a layer.
    """
    other = trace_a if trace_b is None else trace_b
    if trace_a.grid != other.grid:
        raise ValueError(
            f"CKA compares the same patches, but one trace has {trace_a.grid[0]} x {trace_a.grid[1]} and the "
            f"other {other.grid[0]} x {other.grid[1]}"
        )
    rows, cols = _patch_layers(trace_a), _patch_layers(other)
    data = pd.DataFrame(cka_matrix(rows, None if trace_b is None else cols))
    data.index.name = "layer" if trace_b is None else f"layer of {trace_a.model_name}"
    data.columns.name = "layer" if trace_b is None else f"layer of {other.model_name}"
    plot = Plot(
        "linear CKA between layers", _layers(data.columns), _layers(data.index),
        (Cells(data.to_numpy(np.float64), Axis("", 0, 1, ticks(0, 1))),),
    )  # fmt: skip
    chart = Chart(plot, data, cursor)

    def clicked(_mark: Any, event: Any) -> None:
        if cursor is not None:
            cursor.layer = int(event["data"]["row"])

    (cells,) = chart.figure.marks
    cells.on_element_click(clicked)
    return chart


def _layers(index: pd.Index) -> Axis:
    last = len(index) - 1
    return Axis(str(index.name), 0, last, ticks(0, last, 1.0, about=13))


def _patch_layers(trace: Trace) -> list[npt.NDArray[np.float32]]:
    return [trace.layer(layer)[len(trace.prefix) :] for layer in range(trace.layers + 1)]
