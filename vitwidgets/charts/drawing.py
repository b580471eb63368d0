"""A chart live: bqplot's marks, axes and figure of a description."""

from __future__ import annotations

from typing import Any

import bqplot
import ipywidgets
import numpy as np

from vitwidgets.colormap import SEQUENTIAL
from vitwidgets.plot import (
    BAND_OPACITY,
    FAINT_OPACITY,
    FAINT_WIDTH,
    NEUTRAL,
    PADDING,
    PALETTE,
    POINT_OPACITY,
    WIDTH,
    Axis,
    Band,
    Cells,
    Curve,
    Floats,
    Mark,
    Plot,
    Points,
)

MARGIN = {"top": 34, "bottom": 46, "left": 58, "right": 18}
HEIGHT, WIDEST = "280px", "820px"
TEXT = "var(--jp-content-font-color1, #1f2328)"  # bqplot's own is orange in a dark theme
SOFT = "var(--jp-content-font-color2, #5f6670)"
GRID = "var(--jp-border-color2, #d8dce0)"
CHOSEN = {"stroke": PALETTE[1], "stroke-width": "3", "opacity": "1"}

Scales = dict[str, Any]


def figure(plot: Plot) -> tuple[bqplot.Figure, Scales]:
    """Make the figure of a plot, and the scales of its marks by axis."""
    cells = next((mark for mark in plot.marks if isinstance(mark, Cells)), None)
    scales = {"x": _linear(plot.x), "y": _linear(plot.y)} if cells is None else _of_cells(cells)
    drawn = bqplot.Figure(
        marks=marks(plot, scales), axes=_axes(plot, scales, cells), title=plot.title, fig_margin=MARGIN,
        title_style={"font-size": "14px", "font-weight": "600", "fill": TEXT}, animation_duration=0,
        background_style={"fill": "transparent"}, padding_y=PADDING,
        layout=ipywidgets.Layout(width="100%", height=HEIGHT, max_width=WIDEST, margin="0"),
    )  # fmt: skip
    if cells is not None:
        drawn.fig_margin = {**MARGIN, "right": 70}
        drawn.min_aspect_ratio = drawn.max_aspect_ratio = 1.1
        drawn.layout.height = "380px"
    return drawn, scales


def marks(plot: Plot, scales: Scales) -> list[Any]:
    """Make bqplot's marks of a plot, in order; the line at the present layer is not one of them."""
    return [drawn for mark in plot.marks for drawn in _mark(mark, scales)]


def handle(plot: Plot, scales: Scales) -> tuple[bqplot.Lines, bqplot.Scatter]:
    """Make an upright line, and at its foot a handle that can be dragged along."""
    at = float(plot.present or 0)
    line = bqplot.Lines(
        x=[at, at], y=[plot.y.low, plot.y.high], scales=scales, colors=[NEUTRAL], stroke_width=1.5
    )
    knob = bqplot.Scatter(
        x=[at], y=[plot.y.low], scales=scales, colors=[NEUTRAL], default_size=170, stroke=TEXT,
        stroke_width=1.5, enable_move=True, restrict_x=True, update_on_move=True,
    )  # fmt: skip
    return line, knob


def _mark(mark: Mark, scales: Scales) -> list[Any]:
    if isinstance(mark, Curve):
        return _curve(mark, scales)
    if isinstance(mark, Band):
        return _band(mark, scales)
    if isinstance(mark, Points):
        points = bqplot.Scatter(
            x=mark.x, y=mark.y, scales=scales, colors=[mark.colour], opacities=[POINT_OPACITY],
            default_size=46, names=np.array(mark.names), display_names=False,
            unhovered_style={"opacity": POINT_OPACITY}, selected_style=CHOSEN,
            selected=np.array(mark.chosen, np.int64),
        )  # fmt: skip
        return [points]
    rows, cols = mark.values.shape
    cells = bqplot.GridHeatMap(
        color=mark.values, row=np.arange(rows), column=np.arange(cols), scales=scales, stroke="transparent",
        interactions={"click": "select"}, selected_style=CHOSEN,
        tooltip=bqplot.Tooltip(fields=["row", "column", "color"], formats=["", "", ".3f"]),
    )  # fmt: skip
    return [cells]


def _curve(mark: Curve, scales: Scales) -> list[Any]:
    """A line with its markers; where it has gaps, those by themselves: bqplot draws one for each NaN too."""
    x, y = _known(mark.x, mark.y)
    there = np.isfinite(y)
    whole = mark.marker is None or bool(there.all())
    opacity = FAINT_OPACITY if mark.faint else 1.0
    line = bqplot.Lines(
        x=x, y=y, scales=scales, colors=[mark.colour], line_style=mark.dash, labels=[mark.name],
        stroke_width=FAINT_WIDTH if mark.faint else WIDTH, marker=mark.marker if whole else None,
        marker_size=28, opacities=[opacity],
    )  # fmt: skip
    if whole:
        return [line] if len(x) else []
    dots = bqplot.Scatter(
        x=x[there], y=y[there], scales=scales, colors=[mark.colour], marker=mark.marker, default_size=28,
        opacities=[opacity],
    )  # fmt: skip
    return [line, dots]


def _band(mark: Band, scales: Scales) -> list[Any]:
    x, low, high = _known(mark.x, mark.low, mark.high)
    band = bqplot.Lines(
        x=x, y=np.stack([low, high]), scales=scales, labels=[mark.name], colors=[mark.colour],
        opacities=[0, 0], fill="between", fill_colors=[mark.colour], fill_opacities=[BAND_OPACITY] * 2,
    )  # fmt: skip
    return [band] if len(x) else []


def _known(x: Floats, *of: Floats) -> list[Floats]:
    """All of it from the first number to the last: bqplot fails where a line ends in NaN."""
    there = np.flatnonzero(np.isfinite(of).all(axis=0))
    part = slice(there[0], there[-1] + 1) if len(there) else slice(0)
    return [values[part] for values in (x, *of)]


def _axes(plot: Plot, scales: Scales, cells: Cells | None) -> list[Any]:
    x, y = (scales["x"], scales["y"]) if cells is None else (scales["column"], scales["row"])
    found = [
        _axis(x, plot.x, label_offset="32px", grid_lines="none"),
        _axis(y, plot.y, side="left", label_offset="44px", grid_lines="none" if cells else "dashed"),
    ]
    if cells is not None:
        found.append(
            bqplot.ColorAxis(
                scale=scales["color"], side="right", color=SOFT, tick_style={"fill": SOFT}, tick_format="~g",
                tick_values=cells.scale.ticks,
            )
        )  # fmt: skip
    return found


def _axis(scale: Any, axis: Axis, **options: Any) -> bqplot.Axis:
    return bqplot.Axis(
        scale=scale, label=axis.label, tick_values=axis.ticks, tick_format="~g", label_color=TEXT, color=SOFT,
        tick_style={"fill": SOFT}, grid_color=GRID, **options,
    )  # fmt: skip


def _linear(axis: Axis) -> bqplot.LinearScale:
    return bqplot.LinearScale(min=float(axis.low), max=float(axis.high))


def _of_cells(cells: Cells) -> Scales:
    colours = ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in SEQUENTIAL[:: len(SEQUENTIAL) // 15].tolist()]
    scale = bqplot.ColorScale(min=cells.scale.low, max=cells.scale.high, colors=colours)
    return {"column": bqplot.OrdinalScale(), "row": bqplot.OrdinalScale(reverse=True), "color": scale}
