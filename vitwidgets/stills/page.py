"""Parts of a still picture, one beside or under another."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from vitwidgets.lettering import fitted, font, legible, length
from vitwidgets.stills.inks import FAINT, GAP, INK, SMALL, TITLE


def page(content: Image.Image) -> Image.Image:
    """Content on a white page with a margin."""
    out = Image.new("RGB", (content.width + 2 * GAP, content.height + 2 * GAP), "white")
    out.paste(content, (GAP, GAP))
    return out


def stack(parts: Sequence[Image.Image], width: int, gap: int = 2 * GAP) -> Image.Image:
    """Parts one under another."""
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    out, y = Image.new("RGB", (width, max(height, 1)), "white"), 0
    for part in parts:
        out.paste(part, (0, y))
        y += part.height + gap
    return out


def row(parts: Sequence[Image.Image]) -> Image.Image:
    """Parts side by side."""
    width = sum(part.width for part in parts) + 2 * GAP * (len(parts) - 1)
    out, x = Image.new("RGB", (width, max(part.height for part in parts)), "white"), 0
    for part in parts:
        out.paste(part, (x, 0))
        x += part.width + 2 * GAP
    return out


def canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture, and what draws on it."""
    out = Image.new("RGB", (width, max(height, 1)), "white")
    return out, ImageDraw.Draw(out)


def heading(width: int, title: str, about: str) -> Image.Image:
    """A title with what it is about beside it, or below where that is too long."""
    start, about = length(title, TITLE) + 14, legible(about)
    beside = start + length(about, SMALL) <= width
    out, draw = canvas(width, 30 if beside else 54)
    draw.text((0, 0), title, INK, font(TITLE))
    draw.text((start, 2) if beside else (0, 25), fitted(about, SMALL, width), FAINT, font(SMALL))
    return out
