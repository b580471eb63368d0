"""t-SNE of the tokens of all layers, in pictures between which points move little."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from vitwidgets.analysis.descent import Watch, descend, lowered, pairs_of
from vitwidgets.analysis.layout import Floats, Mask, align, noise, pca_layouts, tables_of, unit

MOST_TOKENS = 5000
"""Tokens a layer may have for t-SNE, which compares each with each."""

# With fewer tokens there is no perplexity of at least 1 that is a third of a token's neighbours.
_FEWEST_TOKENS = 4
# How far the start is off the PCA layout, so that points which coincide there can part.
_JITTER = 0.01
# Pairs of tokens that are worked on together, in whole layers: more are little faster, and come later.
_CHUNK_PAIRS = 2**20


@dataclass(frozen=True, eq=False)
class Layout:
    """What t-SNE made of one layer.

    Attributes
    ----------
    points : (N, 2) float32
        Centred at 0 with an RMS radius of 1. NaN for a token that is not finite; all 0 in a layer whose
        tokens are all equal.
    radius : float
        RMS radius before it was made 1: ``points * radius`` is what t-SNE found. NaN for a layer that keeps
        its PCA layout.
    divergence : float
        Kullback-Leibler divergence between tokens and ``points * radius``, in nats, 0 or more. NaN as above.
    """

    points: Floats
    radius: float = float("nan")
    divergence: float = float("nan")


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


class Tsne:
    """t-SNE of layers, found some at a time, those that are wanted most first.

    Exact t-SNE (van der Maaten and Hinton 2008), of as many layers at once as have about a million pairs of
    tokens together. The first ones start from their PCA layouts, as
    :func:`vitwidgets.analysis.layout.pca_layouts` turns them; later ones start from the layer beside them
    that was found before, and take half as many steps. At first a token is also drawn to where it is in the
    layers beside that are worked on with it, as Rauber et al. (2016) do over time: in full for a quarter of
    the steps, then less and less, and not at all in the last quarter, so that every layer ends as a t-SNE of
    its own. Last, a layer is turned onto the one beside it that was found before; the first of all onto its
    PCA layout.

    A layer with fewer than 4 finite tokens, or whose tokens are all equal, keeps its PCA layout.

    Parameters
    ----------
    layers, perplexity, seed, iterations
        As :func:`tsne_layouts` takes them, and refuses them.

    Attributes
    ----------
    tokens : int
        How many a layer has.
    found : dict of int to Layout
        By layer, counted as they were given.
    notes : dict of str to list of int
        What differs from what was asked for, a clause each, and in which layers.
    """

    def __init__(
        self,
        layers: Iterable[npt.ArrayLike],
        *,
        perplexity: float = 30.0,
        seed: int = 0,
        iterations: int = 300,
    ) -> None:
        if not 1 <= perplexity < float("inf"):
            raise ValueError(f"perplexity must be a finite number of at least 1, got {perplexity}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        tables = tables_of(layers)
        N = len(tables[0])
        if N > MOST_TOKENS:
            raise ValueError(
                f"t-SNE compares each token with each: {N} tokens are too many, it takes at most "
                f"{MOST_TOKENS}; pca_layouts takes any number"
            )
        self.tokens = N
        self._perplexity, self._iterations = perplexity, iterations
        self._part = 0  # of the steps, of layers that are being worked on
        self._jitter = _JITTER * noise(seed, N)
        self._pca = pca_layouts(tables)
        self._finite: Mask = np.asarray(np.isfinite(self._pca).all(axis=2))
        self._moving = [
            layer
            for layer, points in enumerate(self._pca)
            if self._finite[layer].sum() >= _FEWEST_TOKENS and points[self._finite[layer]].any()
        ]
        self._tables = {layer: tables[layer] for layer in self._moving}  # of those that are not found
        self.found = {
            layer: Layout(points) for layer, points in enumerate(self._pca) if layer not in self._tables
        }
        self.notes = _notes(self._finite, self._moving, perplexity)

    @property
    def left(self) -> int:
        """How many layers are not found."""
        return len(self._tables)

    @property
    def work(self) -> tuple[int, int]:
        """Steps of single layers that are done, and of all."""
        whole = len(self._moving) * self._iterations
        return whole - self.left * self._iterations + self._part, whole

    def solve(
        self,
        near: int = 0,
        *,
        progress: Callable[[int, int], object] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> bool:
        """Find some more layers.

        Parameters
        ----------
        near : int
            The layer that is wanted most: it, or the nearest that is not found, is among them.
        progress : callable, optional
            Called now and then with the work done and that of all layers.
        cancelled : callable, optional
            Asked before every step whether to stop.

        Returns
        -------
        bool
            Whether there are layers left.

        Raises
        ------
        concurrent.futures.CancelledError
            When `cancelled` says so. What is in `found` stays.
        """
        if not self._tables:
            return False
        chunk = self._next(near)

        def tell(part: int, of: int) -> None:
            self._part = len(chunk) * self._iterations * part // of
            if progress is not None:
                progress(*self.work)

        before, after = self._beside(chunk)
        beside = before or after
        steps = self._iterations if beside is None else max(1, self._iterations // 2)
        self._part = 0
        watch = Watch(len(chunk) * steps, tell, cancelled)
        finite = self._finite[chunk]
        pairs = pairs_of([self._tables[layer] for layer in chunk], finite, self._perplexity, watch)
        start = self._pca[chunk]
        if beside is not None:
            start = np.where(np.isfinite(beside.points), beside.points, start) * np.float32(beside.radius)
        starts: Floats = np.nan_to_num(start + self._jitter).astype(np.float32)
        places = descend(pairs, starts, steps, watch, parted=beside is not None)
        divergence = pairs.divergence(places).tolist()
        made = []
        for index, layer in enumerate(chunk):
            points = np.full_like(self._pca[layer], np.nan)
            points[finite[index]], radius = unit(places[index].numpy()[finite[index]])
            made.append(Layout(points, radius, divergence[index]))
        self._take(chunk, made, before, after)
        return bool(self._tables)

    def _next(self, near: int) -> list[int]:
        """The layers that are worked on next: a run of neighbours around the one that is wanted most."""
        moving = self._moving
        middle = min(
            (i for i, layer in enumerate(moving) if layer in self._tables),
            key=lambda i: abs(moving[i] - near),
        )
        low, high = middle, middle + 1
        while low > 0 and moving[low - 1] in self._tables:
            low -= 1
        while high < len(moving) and moving[high] in self._tables:
            high += 1
        together = max(1, _CHUNK_PAIRS // self._finite.shape[1] ** 2)
        first = max(low, min(middle - together // 2, high - together))
        return moving[first : min(first + together, high)]

    def _beside(self, chunk: list[int]) -> tuple[Layout | None, Layout | None]:
        """What was found of the layers before and after some."""
        before, after = self._moving.index(chunk[0]) - 1, self._moving.index(chunk[-1]) + 1
        return (
            self.found.get(self._moving[before]) if before >= 0 else None,
            self.found.get(self._moving[after]) if after < len(self._moving) else None,
        )

    def _take(
        self, chunk: list[int], made: list[Layout], before: Layout | None, after: Layout | None
    ) -> None:
        """Turn layouts onto what is beside them, one after the other, and keep them."""
        ordered = list(zip(chunk, made, strict=True))
        former = before or after
        if before is None and after is not None:
            ordered.reverse()
        onto = self._pca[chunk[0]] if former is None else former.points
        for layer, one in ordered:
            onto = align(one.points, onto)
            self.found[layer] = replace(one, points=onto)
            del self._tables[layer]
        self._part = 0


def tsne_layouts(
    layers: Iterable[npt.ArrayLike],
    *,
    perplexity: float = 30.0,
    seed: int = 0,
    iterations: int = 300,
    progress: Callable[[int, int], object] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Layouts:
    """Lay out the tokens of all layers by t-SNE, so that points move little from a layer to the next.

    :class:`Tsne` tells how. Layer 0 is turned onto its PCA layout, and each other layer onto the one before.

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
        When `cancelled` says so.
    """
    solver = Tsne(layers, perplexity=perplexity, seed=seed, iterations=iterations)
    while solver.solve(progress=progress, cancelled=cancelled):
        pass
    found = [solver.found[layer] for layer in range(len(solver.found))]
    return Layouts(
        np.stack([one.points for one in found]),
        np.array([one.radius for one in found], np.float32),
        np.array([one.divergence for one in found], np.float32),
        say(solver.notes, len(found)),
    )


def say(notes: Mapping[str, Sequence[int]], layers: int) -> tuple[str, ...]:
    """Write notes as a sentence each: a clause, and in which of `layers` layers it holds."""
    return tuple(f"{note} (in {_named(where, layers)})" for note, where in notes.items())


def _named(where: Sequence[int], layers: int) -> str:
    if len(where) == layers:
        return "all layers"
    return f"layer{'s' if len(where) > 1 else ''} {', '.join(map(str, where))}"


def _notes(finite: Mask, moving: list[int], perplexity: float) -> dict[str, list[int]]:
    """What differs from what was asked for, and in which layers."""
    N = finite.shape[1]
    found: dict[str, list[int]] = {}
    for layer, count in enumerate(finite.sum(axis=1).tolist()):
        if count < N:
            found.setdefault(f"not finite and without a place: {N - count} of {N} tokens", []).append(layer)
        if count < _FEWEST_TOKENS:
            found.setdefault(f"no t-SNE: fewer than {_FEWEST_TOKENS} finite tokens", []).append(layer)
        elif layer not in moving:
            found.setdefault("no t-SNE: all tokens are equal", []).append(layer)
        elif (allowed := lowered(perplexity, count)) < perplexity:
            note = f"perplexity lowered from {perplexity:g} to {allowed:.3g}: {count} tokens allow no more"
            found.setdefault(note, []).append(layer)
    return found
