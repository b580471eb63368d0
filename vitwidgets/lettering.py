"""Text in still pictures: only letters that Pillow's own font has, and no more of them than fit."""

from __future__ import annotations

import unicodedata
from decimal import Decimal
from functools import cache, lru_cache
from math import isfinite, isnan

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SPELT = {"−": "-", "–": "-", "—": "-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~"}
_SPELT |= {"ß": "ss", "æ": "ae", "Æ": "Ae", "ø": "o", "Ø": "O"}


@cache
def font(size: int) -> Font:
    """Pillow's own font, `size` pixels high."""
    return ImageFont.load_default(size)


def length(text: str, size: int) -> float:
    """Width of a line of text in pixels."""
    return font(size).getlength(text)


def legible(text: str) -> str:
    """Respell `text` on one line, in letters that the font has.

    Parameters
    ----------
    text : str
        Anything: class names come from wherever the model does.

    Returns
    -------
    str
        Accents are dropped where the accented letter is missing, control characters
        always; a question mark stands for what has no likeness.
    """
    return "".join(_letter(letter) for letter in " ".join(text.split()))


def fitted(text: str, size: int, width: float) -> str:
    """Make `text` legible, and cut it with an ellipsis where it is wider than `width` pixels."""
    text = legible(text)
    if length(text, size) <= width:
        return text
    end = min(len(text), int(max(width, 0)) // 2)  # no letter is narrower than two pixels
    while end > 0 and length(text[:end].rstrip() + "…", size) > width:
        end -= 1
    return text[:end].rstrip() + "…" if end else ""


def figure(value: float) -> str:
    """Write a number in three significant digits, as `figure` in the page does."""
    if not isfinite(value):
        return "NaN" if isnan(value) else ("inf" if value > 0 else "-inf")
    size = abs(value)
    if size != 0 and (size < 0.001 or size >= 100_000):
        return f"{value:.1e}".replace("e+0", "e+").replace("e-0", "e-")
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def magnitude(value: float) -> str:
    """Write a size as `figure` does, but with two digits where it is small; as `magnitude` in the page."""
    if not 1e-5 <= value < 0.1:
        return figure(value)
    return f"{Decimal(f'{value:.1e}'):f}"


@lru_cache(4096)
def _letter(letter: str) -> str:
    if has(letter):
        return letter
    if unicodedata.combining(letter) or unicodedata.category(letter)[0] == "C":
        return ""
    plain = _SPELT.get(letter) or unicodedata.normalize("NFKD", letter)
    base = [part for part in plain if not unicodedata.combining(part)]
    return "".join(part if has(part) else "?" for part in base)


def has(letter: str) -> bool:
    """Whether the font can draw `letter`; what it cannot, it draws as an empty box."""
    return letter == " " or _shape(letter) != _shape("\U0010ffff")


def _shape(letter: str) -> bytes:
    mask = font(20).getmask(letter)
    return bytes(mask) + repr(mask.size).encode()
