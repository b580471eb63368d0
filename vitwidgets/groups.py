"""Groups of patches: selections with a name and a colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vitwidgets.analysis.objects import Objects

PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442",
    "#7a4fa3", "#8c6d31", "#7fb800", "#a2142f", "#5f6670",
)  # fmt: skip
"""Colours of groups and clusters. The first seven are those of Okabe and Ito (2008), which people with any
colour vision tell apart; the other five differ from them, and from each other, in lightness as well."""


@dataclass(frozen=True)
class Group:
    """A selection that was kept.

    Attributes
    ----------
    name : str
        What it is called; not empty.
    colour : str
        ``"#rrggbb"``.
    patches : tuple of int
        Patch indices, ascending.
    """

    name: str
    colour: str
    patches: tuple[int, ...]


def next_colour(taken: Iterable[str]) -> str:
    """The first colour of `PALETTE` that is taken least often."""
    colours = list(taken)
    return min(PALETTE, key=colours.count)


def groups_of(objects: Objects, taken: Iterable[str] = ()) -> list[Group]:
    """Make a group of each object of a picture.

    Parameters
    ----------
    objects : Objects
        As `vitwidgets.analysis.objects.find_objects` gives them; one without patches makes no group.
    taken : iterable of str
        Colours that other groups have.

    Returns
    -------
    list of Group
        Named after their classes; the second of a class is ``"magpie 2"``.
    """
    colours, seen, groups = list(taken), dict[str, int](), list[Group]()
    for number, label in enumerate(objects.labels):
        patches = tuple(np.flatnonzero(objects.of_patch == number).tolist())
        if not patches:
            continue
        seen[label] = seen.get(label, 0) + 1
        name = label if seen[label] == 1 else f"{label} {seen[label]}"
        colours.append(next_colour(colours))
        groups.append(Group(name, colours[-1], patches))
    return groups


def as_array(groups: Sequence[Group], rows: int, cols: int) -> npt.NDArray[np.int64]:
    """Write groups as one image of numbers.

    Parameters
    ----------
    groups : sequence of Group
        Where they overlap, the last one holds.
    rows, cols : int
        The patch grid.

    Returns
    -------
    ndarray, shape (rows, cols), int64
        Place of each patch's group in `groups`; -1 for none.
    """
    numbers = np.full(rows * cols, -1, np.int64)
    for number, group in enumerate(groups):
        numbers[list(group.patches)] = number
    return numbers.reshape(rows, cols)


def as_masks(groups: Sequence[Group], rows: int, cols: int) -> npt.NDArray[np.bool_]:
    """Write groups as masks, (K, rows, cols); `as_array` explains the arguments."""
    masks = np.zeros((len(groups), rows * cols), np.bool_)
    for mask, group in zip(masks, groups, strict=True):
        mask[list(group.patches)] = True
    return masks.reshape(len(groups), rows, cols)


def from_entry(entry: Any) -> Group:
    """Read a group from what the page sends, ``{"name", "colour", "patches"}``.

    Raises
    ------
    ValueError
        If it is not such a thing; says why.
    """
    if not isinstance(entry, dict) or set(entry) != {"name", "colour", "patches"}:
        raise ValueError(f"a group has a name, a colour and patches; got {entry!r}")
    name, colour, patches = entry["name"], entry["colour"], entry["patches"]
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"a group needs a name; got {name!r}")
    if not (isinstance(colour, str) and len(colour) == 7 and colour[0] == "#" and _is_hex(colour[1:])):
        raise ValueError(f"the colour of a group is written #rrggbb; got {colour!r}")
    if not isinstance(patches, (list, tuple)) or not all(
        type(patch) is int and patch >= 0 for patch in patches
    ):
        raise ValueError(f"the patches of group {name!r} are patch indices, 0 or more; got {patches!r}")
    return Group(name.strip(), colour.lower(), tuple(sorted(set(patches))))


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdefABCDEF" for letter in text)
