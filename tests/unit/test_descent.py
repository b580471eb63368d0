"""The numbers of t-SNE against plain loops and autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_clusters import clusters, plain_affinities, plain_divergence

from vitwidgets.analysis import descent
from vitwidgets.analysis.layout import deviations


def watch() -> Any:
    return descent.Watch(1, None, None)


@pytest.mark.parametrize("perplexity", [1.5, 5.0, 19.0])
@pytest.mark.parametrize("piece", [2**18, 300])
def test_affinities_are_those_of_a_search_for_each_token(
    perplexity: float, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "_PIECE", piece)
    tokens = clusters()[0].astype(np.float64)
    tokens[4] *= 100  # a token far from all, as registers are
    values = torch.from_numpy(deviations(tokens))
    p = descent.affinities_of(values, perplexity, watch()).numpy()
    np.testing.assert_allclose(p, plain_affinities(tokens, perplexity), atol=2e-7)
    np.testing.assert_array_equal(p, p.T)
    np.testing.assert_allclose(p.sum(), 1, atol=1e-6)


@pytest.mark.parametrize("spread", [0.01, 1.0, 3.0])
@pytest.mark.parametrize("perplexity", [2.0, 10.0, 30.0])
def test_the_entropy_of_each_row_is_the_logarithm_of_the_perplexity(spread: float, perplexity: float) -> None:
    random = np.random.default_rng(5)
    squared = np.exp(spread * random.standard_normal((40, 100))).astype(np.float32)
    squared -= squared.min(axis=1, keepdims=True)
    first = 17  # these are rows 17..56 of 100 tokens
    squared[np.arange(40), first + np.arange(40)] = 0
    p = descent._conditional(torch.from_numpy(squared / squared.mean()), first, perplexity).double().numpy()
    assert not p[np.arange(40), first + np.arange(40)].any()
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(entropy, np.log(perplexity), atol=1e-3)


def small_pairs(missing: bool) -> tuple[Any, torch.Tensor]:
    """Two layers of seven tokens, float64; some are not finite."""
    random = torch.Generator().manual_seed(6)
    finite = torch.ones(2, 7, dtype=torch.bool)
    if missing:
        finite[0, 2] = finite[1, 6] = finite[1, 0] = False
    p = torch.rand(2, 7, 7, generator=random, dtype=torch.float64)
    p = (p + p.mT) * finite[:, :, None] * finite[:, None, :] * (1 - torch.eye(7))
    p /= p.sum((1, 2), keepdim=True)
    places = 2 * torch.randn(2, 7, 2, generator=random, dtype=torch.float64) * finite[:, :, None]
    return descent.Pairs(p, finite), places


@pytest.mark.parametrize("piece", [10, 60, 10**6])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("exaggeration", [1.0, 3.0])
def test_the_gradient_is_that_of_the_divergence(
    piece: int, missing: bool, exaggeration: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "_PIECE", piece)
    pairs, places = small_pairs(missing)
    for layer in range(2):
        at = pairs.finite[layer].nonzero()[:, 0]
        p = exaggeration * pairs.affinities[layer][at][:, at]
        y = places[layer, at].clone().requires_grad_()
        # the last summand is sum(p) log(sum of kernels) where affinities sum to 1, also when exaggerated
        kernel = 1 / (1 + (y[:, None] - y).square().sum(2))
        off = ~torch.eye(len(at), dtype=torch.bool)
        loss = -(p * kernel.log())[off].sum() + kernel[off].sum().log()
        loss.backward()
        gradient = pairs.gradient(places, exaggeration)[layer]
        torch.testing.assert_close(gradient[at], y.grad, rtol=1e-9, atol=1e-12)
        assert (gradient[~pairs.finite[layer]].abs() < 1e-30).all()


@pytest.mark.parametrize("missing", [False, True])
def test_the_divergence_is_that_of_two_loops(missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_PIECE", 20)
    pairs, places = small_pairs(missing)
    for layer, value in enumerate(pairs.divergence(places)):
        at = pairs.finite[layer].nonzero()[:, 0]
        expected = plain_divergence(pairs.affinities[layer][at][:, at].numpy(), places[layer, at].numpy())
        np.testing.assert_allclose(value, expected, rtol=1e-9)
