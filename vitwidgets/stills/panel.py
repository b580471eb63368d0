"""Still pictures of panels: what a panel shows, drawn without a browser, for pages where no widget runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from vitwidgets.lettering import fitted, font, legible, length
from vitwidgets.stills.galleries import heads, layers, neurons
from vitwidgets.stills.image import image
from vitwidgets.stills.inks import FAINT, GAP, INK, LINE, TEXT
from vitwidgets.stills.page import canvas, page, row, stack
from vitwidgets.stills.predictions import predictions
from vitwidgets.stills.size import check_width
from vitwidgets.stills.view import View

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

NARROW = 700  # below this width the regions stand one under another


def still(view: View, regions: Sequence[str], *, width: int = 1200) -> Image.Image:
    """Draw some regions of a view.

    Parameters
    ----------
    view : View
        What to show.
    regions : sequence of str
        Any of ``"image"``, ``"layers"``, ``"heads"``, ``"neurons"``, ``"predictions"``. Several
        stand in two columns, where the picture is wide enough, with the layers below.
    width : int
        Width of the picture in pixels, at least 300.

    Returns
    -------
    PIL.Image.Image
        RGB, on white.

    Raises
    ------
    ValueError
        If `width` is under 300 or a region is unknown.
    """
    check_width(width)
    unknown = set(regions) - set(_BLOCKS)
    if unknown:
        raise ValueError(f"unknown region {sorted(unknown)[0]!r}; there are {', '.join(_BLOCKS)}")
    inner = width - 2 * GAP
    if len(regions) == 1:
        return page(_BLOCKS[regions[0]](view, inner))
    if width < NARROW:
        body = _column(view, [name for name in _BLOCKS if name in regions], inner)
    else:
        left = (inner - 2 * GAP) * 11 // 21
        body = stack(
            [
                row(
                    [
                        _column(view, [name for name in ("image", "predictions") if name in regions], left),
                        _column(
                            view,
                            [name for name in ("heads", "neurons") if name in regions],
                            inner - 2 * GAP - left,
                        ),
                    ]
                ),
                _column(view, [name for name in ("layers",) if name in regions], inner),
            ],
            inner,
        )
    return page(stack([_masthead(view.trace, inner), body], inner))


def _column(view: View, regions: Sequence[str], width: int) -> Image.Image:
    return stack([_BLOCKS[name](view, width) for name in regions], width)


def _masthead(trace: Trace, width: int) -> Image.Image:
    name = fitted(trace.model_name, 21, width)
    facts = legible(_sizes(trace))
    start = length(name, 21) + 20
    beside = start + length(facts, TEXT) <= width
    lines = [*([] if beside else [facts]), *trace.notes]
    out, draw = canvas(width, 33 + 26 * len(lines))
    draw.text((0, 0), name, INK, font(21))
    if beside:
        draw.text((start, 3), facts, FAINT, font(TEXT))
    for index, line in enumerate(lines):
        draw.text((0, 30 + 26 * index), fitted(line, TEXT, width), FAINT, font(TEXT))
    draw.line((0, out.height - 1, width, out.height - 1), LINE)
    return out


def _sizes(trace: Trace) -> str:
    """The trace's sizes; where they change from layer to layer, the first and the last."""

    def course(counts: Sequence[object]) -> str:
        some = [str(count) for count in counts if count]
        return some[0] if some[0] == some[-1] else f"{some[0]} to {some[-1]}"

    layers = range(trace.layers + 1)
    grids = course([f"{trace.grid_of(layer).rows} x {trace.grid_of(layer).cols}" for layer in layers])
    prefix = f" + {', '.join(trace.prefix)}" if trace.prefix else ""
    widths, heads = [trace.width_of(layer) for layer in layers], [trace.heads_of(layer) for layer in layers]
    attention = f" · {course(heads)} heads" if any(heads) else ""
    return f"{grids} patches{prefix} · {trace.layers} layers · width {course(widths)}{attention}"


_BLOCKS: dict[str, Callable[[View, int], Image.Image]] = {
    "image": image,
    "layers": layers,
    "heads": heads,
    "neurons": neurons,
    "predictions": predictions,
}
