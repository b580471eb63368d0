"""Figures that share a cursor: curves over layers and rates, heads, and layers against layers.

Drawn by bqplot, which no other file of this package needs. Each chart also has its numbers as ``data``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import bqplot
import ipywidgets
import numpy as np
import numpy.typing as npt
import pandas as pd

from vitwidgets import perturb
from vitwidgets.analysis import heads
from vitwidgets.analysis.agreement import cka_matrix
from vitwidgets.inspector import Inspector, Traceable
from vitwidgets.model_input import ModelInput
from vitwidgets.runs import LatestRun, Run
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.perturb_lab import PerturbLab

Floats = npt.NDArray[np.float64]

PALETTE = ("#1971c2", "#d6246e", "#2b8a3e", "#e8890c", "#7048b6", "#0b7285", "#5f6670")
MODE_COLOURS = {"random": "#7a828c", "salient": "#d6246e", "non_salient": "#1971c2"}
MARGIN = {"top": 34, "bottom": 42, "left": 58, "right": 18}
HEIGHT = "280px"
TALLEST = 1.06  # of what is drawn, to the top of a chart


class Chart(ipywidgets.VBox):
    """A figure with the numbers that it shows.

    Attributes
    ----------
    figure : bqplot.Figure
        What is drawn; its marks and axes may be changed.
    data : pandas.DataFrame
        What it shows.
    cursor : Cursor or None
        What it follows and moves.
    """

    def __init__(
        self,
        figure: bqplot.Figure,
        data: pd.DataFrame,
        cursor: Cursor | None = None,
        *,
        below: Sequence[ipywidgets.Widget] = (),
    ) -> None:
        self.figure, self.data, self.cursor = figure, data, cursor
        self._unlink: list[Callable[[], None]] = []
        super().__init__([figure, *below])

    def _follow(self, name: str, handler: Callable[[Any], None]) -> None:
        """Call `handler` with the value of a trait of the cursor, now and whenever it changes."""
        if self.cursor is None:
            return
        cursor = self.cursor

        def changed(change: Any) -> None:
            handler(change["new"])

        cursor.observe(changed, names=[name])
        self._unlink.append(lambda: cursor.unobserve(changed, names=[name]))
        handler(getattr(cursor, name))

    def close(self) -> None:
        """Close the chart; the cursor forgets it."""
        for unlink in self._unlink:
            unlink()
        self._unlink.clear()
        self.figure.close()
        super().close()


# ---------------------------------------------------------------- curves over layers


def lines(
    data: pd.DataFrame,
    *,
    cursor: Cursor | None = None,
    baselines: Mapping[str, pd.DataFrame] | None = None,
    low: pd.DataFrame | None = None,
    high: pd.DataFrame | None = None,
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
        Faint dashed curves of the same columns and layers: what the curves are to be compared with.
    low, high : pandas.DataFrame, optional
        Edges of a band about each curve, shaped as `data`.
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
        If there is no curve or no layer.
    """
    if data.empty:
        raise ValueError("there is nothing to draw: the frame has no rows or no columns")
    layers = np.asarray(data.index, np.float64)
    compared = [frame.reindex(columns=data.columns) for frame in (baselines or {}).values()]
    ends = _ends([data, *compared, *(band for band in (low, high) if band is not None)])
    bottom, top = limits or ends
    x, y = _scale(layers.min(), layers.max()), _scale(bottom, top)
    marks: list[Any] = []
    for number, column in enumerate(data.columns):
        colour = PALETTE[number % len(PALETTE)]
        if low is not None and high is not None:
            marks.append(_band(layers, low[column], high[column], colour, x, y))
        for baseline in (baselines or {}).values():
            if column in baseline:
                marks.append(
                    bqplot.Lines(
                        x=np.asarray(baseline.index, np.float64), y=np.asarray(baseline[column], np.float64),
                        scales={"x": x, "y": y}, colors=[colour], opacities=[0.45], line_style="dashed",
                        stroke_width=1.5,
                    )
                )  # fmt: skip
        curve = _curve(layers, data[column], colour, x, y)
        curve.labels, curve.display_legend = [str(column)], len(data.columns) > 1
        marks.append(curve)
    chart = Chart(_figure(marks, _axes(x, y, "layer", label), title), data, cursor)
    if cursor is not None:
        _present_layer(chart, layers, x, y, (bottom, top))
    return chart


class GroupingChart(ipywidgets.VBox):
    """The grouping curves of a trace, one small chart each, with the present layer marked in all.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per layer, indexed by its number, as `vitwidgets.analysis.grouping.curves` gives it. Columns
        that are not numbers are left out.
    cursor : Cursor, optional
        Its layer is marked; dragging the mark moves it.
    baselines : dict of str to pandas.DataFrame, optional
        The same curves where nothing has been learned, by what they are called: drawn dashed and faint.
        Grouping means something where it beats them.
    columns : sequence of str, optional
        Which curves; by default all that are there.
    across : int
        How many charts stand side by side.

    Attributes
    ----------
    charts : dict of str to Chart
        By column.
    data : pandas.DataFrame
        What was given.

    Raises
    ------
    ValueError
        If the frame has none of the columns.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        cursor: Cursor | None = None,
        *,
        baselines: Mapping[str, pd.DataFrame] | None = None,
        columns: Sequence[str] | None = None,
        across: int = 3,
    ) -> None:
        numbers = list(frame.select_dtypes("number").columns) if columns is None else list(columns)
        absent = [name for name in numbers if name not in frame]
        if absent or not numbers:
            there = ", ".join(map(str, frame.columns)) or "none"
            raise ValueError(f"no column {absent or 'of numbers'} to draw; the frame has {there}")
        self.data = frame
        self.charts = {
            name: lines(frame[[name]], cursor=cursor, baselines=baselines, title=name.replace("_", " "))
            for name in numbers
        }
        for chart in self.charts.values():
            chart.figure.layout.height, chart.layout.width = "220px", f"{100 / across:.2f}%"
        box = ipywidgets.HBox(
            list(self.charts.values()), layout=ipywidgets.Layout(flex_flow="row wrap", width="100%")
        )
        named = f"dashed: {', '.join(baselines)}" if baselines else ""
        super().__init__([box, *([ipywidgets.Label(named)] if named else [])])

    def close(self) -> None:
        """Close all charts."""
        for box in self.children[:1]:
            for chart in box.children:
                chart.close()
        super().close()


# ---------------------------------------------------------------- heads


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

    return _by_head(trace, measure, cursor, "mean attention distance", "pixels")


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
        trace, lambda layer: heads.entropy(trace.attention(layer)), cursor, "attention entropy", "nats"
    )


def _by_head(
    trace: Trace, measure: Callable[[int], Floats], cursor: Cursor | None, title: str, unit: str
) -> Chart:
    layers = [layer for layer in range(1, trace.layers + 1) if not trace.why_not("attention", layer)]
    if not layers:
        raise ValueError(f"{trace.model_name} has no attention to draw: {trace.why_not('attention', 1)}")
    data = pd.DataFrame({layer: pd.Series(measure(layer)) for layer in layers}).T.rename_axis("layer")
    data.columns.name = "head"
    long = data.stack().reset_index(name=unit)
    x, y = _scale(layers[0] - 0.5, layers[-1] + 0.5), _scale(0, TALLEST * _largest(data))
    points = bqplot.Scatter(
        x=long["layer"].to_numpy(np.float64), y=long[unit].to_numpy(np.float64), scales={"x": x, "y": y},
        colors=[PALETTE[0]], opacities=[0.75], default_size=46, unhovered_style={"opacity": 0.6},
        names=np.array([f"layer {layer}, head {head}" for layer, head in long[["layer", "head"]].to_numpy()]),
        display_names=False,
    )  # fmt: skip
    points.tooltip = bqplot.Tooltip(fields=["name", "y"], labels=["", unit], formats=["", ".3g"])
    chart = Chart(_figure([points], _axes(x, y, "layer", unit), title), data, cursor)

    def clicked(_mark: Any, event: Any) -> None:
        place = long.iloc[event["data"]["index"]]
        if cursor is not None:
            cursor.layer, cursor.head = int(place["layer"]), int(place["head"])

    def show(_: Any) -> None:
        if cursor is not None:
            here = long.index[(long["layer"] == cursor.layer) & (long["head"] == cursor.head)]
            points.selected = np.asarray(here, np.int64)

    points.on_element_click(clicked)
    points.selected_style = {"stroke": PALETTE[1], "stroke-width": "3", "opacity": "1"}
    chart._follow("layer", show)
    chart._follow("head", show)
    return chart


# ---------------------------------------------------------------- layers against layers


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
    colour = bqplot.ColorScale(min=0, max=1, scheme="viridis")
    x, y = bqplot.OrdinalScale(), bqplot.OrdinalScale(reverse=True)
    cells = bqplot.GridHeatMap(
        color=data.to_numpy(), row=np.arange(len(rows)), column=np.arange(len(cols)),
        scales={"row": y, "column": x, "color": colour}, interactions={"click": "select"},
        selected_style={"stroke": PALETTE[1], "stroke-width": "3", "opacity": "1"}, stroke="transparent",
        tooltip=bqplot.Tooltip(fields=["row", "column", "color"], formats=["", "", ".3f"]),
    )  # fmt: skip
    axes = [
        bqplot.Axis(scale=x, label=data.columns.name, grid_lines="none"),
        bqplot.Axis(scale=y, label=data.index.name, side="left", grid_lines="none"),
        bqplot.ColorAxis(scale=colour, side="right", label="CKA"),
    ]
    figure = _figure([cells], axes, "linear CKA between layers")
    figure.fig_margin = {**MARGIN, "right": 70}
    figure.min_aspect_ratio = figure.max_aspect_ratio = 1.1
    figure.layout.height = "380px"
    chart = Chart(figure, data, cursor)

    def clicked(_mark: Any, event: Any) -> None:
        if cursor is not None:
            cursor.layer = int(event["data"]["row"])

    cells.on_element_click(clicked)
    return chart


def _patch_layers(trace: Trace) -> list[npt.NDArray[np.float32]]:
    return [trace.layer(layer)[len(trace.prefix) :] for layer in range(trace.layers + 1)]


# ---------------------------------------------------------------- curves over rates


class RateCurve(ipywidgets.VBox):
    """The top class's probability against the share of patches that are hidden.

    One curve for each way of choosing them, the mean over seeds, with a band from the least to the greatest.
    Sets of patches that several points share go through the model once. The passes run in batches in a thread
    of their own; what is done is shown, and can be cancelled.

    Parameters
    ----------
    source : Inspector or PerturbLab
        The model; of a lab, also its image, its salience and its `fill`.
    image : path, PIL image, ndarray, Tensor or ModelInput, optional
        For an Inspector; as for `Inspector.trace`.
    rates : sequence of float
        Shares of the patches, each 0..1.
    modes : sequence of {"random", "salient", "non_salient"}
        Which curves.
    seeds : int or sequence of int
        How many seeds, from 0 on, or which.
    fill : {"black", "mean", "blur"}, optional
        As in `vitwidgets.perturb.occlude`; by default the lab's, or black.
    target : int, optional
        Which class; by default the most probable one of the original.
    salience : array_like of float, shape (rows, cols), optional
        What "salient" goes by; by default `vitwidgets.perturb.rollout_salience`.
    batch : int
        How many inputs go through the model at once.

    Attributes
    ----------
    data : pandas.DataFrame
        A row for each point: ``mode``, ``rate``, ``seed``, ``hidden`` (number of patches) and
        ``probability``. Empty until the run is done.
    problem : str
        Why the run failed; empty where it did not.

    Raises
    ------
    TypeError
        If `source` is neither, or `image` is missing or too much.
    ValueError
        If the model has no classes, or `rates`, `modes`, `seeds` or `target` are not as above.
    """

    def __init__(
        self,
        source: Inspector | PerturbLab,
        image: Traceable | None = None,
        *,
        rates: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
        modes: Sequence[perturb.Mode] = perturb.MODES,
        seeds: int | Sequence[int] = 4,
        fill: perturb.Fill | None = None,
        target: int | None = None,
        salience: npt.ArrayLike | None = None,
        batch: int = 8,
    ) -> None:
        self._runs = LatestRun[tuple[int, pd.DataFrame]](
            done=self._arrived, failed=self._failed, progress=self._progressed, delay=0
        )
        lab = source if isinstance(source, PerturbLab) else None
        self.inspector = _inspector(source, image)
        self.input: ModelInput = lab.input if lab is not None else self.inspector.input(cast(Any, image))
        self.rates, self.modes = list(rates), list(modes)
        self.seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
        self.fill: perturb.Fill = fill or (cast(Any, lab.fill) if lab is not None else "black")
        self.batch, self.problem = batch, ""
        self._salience = salience if salience is not None or lab is None else lab.salience
        self._before = None if lab is None else lab.before
        self._target = target
        self._check()
        self.data = pd.DataFrame(columns=["mode", "rate", "seed", "hidden", "probability"])
        self._error: Exception | None = None
        self._x, self._y = _scale(0, 1), _scale(0, 1)
        self.figure = _figure([], _axes(self._x, self._y, "share of patches hidden", "probability"), "")
        self._bar = ipywidgets.FloatProgress(min=0, max=1, layout=ipywidgets.Layout(width="200px"))
        self._button = ipywidgets.Button(description="Cancel", layout=ipywidgets.Layout(width="90px"))
        self._button.on_click(lambda _: self.cancel())
        self._words = ipywidgets.Label("the model is running…")
        self._state = ipywidgets.HBox([self._bar, self._button, self._words])
        super().__init__([self.figure, self._state])
        self.run()

    def run(self) -> None:
        """Run the passes, anew where they ran before."""
        self._state.layout.display, self._button.layout.display = "", ""
        self._words.value = "the model is running…"
        self._runs.request(self._measure)

    def cancel(self) -> None:
        """Stop; what was drawn before stays."""
        self._runs.cancel()
        self._button.layout.display = "none"
        self._words.value = "cancelled"

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all passes are done, or cancelled.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default as long as it takes.

        Raises
        ------
        TimeoutError
            If it takes longer.
        Exception
            What made it fail, where it did.
        """
        if not self._runs.wait(timeout):
            raise TimeoutError(f"the passes are not done within {timeout} s")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Cancel what runs, and close the chart."""
        self._runs.close()
        for child in self.children:
            child.close()
        super().close()

    def _check(self) -> None:
        if not self.inspector.class_names:
            raise ValueError(f"{self.inspector.name} has no classes, so there is no probability to follow")
        if not (self.rates and self.modes and self.seeds):
            raise ValueError("rates, modes and seeds must each name at least one")
        flat = np.zeros((self.input.patch_grid.rows, self.input.patch_grid.cols))
        salience = flat if self._salience is None else self._salience
        perturb.rate_plan(  # says what is wrong with them
            self.input, rates=self.rates, modes=self.modes, seeds=self.seeds, salience=salience
        )
        perturb.occlude(self.input, [], fill=self.fill)
        classes = len(self.inspector.class_names)
        if self._target is not None and not 0 <= self._target < classes:
            raise ValueError(f"target is {self._target}; classes are 0..{classes - 1}")

    def _measure(self, run: Run) -> tuple[int, pd.DataFrame]:
        """Number of the class, and the points. In the working thread."""
        salience, target = self._salience, self._target
        by_salience = salience is None and set(self.modes) != {"random"}
        if self._before is None and by_salience:
            self._before = self.inspector.trace(self.input, keep=("tokens", "attention"))
        if by_salience and self._before is not None:
            self._salience = salience = perturb.rollout_salience(self._before)
        plan = perturb.rate_plan(
            self.input, rates=self.rates, modes=self.modes, seeds=self.seeds, salience=salience
        )
        whole = next((number for number, one in enumerate(plan) if not len(one.patches)), None)
        inputs = [perturb.occlude(self.input, one.patches, fill=self.fill) for one in plan]
        if target is None and self._before is None and whole is None:
            inputs.append(self.input)
            whole = len(plan)
        logits = self.inspector.logits(
            inputs, batch=self.batch, progress=lambda done: run.progress(done / len(inputs)),
            cancelled=run.cancelled,
        )  # fmt: skip
        if target is None:
            known = logits[whole] if whole is not None else cast(Trace, self._before).logits
            target = int(np.argmax(known))
        chances = _softmax(logits)[:, target]
        points = [
            (point.mode, point.rate, point.seed, len(one.patches), float(chance))
            for one, chance in zip(plan, chances[: len(plan)], strict=True)
            for point in one.points
        ]
        return target, pd.DataFrame(points, columns=list(self.data.columns))

    def _arrived(self, made: tuple[int, pd.DataFrame]) -> None:
        target, data = made
        order = {mode: number for number, mode in enumerate(self.modes)}
        self.data = data.sort_values(
            ["mode", "rate", "seed"], key=lambda part: part.map(order) if part.name == "mode" else part
        ).reset_index(drop=True)
        self.problem, self._error = "", None
        self._state.layout.display = "none"
        self.figure.title = f"probability of {self.inspector.class_names[target]}"
        self.figure.marks = self._drawn()

    def _drawn(self) -> list[Any]:
        marks: list[Any] = []
        for mode in dict.fromkeys(self.modes):
            over_seeds = self.data[self.data["mode"] == mode].groupby("rate")["probability"]
            rates = np.array(sorted(set(self.rates)), np.float64)
            colour = MODE_COLOURS[mode]
            marks.append(_band(rates, over_seeds.min(), over_seeds.max(), colour, self._x, self._y))
            curve = _curve(rates, over_seeds.mean(), colour, self._x, self._y)
            curve.labels, curve.display_legend = [mode.replace("_", "-")], True
            marks.append(curve)
        return marks

    def _failed(self, error: Exception) -> None:
        self._error, self.problem = error, str(error) or type(error).__name__
        self._button.layout.display = "none"
        self._words.value = self.problem

    def _progressed(self, share: float) -> None:
        self._bar.value = share


def _inspector(source: object, image: object) -> Inspector:
    if isinstance(source, PerturbLab):
        if image is not None:
            raise TypeError("a PerturbLab has its own image: leave image out")
        return source.inspector
    if not isinstance(source, Inspector):
        raise TypeError(f"source must be an Inspector or a PerturbLab, got {type(source).__name__}")
    if image is None:
        raise TypeError("an Inspector needs an image: RateCurve(inspector, image)")
    return source


# ---------------------------------------------------------------- drawing


def _figure(marks: Sequence[Any], axes: Sequence[Any], title: str) -> bqplot.Figure:
    return bqplot.Figure(
        marks=list(marks), axes=list(axes), title=title, fig_margin=MARGIN, legend_location="top-right",
        title_style={"font-size": "14px", "font-weight": "600"}, animation_duration=0,
        layout=ipywidgets.Layout(width="100%", height=HEIGHT),
    )  # fmt: skip


def _scale(low: float, high: float) -> bqplot.LinearScale:
    return bqplot.LinearScale(min=float(low), max=float(high))


def _axes(x: Any, y: Any, across: str, up: str) -> list[Any]:
    whole = across == "layer"
    return [
        bqplot.Axis(
            scale=x, label=across, grid_lines="none", tick_format="~g",
            tick_values=_ticks(x.min, x.max, 1.0 if whole else 0.0),
        ),
        bqplot.Axis(
            scale=y, label=up, side="left", grid_lines="dashed", label_offset="44px", tick_format="~g",
            tick_values=_ticks(y.min, y.max),
        ),
    ]  # fmt: skip


def _ticks(low: float, high: float, least: float = 0.0, about: int = 6) -> Floats:
    """Round numbers between two ends, some `about` of them: steps of 1, 2 or 5 times a power of ten."""
    rough = max((high - low) / about, least, 1e-12)
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
    first = int(np.ceil(low / step - 1e-9))
    ticks: Floats = np.round(np.arange(first, int(np.floor(high / step + 1e-9)) + 1) * step, 12)
    return ticks


def _curve(x_values: Floats, y_values: Any, colour: str, x: Any, y: Any) -> bqplot.Lines:
    return bqplot.Lines(
        x=x_values, y=np.asarray(y_values, np.float64), scales={"x": x, "y": y}, colors=[colour],
        stroke_width=2.5, marker="circle", marker_size=28,
    )  # fmt: skip


def _band(x_values: Floats, low: Any, high: Any, colour: str, x: Any, y: Any) -> bqplot.Lines:
    edges = np.stack([np.asarray(low, np.float64), np.asarray(high, np.float64)])
    return bqplot.Lines(
        x=x_values, y=edges, scales={"x": x, "y": y}, colors=[colour], opacities=[0, 0], fill="between",
        fill_colors=[colour], fill_opacities=[0.18, 0.18],
    )  # fmt: skip


def _present_layer(chart: Chart, layers: Floats, x: Any, y: Any, ends: tuple[float, float]) -> None:
    """A line through the present layer, with a handle at its foot that moves it."""
    cursor = chart.cursor
    assert cursor is not None
    scales = {"x": x, "y": y}
    line = bqplot.Lines(x=[0, 0], y=list(ends), scales=scales, colors=["#7a828c"], stroke_width=1.5)
    handle = bqplot.Scatter(
        x=[0.0], y=[ends[0]], scales=scales, colors=["#7a828c"], default_size=130, marker="circle",
        enable_move=True, restrict_x=True, update_on_move=True,
    )  # fmt: skip

    def show(layer: int) -> None:
        at = float(np.clip(layer, layers.min(), layers.max()))
        line.x = np.array([at, at])
        if handle.x.tolist() != [at]:
            handle.x = np.array([at])

    def moved(change: Any) -> None:
        nearest = int(layers[np.abs(layers - float(np.asarray(change["new"])[0])).argmin()])
        if nearest != cursor.layer:
            cursor.layer = nearest

    handle.observe(moved, names=["x"])
    handle.on_drag_end(lambda *_: show(cursor.layer))
    chart.figure.marks = [*chart.figure.marks, line, handle]
    chart._follow("layer", show)


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


def _largest(data: pd.DataFrame) -> float:
    values = data.to_numpy(np.float64)
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _softmax(logits: npt.NDArray[np.float32]) -> Floats:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return cast(Floats, shifted / shifted.sum(axis=1, keepdims=True))
