"""What the looks of a chart mean, in a line of its own."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vitwidgets.charts.drawing import TEXT
from vitwidgets.plot import BAND_OPACITY, FAINT_OPACITY, FAINT_WIDTH, PATTERNS, WIDTH, Band, Key


def legend(keys: Sequence[Key]) -> str:
    """Say what each look means, as HTML to stand below a figure, where it hides no curve."""
    parts = "".join(
        '<span style="display:inline-flex; align-items:center; gap:6px; white-space:nowrap">'
        f"{_swatch(key)}{escape(key.name)}</span>"
        for key in keys
    )
    style = f"display:flex; flex-wrap:wrap; gap:2px 18px; padding:0 18px 6px; line-height:20px; color:{TEXT}"
    return f'<div style="{style}">{parts}</div>'


def _swatch(key: Key) -> str:
    if isinstance(key.mark, Band):
        inside = f'<rect width="30" height="12" fill="{key.colour}" opacity="{2 * BAND_OPACITY}"/>'
    else:
        width, opacity = (FAINT_WIDTH, FAINT_OPACITY) if key.mark.faint else (WIDTH, 1)
        dashes = " ".join(f"{part:g}" for part in PATTERNS[key.mark.dash])
        inside = (
            f'<path d="M0 6H30" fill="none" stroke="{key.colour}" stroke-width="{width}" '
            f'stroke-dasharray="{dashes}" opacity="{opacity}"/>'
        )
        if key.mark.marker is not None:
            inside += (
                f'<path d="{_SHAPES[key.mark.marker]}" transform="translate(15 6)" fill="{key.colour}"/>'
            )
    return f'<svg width="30" height="12" aria-hidden="true">{inside}</svg>'


_SHAPES = {  # about (0, 0), as large as in the figure
    "circle": "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "square": "M-3-3H3V3H-3Z",
    "triangle-up": "M0-4L4 3H-4Z",
    "diamond": "M0-5L3 0L0 5L-3 0Z",
    "cross": "M-1-4H1V-1H4V1H1V4H-1V1H-4V-1H-1Z",
}
