"""How wide a still picture may be."""

from __future__ import annotations

LEAST = 300  # pixels


def check_width(width: int) -> None:
    """Refuse a width in pixels at which nothing could be read.

    Raises
    ------
    ValueError
        If `width` is under 300.
    """
    if width < LEAST:
        raise ValueError(f"width is {width}; a still picture needs at least {LEAST} pixels")
