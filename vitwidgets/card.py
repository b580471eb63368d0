"""A model in a few lines: as text, and as a card for the notebook."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from vitwidgets.geometry import PatchGrid

_INK = "var(--jp-content-font-color1, #1f2328)"
_FAINT = "var(--jp-content-font-color2, #5f6670)"
_LINE = "var(--jp-border-color2, #d0d7de)"
_PAPER = "var(--jp-layout-color1, #ffffff)"
_ACCENT = "var(--jp-brand-color1, #1976d2)"
_FONT = "var(--jp-ui-font-family, system-ui, sans-serif)"


def text(name: str, facts: Mapping[str, str]) -> str:
    """One line per fact, for a terminal."""
    wide = max(len(key) for key in facts)
    return "\n".join([f"Inspector({name!r})", *(f"  {key:<{wide}}  {value}" for key, value in facts.items())])


def html(name: str, facts: Mapping[str, str], grid: PatchGrid) -> str:
    """Draw a card in the colours of the notebook's theme; everything shown is escaped."""
    rows = "".join(
        f'<dt style="color:{_FAINT};margin:0">{escape(key)}</dt>'
        f'<dd style="margin:0;overflow-wrap:anywhere">{escape(value)}</dd>'
        for key, value in facts.items()
    )
    return (
        f'<div style="display:inline-flex;flex-wrap:wrap;gap:20px;align-items:flex-start;max-width:640px;'
        f"padding:14px 18px;border:1px solid {_LINE};border-radius:6px;background:{_PAPER};color:{_INK};"
        f'font-family:{_FONT};font-size:13px;line-height:1.5">{_drawing(grid)}'
        f'<div style="flex:1 1 320px;min-width:0">'
        f'<div style="font-weight:600;font-size:14px;margin-bottom:6px;overflow-wrap:anywhere">'
        f"{escape(name)}</div>"
        f'<dl style="display:grid;grid-template-columns:max-content 1fr;gap:1px 14px;margin:0">{rows}</dl>'
        f"</div></div>"
    )


def _drawing(grid: PatchGrid) -> str:
    """Draw the token sequence as the model sees it: prefix tokens above the patch grid."""
    cell = 72 / max(grid.rows, grid.cols)
    wide, high, top = grid.cols * cell, grid.rows * cell, 14 if grid.prefix else 1
    chips = "".join(
        f'<rect x="{1 + 11 * place}" y="1" width="8" height="8" rx="2" style="fill:{_ACCENT}">'
        f"<title>{escape(name)}</title></rect>"
        for place, name in enumerate(grid.prefix)
    )
    lines = "".join(f"M{1 + col * cell:.2f} {top}v{high:.2f}" for col in range(grid.cols + 1))
    lines += "".join(f"M1 {top + row * cell:.2f}h{wide:.2f}" for row in range(grid.rows + 1))
    box = f"{max(wide, 11 * len(grid.prefix)) + 2:.2f}", f"{top + high + 1:.2f}"
    return (
        f'<svg width="{box[0]}" height="{box[1]}" role="img" style="flex:none" '
        f'aria-label="{grid.rows} by {grid.cols} patches and {len(grid.prefix)} prefix tokens">'
        f'{chips}<path d="{lines}" style="fill:none;stroke:{_FAINT};stroke-width:0.75"/></svg>'
    )
