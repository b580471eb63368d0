"""Occlude and shuffle a model input, and choose the patches to occlude.

The selections and the shuffling are those of Naseer et al., "Intriguing Properties of Vision Transformers"
(2021, arXiv 2105.10497, sections 3.1 and 3.3). All of it acts on the model input, after resizing, cropping
and normalising: what is not touched reaches the model bit by bit as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, cast, get_args, overload

import numpy as np
import numpy.typing as npt

from vitwidgets.geometry import PatchGrid
from vitwidgets.model_input import ModelInput

if TYPE_CHECKING:
    from torch import Tensor

Fill = Literal["black", "mean", "blur"]
Mode = Literal["random", "salient", "non_salient"]
Indices: TypeAlias = npt.NDArray[np.int64]
Salience: TypeAlias = npt.NDArray[np.float32]
Patches: TypeAlias = "Iterable[int | tuple[int, int]] | npt.NDArray[Any]"

FILLS: tuple[Fill, ...] = get_args(Fill)
MODES: tuple[Mode, ...] = get_args(Mode)

_SIGMA = 0.5  # of the blur, in patches: what is within a patch is gone, what is around it still shows
_REACH = 3.0  # where the blur's kernel ends, in sigmas


class HasPatchGrid(Protocol):
    """Anything with a patch grid: a `ModelInput`, an `Inspector`, a `Trace`."""

    @property
    def patch_grid(self) -> PatchGrid:
        """Its patches."""


class HasRollout(HasPatchGrid, Protocol):
    """What is needed of a trace, as :class:`vitwidgets.trace.Trace` has it."""

    def rollout(self) -> npt.NDArray[np.float32]:
        """Attention rollout, (L + 1, N, N)."""


Place: TypeAlias = "PatchGrid | HasPatchGrid"


# ---------------------------------------------------------------- occluding


def occlude(image: ModelInput, patches: Patches, *, fill: Fill = "black") -> ModelInput:
    """Hide patches of a model input.

    Parameters
    ----------
    image : ModelInput
        Of ``Inspector.input(image)``.
    patches
        Which, as `patch_indices` takes them. Choosing a patch twice hides it once; choosing none changes
        nothing.
    fill : {"black", "mean", "blur"}
        What takes their place. ``"black"``: the value that a black picture has; where the normalisation is
        not known, each channel's smallest value in this input. ``"mean"``: each channel's mean over the whole
        input. ``"blur"``: the input after a Gaussian blur (reflected at the edges) whose standard deviation
        is half a patch, down by its height and across by its width; the kernel ends at three of them, or
        where the input is smaller, at its size.

    Returns
    -------
    ModelInput
        Pixels outside the patches are bit-equal to those of `image`, also those that belong to no patch
        because the model cuts them off.

    Raises
    ------
    IndexError
        If a patch lies outside the grid.
    ValueError
        If `fill` is unknown, or a boolean array has another shape than the grid.
    TypeError
        If `image` is no `ModelInput`, or `patches` holds something that is no patch.
    """
    _check_input(image, "occlude")
    if fill not in FILLS:
        raise ValueError(f"fill must be one of {_listed(FILLS)}, got {fill!r}")
    chosen = patch_indices(image, patches)
    if not len(chosen):
        return image
    import torch

    hidden = torch.from_numpy(_pixels_of(image, chosen)).to(image.pixels.device)
    pixels = torch.where(hidden, _FILLED[fill](image), image.pixels)
    return image.changed(pixels, f"{len(chosen)} of {image.patch_grid.patches} patches occluded ({fill})")


def patch_indices(place: Place, patches: Patches) -> Indices:
    """Read a choice of patches.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    patches : iterable or ndarray
        Patch indices ``0..rows*cols-1`` and pairs (row, column), also mixed; an integer array of shape (K,),
        or (K, 2) of pairs; or a boolean array of shape (rows, cols). One pair alone goes in a list:
        ``(3, 5)`` is patches 3 and 5, ``[(3, 5)]`` is the patch of row 3 and column 5.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, ascending, each once.

    Raises
    ------
    IndexError
        If a patch lies outside the grid.
    ValueError
        If a boolean array has another shape than the grid.
    TypeError
        If `patches` holds something that is no patch.
    """
    named, given = _grid(place), cast(object, patches)
    grid = PatchGrid(named.rows, named.cols)  # a prefix token is no patch
    if hasattr(given, "__array__"):
        array = np.asarray(given)
        if array.dtype == bool:
            _check_shape("a boolean choice of patches", array, grid)
            return np.flatnonzero(array).astype(np.int64)
        given = array.tolist()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"patches must be a list of patches, got {given!r}; one patch alone goes in a list")
    return np.array(sorted({_patch(grid, patch) for patch in given}), dtype=np.int64)


# ---------------------------------------------------------------- choosing


def random(place: Place, rate: float, *, seed: int = 0) -> Indices:
    """Choose patches at random, all equally likely.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    rate : float
        Share of all patches, 0..1.
    seed : int
        At least 0.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, each once, in the order drawn; ``K = round(rate * patches)``, halves to the even
        number. With one seed, those of a smaller rate are the first of those of a larger one.

    Raises
    ------
    ValueError
        If `rate` lies outside 0..1.
    TypeError
        If `rate` is no number.
    """
    patches = _grid(place).patches
    return _shuffled(patches, seed)[: _count(rate, patches)]


def salient(salience: npt.ArrayLike, rate: float, *, seed: int = 0) -> Indices:
    """Choose the most salient patches.

    Parameters
    ----------
    salience : array_like of float, shape (rows, cols)
        One number per patch, greater where the patch matters more: of `mask_salience`, `patch_salience`,
        `rollout_salience`, or your own.
    rate : float
        Share of all patches, 0..1; where it exceeds the salient part, the rest follows by falling salience.
    seed : int
        Orders patches of equal salience, of which a mask has many. Without equal ones it changes nothing.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, most salient first; ``K = round(rate * patches)``, halves to the even number. With one
        seed, those of a smaller rate are the first of those of a larger one.

    Raises
    ------
    ValueError
        If `rate` lies outside 0..1, or `salience` has another shape or holds NaN.
    TypeError
        If `salience` is boolean, or `rate` no number.
    """
    order = _by_salience(salience, seed)
    return order[: _count(rate, len(order))]


def non_salient(salience: npt.ArrayLike, rate: float, *, seed: int = 0) -> Indices:
    """Choose the least salient patches: the order of `salient` (of the same seed) from its end.

    Parameters
    ----------
    salience, rate, seed
        As in `salient`.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, least salient first; `K` as in `salient`, and nested in the same way.

    Raises
    ------
    ValueError, TypeError
        As `salient` does.
    """
    order = _by_salience(salience, seed)[::-1]
    return order[: _count(rate, len(order))]


def select(
    place: Place, mode: Mode, rate: float, *, salience: npt.ArrayLike | None = None, seed: int = 0
) -> Indices:
    """Choose patches by the name of a mode.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    mode : {"random", "salient", "non_salient"}
        Which of the three functions of this name.
    rate : float
        Share of all patches, 0..1.
    salience : array_like of float, shape (rows, cols), optional
        For all but ``"random"``.
    seed : int
        At least 0.

    Returns
    -------
    ndarray of int64, shape (K,)
        Patch indices, each once.

    Raises
    ------
    ValueError
        If `mode` is unknown, `rate` lies outside 0..1, or `salience` is missing, of another shape than the
        grid, or holds NaN.
    TypeError
        If `salience` is boolean, or `rate` no number.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {_listed(MODES)}, got {mode!r}")
    if mode == "random":
        return random(place, rate, seed=seed)
    if salience is None:
        raise ValueError(
            f"mode {mode!r} needs salience=, one number per patch; rollout_salience(trace) is one"
        )
    _check_shape("salience", np.asarray(salience), _grid(place))
    return (salient if mode == "salient" else non_salient)(salience, rate, seed=seed)


# ---------------------------------------------------------------- salience


def mask_salience(image: ModelInput, mask: npt.ArrayLike) -> Salience:
    """Salience of patches from a mask: how much of each patch it covers.

    Parameters
    ----------
    image : ModelInput
        Whose patches.
    mask : array_like of bool, shape (H, W)
        In pixels of the model input, True where it matters.

    Returns
    -------
    ndarray, shape (rows, cols), float32
        In 0..1. What a patch reaches over the edge of the input counts as not covered.

    Raises
    ------
    ValueError
        If `mask` has another shape than the model input.
    TypeError
        If `mask` is not boolean, or `image` is no `ModelInput`.
    """
    _check_input(image, "mask_salience")
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"a mask is boolean, got {array.dtype}; of a label image, pass labels == number")
    height, width = image.size
    if array.shape != (height, width):
        raise ValueError(
            f"the mask must have the model input's shape ({height}, {width}), got {array.shape}; "
            "vitwidgets.study.label_image(mask, trace.frame) resizes and crops it as the picture was"
        )
    (high, wide), grid = image.patch_size, image.patch_grid
    whole = np.pad(array, ((0, -height % high), (0, -width % wide)))
    cells: Salience = whole.reshape(len(whole) // high, high, -1, wide).mean(axis=(1, 3), dtype=np.float32)
    return cells[: grid.rows, : grid.cols]


def patch_salience(place: Place, patches: Patches) -> Salience:
    """Salience of patches from a choice: 1 for those chosen, 0 for the rest.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    patches
        As `patch_indices` takes them.

    Returns
    -------
    ndarray, shape (rows, cols), float32

    Raises
    ------
    IndexError, ValueError, TypeError
        As `patch_indices` does.
    """
    grid = _grid(place)
    return _on_grid(grid, patch_indices(grid, patches)).astype(np.float32)


def rollout_salience(trace: HasRollout) -> Salience:
    """Salience of patches as the model itself has it: attention rollout of the last layer.

    Parameters
    ----------
    trace : Trace
        Of the unchanged input.

    Returns
    -------
    ndarray, shape (rows, cols), float32
        The class token's row, or without one the mean of the patches' rows; columns of prefix tokens are left
        out, so the sum is at most 1.

    Raises
    ------
    ValueError
        If the trace has no rollout; says why.
    """
    grid = trace.patch_grid
    last = trace.rollout()[-1][:, len(grid.prefix) :]
    row = last[grid.index("cls")] if "cls" in grid.prefix else last[len(grid.prefix) :].mean(axis=0)
    return np.asarray(row, np.float32).reshape(grid.rows, grid.cols)


# ---------------------------------------------------------------- rate curves


class RatePoint(NamedTuple):
    """One point of a rate curve: what was asked of `select`."""

    mode: Mode
    rate: float
    seed: int


@dataclass(frozen=True, eq=False)
class Occlusion:
    """One occlusion that a rate curve needs.

    Attributes
    ----------
    patches : ndarray of int64, shape (K,)
        Patch indices, ascending.
    points : tuple of RatePoint
        All that ask for these patches, at least one.
    """

    patches: Indices
    points: tuple[RatePoint, ...]


def rate_plan(
    place: Place,
    *,
    rates: Sequence[float],
    modes: Sequence[Mode] = MODES,
    seeds: Sequence[int] = (0,),
    salience: npt.ArrayLike | None = None,
) -> list[Occlusion]:
    """List the occlusions that a curve over rates needs, each set of patches once.

    Points that choose the same patches share one occlusion: rate 0 and rate 1 of all modes and seeds, and all
    seeds of the salient modes where no salience is equal.

    Parameters
    ----------
    place : PatchGrid, or what has one
        A `ModelInput`, an `Inspector` or a `Trace` has one.
    rates : sequence of float
        Shares of all patches, each 0..1.
    modes : sequence of {"random", "salient", "non_salient"}
        Which curves.
    seeds : sequence of int
        Each at least 0.
    salience : array_like of float, shape (rows, cols), optional
        For all modes but ``"random"``.

    Returns
    -------
    list of Occlusion
        In the order first needed: modes, in them rates, in them seeds. Their points are all combinations of
        the three, each once.

    Raises
    ------
    ValueError, TypeError
        As `select` does.
    """
    points: dict[tuple[int, ...], list[RatePoint]] = {}
    for point in dict.fromkeys(map(RatePoint._make, product(modes, rates, seeds))):
        chosen = select(place, point.mode, point.rate, salience=salience, seed=point.seed)
        points.setdefault(tuple(np.sort(chosen).tolist()), []).append(point)
    return [Occlusion(np.array(patches, np.int64), tuple(asked)) for patches, asked in points.items()]


# ---------------------------------------------------------------- shuffling


@overload
def shuffle(
    image: ModelInput, *, grid: int | tuple[int, int] = ..., seed: int = ..., masks: None = ...
) -> ModelInput: ...


@overload
def shuffle(
    image: ModelInput, *, grid: int | tuple[int, int] = ..., seed: int = ..., masks: npt.ArrayLike
) -> tuple[ModelInput, npt.NDArray[Any]]: ...


def shuffle(
    image: ModelInput,
    *,
    grid: int | tuple[int, int] = 4,
    seed: int = 0,
    masks: npt.ArrayLike | None = None,
) -> ModelInput | tuple[ModelInput, npt.NDArray[Any]]:
    """Cut a model input into equal tiles and lay them out in another order.

    Tiles are cut in pixels, not in patches: 4 x 4 tiles of 224 pixels are 3.5 patches of 16 wide.

    Parameters
    ----------
    image : ModelInput
        Of ``Inspector.input(image)``.
    grid : int or (int, int)
        Tiles each way, or down and across; they must divide the height and the width: `shuffle_grids` lists
        what does. 1 leaves everything in place.
    seed : int
        At least 0. All orders are equally likely, so one of few tiles may be the old one.
    masks : array_like, shape (H, W) or (K, H, W), optional
        A label image, or masks, in pixels of the model input: they are shuffled along.

    Returns
    -------
    ModelInput, or (ModelInput, ndarray) where `masks` are given
        The masks have their shape and dtype, and are new.

    Raises
    ------
    ValueError
        If `grid` does not divide the input, or `masks` has another size.
    TypeError
        If `image` is no `ModelInput`, or `grid` is neither a whole number nor two.
    """
    _check_input(image, "shuffle")
    rows, cols = _tiles(grid, image)
    height, width = image.size
    along = None if masks is None else _masks(masks, height, width)
    source = _source(height, width, rows, cols, _shuffled(rows * cols, seed))
    shuffled = image
    if rows * cols > 1:
        import torch

        index = torch.from_numpy(source).to(image.pixels.device)
        pixels = image.pixels.flatten(1)[:, index]
        shuffled = image.changed(pixels, f"shuffled in {rows} x {cols} tiles (seed {seed})")
    if along is None:
        return shuffled
    return shuffled, along.reshape(*along.shape[:-2], height * width)[..., source]


def shuffle_grids(image: ModelInput) -> tuple[int, ...]:
    """List the numbers of tiles each way that `shuffle` takes for an input, ascending from 1."""
    height, width = image.size
    return tuple(number for number in _divisors(height) if width % number == 0)


# ---------------------------------------------------------------- inside


def _check_input(image: object, name: str) -> None:
    if not isinstance(image, ModelInput):
        raise TypeError(
            f"{name} takes a ModelInput, not {type(image).__name__}; make one: inspector.input(image)"
        )


def _check_shape(what: str, array: npt.NDArray[Any], grid: PatchGrid) -> None:
    if array.shape != (grid.rows, grid.cols):
        raise ValueError(
            f"{what} must have the patch grid's shape ({grid.rows}, {grid.cols}), got {array.shape}"
        )


def _grid(place: object) -> PatchGrid:
    grid = getattr(place, "patch_grid", place)
    if not isinstance(grid, PatchGrid):
        raise TypeError(
            f"a PatchGrid is needed, or a ModelInput, an Inspector or a Trace, not {type(place).__name__}"
        )
    return grid


def _patch(grid: PatchGrid, patch: Any) -> int:
    if isinstance(patch, str):
        raise TypeError(f"{patch!r} is no patch: give patch indices 0..{grid.patches - 1} or (row, column)")
    return grid.index(tuple(patch) if isinstance(patch, (list, np.ndarray)) else patch)


def _on_grid(grid: PatchGrid, chosen: Indices) -> npt.NDArray[np.bool_]:
    flags = np.zeros(grid.patches, dtype=bool)
    flags[chosen] = True
    return flags.reshape(grid.rows, grid.cols)


def _pixels_of(image: ModelInput, chosen: Indices) -> npt.NDArray[np.bool_]:
    """Which pixels of the input belong to the chosen patches, (H, W)."""
    (high, wide), (height, width), grid = image.patch_size, image.size, image.patch_grid
    cells = np.zeros((-(-height // high), -(-width // wide)), dtype=bool)
    cells[: grid.rows, : grid.cols] = _on_grid(grid, chosen)
    return cells.repeat(high, axis=0).repeat(wide, axis=1)[:height, :width]


def _black(image: ModelInput) -> Tensor:
    if image.mean is None or image.std is None:
        return image.pixels.amin(dim=(1, 2))[:, None, None]
    mean, std = (image.pixels.new_tensor(part)[:, None, None] for part in (image.mean, image.std))
    return -mean / std


def _mean(image: ModelInput) -> Tensor:
    return image.pixels.double().mean(dim=(1, 2), keepdim=True).to(image.pixels.dtype)


def _blurred(image: ModelInput) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    down, across = (_SIGMA * side for side in image.patch_size)
    # Reflection at the edges needs a kernel that reaches less far than the input.
    reach = [
        2 * min(int(_REACH * sigma + 0.5), side - 1) + 1
        for sigma, side in zip((down, across), image.size, strict=True)
    ]
    # One pass each way is the same blur, and ten times as fast.
    once: Tensor = gaussian_blur(image.pixels.float(), [1, reach[0]], [across, down])
    twice: Tensor = gaussian_blur(once, [reach[1], 1], [across, down])
    return twice.to(image.pixels.dtype)


_FILLED: dict[Fill, Callable[[ModelInput], Tensor]] = {"black": _black, "mean": _mean, "blur": _blurred}


def _shuffled(count: int, seed: int) -> Indices:
    return np.random.default_rng(seed).permutation(count).astype(np.int64)


def _count(rate: float, patches: int) -> int:
    given: object = rate
    if isinstance(given, bool) or not isinstance(given, Real):
        raise TypeError(f"rate is a number in 0..1, got {given!r}")
    if not 0 <= rate <= 1:  # written so that NaN is refused too
        raise ValueError(f"rate is a share of the patches and lies in 0..1, got {rate}")
    return round(float(rate) * patches)


def _by_salience(salience: npt.ArrayLike, seed: int) -> Indices:
    """Patch indices, most salient first; equal ones in an order drawn by the seed."""
    array = np.asarray(salience)
    if array.dtype == bool:
        raise TypeError(
            "salience is one number per patch, not a boolean mask: use mask_salience(image, mask) for a mask "
            "in pixels, patch_salience(image, patches) for a choice of patches"
        )
    values = array.astype(np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"salience must have shape (rows, cols), one number per patch, got {values.shape}")
    unknown = int(np.isnan(values).sum())
    if unknown:
        raise ValueError(f"salience must not be NaN, and it is for {unknown} of {values.size} patches")
    return np.lexsort((_shuffled(values.size, seed), -values.ravel())).astype(np.int64)


def _tiles(grid: object, image: ModelInput) -> tuple[int, int]:
    pair = grid if isinstance(grid, tuple) else (grid, grid)
    if len(pair) != 2 or not all(isinstance(n, Integral) and not isinstance(n, bool) for n in pair):
        raise TypeError(f"grid must be a whole number or two of them, (rows, cols), got {grid!r}")
    (rows, cols), (height, width) = pair, image.size
    if rows < 1 or cols < 1 or height % rows or width % cols:
        raise ValueError(
            f"{rows} x {cols} tiles do not divide an input of {height} x {width} pixels; tiles down must be "
            f"one of {_listed(_divisors(height))}, tiles across one of {_listed(_divisors(width))}"
        )
    return int(rows), int(cols)


def _masks(masks: npt.ArrayLike, height: int, width: int) -> npt.NDArray[Any]:
    array = np.asarray(masks)
    if array.ndim not in (2, 3) or array.shape[-2:] != (height, width):
        raise ValueError(
            f"masks must have shape ({height}, {width}) or (K, {height}, {width}), as the model input has, "
            f"got {array.shape}"
        )
    return array


def _source(height: int, width: int, rows: int, cols: int, order: Indices) -> Indices:
    """For each place, (H, W), the flat index of the pixel that comes to lie there; tile `order[i]` to `i`."""
    high, wide = height // rows, width // cols
    tiles = np.arange(height * width).reshape(rows, high, cols, wide).swapaxes(1, 2)
    moved = tiles.reshape(rows * cols, high, wide)[order].reshape(rows, cols, high, wide)
    return moved.swapaxes(1, 2).reshape(height, width)


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(repr, things))
