"""Tokens in three numbers, to be seen as colours: principal components, and patch colours made of them.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (2023, arXiv 2304.07193), show
patches this way (figure 1): a first component cuts the background away, the first three of what is left
become red, green and blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from vitwidgets.colormap import NON_FINITE

Floats: TypeAlias = npt.NDArray[np.float64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = "npt.ArrayLike | Sequence[npt.ArrayLike]"
Over = Literal["images", "layers", "each"]

_PERCENTILES = (2, 98)
_MIDDLE = 0.5

# Below this part of the tokens' mean square, variance is rounding of float32; of the greatest, of float64.
_ROUNDING = 1e-13
_PRECISION = 1e-12


@dataclass(frozen=True, eq=False)
class Projection:
    """A few directions, and what tokens are along them. Made by `pca`.

    Attributes
    ----------
    mean : (D,) float64
        Mean of the rows it was made from.
    components : (k, D) float64
        Directions of length 1, orthogonal to each other; zero from where no variance was left.
    explained : (k,) float64
        Share of the rows' variance along each, in 0..1, never rising.
    low, high : (k,) float64
        2nd and 98th percentile of the rows along each: the ends of a colour channel.
    """

    mean: Floats
    components: Floats
    explained: Floats
    low: Floats
    high: Floats

    def apply(self, rows: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Project rows, which need not be those it was made from.

        Parameters
        ----------
        rows : array_like, shape (N, D)
            Real.

        Returns
        -------
        ndarray, shape (N, k), float32
            NaN for a row that is not finite.

        Raises
        ------
        ValueError
            If the rows have another width.
        """
        return self._scores(rows).astype(np.float32)

    def colours(self, rows: npt.ArrayLike) -> Bytes:
        """Paint rows with the first three components, which are red, green and blue.

        Parameters
        ----------
        rows : array_like, shape (N, D)
            Real.

        Returns
        -------
        ndarray, shape (N, 3), uint8
            `low` is 0, `high` 255, and what lies outside is clipped. A component without variance is 128
            throughout; a row that is not finite has the colour ``vitwidgets.colormap.NON_FINITE``.

        Raises
        ------
        ValueError
            If the rows have another width, or there are fewer than three components.
        """
        if len(self.components) < 3:
            raise ValueError(f"colours need three components, this projection has {len(self.components)}")
        return _paint(self._scores(rows)[:, :3], self.low[:3], self.high[:3])

    def _scores(self, rows: npt.ArrayLike) -> Floats:
        table = _table(rows)
        if table.shape[1] != len(self.mean):
            raise ValueError(f"rows must have shape (N, {len(self.mean)}), got {table.shape}")
        return _project(table, self.mean, self.components)


def pca(rows: Rows, *, components: int = 3) -> Projection:
    """Find the principal components of tokens, or of any rows.

    The sign of a component is free; here the cubes of its elements have a positive sum. So its large elements
    decide, but no single one does, and tokens that change a little do not turn its colours over.

    Parameters
    ----------
    rows : array_like, shape (N, D), or list of them
        Real; of a list, all rows together. Rows with NaN or infinity do not count.
    components : int
        How many, `k`, at least 1; those that have no variance left are zero.

    Returns
    -------
    Projection
        Of no rows at all, or equal ones: all components are zero.

    Raises
    ------
    ValueError
        If the rows are not two-dimensional or differ in width, or `components` is less than 1.
    """
    if components < 1:
        raise ValueError(f"components must be at least 1, got {components}")
    table = _stack(rows)
    used = table[_finite(table)]
    mean = used.mean(axis=0) if len(used) else np.zeros(table.shape[1])
    directions, variances, total = _directions(used - mean, size=float((used**2).sum()), count=components)
    explained = variances / total if total > 0 else variances
    low, high = _span(_project(used, mean, directions))
    return Projection(mean, directions, explained, low, high)


def aligned(scores: npt.ArrayLike, reference: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Turn projected tokens so that they lie as near as can be to those of another projection.

    Between layers that are projected one by one, components change sign and swap places. The rotation or
    reflection that brings the same tokens together again (orthogonal Procrustes; Schönemann, 1966) undoes it.

    Parameters
    ----------
    scores : array_like, shape (N, k)
        What is turned, e.g. tokens of a layer by `Projection.apply`.
    reference : array_like, shape (N, k)
        The same tokens in the other projection, e.g. of the layer before.

    Returns
    -------
    ndarray, shape (N, k), float32
        Distances between rows are those of `scores`. A row that is not finite stays as it is.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    return _turned(_table(scores), _table(reference)).astype(np.float32)


def foreground(rows: Rows, *, threshold: float = 0.0, grid: tuple[int, int] | None = None) -> Mask:
    """Tell an object's patches from the background by the first principal component, as DINOv2 does.

    Which side of the component is the object is not in the tokens. With `grid`, it is the side away from the
    image's border; without (or where all patches lie at the border), the side of the fewer patches. It is a
    rule of thumb for pictures with one main subject, and as good as the model's tokens are.

    Parameters
    ----------
    rows : array_like, shape (N, D), or list of them
        Patch tokens, without prefix tokens; of a list, all rows together.
    threshold : float
        Where to cut, in standard deviations from the mean; greater keeps less.
    grid : (int, int), optional
        Rows and columns of patches in each image.

    Returns
    -------
    ndarray, shape (N,), bool
        False for a row that is not finite, and throughout where all are equal.

    Raises
    ------
    ValueError
        If the rows are not two-dimensional or differ in width, or are not whole images of this grid.
    """
    table = _stack(rows)
    scores = _project(table, *_first(table))[:, 0]
    finite = np.isfinite(scores)
    if not finite.any():
        return finite
    outer = scores[finite & _border(len(table), grid)] if grid else scores[:0]
    background = outer.mean() if 0 < len(outer) < finite.sum() else np.median(scores[finite])
    if background > 0:
        scores = -scores
    front: Mask = finite & (scores > threshold * scores[finite].std())
    return front


def colours(
    tokens: Sequence[npt.ArrayLike],
    *,
    over: Over = "images",
    background: int | None = None,
    grid: tuple[int, int] | None = None,
) -> list[Bytes]:
    """Paint patches so that like ones look alike: their first three principal components as colours.

    Parameters
    ----------
    tokens : list of array_like, each of shape (N_i, D)
        Patch tokens, without prefix tokens: one array per image or per layer.
    over : {"images", "layers", "each"}
        What the arrays are. ``"images"``: one projection of all tokens, as they are; equal colours mean equal
        directions. ``"layers"``: the same, after each array is centred and scaled to mean square 1, for
        layers differ more in mean and size than their tokens do. ``"each"``: one projection for each array,
        turned by `aligned` towards the one before; the arrays hold the same patches, and may differ in width.
    background : int, optional
        A grey, 0..255: tokens that `foreground` leaves out are drawn in it, and do not count for the colours.
    grid : (int, int), optional
        Rows and columns of patches, for `foreground`.

    Returns
    -------
    list of ndarray, each of shape (N_i, 3), uint8
        Channels span the 2nd to 98th percentile. Tokens without variance are mid-grey (128); one that is not
        finite has the colour ``vitwidgets.colormap.NON_FINITE``.

    Raises
    ------
    ValueError
        If an array is not two-dimensional, the arrays do not fit together or do not have this grid, or an
        option is unknown or out of range.
    """
    if over not in get_args(Over):
        raise ValueError(f"over must be one of {', '.join(get_args(Over))}; got {over!r}")
    if background is not None and not 0 <= background <= 255:
        raise ValueError(f"background must be a grey in 0..255, got {background}")
    tables = [_table(one) for one in tokens]
    if not tables:
        return []
    if over == "each":
        return _painted_each(tables, background, grid)
    if over == "layers":
        tables = [_standardised(table) for table in tables]
    whole = _stack(tables)
    kept = _kept(whole, background, grid)
    painted = _grounded(pca(whole[kept]).colours(whole), kept, whole, background)
    return np.split(painted, np.cumsum([len(table) for table in tables])[:-1])


def _painted_each(tables: list[Floats], background: int | None, grid: tuple[int, int] | None) -> list[Bytes]:
    counts = sorted({len(table) for table in tables})
    if len(counts) > 1:
        raise ValueError(f'over="each" aligns the same patches; the arrays hold {counts} tokens')
    painted: list[Bytes] = []
    before: Floats | None = None
    for table in tables:
        kept = _kept(table, background, grid)
        found = pca(table[kept])
        scores = _project(table, found.mean, found.components)
        if before is not None:
            scores = _turned(scores, before)
        used = kept & _finite(scores)
        painted.append(_grounded(_paint(scores, *_span(scores[used])), kept, table, background))
        before = scores
    return painted


def _kept(table: Floats, background: int | None, grid: tuple[int, int] | None) -> Mask:
    """The tokens that get colours."""
    return np.ones(len(table), np.bool_) if background is None else foreground(table, grid=grid)


def _grounded(painted: Bytes, kept: Mask, table: Floats, background: int | None) -> Bytes:
    """Put the background behind what is kept; tokens that are not finite stay visible."""
    if background is not None:
        painted[~kept & _finite(table)] = background
    return painted


def _directions(centred: Floats, *, size: float, count: int) -> tuple[Floats, Floats, float]:
    """Components (count, D) and sums of squares along them (count,), and the total.

    By the eigenvectors of the smaller of the two Gram matrices, which is many times quicker than a singular
    value decomposition.
    """
    rows, width = centred.shape
    gram = centred.T @ centred if width <= rows else centred @ centred.T
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0), vectors.T[::-1]
    total = float(values.sum())
    real = values > max(_ROUNDING * size, _PRECISION * values.max(initial=0))
    values, vectors = values[real][:count], vectors[real][:count]
    if width > rows:
        vectors = vectors @ centred
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    components, squares = np.zeros((count, width)), np.zeros(count)
    components[: len(values)], squares[: len(values)] = _oriented(vectors), values
    return components, squares, total if len(values) else 0.0


def _oriented(components: Floats) -> Floats:
    """Choose signs: by the sum of cubes, or where that is all but 0, by the first of the large elements."""
    sizes = np.abs(components)
    cubes = (components**3).sum(axis=1)
    large = np.argmax(sizes > sizes.max(axis=1, keepdims=True) / 2, axis=1)
    first = components[np.arange(len(components)), large]
    decides = np.where(np.abs(cubes) > 1e-3 * (sizes**3).sum(axis=1), cubes, first)
    return components * np.where(decides < 0, -1.0, 1.0)[:, None]


def _first(table: Floats) -> tuple[Floats, Floats]:
    found = pca(table, components=1)
    return found.mean, found.components


def _project(table: Floats, mean: Floats, components: Floats) -> Floats:
    scores = np.full((len(table), len(components)), np.nan)
    finite = _finite(table)
    scores[finite] = (table[finite] - mean) @ components.T
    return scores


def _turned(scores: Floats, reference: Floats) -> Floats:
    if scores.shape != reference.shape:
        raise ValueError(
            f"scores and reference must have one shape, got {scores.shape} and {reference.shape}"
        )
    used = _finite(scores) & _finite(reference)
    left, _, right = np.linalg.svd(scores[used].T @ reference[used])
    turned = scores.copy()
    finite = _finite(scores)
    turned[finite] = scores[finite] @ left @ right
    return turned


def _span(scores: Floats) -> tuple[Floats, Floats]:
    """Ends of the colour channels: percentiles, or the extremes where nearly all values are equal."""
    if not len(scores):
        return np.zeros(scores.shape[1]), np.zeros(scores.shape[1])
    low, high = np.percentile(scores, _PERCENTILES, axis=0)
    flat = low == high
    return np.where(flat, scores.min(axis=0), low), np.where(flat, scores.max(axis=0), high)


def _paint(scores: Floats, low: Floats, high: Floats) -> Bytes:
    finite = _finite(scores)[:, None]
    width = high - low
    above = np.where(finite, scores, low) - low
    part = np.divide(above, width, out=np.full_like(above, _MIDDLE), where=width > 0)
    levels = np.floor(np.clip(part, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.where(finite, levels, NON_FINITE)


def _standardised(table: Floats) -> Floats:
    """Centred, and of mean square 1 as far as it varies."""
    finite = _finite(table)
    if not finite.any():
        return table
    used = table[finite]
    centred = table - used.mean(axis=0)
    squares, size = float((centred[finite] ** 2).mean()), float((used**2).mean())
    if squares <= _ROUNDING * size:
        return np.where(finite[:, None], 0.0, table)
    scaled: Floats = centred / np.sqrt(squares)
    return scaled


def _finite(table: Floats) -> Mask:
    """Which rows hold neither NaN nor infinity."""
    finite: Mask = np.all(np.isfinite(table), axis=1)
    return finite


def _border(count: int, grid: tuple[int, int]) -> Mask:
    """The patches at the border of their image, of `count` patches of whole images."""
    rows, cols = grid
    if rows < 1 or cols < 1 or count % (rows * cols):
        raise ValueError(f"{count} patch tokens are no whole images of {rows} x {cols} patches")
    border = np.ones((rows, cols), np.bool_)
    border[1:-1, 1:-1] = False
    return np.tile(border.ravel(), count // (rows * cols))


def _stack(rows: Rows) -> Floats:
    """One array, or a list of them one after the other, as a table."""
    if not isinstance(rows, list | tuple) or not rows or np.ndim(rows[0]) < 2:
        return _table(rows)
    tables = [_table(one) for one in rows]
    widths = sorted({table.shape[1] for table in tables})
    if len(widths) > 1:
        raise ValueError(f"the arrays must have one width, got {widths}")
    return np.concatenate(tables)


def _table(rows: Rows) -> Floats:
    table = np.asarray(rows, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError(f"tokens must have shape (N, D), got {table.shape}")
    return table
