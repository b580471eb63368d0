"""The groups: selections of patches that were given a name. Panels that share them show the same ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import traitlets as t

from vitwidgets.geometry import Patches, PatchGrid
from vitwidgets.groups import (
    Group,
    as_array,
    as_masks,
    from_entry,
    groups_of,
    next_colour,
)
from vitwidgets.widgets.base import Model, built

if TYPE_CHECKING:
    from vitwidgets.analysis.objects import Labels, Masks
    from vitwidgets.trace import Trace


class Groups(Model):
    """Selections of patches with a name and a colour.

    A model without a face. Give one to several panels and they show the same groups. The reader keeps,
    picks and removes groups in the page; Python reads and changes them here.

    Parameters
    ----------
    entries : list of dict, optional
        Groups to start with: ``{"name": str, "colour": "#rrggbb", "patches": [int, ...]}``.

    Raises
    ------
    TypeError
        If a keyword is unknown.
    traitlets.TraitError
        If an entry is no group.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> trace = vw.Inspector("demo").trace(vw.demo.scene(7).image)
    >>> token_map = vw.TokenMap(trace)
    >>> token_map.groups.add("corner", [(0, 0), (0, 1), (1, 0)])
    >>> token_map.groups.names
    ['corner']
    """

    _esm = built("groups.js")
    _from_page = ("entries",)

    entries = t.List(t.Dict()).tag(sync=True)
    """The groups as the page has them, in the order in which they are drawn: ``name``, ``colour`` and
    ``patches`` (ascending patch indices) of each. Observe it to hear of every change."""

    def __init__(self, **kwargs: Any) -> None:
        self._grid: PatchGrid | None = None
        super().__init__(**kwargs)

    def __repr__(self) -> str:
        return f"Groups({', '.join(f'{group.name}: {len(group.patches)} patches' for group in self.all)})"

    # ------------------------------------------------------------------ reading

    @property
    def all(self) -> list[Group]:
        """Every group."""
        return [Group(entry["name"], entry["colour"], tuple(entry["patches"])) for entry in self.entries]

    @property
    def names(self) -> list[str]:
        """The names of all groups."""
        return [entry["name"] for entry in self.entries]

    def __getitem__(self, name: str) -> list[int]:
        """The patches of a group; KeyError if there is none of this name."""
        return list(self._find(name).patches)

    def as_array(self, grid: tuple[int, int] | None = None) -> npt.NDArray[np.int64]:
        """Give the groups as one image of numbers.

        Parameters
        ----------
        grid : (int, int), optional
            Rows and columns; those of the trace that the groups belong to if not given.

        Returns
        -------
        ndarray, shape (rows, cols), int64
            Place of each patch's group in `names`; the last one where groups overlap, -1 where there is none.

        Raises
        ------
        ValueError
            If no grid is known, or the patches do not fit into `grid`.
        """
        return as_array(self.all, *self._size(grid))

    def masks(self, grid: tuple[int, int] | None = None) -> npt.NDArray[np.bool_]:
        """Give the groups as masks, (K, rows, cols), in the order of `names`; `as_array` explains `grid`."""
        return as_masks(self.all, *self._size(grid))

    # ------------------------------------------------------------------ changing

    def add(self, name: str, patches: Patches, *, colour: str | None = None) -> None:
        """Keep a selection under a name.

        Parameters
        ----------
        name : str
            A group that has this name already gets the new patches.
        patches : iterable of int or (int, int), or array_like of bool
            Patch indices, ``(row, column)`` pairs, or a boolean array of shape (rows, cols).
        colour : str, optional
            ``"#rrggbb"``; without it the group keeps its colour, or gets the next one of a palette.

        Raises
        ------
        ValueError
            If the name is empty, no patch is chosen, or a boolean array has another shape than the patch
            grid.
        IndexError
            If a patch lies outside of the grid.
        TypeError
            If an item of `patches` is no patch.
        """
        grid = self._grid or PatchGrid(1, 2**31)
        places = grid.choose(patches).tolist()
        if not places:
            raise ValueError(f"group {name!r} would be empty; choose at least one patch")
        old = next((group for group in self.all if group.name == str(name).strip()), None)
        others = [group.colour for group in self.all if group is not old]
        shade = colour or (old.colour if old else next_colour(others))
        group = from_entry({"name": name, "colour": shade, "patches": list(places)})
        self._show([group if other == old else other for other in self.all] + ([] if old else [group]))

    def add_masks(self, masks: Masks, trace: Trace, *, labels: Labels | None = None) -> list[str]:
        """Make a group of each object that masks of the original picture show.

        Parameters
        ----------
        masks, labels
            As `vitwidgets.analysis.objects.find_objects` takes them: a boolean array (K, H, W), a list of
            (H, W) ones, a label image or a palette PNG; and the class name of each mask value.
        trace : Trace
            Whose picture they are of.

        Returns
        -------
        list of str
            Which objects became no group, and why.

        Raises
        ------
        ValueError
            If the masks have another size than the picture, or are no masks.
        """
        from vitwidgets.analysis.objects import VOID, find_objects

        objects = find_objects(masks, trace.patch_grid, frame=trace.frame, labels=labels)
        found = groups_of(objects, [group.colour for group in self.all])
        names = {group.name for group in found}
        self._show([group for group in self.all if group.name not in names] + found)
        dropped = {value: why for value, why in objects.dropped.items() if value != VOID}
        lost = [f"object {value} of the masks is no group: {why}" for value, why in dropped.items()]
        if not found:
            lost.append("the masks hold no object that covers 40 % of a patch")
        return lost

    def remove(self, name: str) -> None:
        """Forget a group; KeyError if there is none of this name."""
        gone = self._find(name)
        self._show([group for group in self.all if group != gone])

    def clear(self) -> None:
        """Forget all groups."""
        self._show([])

    def bind(self, trace: Trace) -> None:
        """Hold the groups within the patch grid of `trace` from now on.

        Raises
        ------
        ValueError
            If they belong to a grid of another size already, or a group does not fit.
        """
        grid = trace.patch_grid
        mine = self._grid
        if mine is not None and (mine.rows, mine.cols) != (grid.rows, grid.cols):
            raise ValueError(
                f"these groups are of a grid of {mine.rows} x {mine.cols} patches, but "
                f"{trace.model_name} has {grid.rows} x {grid.cols}; give each its own Groups"
            )
        self._check_fit(self.all, grid.rows, grid.cols)
        self._grid = PatchGrid(grid.rows, grid.cols)

    # ------------------------------------------------------------------ inside

    def _find(self, name: str) -> Group:
        for group in self.all:
            if group.name == name:
                return group
        raise KeyError(f"there is no group {name!r}; there are {', '.join(map(repr, self.names)) or 'none'}")

    def _show(self, groups: list[Group]) -> None:
        self.entries = [{**asdict(group), "patches": list(group.patches)} for group in groups]

    def _size(self, grid: tuple[int, int] | None) -> tuple[int, int]:
        if grid is None:
            if self._grid is None:
                raise ValueError("these groups belong to no trace yet; give grid=(rows, cols)")
            return self._grid.rows, self._grid.cols
        rows, cols = grid
        self._check_fit(self.all, rows, cols)
        return rows, cols

    @staticmethod
    def _check_fit(groups: list[Group], rows: int, cols: int) -> None:
        for group in groups:
            if group.patches and group.patches[-1] >= rows * cols:
                raise ValueError(
                    f"group {group.name!r} has patch {group.patches[-1]}, but there are the patches "
                    f"0..{rows * cols - 1}"
                )

    @t.validate("entries")
    def _whole(self, proposal: Any) -> Any:
        try:
            groups = [from_entry(entry) for entry in proposal["value"]]
            if self._grid is not None:
                self._check_fit(groups, self._grid.rows, self._grid.cols)
        except ValueError as error:
            raise t.TraitError(str(error)) from error
        names = [group.name for group in groups]
        if len(set(names)) < len(names):
            raise t.TraitError(f"groups need different names; got {names}")
        return [{**asdict(group), "patches": list(group.patches)} for group in groups]


def check_given(groups: object, masks: object, labels: object) -> None:
    """Refuse what a panel cannot take as its groups, before it changes anything.

    Raises
    ------
    TypeError
        If `groups` are no `Groups`; None is fine.
    ValueError
        If there are labels without masks.
    """
    if groups is not None and not isinstance(groups, Groups):
        raise TypeError(f"groups must be a vitwidgets.Groups; got {type(groups).__name__}")
    if masks is None and labels is not None:
        raise ValueError("labels= names the values of masks, but there is no masks=")
