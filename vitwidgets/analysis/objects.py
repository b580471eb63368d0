"""Which patches show which object, from masks of the original picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from vitwidgets.errors import ImageError
from vitwidgets.geometry import Frame, PatchGrid

Masks: TypeAlias = "npt.ArrayLike | Sequence[npt.ArrayLike] | Image.Image | str | os.PathLike[str]"
"""A boolean array (K, H, W) or (H, W), a sequence of (H, W) ones, a label image (H, W), a palette PNG."""

Labels: TypeAlias = "Mapping[int, str] | Sequence[str]"
"""The class name of each mask value; a sequence names the values 1, 2..."""

VOID = 255
LEAST_COVER = 0.4
LEAST_AREA = 0.14**2
LEAST_PATCHES = 3
LEAST_OBJECTS = 2

_ROUNDING = 1e-9
_LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a picture on a patch grid.

    Attributes
    ----------
    rows, cols : int
        Patches down and across.
    of_patch : ndarray, shape (rows * cols,), int64
        Object of each patch, row by row: a place in `values` and `labels`, or -1 for none.
    values : tuple of int
        Mask value of each object, ascending.
    labels : tuple of str
        Class name of each object; two objects of one class share it.
    dropped : dict of int to str
        Mask values that are no object, and why.
    """

    rows: int
    cols: int
    of_patch: npt.NDArray[np.int64]
    values: tuple[int, ...]
    labels: tuple[str, ...]
    dropped: Mapping[int, str]

    @property
    def patches(self) -> npt.NDArray[np.int64]:
        """Number of patches of each object, (K,)."""
        return np.bincount(self.of_patch[self.of_patch >= 0], minlength=len(self.values))

    @property
    def counts(self) -> bool:
        """Whether the picture counts for measures of grouping; `why_not` says why where it does not."""
        return not self.why_not

    @property
    def why_not(self) -> str:
        """Why the picture does not count, as a clause; empty where it does."""
        found = len(self.values)
        if found < LEAST_OBJECTS:
            small = any(value != VOID for value in self.dropped)
            return f"it has {'only one' if found else 'no'} object" + (
                " that is large enough" if small else ""
            )
        for value, label, patches in zip(self.values, self.labels, self.patches, strict=True):
            if patches < LEAST_PATCHES:
                name = f"object {value}" if label == _unnamed(value) else f"object {value} ({label})"
                count = "one patch" if patches == 1 else f"{patches or 'no'} patches"
                return f"{name} has {count}, and {LEAST_PATCHES} are needed"
        return ""


def find_objects(
    masks: Masks, grid: PatchGrid, *, frame: Frame | None = None, labels: Labels | None = None
) -> Objects:
    """Find the object of each patch.

    An object that covers less than ``0.14 ** 2`` of the model input is dropped first, as if it were
    background. Then a patch belongs to the object that covers most of it (the first of several that cover
    the same), if that is at least 40 % of the patch (Nguyen et al., arXiv 2210.07646).

    Parameters
    ----------
    masks : array_like, sequence of array_like, PIL image or path
        In pixels of the original picture: a boolean array of shape (K, H, W), whose objects get the values
        1..K, or of shape (H, W) for one object; a sequence of K boolean arrays of shape (H, W); a label image
        of shape (H, W), integer, with 0 for background and 255 for void; or such a label image as a picture
        (palette or greyscale) or its file. Boolean masks may overlap.
    grid : PatchGrid
        The grid that tiles the model input.
    frame : Frame, optional
        Which rectangle of the original the model input shows. Without it, the masks show exactly what the
        model input shows, at any size.
    labels : mapping of int to str, or sequence of str, optional
        Class name of each mask value, or names of the values 1, 2... in order. Without them, every object is
        of a class of its own.

    Returns
    -------
    Objects
        ``counts`` is False, and ``why_not`` says why, where fewer than two objects are left or one of them
        has two patches or fewer.

    Raises
    ------
    ValueError
        If the masks have another size than the picture, are of another shape or type, or hold negative
        values; if `labels` does not name an object.
    TypeError
        If `labels` is one string.
    ImageError
        If a file cannot be read.
    """
    values, stack, void = _read(masks)
    if frame is not None and values and stack.shape[1:] != frame.original[::-1]:
        raise ValueError(
            f"the masks are {_size(*stack.shape[1:])} pixels, but the picture is "
            f"{_size(*frame.original[::-1])}; give masks in pixels of the original picture (to resize a "
            "label image, use Image.resize with Image.Resampling.NEAREST)"
        )
    cover = coverage(stack, grid, frame=frame)
    area = cover.mean(axis=(1, 2))
    large = area >= LEAST_AREA - _ROUNDING
    dropped = {
        value: f"it covers {share:.2%} of the model input, less than {LEAST_AREA:.2%}"
        for value, share, kept in zip(values, area, large, strict=True)
        if not kept
    }
    if void:
        dropped[VOID] = "it is void"
    kept_values = tuple(value for value, kept in zip(values, large, strict=True) if kept)
    return Objects(
        grid.rows, grid.cols, _owners(cover[large]), kept_values, _names(kept_values, labels), dropped
    )


def coverage(masks: npt.ArrayLike, grid: PatchGrid, *, frame: Frame | None = None) -> npt.NDArray[np.float64]:
    """Measure how much of each patch each mask covers.

    Areas are exact: a mask is constant on each pixel of the original, and a patch is a rectangle there. What
    lies outside of the picture is not covered.

    Parameters
    ----------
    masks : array_like of bool, shape (K, H, W)
        In pixels of the original picture.
    grid : PatchGrid
        The grid that tiles the model input.
    frame : Frame, optional
        Which rectangle of the original the model input shows; without it, all of it.

    Returns
    -------
    ndarray, shape (K, rows, cols), float64
        Shares in 0..1.
    """
    stack = np.asarray(masks)
    height, width = stack.shape[1:]
    view = Frame.whole(width, height) if frame is None else frame
    left, top, right, bottom = view.box
    down = _overlap(np.linspace(top, bottom, grid.rows + 1), height)
    across = _overlap(np.linspace(left, right, grid.cols + 1), width)
    cover = np.empty((len(stack), grid.rows, grid.cols))
    for mask, out in zip(stack, cover, strict=True):  # one at a time: as floats, many masks are large
        np.matmul(down @ mask.astype(np.float64), across.T, out=out)
    return cover


def as_label_image(masks: Masks) -> npt.NDArray[np.integer[Any]]:
    """Turn masks of any kind into one label image.

    Parameters
    ----------
    masks
        As in `find_objects`.

    Returns
    -------
    ndarray, shape (H, W), integer
        A label image as it was given, void included; of boolean masks the values 1..K, where masks overlap
        that of the first.

    Raises
    ------
    ValueError
        If the masks are of another shape or type.
    ImageError
        If a file cannot be read.
    """
    if isinstance(masks, (str, os.PathLike)):
        return _open(Path(masks))
    if isinstance(masks, Image.Image):
        return _label_values(masks, "the mask")
    if isinstance(masks, np.ndarray) and masks.ndim == 2 and np.issubdtype(masks.dtype, np.integer):
        return masks
    values, stack, _ = _read(masks)
    labels = np.zeros(stack.shape[1:], np.int64)
    for value, mask in zip(reversed(values), stack[::-1], strict=True):
        labels[mask] = value
    return labels


def _overlap(edges: npt.NDArray[np.float64], pixels: int) -> npt.NDArray[np.float64]:
    """Share of each interval between two edges that lies in each pixel, (intervals, pixels)."""
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(pixels)
    shares: npt.NDArray[np.float64] = np.minimum(high, pixel + 1) - np.maximum(low, pixel)
    return np.maximum(shares, 0) / (high - low)


def _owners(cover: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Object of each patch, row by row, from the shares (K, rows, cols)."""
    if not len(cover):
        return np.full(cover.shape[1] * cover.shape[2], -1, np.int64)
    # Shares that differ by rounding alone are the same: the first object wins
    most = np.round(cover, 9).argmax(axis=0)
    return np.where(cover.max(axis=0) >= LEAST_COVER - _ROUNDING, most, -1).ravel()


def _names(values: tuple[int, ...], labels: Labels | None) -> tuple[str, ...]:
    if labels is None:
        return tuple(_unnamed(value) for value in values)
    if isinstance(labels, str):
        raise TypeError(f"labels= maps mask values to class names, got the string {labels!r}")
    names = labels if isinstance(labels, Mapping) else dict(enumerate(labels, 1))
    lacking = [value for value in values if value not in names]
    if lacking:
        raise ValueError(
            f"labels= has no class name for the mask values {lacking}; it names {sorted(names) or 'none'}"
        )
    return tuple(str(names[value]) for value in values)


def _unnamed(value: int) -> str:
    return f"object {value}"


def _read(masks: Masks) -> tuple[list[int], npt.NDArray[np.bool_], bool]:
    """Values, a boolean stack (K, H, W), and whether anything is void."""
    if isinstance(masks, (str, os.PathLike)):
        return _from_labels(_open(Path(masks)))
    if isinstance(masks, Image.Image):
        return _from_labels(_label_values(masks, "the mask"))
    if isinstance(masks, (list, tuple)):
        return _from_stack(_stacked([np.asarray(mask) for mask in masks]))
    array = np.asarray(masks)
    if array.dtype == np.bool_:
        return _from_stack(array[None] if array.ndim == 2 else array)
    if array.ndim == 2 and np.issubdtype(array.dtype, np.integer):
        return _from_labels(array)
    hint = "; for boolean masks: masks.astype(bool)" if array.ndim == 3 else ""
    raise ValueError(
        "masks are a boolean array of shape (K, H, W), a sequence of boolean arrays of shape (H, W), or a "
        f"label image of shape (H, W) with whole numbers; got {array.dtype} {array.shape}{hint}"
    )


def _stacked(masks: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    for number, mask in enumerate(masks):
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise ValueError(
                f"a sequence of masks holds boolean arrays of shape (H, W), but masks[{number}] is "
                f"{mask.dtype} {mask.shape}; try mask.astype(bool)"
            )
        if mask.shape != masks[0].shape:
            raise ValueError(
                f"all masks have the size of the picture, but masks[0] is {_size(*masks[0].shape)} and "
                f"masks[{number}] is {_size(*mask.shape)} pixels"
            )
    return np.stack(masks) if masks else np.empty((0, 1, 1), np.bool_)


def _from_stack(stack: npt.NDArray[Any]) -> tuple[list[int], npt.NDArray[np.bool_], bool]:
    if stack.ndim != 3 or 0 in stack.shape[1:]:
        raise ValueError(f"boolean masks have shape (K, H, W) or (H, W), got {stack.shape}")
    return list(range(1, len(stack) + 1)), stack, False


def _from_labels(image: npt.NDArray[Any]) -> tuple[list[int], npt.NDArray[np.bool_], bool]:
    if image.size == 0:
        raise ValueError(f"the label image has no pixels (shape {image.shape})")
    found = np.unique(image).tolist()
    if found[0] < 0:
        raise ValueError(f"a label image holds 0 for background, 1 and up for objects; got {found[0]}")
    values = [value for value in found if value not in (0, VOID)]
    return values, image == np.array(values, image.dtype)[:, None, None], VOID in found


def _open(path: Path) -> npt.NDArray[Any]:
    if not path.is_file():
        raise ImageError(f"there is no mask {path} (looked in {Path.cwd()})")
    try:
        with Image.open(path) as image:
            return _label_values(image, str(path))
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no picture that Pillow can read; save the masks as PNG") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: damaged or cut off? ({error})") from error


def _label_values(image: Image.Image, name: str) -> npt.NDArray[Any]:
    if image.mode not in _LABEL_MODES:
        raise ValueError(
            f"{name} is a picture of mode {image.mode}, whose colours name no object; give a palette or "
            "greyscale picture, or arrays"
        )
    return np.asarray(image).astype(np.int64)


def _size(height: int, width: int) -> str:
    return f"{height} x {width}"
