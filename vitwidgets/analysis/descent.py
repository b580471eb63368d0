"""The numbers of t-SNE: which tokens are neighbours, and a descent to places in the plane that say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from math import log
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from vitwidgets.analysis.layout import Floats, Mask, deviations

if TYPE_CHECKING:
    from torch import Tensor

# Pull towards the place in the layers beside, in units of 1 / N; a token attracts another with 4 / N at most.
_COUPLING = 0.4
# How much more tokens attract each other in the first quarter of the steps.
_EXAGGERATION = 2.0
_MOMENTUM = 0.8
# Pairs that a thread works on at a time: three numbers for each stay close to it.
_PIECE = 2**18
# Smaller affinities would be denormal numbers, with which processors are slow.
_LEAST_EXPONENT = -60.0
# Squared distance at which a token has no force on another.
_FAR = 1e30


def lowered(perplexity: float, count: int) -> float:
    """Perplexity that `count` tokens allow."""
    return min(perplexity, (count - 1) / 3)


class Watch:
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


def affinities_of(values: Tensor, perplexity: float, watch: Watch) -> Tensor:
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


def pairs_of(tables: list[npt.NDArray[Any]], finite: Mask, perplexity: float, watch: Watch) -> Pairs:
    """Affinities of the finite tokens of some layers; those of the others are 0."""
    import torch

    inside = torch.from_numpy(finite)
    affinities = inside.new_zeros(*finite.shape, finite.shape[1], dtype=torch.float32)
    for layer, table in enumerate(tables):
        at = inside[layer].nonzero()[:, 0]
        values = torch.from_numpy(deviations(table if finite[layer].all() else table[finite[layer]]))
        affinities[layer, at[:, None], at] = affinities_of(values, lowered(perplexity, len(at)), watch)
    return Pairs(affinities, inside)


class Pairs:
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


def descend(pairs: Pairs, starts: Floats, iterations: int, watch: Watch, *, parted: bool = False) -> Tensor:
    """Places (L, N, 2) of small divergence, found from `starts` by gradient descent.

    With momentum and a gain for each coordinate, as van der Maaten and Hinton (2008) have it; without the
    exaggeration at first where the clusters are `parted` from the start.
    """
    import torch

    places = torch.from_numpy(starts)
    layers, N, _ = places.shape
    linked = pairs.finite.new_zeros(layers + 1, N, 1)
    linked[1:-1, :, 0] = pairs.finite[1:] & pairs.finite[:-1]
    gaps = places.new_zeros(layers + 1, N, 2)
    quarter = iterations // 4
    fading = iterations - 2 * quarter
    velocity, gains = torch.zeros_like(places), torch.ones_like(places)
    for iteration in range(iterations):
        watch.check()
        gradient = pairs.gradient(places, _EXAGGERATION if iteration < quarter and not parted else 1.0)
        coupling = _COUPLING * min(1.0, max(0.0, 1 - (iteration - quarter) / fading))
        if coupling > 0:
            torch.sub(places[1:], places[:-1], out=gaps[1:-1])
            gradient -= coupling / N * torch.diff(gaps * linked, dim=0)
        gains = torch.where(gradient * velocity < 0, gains + 0.2, gains * 0.8).clamp_min_(0.01)
        velocity.mul_(_MOMENTUM).sub_(gains * gradient, alpha=N / 4)
        places = places + velocity
        watch.add(layers)
    return places
