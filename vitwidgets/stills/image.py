"""The photo under its overlay, with what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vitwidgets.analysis.overlay import Field, Missing, cell_at
from vitwidgets.stills.groups import border, outline
from vitwidgets.stills.inks import GAP, SELECT
from vitwidgets.stills.legend import chips, legend, mark
from vitwidgets.stills.maps import map_of
from vitwidgets.stills.page import stack
from vitwidgets.stills.view import Outcome, View


def image(view: View, width: int) -> Image.Image:
    """The image with its marks, its legend and the tokens that have no place in it."""
    outcome = view.field()
    parts = [stage(view, outcome, width)]
    if view.spec.overlay != "none":
        parts.append(legend(view, outcome, width))
    if view.trace.prefix or view.patches or view.groups:
        parts.append(chips(view, outcome, width))
    return stack(parts, width, GAP)


def stage(view: View, outcome: Outcome, width: int) -> Image.Image:
    """The photo, what the model saw of it under the overlay, and the marks."""
    trace, frame = view.trace, view.trace.frame
    left, top, right, bottom = frame.box
    x0, y0 = min(0.0, left), min(0.0, top)
    wide, high = max(frame.original[0], right) - x0, max(frame.original[1], bottom) - y0
    scale = min(width / wide, 1.1 * width / high)
    out = Image.new("RGB", (max(1, round(wide * scale)), max(1, round(high * scale))), "white")
    size = (max(1, round(frame.original[0] * scale)), max(1, round(frame.original[1] * scale)))
    photo = trace.image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
    out.paste(photo, (round(-x0 * scale), round(-y0 * scale)))

    def lines(rows: int, cols: int) -> tuple[list[int], list[int]]:
        xs = np.rint((np.linspace(left, right, cols + 1) - x0) * scale).astype(int).tolist()
        ys = np.rint((np.linspace(top, bottom, rows + 1) - y0) * scale).astype(int).tolist()
        return xs, ys

    grid = trace.grid_of(view.spec.layer)
    xs, ys = lines(*trace.grid)
    seen = out.crop((xs[0], ys[0], max(xs[-1], xs[0] + 1), max(ys[-1], ys[0] + 1)))
    if not isinstance(outcome, Missing):
        how = Image.Resampling.BICUBIC if view.smooth else Image.Resampling.NEAREST
        seen = Image.blend(seen, map_of(view, outcome).resize(seen.size, how), view.opacity)
    out = Image.blend(out, Image.new("RGB", out.size, "white"), 0.6)
    out.paste(seen, (xs[0], ys[0]))

    across, down = lines(grid.rows, grid.cols)
    _grid(out, across, down)
    for row in outcome.marked if isinstance(outcome, Field) else ():
        at_row, at_col = divmod(row - len(trace.prefix), grid.cols)
        mark(out, (across[at_col], down[at_row], across[at_col + 1], down[at_row + 1]))
    for group in view.groups:
        outline(out, group, xs, ys, tint=view.tinted and view.spec.overlay == "none")
    _select(out, view.patches, xs, ys)
    patch = -1 if view.spec.token is None else view.spec.token - len(trace.prefix)
    if patch >= 0:
        row, col = divmod(cell_at(patch, trace.grid, (grid.rows, grid.cols)), grid.cols)
        _pin(out, (across[col], down[row], across[col + 1], down[row + 1]))
    return out


def _grid(out: Image.Image, xs: Sequence[int], ys: Sequence[int]) -> None:
    """Faint lines between patches."""
    if xs[1] - xs[0] < 14:
        return  # lines closer than that would hide the picture
    veil = Image.new("L", out.size, 0)
    draw = ImageDraw.Draw(veil)
    for x in xs:
        draw.line((x, ys[0], x, ys[-1]), 56)
    for y in ys:
        draw.line((xs[0], y, xs[-1], y), 56)
    out.paste("white", (0, 0), veil)


def _pin(out: Image.Image, box: tuple[int, int, int, int]) -> None:
    """A white frame in a dark one, which reads on every colour of both maps."""
    draw = ImageDraw.Draw(out)
    line = 3 if box[2] - box[0] >= 16 else 1
    for colour, off in (("#111111", 1), ("white", 0), ("#111111", -1)):
        far = max(off * line + line // 2, -(box[2] - box[0]) // 2, -(box[3] - box[1]) // 2)
        frame = (box[0] - far, box[1] - far, box[2] + far, box[3] + far)
        draw.rectangle(frame, outline=colour, width=line)


def _select(out: Image.Image, patches: Sequence[int], xs: Sequence[int], ys: Sequence[int]) -> None:
    """The outline of all selected patches together."""
    draw = ImageDraw.Draw(out)
    for colour, half in (("white", 3), (SELECT, 1)):
        reach = half if xs[1] - xs[0] >= 16 else half // 2
        for x1, y1, x2, y2 in border(patches, xs, ys):
            draw.rectangle((x1 - reach, y1 - reach, x2 + reach, y2 + reach), colour)
