"""t-SNE of all layers: against scikit-learn, in which order layers come, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.manifold import TSNE
from toy_clusters import Array, clusters, plain_affinities, plain_divergence

from vitwidgets.analysis import descent, tsne
from vitwidgets.analysis.layout import align, pca_layout, pca_layouts
from vitwidgets.analysis.tsne import Layouts, Tsne, tsne_layouts


def steps(points: Array) -> list[float]:
    """RMS way of the points from each layer to the next."""
    return [float(np.sqrt(((b - a) ** 2).sum(axis=1).mean())) for a, b in pairwise(points)]


def found(result: Layouts, layer: int) -> Array:
    """What t-SNE found, in its own unit."""
    places: Array = result.points[layer] * result.radius[layer]
    return places


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
        pairs = descent.pairs_of([tokens], np.ones((1, len(tokens)), bool), 30, descent.Watch(1, None, None))
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
    result = tsne_layouts(layers)
    np.testing.assert_array_equal(result.points, pca_layouts(layers))
    assert np.isnan(result.divergence).all()
    assert np.isnan(result.radius).all()
    assert result.notes == ("no t-SNE: fewer than 4 finite tokens (in all layers)",)
    solver = Tsne(layers)
    assert solver.left == 0
    assert solver.solve() is False


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
    assert result.notes[0] == "no t-SNE: all tokens are equal (in layers 0, 2)"
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
    tokens = np.broadcast_to(np.float32(1), (tsne.MOST_TOKENS + 1, 2))
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


def few_at_a_time(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """Work on so many layers of 60 tokens at once."""
    monkeypatch.setattr(tsne, "_CHUNK_PAIRS", together * 60**2)


@pytest.mark.parametrize(
    ("near", "order"),
    [
        (0, [[0, 1], [2, 3], [4, 5]]),
        (3, [[2, 3], [4, 5], [0, 1]]),
        (5, [[4, 5], [2, 3], [0, 1]]),
    ],
)
def test_the_layer_that_is_wanted_comes_first_and_the_others_after(
    near: int, order: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_at_a_time(monkeypatch, 2)
    solver, seen = Tsne(clusters(6), iterations=20), list[list[int]]()
    while True:
        before = set(solver.found)
        more = solver.solve(near)
        seen.append(sorted(set(solver.found) - before))
        if not more:
            break
    assert seen == order
    assert solver.work == (120, 120)


def test_what_is_wanted_may_change_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch, 1)
    solver = Tsne(clusters(6), iterations=10)
    for near, found in ((1, [1]), (4, [1, 4]), (4, [1, 3, 4]), (0, [0, 1, 3, 4])):
        solver.solve(near)
        assert sorted(solver.found) == found


def test_a_few_layers_at_a_time_are_as_good_and_move_as_little(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = clusters(6)
    layers[1] = layers[5] = 1.0  # keep their PCA layouts
    layers[3, 7] = np.nan
    whole = tsne_layouts(layers, perplexity=10)
    few_at_a_time(monkeypatch, 1)
    solver = Tsne(layers, perplexity=10)
    while solver.solve(3):
        pass
    found = [solver.found[layer] for layer in range(6)]
    assert np.nanmean([each.divergence for each in found]) < 1.1 * np.nanmean(whole.divergence)
    moving = [np.delete(found[layer].points, 7, axis=0) for layer in (0, 2, 3, 4)]
    usual = [np.delete(whole.points[layer], 7, axis=0) for layer in (0, 2, 3, 4)]
    assert np.mean(steps(np.array(moving))) < 1.2 * np.mean(steps(np.array(usual)))
    assert np.isnan(found[3].points).any(axis=1).nonzero()[0].tolist() == [7]
    first, beside = found[3].points, found[4].points
    np.testing.assert_allclose(align(first, pca_layouts(layers)[3]), first, atol=1e-5)
    np.testing.assert_allclose(align(beside, first), beside, atol=1e-5)


def test_what_was_found_before_a_cancel_stays_and_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    few_at_a_time(monkeypatch, 1)
    layers, expected = clusters(3), Tsne(clusters(3), iterations=40)
    while expected.solve():
        pass
    solver = Tsne(layers, iterations=40)
    solver.solve()
    with pytest.raises(CancelledError):
        solver.solve(cancelled=lambda: solver.work[0] > 60)
    assert list(solver.found) == [0]
    assert solver.left == 2
    seen: list[tuple[int, int]] = []
    while solver.solve(progress=lambda *done: seen.append(done)):
        pass
    done = [part for part, _ in seen]
    assert done == sorted(set(done))
    assert (done[0] > 40, seen[-1]) == (True, (120, 120))
    for layer in range(3):
        np.testing.assert_array_equal(solver.found[layer].points, expected.found[layer].points)


def test_notes_name_the_layers_as_they_are_told() -> None:
    notes = {"no t-SNE: all tokens are equal": [4], "not finite": [5, 6], "lowered": list(range(7))}
    assert tsne.say(notes, 7) == (
        "no t-SNE: all tokens are equal (in layer 4)",
        "not finite (in layers 5, 6)",
        "lowered (in all layers)",
    )
