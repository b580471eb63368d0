"""Small maps without a photo, alone and in galleries."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PIL import Image

from vitwidgets.analysis.overlay import Colours, Field, Missing, NeuronView
from vitwidgets.analysis.views import display
from vitwidgets.colormap import colorize
from vitwidgets.lettering import font
from vitwidgets.stills.inks import ACCENT, EMPTY, FAINT, GAP, INK, SMALL
from vitwidgets.stills.page import canvas, heading, stack
from vitwidgets.stills.view import Outcome, View


def map_of(view: View, outcome: Field | NeuronView | Colours) -> Image.Image:
    """One pixel per patch, or the pixels of a view."""
    if isinstance(outcome, NeuronView):
        return Image.fromarray(display(outcome.view, view.mode, limit=outcome.limit))
    if isinstance(outcome, Colours):
        return Image.fromarray(outcome.rgb)
    return Image.fromarray(colorize(outcome.map, outcome.low, outcome.high, outcome.diverging))


def small_map(view: View, outcome: Outcome, side: int, chosen: bool) -> Image.Image:
    """One map without a photo, `side` pixels on its longer side; framed where it is the chosen one."""
    rows, cols = view.trace.grid
    size = (max(1, round(side * min(1, cols / rows))), max(1, round(side * min(1, rows / cols))))
    ring = max(1, min(4, min(size) // 20)) if chosen and min(size) >= 8 else 0
    edge = ring + ring // 2  # the frame stands a little off the map
    out = Image.new("RGB", size, ACCENT)
    out.paste("white", (ring, ring, size[0] - ring, size[1] - ring))
    inner = (max(1, size[0] - 2 * edge), max(1, size[1] - 2 * edge))
    if isinstance(outcome, Missing):
        out.paste(EMPTY, (edge, edge, edge + inner[0], edge + inner[1]))
    else:
        how = Image.Resampling.BOX if isinstance(outcome, NeuronView) else Image.Resampling.NEAREST
        out.paste(map_of(view, outcome).resize(inner, how), (edge, edge))
    return out


def gallery(
    width: int,
    title: str,
    about: str,
    cells: Sequence[tuple[Callable[[int], Image.Image], str, str, bool]] = (),
) -> Image.Image:
    """Small maps with captions, in rows: (map of a given side, label, note, chosen)."""
    top = heading(width, title, about)
    if not cells:
        return top
    columns = max(1, (width + GAP) // (100 + GAP))
    side = (width - GAP * (columns - 1)) // columns
    pictures = [draw_map(side) for draw_map, *_ in cells]
    tall = pictures[0].height + 34
    grid, draw = canvas(width, tall * -(-len(cells) // columns) - 8)
    for index, (picture, (_, label, note, chosen)) in enumerate(zip(pictures, cells, strict=True)):
        x, y = index % columns * (side + GAP), index // columns * tall
        grid.paste(picture, (x, y))
        y += picture.height + 5
        draw.text((x, y), label, ACCENT if chosen else INK, font(SMALL))
        draw.text((x + side, y), note, FAINT, font(SMALL), anchor="ra")
    return stack([top, grid], width, 0)


def drawer(view: View, outcome: Outcome, chosen: bool) -> Callable[[int], Image.Image]:
    """Make what draws one cell of a gallery."""
    return lambda side: small_map(view, outcome, side, chosen)
