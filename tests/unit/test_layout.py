"""Pictures of tokens: PCA and t-SNE against plain formulas and scikit-learn, and what goes wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from vitwidgets.analysis import layout
from vitwidgets.analysis.layout import Layouts, align, pca_layout, pca_layouts, tsne_layouts

Array = npt.NDArray[Any]


def clusters(layers: int = 1, each: int = 20, width: int = 50, apart: float = 2.0) -> Array:
    """Three Gaussian clusters of tokens that drift from layer to layer, (layers, 3 * each, width)."""
    random = np.random.default_rng(3)
    tokens = np.repeat(apart * random.standard_normal((3, width)), each, axis=0)
    tokens = tokens + random.standard_normal(tokens.shape)
    drift = random.standard_normal((layers, *tokens.shape)).cumsum(axis=0)
    return (tokens + 0.3 * drift).astype(np.float32)


def turn(angle: float, reflect: bool) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s], [-s, c]]) @ np.diag([1, -1 if reflect else 1])


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


def watch() -> Any:
    return layout._Watch(1, None, None)


def steps(points: Array) -> list[float]:
    """RMS way of the points from each layer to the next."""
    return [float(np.sqrt(((b - a) ** 2).sum(axis=1).mean())) for a, b in pairwise(points)]


def found(result: Layouts, layer: int) -> Array:
    """What t-SNE found, in its own unit."""
    places: Array = result.points[layer] * result.radius[layer]
    return places


# ---------------------------------------------------------------- principal components


@pytest.mark.parametrize("shape", [(15, 24), (24, 15), (60, 200), (150, 300), (300, 150), (5, 1), (2, 9)])
def test_pca_is_scikit_learns(shape: tuple[int, int]) -> None:
    N, D = shape
    tokens = 5 + np.random.default_rng(1).standard_normal(shape) * 0.9 ** np.arange(D)
    expected = np.zeros((N, 2))
    both = min(2, N, D)
    expected[:, :both] = PCA(both, svd_solver="full").fit_transform(tokens)
    expected *= np.where(expected[np.abs(expected).argmax(axis=0), [0, 1]] < 0, -1, 1)
    expected /= np.sqrt((expected**2).sum(axis=1).mean())
    points = pca_layout(tokens)
    assert points.shape == (N, 2)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, expected, atol=2e-3)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("size", [1.0, 512.0])
def test_pca_takes_any_real_type_and_does_not_depend_on_the_unit(dtype: Any, size: float) -> None:
    tokens = np.random.default_rng(2).integers(-20, 20, (30, 8))
    np.testing.assert_allclose(pca_layout((size * tokens).astype(dtype)), pca_layout(tokens), atol=1e-4)


def test_pca_of_numbers_whose_squares_overflow() -> None:
    tokens = clusters()[0].astype(np.float64)
    np.testing.assert_allclose(pca_layout(tokens * 1e300), pca_layout(tokens), atol=1e-6)


def test_pca_leaves_out_tokens_that_are_not_finite() -> None:
    tokens = clusters()[0]
    broken = tokens.copy()
    broken[7, 3], broken[20, 0] = np.nan, -np.inf
    rest = np.delete(np.arange(len(tokens)), [7, 20])
    points = pca_layout(broken)
    assert np.isnan(points[[7, 20]]).all()
    np.testing.assert_array_equal(points[rest], pca_layout(tokens[rest]))


@pytest.mark.parametrize("value", [1e-8, 0.1, -3e4])
def test_equal_tokens_are_at_zero_also_when_rounding_parts_them(value: float) -> None:
    tokens = np.full((12, 100), value, np.float32)
    assert not pca_layout(tokens).any()
    assert not pca_layout(0 * tokens).any()
    assert not pca_layout(np.nextafter(tokens, tokens + np.arange(12, dtype=np.float32)[:, None] - 5)).any()


@pytest.mark.parametrize("N", [1, 3, 100])
def test_layouts_without_numbers(N: int) -> None:
    assert not pca_layout(np.empty((N, 0))).any()
    assert np.isnan(pca_layout(np.full((N, 4), np.nan))).all()


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("angle", [0.0, 0.7, 2.5, -1.6])
def test_align_undoes_a_rotation_and_a_reflection(angle: float, reflect: bool) -> None:
    points = np.random.default_rng(4).standard_normal((20, 2))
    moved = points @ turn(angle, reflect)
    np.testing.assert_allclose(align(moved, points), points, atol=1e-6)
    moved[3], points[5] = np.nan, np.nan  # the pair without a place has no say
    aligned = align(moved, points)
    both = np.delete(np.arange(20), [3, 5])
    np.testing.assert_allclose(aligned[both], points[both], atol=1e-6)
    assert np.isnan(aligned[3]).all()


def test_neighbouring_pca_layouts_cannot_be_turned_closer() -> None:
    layers = pca_layouts(clusters(4, apart=0.5))
    turns = [turn(angle, reflect) for angle in np.linspace(0, 2 * np.pi, 721) for reflect in (False, True)]
    for before, after in pairwise(layers):
        best = min(np.linalg.norm(after @ each - before) for each in turns)
        assert np.linalg.norm(after - before) <= best + 1e-4
    np.testing.assert_array_equal(layers[0], pca_layout(clusters(4, apart=0.5)[0]))


def test_layers_may_differ_in_width_but_not_in_tokens() -> None:
    wide = clusters()[0]
    assert pca_layouts([wide, wide[:, :10]]).shape == (2, 60, 2)
    for lay_out in (pca_layouts, tsne_layouts):
        with pytest.raises(ValueError, match=r"same tokens, got \[60, 50\]; lay out those of each grid"):
            lay_out([wide, wide[:50]])


@pytest.mark.parametrize("lay_out", [pca_layouts, tsne_layouts])
def test_what_is_no_layer_is_refused(lay_out: Any) -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        lay_out([])
    with pytest.raises(ValueError, match=r"shape \(N, D\).*got \(4,\)"):
        lay_out([np.zeros(4)])
    with pytest.raises(ValueError, match=r"at least one token, got \(0, 4\)"):
        lay_out([np.zeros((0, 4))])
    with pytest.raises(TypeError, match="real numbers, got complex128"):
        lay_out([np.zeros((5, 4), complex)])
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(4, 2\)"):
        align(np.zeros((3, 2)), np.zeros((4, 2)))


# ---------------------------------------------------------------- the numbers of t-SNE


@pytest.mark.parametrize("perplexity", [1.5, 5.0, 19.0])
@pytest.mark.parametrize("piece", [2**18, 300])
def test_affinities_are_those_of_a_search_for_each_token(
    perplexity: float, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_PIECE", piece)
    tokens = clusters()[0].astype(np.float64)
    tokens[4] *= 100  # a token far from all, as registers are
    values = torch.from_numpy(layout._deviations(tokens))
    p = layout._affinities(values, perplexity, watch()).numpy()
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
    p = layout._conditional(torch.from_numpy(squared / squared.mean()), first, perplexity).double().numpy()
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
    return layout._Pairs(p, finite), places


@pytest.mark.parametrize("piece", [10, 60, 10**6])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("exaggeration", [1.0, 3.0])
def test_the_gradient_is_that_of_the_divergence(
    piece: int, missing: bool, exaggeration: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_PIECE", piece)
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
    monkeypatch.setattr(layout, "_PIECE", 20)
    pairs, places = small_pairs(missing)
    for layer, value in enumerate(pairs.divergence(places)):
        at = pairs.finite[layer].nonzero()[:, 0]
        expected = plain_divergence(pairs.affinities[layer][at][:, at].numpy(), places[layer, at].numpy())
        np.testing.assert_allclose(value, expected, rtol=1e-9)


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize("apart", [0.3, 2.0])
def test_the_divergence_is_no_worse_than_scikit_learns(apart: float) -> None:
    layers = clusters(2, apart=apart)
    result = tsne_layouts(layers, perplexity=10)
    theirs = []
    for layer, tokens in enumerate(layers):
        p = plain_affinities(tokens, 10)
        np.testing.assert_allclose(
            result.divergence[layer], plain_divergence(p, found(result, layer)), rtol=1e-4, atol=1e-5
        )
        theirs.append(plain_divergence(p, TSNE(perplexity=10, random_state=0).fit_transform(tokens)))
    assert result.divergence.mean() <= 1.05 * np.mean(theirs)


@pytest.mark.assets
def test_the_divergence_is_no_worse_than_scikit_learns_on_a_photo(assets: Path) -> None:
    import timm

    from vitwidgets import Inspector

    weights = assets / "weights/deit_tiny_patch16_224.safetensors"
    overlay = {"file": str(weights)}
    model = timm.create_model("deit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay=overlay)
    trace = Inspector(model).trace(assets / "coco/images/000000000471.jpg")
    layers = [trace.layer(layer).astype(np.float32) for layer in (4, 12)]
    result = tsne_layouts(layers)
    theirs = []
    for layer, tokens in enumerate(layers):
        pairs = layout._pairs_of([tokens], np.ones((1, len(tokens)), bool), 30, watch())
        places = TSNE(random_state=0).fit_transform(tokens)
        ours = found(result, layer)
        np.testing.assert_allclose(
            pairs.divergence(torch.from_numpy(ours)[None]), result.divergence[layer : layer + 1], rtol=1e-4
        )
        theirs.append(float(pairs.divergence(torch.from_numpy(places)[None])[0]))
    assert result.divergence.mean() <= 1.05 * np.mean(theirs)


def test_the_divergence_falls_from_that_of_pca() -> None:
    layers = clusters(2)
    p = [plain_affinities(tokens, 10) for tokens in layers]
    start = np.mean([plain_divergence(*each) for each in zip(p, pca_layouts(layers), strict=True)])
    few, many = (tsne_layouts(layers, perplexity=10, iterations=n).divergence.mean() for n in (5, 60))
    assert start > few > many


def test_points_are_centred_and_of_unit_radius_and_lie_by_their_cluster() -> None:
    result = tsne_layouts(clusters(3, apart=4.0), perplexity=10)
    assert result.points.shape == (3, 60, 2)
    assert result.points.dtype == result.radius.dtype == result.divergence.dtype == np.float32
    assert result.notes == ()
    np.testing.assert_allclose(result.points.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose((result.points**2).sum(axis=2).mean(axis=1), 1, atol=1e-5)
    for points in result.points:
        distances = np.linalg.norm(points[:, None] - points, axis=2)
        np.fill_diagonal(distances, np.inf)
        assert (distances.argmin(axis=1) // 20 == np.arange(60) // 20).all()


def test_points_move_less_than_between_layouts_of_single_layers() -> None:
    layers = clusters(3, each=30, apart=0.5)
    together = tsne_layouts(layers, perplexity=10).points
    alone = np.concatenate([tsne_layouts([tokens], perplexity=10).points for tokens in layers])
    for layer in range(1, len(alone)):
        alone[layer] = align(alone[layer], alone[layer - 1])
    assert np.mean(steps(together)) < 0.7 * np.mean(steps(alone))
    for before, after in pairwise(together):
        np.testing.assert_allclose(align(after, before), after, atol=1e-5)


def test_the_first_layer_is_turned_as_its_pca_layout() -> None:
    layers = clusters(2)
    first = tsne_layouts(layers, perplexity=10).points[0]
    np.testing.assert_allclose(align(first, pca_layout(layers[0])), first, atol=1e-5)


def test_the_same_seed_gives_the_same_points() -> None:
    layers = clusters(2)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    one, two = (tsne_layouts(layers, seed=4, iterations=60) for _ in range(2))
    np.testing.assert_array_equal(one.points, two.points)
    np.testing.assert_array_equal(one.divergence, two.divergence)
    assert not np.array_equal(one.points, tsne_layouts(layers, seed=5, iterations=60).points)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision as torch's default."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
def test_torchs_default_type_does_not_matter() -> None:
    assert tsne_layouts(clusters(2), iterations=20).points.dtype == np.float32


def test_half_precision_and_lists_of_tensors() -> None:
    half = clusters(2).astype(np.float16)
    expected = tsne_layouts(half.astype(np.float32), iterations=20).points
    np.testing.assert_array_equal(tsne_layouts(half, iterations=20).points, expected)
    tensors: Any = list(torch.from_numpy(half))
    np.testing.assert_array_equal(tsne_layouts(tensors, iterations=20).points, expected)


# ---------------------------------------------------------------- layers that are not as they should be


def test_a_perplexity_too_large_is_lowered_and_said() -> None:
    layers = clusters(2, each=7)
    result = tsne_layouts(layers, iterations=40)
    assert result.notes == ("perplexity lowered from 30 to 6.67: 21 tokens allow no more (in all layers)",)
    np.testing.assert_array_equal(
        result.points, tsne_layouts(layers, perplexity=20 / 3, iterations=40).points
    )


@pytest.mark.parametrize("N", [1, 2, 3])
def test_fewer_than_four_tokens_keep_their_pca_layout(N: int) -> None:
    layers = clusters(3)[:, :N]
    seen: list[Any] = []
    result = tsne_layouts(
        layers, ready=lambda *done: seen.append(done), progress=lambda *_: seen.append(None)
    )
    np.testing.assert_array_equal(result.points, pca_layouts(layers))
    assert np.isnan(result.divergence).all()
    assert np.isnan(result.radius).all()
    assert result.notes == ("no t-SNE: fewer than 4 finite tokens (in all layers)",)
    assert len(seen) == 1
    assert seen[0][0] == 0
    np.testing.assert_array_equal(seen[0][1], result.points)


@pytest.mark.parametrize("N", [4, 5, 7])
def test_four_tokens_are_enough(N: int) -> None:
    result = tsne_layouts(clusters(2)[:, :N], iterations=100)
    assert np.isfinite(result.points).all()
    assert (result.divergence >= 0).all()


def test_a_layer_of_equal_tokens_is_one_point() -> None:
    layers = clusters(4)
    layers[0], layers[2] = 0.1, 3.0
    result = tsne_layouts(layers)
    assert not result.points[[0, 2]].any()
    assert np.isnan(result.divergence).tolist() == [True, False, True, False]
    assert result.notes[0] == "no t-SNE: all tokens are equal (in layer 0, 2)"
    assert (np.ptp(result.points[[1, 3]], axis=1) > 1).all()


def test_tokens_that_are_not_finite_have_no_place_and_no_say() -> None:
    layers = clusters(3)
    layers[1, 5, 0], layers[1, 9] = np.nan, np.inf
    layers[2] = np.nan
    result = tsne_layouts(layers, perplexity=10)
    lost = np.isnan(result.points[:, :, 0])
    assert lost[0].sum() == 0
    assert np.flatnonzero(lost[1]).tolist() == [5, 9]
    assert lost[2].all()
    assert result.notes == (
        "not finite and without a place: 2 of 60 tokens (in layer 1)",
        "not finite and without a place: 60 of 60 tokens (in layer 2)",
        "no t-SNE: fewer than 4 finite tokens (in layer 2)",
    )
    p = plain_affinities(layers[1][~lost[1]], 10)
    expected = plain_divergence(p, found(result, 1)[~lost[1]])
    np.testing.assert_allclose(result.divergence[1], expected, rtol=1e-4, atol=1e-5)
    assert result.divergence[1] < 1.5 * result.divergence[0]


def test_twins_end_side_by_side() -> None:
    layers = clusters(2)
    layers[:, 1] = layers[:, 0]
    for points in tsne_layouts(layers, perplexity=5).points:
        distances = np.linalg.norm(points - points[0], axis=1)
        assert distances[1] <= distances[2:].min()


def test_more_twins_than_the_perplexity_allows() -> None:
    layers = clusters(2)
    layers[:, 20:] = layers[:, 20:21]
    result = tsne_layouts(layers, perplexity=5, iterations=100)
    assert np.isfinite(result.points).all()
    assert (result.divergence > 0).all()


def test_tokens_that_coincide_in_the_pca_layout_part() -> None:
    corners = np.stack(np.meshgrid([-10, 10], [-5, 5], [-2, 2], indexing="ij"), axis=-1).reshape(8, 3)
    tokens = corners.repeat(6, axis=0)  # principal components tell the first two coordinates
    np.testing.assert_allclose(pca_layout(tokens)[:6], pca_layout(tokens)[6:12], atol=1e-6)
    points = tsne_layouts([tokens], perplexity=4).points[0].reshape(8, 6, 2)
    centres = points.mean(axis=1)
    inside = np.linalg.norm(points - centres[:, None], axis=2).max()
    assert np.linalg.norm(centres[::2] - centres[1::2], axis=1).min() > 2 * inside


def test_too_many_tokens_are_refused_before_any_work() -> None:
    tokens = np.broadcast_to(np.float32(1), (layout.MOST_TOKENS + 1, 2))
    with pytest.raises(ValueError, match="5001 tokens are too many, it takes at most 5000; pca_layouts"):
        tsne_layouts([tokens])


@pytest.mark.parametrize(
    "options",
    [
        {"perplexity": 0.5},
        {"perplexity": float("nan")},
        {"perplexity": float("inf")},
        {"iterations": 0},
        {"seed": -1},
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be"):
        tsne_layouts(clusters(), **options)


# ---------------------------------------------------------------- while it runs


@pytest.mark.parametrize("iterations", [1, 2, 7, 120])
def test_progress_rises_to_the_whole(iterations: int) -> None:
    seen: list[tuple[int, int]] = []
    tsne_layouts(clusters(3), iterations=iterations, progress=lambda *done: seen.append(done))
    done, work = zip(*seen, strict=True)
    assert set(work) == {3 * iterations}
    assert list(done) == sorted(set(done))
    assert done[-1] == work[-1]
    assert len(seen) == min(iterations, 50)


@pytest.mark.parametrize("after", [0, 1, 5, 30])
def test_a_layout_that_nobody_wants_stops(after: int) -> None:
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(CancelledError, match="cancelled"):
        tsne_layouts(clusters(2), cancelled=cancelled)
    assert asked == after + 1


def test_layers_that_do_not_fit_together_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = clusters(6)
    layers[1] = layers[5] = 1.0  # keep their PCA layouts
    whole = tsne_layouts(layers, perplexity=10)
    monkeypatch.setattr(layout, "_CHUNK_BYTES", 2 * 4 * 60**2)
    seen: list[tuple[int, Array]] = []
    result = tsne_layouts(
        layers, perplexity=10, ready=lambda first, points: seen.append((first, points.copy()))
    )
    assert [(first, len(points)) for first, points in seen] == [(0, 3), (3, 3)]
    np.testing.assert_array_equal(np.concatenate([points for _, points in seen]), result.points)
    assert np.nanmean(result.divergence) < 1.1 * np.nanmean(whole.divergence)
    assert steps(result.points[2:4])[0] < 2 * steps(whole.points[2:4])[0]


def test_layers_that_were_ready_before_a_cancel_are_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_CHUNK_BYTES", 1)
    layers, seen = clusters(3), []
    expected = tsne_layouts(layers, iterations=40).points
    with pytest.raises(CancelledError):
        tsne_layouts(
            layers,
            iterations=40,
            ready=lambda first, points: seen.append((first, points.copy())),
            cancelled=lambda: len(seen) == 2,
        )
    np.testing.assert_array_equal(np.concatenate([points for _, points in seen]), expected[:2])


def test_pca_needs_no_torch() -> None:
    code = (
        "import sys, numpy; from vitwidgets.analysis.layout import pca_layouts; "
        "pca_layouts(numpy.eye(5)[None]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
