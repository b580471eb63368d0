"""Still pictures of charts: the numbers, colours and looks of the live ones, in the right places."""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image
from small_traces import NAMES, photo, small_model, small_trace

from vitwidgets import charts
from vitwidgets.colormap import colorize
from vitwidgets.inspector import Inspector
from vitwidgets.plot import FAINT, PALETTE, Axis, Band, Cells, Curve, Key, Plot, keys, ticks
from vitwidgets.stills import chart as stills
from vitwidgets.widgets.cursor import Cursor

BLUE = "#1971c2"
UNIT = Axis("", 0, 1, ticks(0, 1))
ACROSS = Axis("layer", 0, 10, ticks(0, 10))
ENDS = np.array([0.0, 10.0])


def has(picture: Image.Image, colour: str) -> npt.NDArray[np.bool_]:
    """Where a picture has a colour, or almost."""
    rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
    return np.asarray((np.abs(np.asarray(picture).astype(int) - rgb) <= 24).all(axis=2))


def flat(height: float, **look: Any) -> Curve:
    return Curve("", ENDS, np.full(2, height), BLUE, marker=None, **look)


def row_of(height: float, width: int = 600) -> float:
    """Where a level curve at some height is drawn, in pixels from the top."""
    drawn = has(stills.draw(Plot("", ACROSS, UNIT, (flat(height),)), width=width), BLUE)
    return float(np.flatnonzero(drawn.sum(axis=1) > width / 2).mean())


def runs(line: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of what is drawn along a line."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [int(end - start) for start, end in edges.reshape(-1, 2)]


def test_height_is_linear_and_grows_upwards() -> None:
    low, middle, high = row_of(0), row_of(0.5), row_of(1)
    assert low > middle > high
    assert low - middle == pytest.approx(middle - high, abs=1)
    assert row_of(0.2) == pytest.approx(low + 0.2 * (high - low), abs=1)


def test_a_gap_is_left_where_there_is_no_number() -> None:
    x, y = np.arange(11.0), np.full(11, 0.5)
    y[4] = np.nan  # nothing from 3 to 5
    drawn = has(stills.draw(Plot("", ACROSS, UNIT, (Curve("", x, y, BLUE, marker=None),)), width=1100), BLUE)
    line = drawn[drawn.sum(axis=1).argmax()]
    first, last = np.flatnonzero(line)[[0, -1]]
    step = (last - first) / 10
    inside = [bool(line[round(first + at * step)]) for at in (1, 2.8, 3.2, 4, 4.8, 5.2, 9)]
    assert inside == [True, True, False, False, False, True, True]


def test_a_band_fills_what_lies_between_its_edges() -> None:
    band = Band("", ENDS, np.full(2, 0.25), np.full(2, 0.75), BLUE)
    picture = np.asarray(stills.draw(Plot("", ACROSS, UNIT, (band,)), width=600)).astype(int)
    column = picture[:, 333, 0] < 250  # neither white nor between the dashes of the grid
    rows = np.flatnonzero(column)
    long = max(np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1), key=len)
    assert long[0] == pytest.approx(row_of(0.75), abs=2)
    assert long[-1] == pytest.approx(row_of(0.25), abs=2)


def test_each_look_of_a_faint_curve_is_another_without_its_colour() -> None:
    assert len(set(FAINT)) == len(FAINT) >= 9
    seen = []
    for dash, _ in FAINT[:3]:
        picture = stills.draw(Plot("", ACROSS, UNIT, (flat(0.5, dash=dash),)), width=900)
        drawn = np.asarray(picture.convert("L")) < 180
        seen.append(runs(drawn[round(row_of(0.5, 900))])[2:-2])
    longest, dots, both = (set(lengths) for lengths in seen)
    assert min(longest) > max(dots)
    assert max(both) > min(longest) - 4
    assert min(both) < min(longest) / 2
    assert len(seen[1]) > len(seen[0])


def test_cells_have_the_colours_of_the_panels_first_row_on_top() -> None:
    values = np.array([[0.0, 0.5, 1.0], [0.9, 0.1, 0.3]])
    plot = Plot("", Axis("", 0, 2, ticks(0, 2, 1)), Axis("", 0, 1, ticks(0, 1, 1)), (Cells(values, UNIT),))
    picture = np.asarray(stills.draw(plot, width=600))[:, :500]  # without the scale of the colours
    shades = colorize(values, 0, 1)
    first = np.argwhere((picture == shades[0, 0]).all(axis=2))
    (top, left), (bottom, right) = first.min(axis=0), first.max(axis=0) + 1
    for row in range(2):
        for col in range(3):
            at = (top + bottom) // 2 + row * (bottom - top), (left + right) // 2 + col * (right - left)
            np.testing.assert_array_equal(picture[at], shades[row, col])


def test_the_legend_says_each_name_once_and_curves_first() -> None:
    marks = (
        Band("spread", ENDS, ENDS, ENDS, PALETTE[0]),
        Curve("chance", ENDS, ENDS, PALETTE[0], "dashed", faint=True),
        Curve("one", ENDS, ENDS, PALETTE[0]),
        Curve("chance", ENDS, ENDS, PALETTE[1], "dashed", faint=True),
        Curve("two", ENDS, ENDS, PALETTE[1]),
    )
    told = keys(marks)
    assert [key.name for key in told] == ["one", "two", "chance", "spread"]
    assert [key.colour for key in told] == [PALETTE[0], PALETTE[1], "#7a828c", PALETTE[0]]


def test_a_legend_wraps_and_is_cut_rather_than_lost() -> None:
    curve = Curve("", ENDS, ENDS, BLUE)
    narrow, wide = (
        stills.draw_several(
            [Plot("", ACROSS, UNIT)], [Key("a long name " * 9, BLUE, curve)] * 3, across=1, width=w
        )
        for w in (300, 2400)
    )
    bare = stills.draw(Plot("", ACROSS, UNIT), width=300)
    assert narrow.height - bare.height > 2 * 26
    assert wide.size[0] == 2400


def test_the_live_chart_draws_the_same_description() -> None:
    frame = pd.DataFrame({"a": [0.1, 0.4, 0.2], "b": [0.3, 0.1, 0.5]}, index=[1, 2, 3])
    chart = charts.lines(frame, baselines={"chance": frame / 2}, low=frame - 0.1, high=frame + 0.1)
    assert len(chart.figure.marks) == len(chart.plot.marks) == 6
    for mark, live in zip(chart.plot.marks, chart.figure.marks, strict=True):
        assert live.colors == [mark.colour]
        assert live.labels == [mark.name]
        if isinstance(mark, Curve):
            assert (live.line_style, live.marker) == (mark.dash, mark.marker)
            np.testing.assert_array_equal(live.y, mark.y)
        else:
            np.testing.assert_array_equal(live.y, [mark.low, mark.high])
    for live, axis in zip(chart.figure.axes, (chart.plot.x, chart.plot.y), strict=True):
        assert (live.label, live.scale.min, live.scale.max) == (axis.label, axis.low, axis.high)
        np.testing.assert_array_equal(live.tick_values, axis.ticks)


def test_the_present_layer_moves_in_the_still_too() -> None:
    trace, cursor = small_trace(), Cursor(layer=1)
    cursor.bind(trace)
    frame = pd.DataFrame({"a": [0.1, 0.4, 0.2]}, index=[1, 2, 3])
    chart = charts.lines(frame, cursor=cursor)

    def upright() -> float:
        return float(np.flatnonzero(has(chart.still(width=600), "#7a828c").sum(axis=0) > 100).mean())

    first = upright()
    cursor.layer = 3
    last = upright()
    cursor.layer = 2
    assert upright() == pytest.approx((first + last) / 2, abs=1)
    assert last > first + 300


def test_the_chosen_head_is_ringed() -> None:
    trace, cursor = small_trace(), Cursor()
    cursor.bind(trace)
    chart = charts.head_entropy(trace, cursor=cursor)
    assert not has(chart.still(width=600), PALETTE[1]).any()
    cursor.layer, cursor.head = 2, 1
    assert has(chart.still(width=600), PALETTE[1]).any()


def every_kind() -> list[Any]:
    frame = pd.DataFrame({"a": [0.1, 0.4], "b": [0.3, 0.1]}, index=[1, 2])
    trace = small_trace()
    curve = charts.RateCurve(Inspector(small_model(), class_names=NAMES), photo(), seeds=2)
    curve.wait(30)
    return [
        charts.lines(frame), charts.GroupingChart(frame), charts.attention_distance(trace),
        charts.head_entropy(trace), charts.cka(trace), curve,
    ]  # fmt: skip


def test_every_chart_has_a_picture_beside_its_live_view() -> None:
    for chart in every_kind():
        data, metadata = chart._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in data
        picture = Image.open(BytesIO(b64decode(data["image/png"])))
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(chart.still(width=picture.width)))
        size = metadata["image/png"]
        assert picture.width == 1.5 * size["width"]
        assert len(picture.getcolors(2**20) or ()) > 20  # not a white page
        for width in (300, 1200):
            assert chart.still(width=width).width == width
        with pytest.raises(ValueError, match="at least 300"):
            chart.still(width=299)
        chart.close()


def test_a_rate_curve_in_a_page_has_what_is_known() -> None:
    curve = charts.RateCurve(Inspector(small_model(), class_names=NAMES), photo(), seeds=2)
    curve.cancel()
    curve.wait(30)
    assert not has(curve.still(), PALETTE[1]).any()
    curve.run()
    curve.wait(30)
    assert has(curve.still(), PALETTE[1]).any()
    assert [key.name for key in keys(curve.plot.marks)] == [
        "random", "salient", "non-salient", "least to greatest over seeds"
    ]  # fmt: skip
