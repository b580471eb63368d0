"""Tokens as points in the plane: a picture of each layer, in which points move little to the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

MOST_TOKENS = 5000
"""Tokens a layer may have for t-SNE, which compares each with each."""

# Tokens whose numbers differ by less than this part of the largest one differ by rounding alone.
_ROUNDING = 1e-6
# With fewer tokens there is no perplexity of at least 1 that is a third of a token's neighbours.
_FEWEST_TOKENS = 4
# Pull towards the place in the layers beside, in units of 1 / N; a token attracts another with 4 / N at most.
_COUPLING = 0.4
# How much more tokens attract each other in the first quarter of the steps.
_EXAGGERATION = 2.0
_MOMENTUM = 0.8
# How far the start is off the PCA layout, so that points which coincide there can part.
_JITTER = 0.01
# Affinities that are held at a time.
_CHUNK_BYTES = 2**28
# Pairs that a thread works on at a time: three numbers for each stay close to it.
_PIECE = 2**18
# Smaller affinities would be denormal numbers, with which processors are slow.
_LEAST_EXPONENT = -60.0
# Squared distance at which a token has no force on another.
_FAR = 1e30


@dataclass(frozen=True, eq=False)
class Layouts:
    """What t-SNE made of all layers.

    Attributes
    ----------
    points : (L + 1, N, 2) float32
        Each layer centred at 0 with an RMS radius of 1. NaN for a token that is not finite; all 0 in a layer
        whose tokens are all equal.
    radius : (L + 1,) float32
        RMS radius before it was made 1: ``points * radius`` is what t-SNE found. NaN for a layer that kept
        its PCA layout.
    divergence : (L + 1,) float32
        Kullback-Leibler divergence between tokens and ``points * radius``, in nats, 0 or more. NaN as above.
    notes : tuple of str
        What differs from what was asked for, a clause each; layers are counted as they were given.
    """

    points: Floats
    radius: Floats
    divergence: Floats
    notes: tuple[str, ...]


def pca_layout(tokens: npt.ArrayLike) -> Floats:
    """Lay out the tokens of one layer by their first two principal components.

    Parameters
    ----------
    tokens : array_like, shape (N, D)
        Token vectors, real, at least one.

    Returns
    -------
    ndarray, shape (N, 2), float32
        Centred at 0, scaled to an RMS radius of 1; on either axis the point farthest from 0 is positive.
        NaN for a token that is not finite and takes no part; all 0 where all tokens are equal.

    Raises
    ------
    ValueError
        If `tokens` is not two-dimensional or holds no token.
    TypeError
        If it does not hold real numbers.
    """
    table = _table(tokens)
    finite: Mask = np.isfinite(table).all(axis=1)
    points: Floats = np.full((len(table), 2), np.nan, np.float32)
    if finite.any():
        points[finite], _ = _unit(_principal(_deviations(table if finite.all() else table[finite])))
    return points


def pca_layouts(layers: Iterable[npt.ArrayLike]) -> Floats:
    """Lay out the tokens of all layers by PCA, each turned onto the one before.

    Parameters
    ----------
    layers : iterable of array_like, shapes (N, D_l)
        Token vectors of layers 0..L, real, of the same `N` tokens.

    Returns
    -------
    ndarray, shape (L + 1, N, 2), float32
        What :func:`pca_layout` makes of each, turned by :func:`align`.

    Raises
    ------
    ValueError
        If there is no layer, they differ in their number of tokens, or one is not two-dimensional or holds no
        token.
    TypeError
        If one does not hold real numbers.
    """
    points = np.stack([pca_layout(table) for table in _tables(layers)])
    for layer in range(1, len(points)):
        points[layer] = align(points[layer], points[layer - 1])
    return points


def align(points: npt.ArrayLike, onto: npt.ArrayLike) -> Floats:
    """Turn points about 0, by rotation and reflection, as close to others as that can bring them.

    Orthogonal Procrustes (Schönemann 1966): the orthogonal `R` of least ``norm(points @ R - onto)``.

    Parameters
    ----------
    points, onto : array_like, shape (N, 2)
        Pairs of points; a pair with a NaN does not count.

    Returns
    -------
    ndarray, shape (N, 2), float32
        ``points @ R``.

    Raises
    ------
    ValueError
        If one is not of shape (N, 2), or they differ in `N`.
    """
    a, b = np.asarray(points, np.float64), np.asarray(onto, np.float64)
    if a.ndim != 2 or a.shape[1] != 2 or a.shape != b.shape:
        raise ValueError(f"points and onto must both have shape (N, 2), got {a.shape} and {b.shape}")
    pairs = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    left, _, right = np.linalg.svd(a[pairs].T @ b[pairs])
    turned: Floats = (a @ (left @ right)).astype(np.float32)
    return turned


def tsne_layouts(
    layers: Iterable[npt.ArrayLike],
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    iterations: int = 300,
    progress: Callable[[int, int], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
    ready: Callable[[int, Floats], object] | None = None,
) -> Layouts:
    """Lay out the tokens of all layers by t-SNE, so that points move little from a layer to the next.

    Exact t-SNE (van der Maaten and Hinton 2008) of all layers at once. Each starts from its PCA layout, as
    :func:`pca_layouts` turns it. At first a token is also drawn to where it is in the layers beside, as
    Rauber et al. (2016) do over time: in full for a quarter of the steps, then less and less, and not at all
    in the last quarter, so that every layer ends as a t-SNE of its own. Last, layer 0 is turned onto its PCA
    layout and each other layer onto the one before.

    As many layers are worked on together as have their affinities, 4 bytes a pair of tokens, in 256 MiB; the
    next ones are drawn to the last of those. A layer with fewer than 4 finite tokens, or whose tokens are all
    equal, keeps its PCA layout.

    Parameters
    ----------
    layers : iterable of array_like, shapes (N, D_l)
        Token vectors of layers 0..L, real, of the same `N` tokens, `MOST_TOKENS` at most.
    perplexity : float
        How many neighbours a token has, about; at least 1. Where that is more than a third of the other
        tokens, it is lowered to a third, and `notes` says so.
    seed : int
        Of the jitter at the start, 0 or more.
    iterations : int
        Steps of gradient descent, at least 1.
    progress : callable, optional
        Called with the work done and the whole work, up to 50 times; they are equal in the end.
    cancelled : callable, optional
        Asked before every step whether to stop.
    ready : callable, optional
        Called with ``(first, points)`` when layers ``first..first + len(points) - 1`` are done, in order:
        once where all are worked on together.

    Returns
    -------
    Layouts
        The same again for the same seed, threads and version of torch.

    Raises
    ------
    ValueError
        If there is no layer, they differ in their number of tokens or have more than `MOST_TOKENS`, or one is
        not two-dimensional or holds no token; if `perplexity`, `iterations` or `seed` is out of range.
    TypeError
        If a layer does not hold real numbers.
    concurrent.futures.CancelledError
        When `cancelled` says so. Layers that `ready` was called with are final all the same.
    """
    if not 1 <= perplexity < float("inf"):
        raise ValueError(f"perplexity must be a finite number of at least 1, got {perplexity}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    tables = _tables(layers)
    N = len(tables[0])
    if N > MOST_TOKENS:
        raise ValueError(
            f"t-SNE compares each token with each: {N} tokens are too many, it takes at most {MOST_TOKENS}; "
            "pca_layouts takes any number"
        )
    points = pca_layouts(tables)
    finite: Mask = np.asarray(np.isfinite(points).all(axis=2))
    moving = [
        layer
        for layer, places in enumerate(points)
        if finite[layer].sum() >= _FEWEST_TOKENS and places[finite[layer]].any()
    ]
    starts: Floats = np.nan_to_num(points + _JITTER * _noise(seed, N)).astype(np.float32)
    radius, divergence = np.full((2, len(points)), np.nan, np.float32)
    watch = _Watch(len(moving) * iterations, progress, cancelled)
    together = max(1, _CHUNK_BYTES // (4 * N * N))
    chunks = [moving[first : first + together] for first in range(0, len(moving), together)]
    done, former, anchor = 0, points[0].copy(), None
    for chunk in chunks:
        pairs = _pairs_of([tables[layer] for layer in chunk], finite[chunk], perplexity, watch)
        places = _descend(pairs, starts[chunk], anchor, iterations, watch)
        anchor = places[-1], pairs.finite[-1]
        divergence[chunk] = pairs.divergence(places).numpy()
        for layer, found in zip(chunk, places.numpy(), strict=True):
            points[layer, finite[layer]], radius[layer] = _unit(found[finite[layer]])
        end = len(points) if chunk is chunks[-1] else chunk[-1] + 1
        for layer in range(done, end):
            points[layer] = former = align(points[layer], former)
        if ready is not None:
            ready(done, points[done:end])
        done = end
    if ready is not None and not chunks:
        ready(0, points)
    return Layouts(points, radius, divergence, _notes(finite, moving, perplexity))


# ---------------------------------------------------------------- checks and words


def _table(tokens: npt.ArrayLike) -> npt.NDArray[Any]:
    table = np.asarray(tokens)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError(f"tokens must have shape (N, D) with at least one token, got {table.shape}")
    if table.dtype.kind not in "fiub":
        raise TypeError(f"tokens must hold real numbers, got {table.dtype}")
    return table


def _tables(layers: Iterable[npt.ArrayLike]) -> list[npt.NDArray[Any]]:
    tables = [_table(tokens) for tokens in layers]
    if not tables:
        raise ValueError("give at least one layer")
    counts = [len(table) for table in tables]
    if len(set(counts)) > 1:
        raise ValueError(
            f"all layers must have the same tokens, got {counts}; lay out those of each grid by themselves"
        )
    return tables


def _notes(finite: Mask, moving: list[int], perplexity: float) -> tuple[str, ...]:
    """Say what differs from what was asked for, and in which layers."""
    layers, N = finite.shape
    found: dict[str, list[int]] = {}
    for layer, count in enumerate(finite.sum(axis=1).tolist()):
        if count < N:
            found.setdefault(f"not finite and without a place: {N - count} of {N} tokens", []).append(layer)
        if count < _FEWEST_TOKENS:
            found.setdefault(f"no t-SNE: fewer than {_FEWEST_TOKENS} finite tokens", []).append(layer)
        elif layer not in moving:
            found.setdefault("no t-SNE: all tokens are equal", []).append(layer)
        elif (lowered := _lowered(perplexity, count)) < perplexity:
            note = f"perplexity lowered from {perplexity:g} to {lowered:.3g}: {count} tokens allow no more"
            found.setdefault(note, []).append(layer)
    return tuple(
        f"{note} (in {'all layers' if len(where) == layers else 'layer ' + ', '.join(map(str, where))})"
        for note, where in found.items()
    )


def _lowered(perplexity: float, count: int) -> float:
    """Perplexity that `count` tokens allow."""
    return min(perplexity, (count - 1) / 3)


class _Watch:
    """Tells how far the work is, and stops it."""

    def __init__(
        self,
        work: int,
        progress: Callable[[int, int], object] | None,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._work, self._done = work, 0
        self._progress, self._cancelled = progress, cancelled

    def check(self) -> None:
        """Raise if the work is no longer wanted."""
        if self._cancelled is not None and self._cancelled():
            raise CancelledError("the layout was cancelled")

    def add(self, work: int) -> None:
        """Count some work as done."""
        before, self._done = self._done, self._done + work
        if self._progress is not None and self._done * 50 // self._work > before * 50 // self._work:
            self._progress(self._done, self._work)


# ---------------------------------------------------------------- principal components


def _deviations(tokens: npt.NDArray[Any]) -> Reals:
    """Deviations from the mean token, in an arbitrary unit; all 0 where the tokens are equal."""
    values: Reals = tokens.astype(np.result_type(tokens, np.float32))
    largest = _largest(values)
    if largest > 0:
        values /= largest  # squares of large tokens would overflow
        values -= values.mean(axis=0)
        if _largest(values) < _ROUNDING:
            values[:] = 0
    return values


def _largest(values: Reals) -> float:
    return float(max(values.max(initial=0), -values.min(initial=0)))


def _principal(values: Reals) -> Doubles:
    """Coordinates (N, 2) along the first two principal components of deviations (N, D)."""
    N, D = values.shape
    wide = N <= D
    gram = values @ values.T if wide else values.T @ values
    vectors, variances = _leading(gram.astype(np.float64))
    places: Doubles = np.zeros((N, 2))
    places[:, : vectors.shape[1]] = vectors * np.sqrt(variances) if wide else values @ vectors
    farthest = places[np.abs(places).argmax(axis=0), [0, 1]]
    return places * np.where(farthest < 0, -1, 1)


def _leading(matrix: Doubles) -> tuple[Doubles, Doubles]:
    """First two eigenvectors, as columns, and eigenvalues of a positive semidefinite matrix.

    By randomized block Krylov iteration (Musco and Musco 2015), five times faster than all eigenvectors.
    """
    basis: Doubles = np.eye(len(matrix))
    if len(matrix) > 64:
        block = _noise(0, len(matrix), 4)
        blocks = []
        for _ in range(6):
            block = np.linalg.qr(matrix @ block)[0]
            blocks.append(block)
        basis = np.linalg.qr(np.concatenate(blocks, axis=1))[0]
    values, vectors = np.linalg.eigh(basis.T @ matrix @ basis)
    return basis @ vectors[:, :-3:-1], np.maximum(values[:-3:-1], 0)


def _unit(places: npt.NDArray[Any]) -> tuple[Floats, float]:
    """Centre points and scale them to an RMS radius of 1; also the radius they had."""
    centred = places.astype(np.float64)
    centred -= centred.mean(axis=0)
    radius = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    unit: Floats = (centred / (radius or 1.0)).astype(np.float32)
    return unit, radius


def _noise(seed: int, rows: int, cols: int = 2) -> Doubles:
    return np.random.default_rng(seed).standard_normal((rows, cols))


# ---------------------------------------------------------------- t-SNE


def _affinities(values: Tensor, perplexity: float, watch: _Watch) -> Tensor:
    """Joint probabilities of all pairs, (N, N) float32, of deviations (N, D).

    Equations 1 and 2 of van der Maaten and Hinton (2008), the entropy of each row within 1e-5 of
    ``log(perplexity)``.
    """
    import torch

    N, values = len(values), values.double()
    norms = values.square().sum(1)
    joint = values.new_empty(N, N, dtype=torch.float32)
    step = max(1, _PIECE // N)
    for first in range(0, N, step):
        watch.check()
        some = slice(first, first + step)
        squared = norms[some, None] + norms - 2 * values[some] @ values.T
        itself = squared.diagonal(first)
        itself.fill_(float("inf"))
        squared -= squared.min(1, keepdim=True).values  # the probabilities stay, and do not all underflow
        itself.fill_(0)
        mean = squared.sum(1, keepdim=True) / (N - 1)
        squared /= torch.where(mean > 0, mean, 1)
        joint[some] = _conditional(squared.float(), first, perplexity)
    joint += joint.T.clone()
    return joint / joint.sum(dtype=torch.float64).float()


def _conditional(squared: Tensor, first: int, perplexity: float) -> Tensor:
    """Probabilities (rows, N) that tokens ``first..`` choose each as their neighbour.

    Newton's method for the logarithm of each row's precision, within bounds that close around it. Squared
    distances have a mean of about 1; what they are between a token and itself does not matter.
    """
    import torch

    precision = squared.new_zeros(len(squared), 1)
    low, high = precision - 30, precision + 30
    for _ in range(64):
        beta = precision.exp()
        p = torch.mul(squared, -beta).clamp_min_(_LEAST_EXPONENT).exp_()
        p.diagonal(first).zero_()
        total = p.sum(1, keepdim=True)
        p /= total
        weighted = p * squared
        mean = weighted.sum(1, keepdim=True)
        variance = weighted.mul_(squared).sum(1, keepdim=True) - mean.square()
        excess = total.log() + beta * mean - log(perplexity)
        settled = excess.abs() < 1e-5
        if bool(settled.all()):
            break
        low, high = torch.where(excess > 0, precision, low), torch.where(excess > 0, high, precision)
        newton = precision + (excess / (beta.square() * variance)).clamp_(-3, 3)
        newton = torch.where((newton > low) & (newton < high), newton, (low + high) / 2)
        precision = torch.where(settled, precision, newton)
    return p


def _pairs_of(tables: list[npt.NDArray[Any]], finite: Mask, perplexity: float, watch: _Watch) -> _Pairs:
    """Affinities of the finite tokens of some layers; those of the others are 0."""
    import torch

    inside = torch.from_numpy(finite)
    affinities = inside.new_zeros(*finite.shape, finite.shape[1], dtype=torch.float32)
    for layer, table in enumerate(tables):
        at = inside[layer].nonzero()[:, 0]
        values = torch.from_numpy(_deviations(table if finite[layer].all() else table[finite[layer]]))
        affinities[layer, at[:, None], at] = _affinities(values, _lowered(perplexity, len(at)), watch)
    return _Pairs(affinities, inside)


class _Pairs:
    """All pairs of tokens of each of some layers: what they should be and how the plane has them.

    Parameters
    ----------
    affinities : (L, N, N)
        Joint probabilities, symmetric.
    finite : (L, N) bool
        Which tokens take part; the affinities of the others are 0.
    """

    def __init__(self, affinities: Tensor, finite: Tensor) -> None:
        import torch

        self.affinities, self.finite = affinities, finite
        layers, N, _ = affinities.shape
        piece = _PIECE * torch.get_num_threads()
        deep, high = max(1, piece // (N * N)), max(1, piece // N)
        self._pieces = [
            (slice(layer, layer + deep), slice(row, row + high))
            for layer in range(0, layers, deep)
            for row in range(0, N, high)
        ]
        self._buffers = affinities.new_empty(2, max(piece, N))

    def gradient(self, places: Tensor, exaggeration: float = 1.0) -> Tensor:
        """Gradient of the divergence by the places, both (L, N, 2), with affinities exaggerated."""
        import torch

        layers, N, _ = places.shape
        ends = torch.cat([places, torch.ones_like(places[:, :, :1])], 2)
        attraction, repulsion = places.new_zeros(2, layers, 3, N)
        total = places.new_zeros(layers, 1, 1)
        for some, rows, kernel in self._distances(places):
            kernel.reciprocal_()
            total[some] += kernel.sum((1, 2), keepdim=True)
            pull = self._buffers[1, : kernel.numel()].view_as(kernel)
            torch.mul(self.affinities[some, rows], kernel, out=pull)
            # all is symmetric: rows instead of columns are summed over
            attraction[some].baddbmm_(ends[some, rows].mT, pull)
            repulsion[some].baddbmm_(ends[some, rows].mT, kernel.square_())
        total -= self.finite.sum(1)[:, None, None]  # a token and itself are no pair
        force = (exaggeration * attraction - repulsion / total).mT
        slope: Tensor = 4 * (force[:, :, 2:] * places - force[:, :, :2])
        return slope

    def divergence(self, places: Tensor) -> Tensor:
        """Kullback-Leibler divergence (L,) between affinities and places (L, N, 2), in nats."""
        import torch

        cost, total = places.new_zeros(2, len(places), dtype=torch.float64)
        for some, rows, distances in self._distances(places):
            affinities = self.affinities[some, rows]
            cost[some] += torch.xlogy(affinities, affinities * distances).sum((1, 2), dtype=torch.float64)
            total[some] += distances.reciprocal_().sum((1, 2), dtype=torch.float64)
        divergence: Tensor = cost + (total - self.finite.sum(1)).log()
        return divergence

    def _distances(self, places: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Yield 1 + squared distances (some layers, some rows, N), in a buffer that the next overwrites."""
        import torch

        norms = torch.where(self.finite, places.square().sum(2), _FAR)[:, :, None]
        one = torch.ones_like(norms)
        left, right = torch.cat([-2 * places, norms + 1, one], 2), torch.cat([places, one, norms], 2).mT
        for some, rows in self._pieces:
            a, b = left[some, rows], right[some]
            shape = (a.shape[0], a.shape[1], b.shape[2])
            out = self._buffers[0, : shape[0] * shape[1] * shape[2]].view(shape)
            yield some, rows, torch.bmm(a, b, out=out)


def _descend(
    pairs: _Pairs,
    starts: Floats,
    anchor: tuple[Tensor, Tensor] | None,
    iterations: int,
    watch: _Watch,
) -> Tensor:
    """Places (L, N, 2) of small divergence, found from `starts` by gradient descent.

    With momentum and a gain for each coordinate, as van der Maaten and Hinton (2008) have it. `anchor` holds
    the places (N, 2) in the layer before, and which of its tokens are finite.
    """
    import torch

    places = torch.from_numpy(starts)
    layers, N, _ = places.shape
    linked = pairs.finite.new_zeros(layers + 1, N, 1)
    linked[1:-1, :, 0] = pairs.finite[1:] & pairs.finite[:-1]
    gaps = places.new_zeros(layers + 1, N, 2)
    if anchor is not None:
        linked[0, :, 0] = pairs.finite[0] & anchor[1]
    quarter = iterations // 4
    fading = iterations - 2 * quarter
    velocity, gains = torch.zeros_like(places), torch.ones_like(places)
    for iteration in range(iterations):
        watch.check()
        gradient = pairs.gradient(places, _EXAGGERATION if iteration < quarter else 1.0)
        coupling = _COUPLING * min(1.0, max(0.0, 1 - (iteration - quarter) / fading))
        if coupling > 0:
            torch.sub(places[1:], places[:-1], out=gaps[1:-1])
            if anchor is not None:
                torch.sub(places[0], anchor[0], out=gaps[0])
            gradient -= coupling / N * torch.diff(gaps * linked, dim=0)
        gains = torch.where(gradient * velocity < 0, gains + 0.2, gains * 0.8).clamp_min_(0.01)
        velocity.mul_(_MOMENTUM).sub_(gains * gradient, alpha=N / 4)
        places = places + velocity
        watch.add(layers)
    return places
