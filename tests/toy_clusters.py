"""Tokens in three clusters, and what t-SNE makes of tokens in plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def clusters(layers: int = 1, each: int = 20, width: int = 50, apart: float = 2.0) -> Array:
    """Three Gaussian clusters of tokens that drift from layer to layer, (layers, 3 * each, width)."""
    random = np.random.default_rng(3)
    tokens = np.repeat(apart * random.standard_normal((3, width)), each, axis=0)
    tokens = tokens + random.standard_normal(tokens.shape)
    drift = random.standard_normal((layers, *tokens.shape)).cumsum(axis=0)
    return (tokens + 0.3 * drift).astype(np.float32)


def plain_affinities(tokens: Array, perplexity: float) -> Array:
    """Bisection for each row by itself, float64."""
    N = len(tokens)
    x = tokens.astype(np.float64)
    p = np.zeros((N, N))
    for i in range(N):
        others = np.arange(N) != i
        d = ((x[others] - x[i]) ** 2).sum(axis=1)
        low, high = -60.0, 60.0
        for _ in range(200):
            middle = (low + high) / 2
            weights = np.exp(-(d - d.min()) * np.exp(middle))
            row = weights / weights.sum()
            entropy = -(row * np.log(np.maximum(row, 1e-300))).sum()
            low, high = (middle, high) if entropy > np.log(perplexity) else (low, middle)
        p[i, others] = row
    return (p + p.T) / (2 * N)


def plain_divergence(p: Array, points: Array) -> float:
    y = points.astype(np.float64)
    N, kernel = len(y), np.zeros((len(y), len(y)))
    for i in range(N):
        for j in range(N):
            if i != j:
                kernel[i, j] = 1 / (1 + ((y[i] - y[j]) ** 2).sum())
    q = kernel / kernel.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())
