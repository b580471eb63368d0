"""The token map as a still picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from vitwidgets.analysis.norms import norms
from vitwidgets.analysis.overlay import Field, Missing, cell_at, row_of
from vitwidgets.colormap import SEQUENTIAL, colorize
from vitwidgets.groups import PALETTE, Group
from vitwidgets.lettering import figure, fitted, font, length
from vitwidgets.stills.inks import FAINT, INK, LINE, SELECT
from vitwidgets.stills.size import check_width

if TYPE_CHECKING:
    from vitwidgets.stills.view import View
    from vitwidgets.trace import Trace

Floats: TypeAlias = npt.NDArray[np.float32]
Colour: TypeAlias = "tuple[int, int, int]"

NO_COLOUR: Colour = (176, 181, 187)
SHARP = 2  # drawn larger, so that dots are round
MARGIN = 24
FAR = 2.5  # as in js/src/math/layout.ts


def fit(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Fit points into the square -1..1, as the page does.

    Parameters
    ----------
    points : array_like, shape (N, 2)
        NaN for a token that has no place.

    Returns
    -------
    ndarray, shape (N, 2), float64
        Not distorted. Points `FAR` times as far from the middle as 95 % of all are moved to the edge.
    """
    places = np.asarray(points, np.float64)
    there = places[np.isfinite(places).all(axis=1)]
    if not len(there):
        return places
    middle = np.sort(there, axis=0)[len(there) // 2]
    away = np.sort(np.abs(there - middle).max(axis=1))
    near = there[np.abs(there - middle).max(axis=1) <= FAR * away[int(0.95 * (len(away) - 1))]]
    low, high = near.min(axis=0), near.max(axis=0)
    half = (high - low).max() / 2
    return np.clip((places - (low + high) / 2) / half, -1, 1) if half > 0 else places * 0


def draw(
    view: View,
    points: npt.ArrayLike,
    color_by: str,
    groups: Sequence[Group],
    *,
    clusters: npt.NDArray[np.int64] | None = None,
    received: Floats | None = None,
    method: str = "t-SNE",
    width: int = 1200,
) -> Image.Image:
    """Draw the tokens of a layer as points.

    Parameters
    ----------
    view : View
        Trace, layer, pinned token and selected patches.
    points : array_like, shape (N, 2)
        Where the tokens lie.
    color_by : str
        One of `vitwidgets.TokenMap.color_by`.
    groups : sequence of Group
        What is coloured by group.
    clusters : ndarray, shape (rows * cols,), optional
        Cluster of each patch of the layer, -1 for none.
    received : ndarray, shape (N,), optional
        Attention that each token receives.
    method : str
        How the points were laid out.
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
    check_width(width)
    trace, layer = view.trace, view.spec.layer
    colours, legend = _colours(view, color_by, groups, clusters, received)
    side = min(width - 32, 640)
    stage = _stage(view, fit(points), colours, (width - 32, side))
    out = Image.new("RGB", (width, side + 118), "white")
    pen = ImageDraw.Draw(out)
    pen.text((16, 14), "Token map", INK, font(19))
    about = f"layer {layer} of {trace.layers} · {method} · {trace.model_name}"
    start = 30 + length("Token map", 19)
    pen.text((start, 17), fitted(about, 16, width - 16 - start), FAINT, font(16))
    out.paste(stage, (16, 46))
    _legend(pen, (16, side + 62), width - 32, legend)
    return out


# a label with its colour, or the two ends of a scale
_Legend: TypeAlias = "list[tuple[str, Colour | None]]"


def _colours(
    view: View,
    color_by: str,
    groups: Sequence[Group],
    clusters: npt.NDArray[np.int64] | None,
    received: Floats | None,
) -> tuple[list[Colour], _Legend]:
    """One colour for each token of the layer, and what they mean."""
    trace, layer = view.trace, view.spec.layer
    grid, prefix = trace.grid_of(layer), len(trace.prefix)
    none = [NO_COLOUR] * grid.tokens
    if color_by == "group":
        owner = np.full(trace.patch_grid.patches, -1)
        for number, group in enumerate(groups):
            owner[list(group.patches)] = number
        cells = [owner[_finest(trace, layer, cell)] for cell in range(grid.patches)]
        shades = [_rgb(groups[number].colour) if number >= 0 else NO_COLOUR for number in cells]
        return none[:prefix] + shades, [(group.name, _rgb(group.colour)) for group in groups] or [
            ("no groups", None)
        ]
    if color_by == "cluster":
        if clusters is None:
            return none, [("clusters are not computed yet", None)]
        shades = [_rgb(PALETTE[n % len(PALETTE)]) if n >= 0 else NO_COLOUR for n in clusters.tolist()]
        found = [number for number in np.unique(clusters).tolist() if number >= 0]
        return none[:prefix] + shades, [
            (f"cluster {number + 1}", _rgb(PALETTE[number % len(PALETTE)])) for number in found
        ]
    if color_by == "image":
        return none[:prefix] + _patch_colours(trace, grid.rows, grid.cols), [
            ("mean colour of each patch", None)
        ]
    values: Floats | None
    if color_by == "similarity":
        outcome = view.field(overlay="similarity")
        if not isinstance(outcome, Field):
            return none, [(outcome.reason if isinstance(outcome, Missing) else "", None)]
        values, low, high, title = outcome.values, outcome.low, outcome.high, outcome.title
    else:
        values = received if color_by == "attention" else norms(trace.layer(layer))
        title = "attention received" if color_by == "attention" else "token norm"
        finite = values[prefix:][np.isfinite(values[prefix:])] if values is not None else np.empty(0)
        if values is None or not finite.size:
            return none, [(f"no {title} at this layer", None)]
        low, high = (0.0 if color_by == "attention" else float(finite.min())), float(finite.max())
        high = high if high > low else low + 1
    table = [_triple(colour) for colour in colorize(values, low, high).tolist()]
    return table, [
        (f"{title}:", None),
        (figure(low), _triple(SEQUENTIAL[0].tolist())),
        (figure((low + high) / 2), _triple(SEQUENTIAL[128].tolist())),
        (figure(high), _triple(SEQUENTIAL[255].tolist())),
    ]


def _stage(
    view: View, places: npt.NDArray[np.float64], colours: list[Colour], size: tuple[int, int]
) -> Image.Image:
    """The points with their marks."""
    trace, layer = view.trace, view.spec.layer
    prefix = len(trace.prefix)
    wide, high = size[0] * SHARP, size[1] * SHARP
    out = Image.new("RGB", (wide, high), "white")
    pen = ImageDraw.Draw(out)
    half = min(wide, high) / 2 - MARGIN * SHARP
    at = np.stack([wide / 2 + half * places[:, 0], high / 2 - half * places[:, 1]], axis=1)
    dot = float(np.clip(0.13 * min(size) / np.sqrt(len(at)), 2.4, 6)) * SHARP
    chosen = {row_of(trace, layer, prefix + patch) for patch in view.patches}
    order = sorted(range(prefix, len(at)), key=lambda row: row in chosen)
    for row in order:
        if not np.isfinite(at[row]).all():
            continue
        x, y = at[row]
        fade = 0.7 if chosen and row not in chosen else 0.0
        pen.ellipse((x - dot, y - dot, x + dot, y + dot), _faded(colours[row], fade))
        if row in chosen:
            reach = dot + 1.5 * SHARP
            pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=SELECT, width=2 * SHARP)
    reach = max(1.2 * dot, 7 * SHARP)
    for row, name in enumerate(trace.prefix):
        if not np.isfinite(at[row]).all():
            continue
        x, y = at[row]
        corners = [(x, y - reach), (x + reach, y), (x, y + reach), (x - reach, y)]
        pen.polygon(corners, colours[row] if colours[row] != NO_COLOUR else (255, 255, 255), INK, 2 * SHARP)
        right = x + reach + 4 * SHARP + length(name, 15 * SHARP) < wide
        text = (x + reach + 4 * SHARP, y) if right else (x - reach - 4 * SHARP, y)
        pen.text(text, fitted(name, 15 * SHARP, wide), INK, font(15 * SHARP), anchor="lm" if right else "rm")
    token = view.spec.token
    if token is not None and np.isfinite(at[row_of(trace, layer, token)]).all():
        x, y = at[row_of(trace, layer, token)]
        for away, shade, thick in ((6, "#111", 4), (5, "#fff", 2)):
            r = dot + away * SHARP
            pen.ellipse((x - r, y - r, x + r, y + r), outline=shade, width=thick * SHARP)
    framed = out.resize(size, Image.Resampling.LANCZOS)
    ImageDraw.Draw(framed).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=LINE)
    return framed


def _legend(pen: ImageDraw.ImageDraw, at: tuple[int, int], width: int, legend: _Legend) -> None:
    """Labels in lines, each after its colour; what does not fit into two lines is left out."""
    x, y = at
    for label, colour in legend:
        text = fitted(label, 16, width / 2)
        step = length(text, 16) + (22 if colour else 0) + 18
        if x + step > at[0] + width:
            x, y = at[0], y + 24
        if y > at[1] + 24:
            return
        if colour:
            pen.rectangle((x, y + 3, x + 14, y + 17), colour, LINE)
        pen.text((x + (22 if colour else 0), y), text, INK, font(16))
        x += round(step)


def _patch_colours(trace: Trace, rows: int, cols: int) -> list[Colour]:
    left, top, right, bottom = trace.frame.box
    seen = trace.image.transform(
        (cols * 6, rows * 6), Image.Transform.EXTENT, (left, top, right, bottom), Image.Resampling.BILINEAR
    )
    return [
        _triple(c)
        for c in np.asarray(seen.resize((cols, rows), Image.Resampling.BOX)).reshape(-1, 3).tolist()
    ]


def _finest(trace: Trace, layer: int, cell: int) -> int:
    """The patch in the middle of a cell of a layer."""
    own, finest = trace.grid_of(layer), trace.patch_grid
    return cell_at(cell, (own.rows, own.cols), (finest.rows, finest.cols))


def _rgb(colour: str) -> Colour:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _triple(colour: Any) -> Colour:
    red, green, blue = colour
    return int(red), int(green), int(blue)


def _faded(colour: Colour, share: float) -> Colour:
    return _triple([round(c + (255 - c) * share) for c in colour])
