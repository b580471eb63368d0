"""Where things are: tokens in the sequence, patches in the model input, pixels in the picture."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, TypeAlias, TypeGuard, cast

import numpy as np
import numpy.typing as npt

Token: TypeAlias = "str | int | tuple[int, int]"
"""A token as a user names it: a prefix name, a patch index, or a patch's (row, column)."""

Patches: TypeAlias = "Iterable[int | tuple[int, int]] | npt.NDArray[Any]"
"""Patches as a user chooses them: patch indices, (row, column) pairs, or a boolean array (rows, cols)."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels; pixel `i` spans `i` to `i + 1`."""


@dataclass(frozen=True)
class PatchGrid:
    """The tokens of one column, in sequence order: prefix tokens, then patches row by row.

    Parameters
    ----------
    rows, cols : int
        Patches down and across, each at least 1.
    prefix : tuple of str
        Names of the tokens before the patches, e.g. ``("cls",)`` or ``("cls", "reg1", "reg2")``.
    """

    rows: int
    cols: int
    prefix: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError(
                f"a patch grid has at least one row and one column, got {self.rows} x {self.cols}"
            )
        if len(set(self.prefix)) != len(self.prefix):
            raise ValueError(f"prefix tokens need different names, got {self.prefix}")

    @property
    def patches(self) -> int:
        """Number of patches, ``rows * cols``."""
        return self.rows * self.cols

    @property
    def tokens(self) -> int:
        """Number of tokens `N`: prefix tokens and patches."""
        return len(self.prefix) + self.patches

    def index(self, token: Token) -> int:
        """Place of a token in the sequence.

        Parameters
        ----------
        token : str, int or (int, int)
            A prefix name, a patch index in ``0..rows*cols-1``, or a patch's ``(row, column)``.

        Returns
        -------
        int
            Index in ``0..tokens-1``.

        Raises
        ------
        IndexError
            If the patch lies outside the grid.
        ValueError
            If no prefix token has this name.
        TypeError
            If `token` is none of the three.
        """
        if isinstance(token, str):
            if token not in self.prefix:
                raise ValueError(f"no prefix token {token!r}; {self._choices()}")
            return self.prefix.index(token)
        if _is_integer(token):
            if not 0 <= token < self.patches:
                raise IndexError(f"patch {token} is out of range; {self._choices()}")
            return len(self.prefix) + int(token)
        if _is_pair(token):
            row, col = token
            if not (0 <= row < self.rows and 0 <= col < self.cols):
                raise IndexError(f"patch (row {row}, column {col}) is out of range; {self._choices()}")
            return len(self.prefix) + int(row) * self.cols + int(col)
        raise TypeError(f"{token!r} is no token; {self._choices()}")

    def choose(self, patches: Patches) -> npt.NDArray[np.int64]:
        """Read a choice of patches.

        Parameters
        ----------
        patches : iterable or ndarray
            Patch indices ``0..rows*cols-1`` and pairs (row, column), also mixed; an integer array of shape
            (K,), or (K, 2) of pairs; or a boolean array of shape (rows, cols). One pair alone goes in a list:
            ``(3, 5)`` is patches 3 and 5, ``[(3, 5)]`` is the patch of row 3 and column 5.

        Returns
        -------
        ndarray of int64, shape (K,)
            Patch indices, ascending, each once. Prefix tokens do not count.

        Raises
        ------
        IndexError
            If a patch lies outside the grid.
        ValueError
            If a boolean array has another shape than the grid.
        TypeError
            If `patches` holds something that is no patch, a prefix token's name among them.
        """
        given = cast(object, patches)
        if hasattr(given, "__array__"):
            array = np.asarray(given)
            if array.dtype == bool:
                if array.shape != (self.rows, self.cols):
                    raise ValueError(
                        "a boolean choice of patches must have the patch grid's shape "
                        f"({self.rows}, {self.cols}), got {array.shape}"
                    )
                return np.flatnonzero(array).astype(np.int64)
            given = array.tolist()
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(
                f"patches must be a list of patches, got {given!r}; one patch alone goes in a list"
            )
        return np.array(sorted({self._patch(patch) for patch in given}), dtype=np.int64)

    def token(self, index: int) -> str | int:
        """Name of the token at a place in the sequence; the inverse of `index`.

        Parameters
        ----------
        index : int
            Index in ``0..tokens-1``.

        Returns
        -------
        str or int
            The prefix name, or the patch index.

        Raises
        ------
        IndexError
            If `index` lies outside the sequence.
        """
        if not 0 <= index < self.tokens:
            raise IndexError(f"token index {index} is out of range; the sequence has 0..{self.tokens - 1}")
        return self.prefix[index] if index < len(self.prefix) else int(index) - len(self.prefix)

    def name(self, index: int) -> str:
        """Name of the token at a place in the sequence, for people.

        Parameters
        ----------
        index : int
            Index in ``0..tokens-1``.

        Returns
        -------
        str
            ``"cls"``, or ``"patch 78 (row 5, column 8)"``.

        Raises
        ------
        IndexError
            If `index` lies outside the sequence.
        """
        token = self.token(index)
        if isinstance(token, str):
            return token
        row, col = divmod(token, self.cols)
        return f"patch {token} (row {row}, column {col})"

    def _patch(self, patch: Any) -> int:
        if isinstance(patch, str):
            raise TypeError(
                f"{patch!r} is no patch: give patch indices 0..{self.patches - 1} or (row, column)"
            )
        bare = PatchGrid(self.rows, self.cols)  # where something is wrong, no prefix token is to be offered
        return bare.index(tuple(patch) if isinstance(patch, (list, np.ndarray)) else patch)

    def _choices(self) -> str:
        patches = f"a patch index 0..{self.patches - 1}"
        place = f"a (row, column) up to ({self.rows - 1}, {self.cols - 1})"
        if not self.prefix:
            return f"give {patches} or {place}"
        return f"give {patches}, {place}, or a prefix name ({', '.join(map(repr, self.prefix))})"


@dataclass(frozen=True)
class Frame:
    """Which rectangle of the original picture the model input shows.

    Parameters
    ----------
    original : (int, int)
        Width and height of the original picture.
    input : (int, int)
        Height and width of the model input, in the order of a tensor's axes.
    box : (float, float, float, float)
        Left, top, right and bottom of the shown rectangle in pixels of the original.
        It exceeds the picture where padding was added.
    """

    original: tuple[int, int]
    input: tuple[int, int]
    box: Box

    @classmethod
    def whole(cls, width: int, height: int) -> Frame:
        """Make the frame of a picture that is itself the model input, pixel by pixel."""
        return cls((width, height), (height, width), (0.0, 0.0, float(width), float(height)))

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """Point of the model input `(x, y)` as a point of the original, both in pixels."""
        left, top, right, bottom = self.box
        height, width = self.input
        return left + x * (right - left) / width, top + y * (bottom - top) / height

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """Point of the original `(x, y)` as a point of the model input, both in pixels."""
        left, top, right, bottom = self.box
        height, width = self.input
        return (x - left) * width / (right - left), (y - top) * height / (bottom - top)

    def patch_box(self, grid: PatchGrid, patch: int) -> Box:
        """Rectangle of one patch in pixels of the original.

        Parameters
        ----------
        grid : PatchGrid
            The grid that tiles the model input.
        patch : int
            Patch index in ``0..rows*cols-1``.

        Returns
        -------
        (float, float, float, float)
            Left, top, right, bottom.

        Raises
        ------
        IndexError
            If the patch lies outside the grid.
        """
        row, col = divmod(grid.index(patch) - len(grid.prefix), grid.cols)
        height, width = self.input
        high, wide = height / grid.rows, width / grid.cols
        return (
            *self.to_original(col * wide, row * high),
            *self.to_original((col + 1) * wide, (row + 1) * high),
        )

    def resized(self, height: int, width: int) -> Frame:
        """Cut or pad the input at its right and bottom edges, at the same scale."""
        left, top, _, _ = self.box
        return Frame(self.original, (height, width), (left, top, *self.to_original(width, height)))


def _is_pair(value: object) -> TypeGuard[tuple[int, int]]:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_integer(part) for part in value)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool)
