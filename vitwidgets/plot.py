"""Charts as data: what is drawn, whether live by bqplot or still by Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Dash = Literal["solid", "dashed", "dotted", "dash_dotted"]
Marker = Literal["circle", "square", "triangle-up", "diamond", "cross"]

PALETTE = ("#1971c2", "#d6246e", "#2b8a3e", "#e8890c", "#7048b6", "#0b7285", "#5f6670")
NEUTRAL = "#7a828c"  # reads on white and on black
MARKERS: tuple[Marker, ...] = ("circle", "square", "triangle-up", "diamond", "cross")
PATTERNS: dict[Dash, tuple[float, ...]] = {  # lengths drawn and left out by turns, as bqplot has them
    "solid": (), "dashed": (10, 10), "dotted": (2, 10), "dash_dotted": (10, 5, 2, 5),
}  # fmt: skip
FAINT: tuple[tuple[Dash, Marker | None], ...] = tuple(
    (dash, marker) for marker in (None, *MARKERS) for dash in ("dashed", "dotted", "dash_dotted")
)
"""Looks of faint curves, each another without its colour."""

WIDTH, FAINT_WIDTH = 2.5, 2.0  # of curves, in CSS pixels
FAINT_OPACITY, BAND_OPACITY, POINT_OPACITY = 0.75, 0.18, 0.6
PADDING = 0.03  # of the height, left free above and below the ends of the vertical axis


@dataclass(frozen=True, eq=False)
class Axis:
    """One axis.

    Attributes
    ----------
    label : str
        What it counts, with its unit.
    low, high : float
        Its ends.
    ticks : ndarray of float
        Where it has numbers.
    """

    label: str
    low: float
    high: float
    ticks: Floats


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through points; NaN leaves a gap.

    Attributes
    ----------
    name : str
        For the legend.
    x, y : ndarray of float, shape (points,)
    colour : str
        ``"#rrggbb"``.
    dash : str
        One of `PATTERNS`.
    marker : str or None
        One of `MARKERS`, drawn at each point.
    faint : bool
        Whether others are compared with it.
    """

    name: str
    x: Floats
    y: Floats
    colour: str
    dash: Dash = "solid"
    marker: Marker | None = "circle"
    faint: bool = False


@dataclass(frozen=True, eq=False)
class Band:
    """The space between two lines; NaN leaves a gap.

    Attributes
    ----------
    name : str
        For the legend.
    x, low, high : ndarray of float, shape (points,)
    colour : str
        ``"#rrggbb"``.
    """

    name: str
    x: Floats
    low: Floats
    high: Floats
    colour: str


@dataclass(frozen=True, eq=False)
class Points:
    """Points that can be chosen.

    Attributes
    ----------
    x, y : ndarray of float, shape (points,)
    names : tuple of str
        What each is.
    colour : str
        ``"#rrggbb"``.
    chosen : tuple of int
        Those that are ringed.
    """

    x: Floats
    y: Floats
    names: tuple[str, ...]
    colour: str
    chosen: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Cells:
    """A matrix as colours, its first row at the top.

    Attributes
    ----------
    values : ndarray of float, shape (rows, cols)
    scale : Axis
        Of the colours, which are `vitwidgets.colormap.SEQUENTIAL`; what they count is in the title.
    """

    values: Floats
    scale: Axis


Mark: TypeAlias = "Curve | Band | Points | Cells"


@dataclass(frozen=True)
class Key:
    """One entry of a legend.

    Attributes
    ----------
    name : str
        What it says.
    colour : str
        ``"#rrggbb"``; `NEUTRAL` where it stands for marks of several colours.
    mark : Curve or Band
        A mark that looks like it.
    """

    name: str
    colour: str
    mark: Curve | Band


@dataclass(frozen=True, eq=False)
class Plot:
    """One chart.

    Attributes
    ----------
    title : str
        What it shows.
    x, y : Axis
        Of `Cells`, the columns and the rows.
    marks : tuple of Mark
        What is drawn, from the back to the front.
    present : float or None
        Where an upright line marks the present layer.
    keyed : bool
        Whether it has a legend.
    note : str
        What is said in place of marks where there are none.
    """

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...] = ()
    present: float | None = None
    keyed: bool = False
    note: str = ""


def keys(marks: Sequence[Mark]) -> list[Key]:
    """List what a legend of some marks says: each name once, curves before bands."""
    named: dict[str, list[Curve | Band]] = {}
    for mark in sorted(marks, key=_rank):
        if isinstance(mark, (Curve, Band)) and mark.name:
            named.setdefault(mark.name, []).append(mark)
    return [
        Key(name, same[0].colour if len({mark.colour for mark in same}) == 1 else NEUTRAL, same[0])
        for name, same in named.items()
    ]


def _rank(mark: Mark) -> int:
    return 2 if not isinstance(mark, Curve) else int(mark.faint)


def ticks(low: float, high: float, least: float = 0.0, about: int = 6) -> Floats:
    """Round numbers between two ends, some `about` of them: steps of 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    low, high : float
        The ends.
    least : float
        The smallest step: 1 for what is counted.
    about : int
        How many there are, about.
    """
    rough = max((high - low) / about, least, 1e-12)
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
    first = int(np.ceil(low / step - 1e-9))
    found: Floats = np.round(np.arange(first, int(np.floor(high / step + 1e-9)) + 1) * step, 12)
    return found
