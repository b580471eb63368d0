"""A chart as a still picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vitwidgets.colormap import SEQUENTIAL, colorize
from vitwidgets.lettering import fitted, font, length
from vitwidgets.plot import (
    BAND_OPACITY,
    FAINT_OPACITY,
    FAINT_WIDTH,
    NEUTRAL,
    PADDING,
    PALETTE,
    PATTERNS,
    POINT_OPACITY,
    WIDTH,
    Axis,
    Band,
    Cells,
    Curve,
    Floats,
    Key,
    Marker,
    Plot,
    Points,
    keys,
)
from vitwidgets.stills.inks import FAINT, INK, LINE, SMALL, TITLE
from vitwidgets.stills.size import check_width

Box: TypeAlias = "tuple[int, int, int, int]"

AXIS = "#9aa1a9"
TOP, BOTTOM, LEFT, RIGHT = 42, 56, 74, 22  # margins around the axes
PER_PIXEL = 1.5  # of a picture, for one of the page: lines are as much thicker
SHARP = 3  # drawn larger, so that lines are smooth
EDGE = 8  # around the axes, for marks that lie on them
ROW = 26  # of a legend


def draw(plot: Plot, *, width: int = 1200) -> Image.Image:
    """Draw a plot, and its legend below.

    Parameters
    ----------
    plot : Plot
        What to draw.
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
    return _page([plot], keys(plot.marks) if plot.keyed else [], 1, width)


def draw_several(plots: Sequence[Plot], legend: Sequence[Key], *, across: int, width: int) -> Image.Image:
    """Draw plots side by side, `across` in a row or as many as there is room for, and one legend for all.

    Parameters
    ----------
    plots : sequence of Plot
        What to draw.
    legend : sequence of Key
        What is said below; nothing where it says one thing alone.
    across : int
        At least 1.
    width : int
        As in `draw`.

    Raises
    ------
    ValueError
        As in `draw`.
    """
    return _page(plots, legend if len(legend) > 1 else [], max(1, min(across, width // 300)), width)


def _page(plots: Sequence[Plot], legend: Sequence[Key], across: int, width: int) -> Image.Image:
    check_width(width)
    wide = width // across
    drawn = [_chart(plot, wide) for plot in plots]
    rows = [drawn[start : start + across] for start in range(0, len(drawn), across)]
    below = _legend(legend, width) if legend else None
    high = sum(max(one.height for one in row) for row in rows) + (below.height if below else 0)
    out, y = Image.new("RGB", (width, high), "white"), 0
    for row in rows:
        for number, one in enumerate(row):
            out.paste(one, (number * wide, y))
        y += max(one.height for one in row)
    if below:
        out.paste(below, (0, y))
    return out


# -------------------------------------------------------------------- one chart


def _chart(plot: Plot, width: int) -> Image.Image:
    """Title, axes and what is between them."""
    cells = next((mark for mark in plot.marks if isinstance(mark, Cells)), None)
    if cells is None:
        box = (LEFT, TOP, width - RIGHT, TOP + int(np.clip(width // 2, 250, 520)) - TOP - BOTTOM)
    else:
        rows, cols = cells.values.shape
        side = min((width - LEFT - 110) / cols, 520 / max(rows, cols))
        left = LEFT + max(0, int(width - LEFT - 110 - side * cols) // 2)
        box = (left, TOP, left + max(1, round(side * cols)), TOP + max(1, round(side * rows)))
    out = Image.new("RGB", (width, box[3] + BOTTOM), "white")
    pen = ImageDraw.Draw(out)
    title = fitted(plot.title, TITLE, width - 16)
    pen.text(
        ((box[0] + box[2]) / 2 if length(title, TITLE) < box[2] - box[0] else width / 2, 22),
        title,
        INK,
        font(TITLE),
        anchor="mm",
    )
    if cells is not None:
        _draw_cells(out, pen, plot, cells, box)
        return out
    frame = _Frame(plot.x, plot.y, (box[2] - box[0], box[3] - box[1]))
    for value in plot.y.ticks.tolist():
        y = box[1] + frame.down(value)
        for x in range(box[0], box[2], 10):
            pen.line((x, y, min(x + 5, box[2]), y), LINE)
    _numbers(
        out, pen, plot, box, [frame.across(x) for x in plot.x.ticks], [frame.down(y) for y in plot.y.ticks]
    )
    stage = _stage(plot, frame, out.crop((box[0] - EDGE, box[1] - EDGE, box[2] + EDGE, box[3] + EDGE)))
    out.paste(stage, (box[0] - EDGE, box[1] - EDGE))
    if plot.note:
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        pen.text(middle, fitted(plot.note, SMALL, frame.size[0]), FAINT, font(SMALL), anchor="mm")
    return out


def _numbers(
    out: Image.Image,
    pen: ImageDraw.ImageDraw,
    plot: Plot,
    box: Box,
    across: Sequence[float],
    down: Sequence[float],
) -> None:
    """Both axes: lines, numbers at their ticks, as many as there is room for, and labels."""
    left, top, right, bottom = box
    pen.line((left, top, left, bottom, right, bottom), AXIS)
    end = -1e9
    for value, x in zip(plot.x.ticks.tolist(), across, strict=True):
        text = f"{value:g}"
        half = length(text, SMALL) / 2
        if left + x - half > end + 6:
            pen.line((left + x, bottom, left + x, bottom + 5), AXIS)
            pen.text((left + x, bottom + 8), text, FAINT, font(SMALL), anchor="ma")
            end = left + x + half
    end = 1e9
    for value, y in sorted(zip(plot.y.ticks.tolist(), down, strict=True), key=lambda tick: -tick[1]):
        if top + y + 8 < end:
            pen.line((left - 5, top + y, left, top + y), AXIS)
            pen.text((left - 9, top + y), f"{value:g}", FAINT, font(SMALL), anchor="rm")
            end = top + y - 8
    pen.text(
        ((left + right) / 2, bottom + 32),
        fitted(plot.x.label, SMALL, right - left),
        INK,
        font(SMALL),
        anchor="ma",
    )
    _upright(out, plot.y.label, (left - 56, (top + bottom) // 2), bottom - top)


def _upright(out: Image.Image, text: str, middle: tuple[int, int], high: int) -> None:
    """A line of text from the bottom to the top."""
    text = fitted(text, SMALL, high)
    if not text:
        return
    line = Image.new("RGB", (max(1, round(length(text, SMALL)) + 2), 24), "white")
    ImageDraw.Draw(line).text((1, 12), text, INK, font(SMALL), anchor="lm")
    turned = line.rotate(90, expand=True)
    out.paste(turned, (middle[0] - turned.width // 2, middle[1] - turned.height // 2))


def _draw_cells(out: Image.Image, pen: ImageDraw.ImageDraw, plot: Plot, cells: Cells, box: Box) -> None:
    rows, cols = cells.values.shape
    size = box[2] - box[0], box[3] - box[1]
    shades = colorize(cells.values, cells.scale.low, cells.scale.high)
    out.paste(Image.fromarray(shades).resize(size, Image.Resampling.NEAREST), box[:2])
    across = [(tick + 0.5) * size[0] / cols for tick in plot.x.ticks.tolist()]
    down = [(tick + 0.5) * size[1] / rows for tick in plot.y.ticks.tolist()]
    _numbers(out, pen, plot, box, across, down)
    left, span = box[2] + 24, cells.scale.high - cells.scale.low
    bar = Image.fromarray(SEQUENTIAL[::-1, None].copy()).resize((18, size[1]), Image.Resampling.BILINEAR)
    out.paste(bar, (left, box[1]))
    for tick in cells.scale.ticks.tolist():
        y = box[3] - (tick - cells.scale.low) / span * size[1]
        pen.text((left + 26, y), f"{tick:g}", FAINT, font(SMALL), anchor="lm")


# -------------------------------------------------------------------- marks


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie between the axes, whose size is in pixels."""

    x: Axis
    y: Axis
    size: tuple[int, int]

    def across(self, value: float) -> float:
        span = self.x.high - self.x.low
        return self.size[0] * ((value - self.x.low) / span if span else 0.5)

    def down(self, value: float) -> float:
        free, span = PADDING * self.size[1], self.y.high - self.y.low
        return free + (self.size[1] - 2 * free) * (1 - ((value - self.y.low) / span if span else 0.5))

    def places(self, x: Floats, y: Floats) -> Floats:
        """Points, shape (N, 2), on the enlarged stage."""
        pairs = [(self.across(a), self.down(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        return (np.array(pairs, np.float64).reshape(-1, 2) + EDGE) * SHARP


def _stage(plot: Plot, frame: _Frame, ground: Image.Image) -> Image.Image:
    """All marks over the lines of the grid, smooth."""
    size = ground.size
    large = ground.resize((size[0] * SHARP, size[1] * SHARP), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(large, "RGBA")
    for mark in plot.marks:
        if isinstance(mark, Band):
            low, high = frame.places(mark.x, mark.low), frame.places(mark.x, mark.high)
            for part in _unbroken(np.hstack([low, high])):
                edge = [*map(tuple, part[:, :2]), *map(tuple, part[::-1, 2:])]
                pen.polygon(edge, _shade(mark.colour, BAND_OPACITY))
        elif isinstance(mark, Curve):
            _curve(large, pen, mark, frame.places(mark.x, mark.y))
        elif isinstance(mark, Points):
            for number, (x, y) in enumerate(frame.places(mark.x, mark.y)):
                if np.isfinite((x, y)).all():
                    _marker(pen, "circle", x, y, 4, _shade(mark.colour, POINT_OPACITY))
                    if number in mark.chosen:
                        _marker(pen, "circle", x, y, 5.5, None, PALETTE[1])
    if plot.present is not None:
        x, foot, top = frame.across(plot.present), frame.down(plot.y.low), frame.down(plot.y.high)
        points = (np.array([[x, top], [x, foot]]) + EDGE) * SHARP
        pen.line([tuple(point) for point in points], NEUTRAL, round(1.5 * PER_PIXEL * SHARP))
        x, y = points[1].tolist()
        _marker(pen, "circle", x, y, 4.5, NEUTRAL)
    return large.resize(size, Image.Resampling.BOX)


def _curve(large: Image.Image, pen: ImageDraw.ImageDraw, mark: Curve, points: Floats) -> None:
    """A line, through a mask where it is faint: its joints must not be darker."""
    wide = round((FAINT_WIDTH if mark.faint else WIDTH) * PER_PIXEL * SHARP)
    veil = Image.new("L", large.size, 0)
    on_veil = ImageDraw.Draw(veil)
    for part in _unbroken(points):
        for piece in _dashes(part, np.array(PATTERNS[mark.dash]) * PER_PIXEL * SHARP):
            on_veil.line([tuple(point) for point in piece], 255, wide, joint="curve")
    opacity = FAINT_OPACITY if mark.faint else 1.0
    large.paste(mark.colour, (0, 0), veil.point(lambda value: value * opacity))
    for x, y in points if mark.marker is not None else ():
        if mark.marker is not None and np.isfinite((x, y)).all():
            _marker(pen, mark.marker, x, y, 3, _shade(mark.colour, opacity))


def _marker(
    pen: ImageDraw.ImageDraw,
    shape: Marker,
    x: float,
    y: float,
    reach: float,
    fill: tuple[int, int, int, int] | str | None,
    edge: str | None = None,
) -> None:
    r, thick = reach * PER_PIXEL * SHARP, round(1.5 * PER_PIXEL * SHARP)
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill, edge, thick if edge else 1)
        return
    pen.polygon([(x + a * r, y + b * r) for a, b in _CORNERS[shape]], fill)


_CORNERS: dict[Marker, list[tuple[float, float]]] = {
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle-up": [(0, -1.4), (1.3, 1), (-1.3, 1)],
    "diamond": [(0, -1.6), (1, 0), (0, 1.6), (-1, 0)],
    "cross": [
        (-0.4, -1.3), (0.4, -1.3), (0.4, -0.4), (1.3, -0.4), (1.3, 0.4), (0.4, 0.4),
        (0.4, 1.3), (-0.4, 1.3), (-0.4, 0.4), (-1.3, 0.4), (-1.3, -0.4), (-0.4, -0.4),
    ],
}  # fmt: skip


def _unbroken(points: Floats) -> Iterator[Floats]:
    """Runs of points without a gap, of two or more."""
    whole = np.isfinite(points).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(int)))
    for start, end in edges.reshape(-1, 2).tolist():
        if end - start > 1:
            yield points[start:end]


def _dashes(points: Floats, pattern: npt.NDArray[np.float64]) -> Iterator[Floats]:
    """Cut a line into the pieces that are drawn; bends within a piece stay."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    far = np.concatenate([[0.0], np.cumsum(steps)])
    if not len(pattern) or not far[-1]:
        yield points
        return
    ends = [0.0]
    for part in cycle(pattern.tolist()):
        if ends[-1] >= far[-1]:
            break
        ends.append(ends[-1] + part)
    for number, (start, end) in enumerate(pairwise(ends)):
        if number % 2 == 0:
            at = [start, *far[(far > start) & (far < end)].tolist(), min(end, far[-1])]
            yield np.stack([np.interp(at, far, points[:, 0]), np.interp(at, far, points[:, 1])], axis=1)


def _shade(colour: str, opacity: float) -> tuple[int, int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return red, green, blue, round(255 * opacity)


# -------------------------------------------------------------------- legend


def _legend(legend: Sequence[Key], width: int) -> Image.Image:
    """Names after their looks, in as many rows as they need."""
    swatch = round(30 * PER_PIXEL)
    start = LEFT if width >= 500 else 16
    places, x, y = [], start, 0
    for key in legend:
        name = fitted(key.name, SMALL, width - start - RIGHT - swatch - 8)
        wide = swatch + 8 + round(length(name, SMALL))
        if x > start and x + wide > width - RIGHT:
            x, y = start, y + ROW
        places.append((key, name, x, y))
        x += wide + 28
    out = Image.new("RGB", (width, y + ROW + 10), "white")
    pen = ImageDraw.Draw(out)
    for key, name, x, y in places:
        out.paste(_swatch(key, swatch), (x, y))
        pen.text((x + swatch + 8, y + ROW / 2), name, INK, font(SMALL), anchor="lm")
    return out


def _swatch(key: Key, width: int) -> Image.Image:
    large = Image.new("RGB", (width * SHARP, ROW * SHARP), "white")
    pen = ImageDraw.Draw(large, "RGBA")
    middle = ROW * SHARP / 2
    if isinstance(key.mark, Band):
        half = 6 * PER_PIXEL * SHARP
        pen.rectangle((0, middle - half, large.width, middle + half), _shade(key.colour, 2 * BAND_OPACITY))
    else:
        ends = np.array([[0, middle], [large.width, middle]])
        mark = Curve("", ends[:, 0], ends[:, 1], key.colour, key.mark.dash, None, key.mark.faint)
        _curve(large, pen, mark, ends)
        if key.mark.marker is not None:
            _marker(pen, key.mark.marker, large.width / 2, middle, 3, key.colour)
    return large.resize((width, ROW), Image.Resampling.BOX)
