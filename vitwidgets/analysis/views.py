"""What a neuron sees: filters times patches, laid out as the image, and as a picture to look at.

Notation and formulas: Nguyen et al., "Vision Transformer Visualization: What Neurons Tell and How Neurons
Behave?" (2022, arXiv 2210.07646). The local view of patch `i` and neuron `j` is ``f_j * x_i``, element by
element; at layer `l`, the view of token `i` is all local views of that filter, patch `k` scaled by
``R_l[i, k]``, the share that the attention rollout gives it.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from vitwidgets.colormap import NON_FINITE
from vitwidgets.geometry import PatchGrid, Token

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Mode = Literal["signed", "positive", "magnitude"]


def cut(pixels: npt.ArrayLike, patch_size: int | tuple[int, int]) -> npt.NDArray[Any]:
    """Cut a picture into its patches.

    Parameters
    ----------
    pixels : array_like, shape (H, W, C)
        A picture; its type is kept.
    patch_size : int or (int, int)
        Height `p` and width `q` of a patch in pixels; one number where they are equal.

    Returns
    -------
    ndarray, shape (rows * cols, p, q, C)
        Row by row.

    Raises
    ------
    ValueError
        If `pixels` is not three-dimensional, or the patches do not tile it.
    """
    picture = np.asarray(pixels)
    p, q = patch_size if isinstance(patch_size, tuple) else (patch_size, patch_size)
    rows, cols = _tiling(picture, p, q)
    tiles = picture.reshape(rows, p, cols, q, -1).swapaxes(1, 2)
    return tiles.reshape(rows * cols, p, q, picture.shape[2])


def join(patches: npt.ArrayLike, grid: tuple[int, int]) -> npt.NDArray[Any]:
    """Lay patches out as a picture; the inverse of `cut`.

    Parameters
    ----------
    patches : array_like, shape (rows * cols, p, q, C)
        Row by row; their type is kept.
    grid : (int, int)
        Rows and columns.

    Returns
    -------
    ndarray, shape (rows * p, cols * q, C)

    Raises
    ------
    ValueError
        If there are not as many patches as places.
    """
    tiles = np.asarray(patches)
    rows, cols = grid
    if tiles.ndim != 4 or len(tiles) != rows * cols:
        raise ValueError(
            f"a grid of {rows} x {cols} takes patches of shape ({rows * cols}, p, q, C), got {tiles.shape}"
        )
    _, p, q, channels = tiles.shape
    return tiles.reshape(rows, cols, p, q, channels).swapaxes(1, 2).reshape(rows * p, cols * q, channels)


def local_view(pixels: npt.ArrayLike, filters: npt.ArrayLike, patch: Token, neuron: int) -> Floats:
    """Multiply a filter with a patch, element by element: what a neuron saw there.

    The sum over all elements, plus the filter's bias, is the patch embedding of this neuron.

    Parameters
    ----------
    pixels : array_like, shape (H, W, C)
        The model input, normalised.
    filters : array_like, shape (D, p, q, C)
        The filters of the patch embedding.
    patch : int or (int, int)
        Patch index in ``0..rows*cols-1``, or (row, column).
    neuron : int
        ``0..D-1``.

    Returns
    -------
    ndarray, shape (p, q, C), float32

    Raises
    ------
    IndexError
        If the patch or the neuron is out of range.
    ValueError
        If the shapes do not fit together.
    """
    bank = np.asarray(filters, dtype=np.float32)
    if bank.ndim != 4:
        raise ValueError(f"filters must have shape (D, p, q, C), got {bank.shape}")
    if not 0 <= neuron < len(bank):
        raise IndexError(f"neuron {neuron} is out of range; there are filters 0..{len(bank) - 1}")
    picture, (rows, cols) = _fitting(pixels, bank[neuron])
    _, p, q, _ = bank.shape
    row, col = divmod(PatchGrid(rows, cols).index(patch), cols)
    view: Floats = bank[neuron] * picture[row * p : (row + 1) * p, col * q : (col + 1) * q]
    return view


def global_view(pixels: npt.ArrayLike, kernel: npt.ArrayLike) -> Floats:
    """Lay out the local views of one filter as the image.

    Parameters
    ----------
    pixels : array_like, shape (H, W, C)
        The model input, normalised.
    kernel : array_like, shape (p, q, C)
        One filter.

    Returns
    -------
    ndarray, shape (H, W, C), float32

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    filter_ = np.asarray(kernel, dtype=np.float32)
    picture, (rows, cols) = _fitting(pixels, filter_)
    p, q, channels = filter_.shape
    tiles = picture.reshape(rows, p, cols, q, channels) * filter_[:, None]
    view: Floats = tiles.reshape(picture.shape)
    return view


def view(pixels: npt.ArrayLike, kernel: npt.ArrayLike, shares: npt.ArrayLike) -> Floats:
    """Scale each patch of a global view by its share: what a neuron sees from a token of a later layer.

    Parameters
    ----------
    pixels : array_like, shape (H, W, C)
        The model input, normalised.
    kernel : array_like, shape (p, q, C)
        One filter.
    shares : array_like, shape (rows * cols,)
        The token's row of the rollout, without the prefix tokens.

    Returns
    -------
    ndarray, shape (H, W, C), float32

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    whole = global_view(pixels, kernel)
    p, q = np.shape(kernel)[:2]
    rows, cols = whole.shape[0] // p, whole.shape[1] // q
    scale = np.asarray(shares, dtype=np.float32)
    if scale.shape != (rows * cols,):
        raise ValueError(
            f"shares must have shape ({rows * cols},), one for each of {rows} x {cols} patches and none for "
            f"prefix tokens, got {scale.shape}"
        )
    tiles = whole.reshape(rows, p, cols, -1) * scale.reshape(rows, 1, cols, 1)
    scaled: Floats = tiles.reshape(whole.shape)
    return scaled


def limit_of(*views: npt.ArrayLike) -> float:
    """Choose where the scale of one or several views ends: what is larger is clipped.

    The end is twice the mean magnitude, each magnitude counted as often as it is large
    (``2 * sum(v**2) / sum(abs(v))``), and at most the largest magnitude. Filters and pixels vary much: were
    the end the largest of all, few pixels would be bright and most of the others all but mid-grey. Of views
    of photos this end clips about 2 % of the pixels. Zeros do not count, so that a view of a single patch has
    the scale of that patch; nor do many faint patches push the end below what the strong ones need.

    Parameters
    ----------
    *views : array_like
        Of any shape. NaN and infinity do not count. Of several the greatest end is taken.

    Returns
    -------
    float
        Greater than 0; 1 where there is nothing but zeros.
    """
    ends = (_end(np.abs(_finite(one)), axis=None).item() for one in views)
    return max(ends, default=0.0) or 1.0


def peak_of(view: npt.ArrayLike) -> float:
    """Find the largest magnitude of a view: where it exceeds `limit_of`, a picture is clipped.

    Parameters
    ----------
    view : array_like
        Of any shape. NaN and infinity do not count.

    Returns
    -------
    float
        At least 0.
    """
    return float(np.abs(_finite(view)).max(initial=0))


def limits(pixels: npt.ArrayLike, kernel: npt.ArrayLike, shares: npt.ArrayLike) -> Doubles:
    """Find `limit_of` of many views of one filter without composing them.

    Parameters
    ----------
    pixels : array_like, shape (H, W, C)
        The model input, normalised.
    kernel : array_like, shape (p, q, C)
        One filter.
    shares : array_like, shape (..., rows * cols)
        Tokens' rows of the rollout, without the prefix tokens.

    Returns
    -------
    ndarray, shape (...), float64
        0 where there is nothing but zeros.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    p, q = np.shape(kernel)[:2]
    patches = cut(global_view(pixels, kernel), (p, q))
    sizes = np.abs(_finite(patches)).reshape(len(patches), -1)
    weights = np.abs(_finite(shares))
    peak = (weights * sizes.max(axis=1)).max(axis=-1)
    total, squares = weights @ sizes.sum(axis=1), weights**2 @ (sizes**2).sum(axis=1)
    ends: Doubles = np.minimum(peak, 2 * squares / np.where(total > 0, total, 1.0))
    return ends


def display(
    view: npt.ArrayLike, mode: Mode = "signed", *, limit: float | None = None
) -> npt.NDArray[np.uint8]:
    """Turn a view, or a filter, into a picture; each colour channel on its own.

    Parameters
    ----------
    view : array_like, shape (..., H, W, C)
        One view, or several; `C` is 3, or 1 for grey.
    mode : {"signed", "positive", "magnitude"}
        ``"signed"``: 0 is mid-grey (128), ``-limit`` is 1 and ``limit`` 255. ``"positive"``: negative values
        are black, as in the paper. ``"magnitude"``: the absolute value. In these two, 0 is black.
    limit : float, optional
        The value that gets full brightness, exactly; what exceeds it is clipped. Default: `limit_of` each
        picture, which clips a few of its pixels. `limit_of` also gives one that several pictures share, and
        `peak_of` one that clips nothing.

    Returns
    -------
    ndarray, shape (..., H, W, 3), uint8
        Nothing but zeros gives plain mid-grey or black. A pixel with NaN or infinity in one of its channels
        has the colour ``vitwidgets.colormap.NON_FINITE``.

    Raises
    ------
    ValueError
        For another number of channels, an unknown mode, or a limit that is not positive and finite.
    """
    values = np.asarray(view, dtype=np.float64)
    if mode not in get_args(Mode):
        raise ValueError(f"mode must be one of {', '.join(get_args(Mode))}; got {mode!r}")
    if values.ndim < 3 or values.shape[-1] not in (1, 3):
        raise ValueError(
            f"a picture has shape (..., H, W, C) with 1 or 3 channels, got {values.shape}; choose channels, "
            "or take their mean"
        )
    if limit is not None and not 0 < limit < np.inf:
        raise ValueError(f"limit must be positive and finite, got {limit}")
    finite = np.isfinite(values)
    values = np.where(finite, values, 0.0)
    scale: float | Doubles
    if limit is None:
        ends = _end(np.abs(values), axis=(-3, -2, -1))
        scale = np.where(ends > 0, ends, 1.0)
    else:
        scale = limit
    # clipped first: a tiny limit would make the quotient overflow
    part = np.clip(values, -scale, scale) / scale
    if mode == "signed":
        levels = 128 + 127 * part
    else:
        levels = 255 * (np.abs(part) if mode == "magnitude" else np.maximum(part, 0))
    picture = np.broadcast_to(np.floor(levels + 0.5).astype(np.uint8), (*values.shape[:-1], 3))
    return np.where(finite.all(axis=-1, keepdims=True), picture, NON_FINITE)


def _finite(values: npt.ArrayLike) -> Doubles:
    """Zero where a value is not finite."""
    numbers = np.asarray(values, np.float64)
    return np.where(np.isfinite(numbers), numbers, 0.0)


def _end(sizes: Doubles, axis: tuple[int, ...] | None) -> Doubles:
    """`limit_of` of magnitudes over some axes, which stay with length 1; 0 where there are but zeros."""
    largest = sizes.max(axis=axis, keepdims=True, initial=0)
    parts = sizes / np.where(largest > 0, largest, 1.0)  # squares of tiny or huge numbers would be lost
    total, squares = (part.sum(axis=axis, keepdims=True) for part in (parts, parts**2))
    ends: Doubles = largest * np.minimum(1.0, 2 * squares / np.where(total > 0, total, 1.0))
    return ends


def _fitting(pixels: npt.ArrayLike, kernel: Floats) -> tuple[Floats, tuple[int, int]]:
    """The picture, and the rows and columns of the patches that a filter cuts it into."""
    picture = np.asarray(pixels, dtype=np.float32)
    if kernel.ndim != 3:
        raise ValueError(f"a filter must have shape (p, q, C), got {kernel.shape}")
    tiling = _tiling(picture, *kernel.shape[:2])
    if picture.shape[2] != kernel.shape[2]:
        raise ValueError(f"the picture has {picture.shape[2]} channels, the filter {kernel.shape[2]}")
    return picture, tiling


def _tiling(picture: npt.NDArray[Any], p: int, q: int) -> tuple[int, int]:
    """Rows and columns of patches of `p` x `q` pixels."""
    if picture.ndim != 3:
        raise ValueError(f"a picture must have shape (H, W, C), got {picture.shape}")
    height, width, _ = picture.shape
    if p < 1 or q < 1 or height < p or width < q or height % p or width % q:
        raise ValueError(f"patches of {p} x {q} pixels do not tile a picture of {height} x {width}")
    return height // p, width // q
