"""What a token map computes beside the kernel: layouts, attention received, clusters."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vitwidgets.analysis.tsne import Tsne
from vitwidgets.runs import Run
from vitwidgets.widgets.codec import encode

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

Floats: TypeAlias = npt.NDArray[np.float32]
ClusterMethod = Literal["kmeans", "agglomerative", "dbscan"]

LARGEST = 16_000_000  # bytes of attention that is not kept as queries and keys, and is still averaged


@dataclass
class Known:
    """What was computed of a trace, for the next map of it."""

    pca: bytes
    solvers: list[Tsne] = field(default_factory=list)  # of each stage; none before the first run
    turn: threading.Lock = field(default_factory=threading.Lock)  # theirs: maps of one trace share the work
    received: dict[int, Floats] = field(default_factory=dict)


known_of: weakref.WeakKeyDictionary[Trace, Known] = weakref.WeakKeyDictionary()


def stages_of(trace: Trace) -> list[list[int]]:
    """The layers that have tokens; those that follow each other with the same number of them are together."""
    stages: list[list[int]] = []
    for layer in range(trace.layers + 1):
        if trace.why_not("tokens", layer):
            continue
        last = stages[-1][-1] if stages else None
        if last is not None and trace.grid_of(last).tokens == trace.grid_of(layer).tokens:
            stages[-1].append(layer)
        else:
            stages.append([layer])
    return stages


def over_stages(
    trace: Trace, stages: list[list[int]], lay_out: Callable[[list[Floats]], Floats]
) -> dict[int, Floats]:
    """Layouts by layer; each stage is laid out by itself."""
    points: dict[int, Floats] = {}
    for stage in stages:
        points |= zip(stage, lay_out([trace.layer(layer) for layer in stage]), strict=True)
    return points


def packed(trace: Trace, points: dict[int, Floats]) -> bytes:
    """Layouts of all layers as one packet; NaN for a layer that has none."""
    layers = range(trace.layers + 1)
    none = np.float32(np.nan)
    tables = [points.get(layer, np.full((trace.grid_of(layer).tokens, 2), none)) for layer in layers]
    return encode(np.concatenate(tables), "float16")


def lay_out(known: Known, stages: list[list[int]], tables: dict[int, Floats], near: int, run: Run) -> bool:
    """Find t-SNE layouts of some more layers, `near` one; returns whether there are others left."""
    while not known.turn.acquire(timeout=0.05):
        if run.cancelled():
            raise CancelledError
    try:
        if not known.solvers:
            known.solvers = [Tsne([tables[layer] for layer in stage]) for stage in stages]
        layers = [(stage, solver) for stage, solver in zip(stages, known.solvers, strict=True) if solver.left]
        if layers:
            stage, solver = min(layers, key=lambda each: min(abs(layer - near) for layer in each[0]))
            place = min(range(len(stage)), key=lambda place: abs(stage[place] - near))
            tell = partial(_tell_share, known.solvers, run)
            solver.solve(place, progress=tell, cancelled=run.cancelled)
        return any(solver.left for solver in known.solvers)
    finally:
        known.turn.release()


def _tell_share(solvers: list[Tsne], run: Run, *_: int) -> None:
    run.progress(share_of(solvers))


def share_of(solvers: list[Tsne]) -> float:
    """How much of t-SNE is done, 0..1; a step of a layer takes as long as it has pairs of tokens."""
    done, work = (sum(solver.work[which] * solver.tokens**2 for solver in solvers) for which in (0, 1))
    return done / work if work else float(bool(solvers))


def receipts(trace: Trace, layer: int) -> Callable[[Run], Floats]:
    """Prepare the attention that each token of a layer receives, (N,): mean over heads and tokens."""
    N, heads = trace.grid_of(layer).tokens, trace.heads_of(layer)
    nothing = np.full(N, np.nan, np.float32)
    if heads == 0 or trace.why_not("attention", layer):
        return lambda _: nothing
    queries, keys = trace.queries(layer), trace.keys(layer)
    if queries is not None and keys is not None:
        return lambda _: _received_of(queries, keys)
    if 4 * heads * N * N > LARGEST:
        return lambda _: nothing
    attention = trace.attention(layer)
    return lambda _: np.asarray(attention.mean(axis=(0, 1), dtype=np.float64), np.float32)


def _received_of(queries: Floats, keys: Floats) -> Floats:
    """Mean over heads and rows of the softmax of ``queries @ keys.T``, both (heads, N, head_dim)."""
    total = np.zeros(queries.shape[1])
    for q, k in zip(queries, keys, strict=True):
        scores = q @ k.T
        np.exp(scores - scores.max(axis=1, keepdims=True), out=scores)
        total += (scores / scores.sum(axis=1, keepdims=True)).sum(axis=0)
    return np.asarray(total / (queries.shape[0] * queries.shape[1]), np.float32)


def cluster_all(
    trace: Trace,
    stages: list[list[int]],
    tables: dict[int, Floats],
    method: ClusterMethod,
    count: int,
    eps: float,
    run: Run,
) -> list[npt.NDArray[np.int64]]:
    """Cluster of each patch of each layer, numbered alike in layers that follow each other."""
    from vitwidgets.analysis.clusters import match

    if method != "dbscan" and count > trace.patch_grid.patches:
        patches = trace.patch_grid.patches
        raise ValueError(f"{count} clusters are more than the {patches} patch{'es' if patches > 1 else ''}")
    labels = [np.full(trace.grid_of(layer).patches, -1, np.int64) for layer in range(trace.layers + 1)]
    for stage in stages:
        for layer in stage:
            if run.cancelled():
                return labels
            finite = np.isfinite(tables[layer]).all(axis=1)
            if finite.any():
                labels[layer][finite] = _labels(tables[layer][finite], method, count, eps)
        for layer, matched in zip(stage, match([labels[layer] for layer in stage]), strict=True):
            labels[layer] = matched
    return labels


def _labels(tokens: Floats, method: ClusterMethod, count: int, eps: float) -> npt.NDArray[np.int64]:
    """Cluster of each of some tokens; a coarse layer has as many clusters as tokens at most."""
    from vitwidgets.analysis.clusters import cluster

    if method == "dbscan":
        step = (
            float(np.linalg.norm(np.diff(tokens.astype(np.float64), axis=0), axis=1).mean())
            if len(tokens) > 1
            else 0
        )
        return cluster(tokens, method, **({"eps": eps * step} if step > 0 else {}))
    if method == "agglomerative":  # a token of length 0 has no direction
        directed = np.linalg.norm(tokens, axis=1) > 0
        found = np.full(len(tokens), -1, np.int64)
        if directed.sum() > 1:
            few = min(count, int(directed.sum()))
            found[directed] = cluster(tokens[directed], method, n_clusters=few)
        return found
    equal = bool((tokens == tokens[0]).all())
    return cluster(tokens, method, n_clusters=1 if equal else min(count, len(tokens)))
