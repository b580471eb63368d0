"""The token map: layouts, clusters and attention received, computed beside the kernel's own work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import traitlets as t
from small_traces import broken_trace, small_model, small_trace, staged_trace, trace_of

from vitwidgets.analysis.layout import pca_layouts
from vitwidgets.analysis.tsne import Tsne
from vitwidgets.groups import PALETTE
from vitwidgets.stills.token_map import fit
from vitwidgets.trace import Trace
from vitwidgets.widgets.codec import decode
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.groups import Groups
from vitwidgets.widgets.token_map import TokenMap


def split(packet: bytes, counts: list[int]) -> list[np.ndarray]:
    """A packet's numbers, layer by layer."""
    return np.split(decode(packet), np.cumsum(counts)[:-1])


def tokens_of(trace: Trace) -> list[int]:
    return [trace.grid_of(layer).tokens for layer in range(trace.layers + 1)]


def test_pca_is_there_at_once_and_the_rest_after_waiting(trace: Trace) -> None:
    token_map = TokenMap(trace)
    pca = np.stack(split(token_map.pca, tokens_of(trace)))
    assert np.allclose(pca, pca_layouts(list(trace.tokens)), atol=2e-3)
    assert token_map.wait(60)
    points = np.stack(split(token_map.tsne, tokens_of(trace)))
    assert points.shape == (4, 17, 2)
    assert np.allclose(np.sqrt(np.square(points).sum(-1).mean(-1)), 1, atol=2e-3)
    assert token_map.progress == 1
    assert token_map.points(layer=2).tolist() == points[2].tolist()
    assert token_map.points("pca").tolist() == pca[token_map.layer].tolist()
    assert any("perplexity" in note and "17 tokens" in note for note in token_map.notes)


def test_points_say_when_they_are_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    go, solve = threading.Event(), Tsne.solve
    monkeypatch.setattr(Tsne, "solve", lambda *a, **k: go.wait(30) and solve(*a, **k))
    token_map = TokenMap(small_trace())
    with pytest.raises(ValueError, match=r"call wait\(\) first"):
        token_map.points()
    with pytest.raises(ValueError, match="projection is one of"):
        token_map.points("umap")  # type: ignore[arg-type]
    go.set()
    assert token_map.wait(60)
    assert token_map.points().shape == (17, 2)


def layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make t-SNE work on one layer at a time; returns the layers that it was asked for, as they come."""
    asked, solve = list[int](), Tsne.solve
    monkeypatch.setattr("vitwidgets.analysis.tsne._CHUNK_PAIRS", 1)
    monkeypatch.setattr(Tsne, "solve", lambda self, near, **k: asked.append(near) or solve(self, near, **k))
    return asked


def ready(token_map: TokenMap) -> list[bool]:
    """Which layers have a t-SNE layout in the page."""
    counts = tokens_of(token_map.trace)
    if not token_map.tsne:
        return [False] * len(counts)
    return [bool(np.isfinite(points).any()) for points in split(token_map.tsne, counts)]


def test_the_cursors_layer_comes_first_and_is_shown_before_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = layer_by_layer(monkeypatch)
    seen: list[list[bool]] = []
    token_map = TokenMap(small_trace(), layer=2, computing=False)
    assert token_map.wait(60)
    assert ready(token_map) == [False] * 4
    token_map.observe(lambda _: seen.append(ready(token_map)), names="tsne")
    shares: list[float] = []
    token_map.observe(lambda change: shares.append(change["new"]), names="progress")
    token_map.computing = True
    assert token_map.wait(60)
    assert seen == [
        [False, False, True, False],
        [False, True, True, False],
        [False, True, True, True],
        [True] * 4,
    ]
    assert asked == [2] * 4
    assert token_map.computing is False
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_stopping_keeps_what_is_done_and_the_map_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    layer_by_layer(monkeypatch)
    trace = small_trace()
    token_map = TokenMap(trace, layer=1)

    def stop(_: Any) -> None:
        if any(ready(token_map)):
            token_map.computing = False

    token_map.observe(stop, names="tsne")
    assert token_map.wait(60)
    assert ready(token_map) == [False, True, False, False]
    points = token_map.points()
    with pytest.raises(ValueError, match=r"call wait\(\) first"):
        token_map.points(layer=3)
    token_map.layer = 3
    assert token_map.still(width=400).size[0] == 400  # by PCA
    assert token_map.received
    assert token_map.clusters is not None
    token_map.unobserve_all("tsne")
    token_map.set_state({"computing": True})  # as the page does
    assert token_map.wait(60)
    assert ready(token_map) == [True] * 4
    assert token_map.points(layer=1).tolist() == points.tolist()
    token_map.computing = True  # nothing is left to do
    assert token_map.computing is False


def test_maps_of_one_trace_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = layer_by_layer(monkeypatch)
    trace = small_trace()
    one, other = TokenMap(trace), TokenMap(trace)
    assert one.wait(60)
    assert other.wait(60)
    assert len(asked) == 4
    assert one.tsne == other.tsne


def test_notes_count_layers_as_the_trace_does() -> None:
    token_map = TokenMap(staged_trace())
    assert token_map.wait(60)
    counts = tokens_of(token_map.trace)
    for note in token_map.notes:
        if "allow no more" not in note:
            continue
        tokens = int(note.split(": ")[1].split(" ")[0])
        where = [layer for layer, count in enumerate(counts) if count == tokens]
        where = [layer for layer in where if not token_map.trace.why_not("tokens", layer)]
        assert f"(in layer{'s' if len(where) > 1 else ''} {', '.join(map(str, where))})" in note
    assert sum("allow no more" in note for note in token_map.notes) > 1


def test_the_event_loop_goes_on_meanwhile_and_hears_of_the_result() -> None:
    async def open_and_count() -> tuple[int, bytes]:
        token_map, turns = TokenMap(small_trace()), 0
        while not (token_map.tsne and token_map.labels and token_map.received):
            await asyncio.sleep(0.002)
            turns += 1
        token_map.close()
        return turns, token_map.tsne

    turns, tsne = asyncio.run(asyncio.wait_for(open_and_count(), 60))
    assert turns > 3
    assert tsne


def test_a_second_map_of_a_trace_computes_nothing_anew() -> None:
    trace = small_trace()
    first = TokenMap(trace)
    first.wait(60)
    second = TokenMap(trace)
    assert second.tsne == first.tsne
    assert second.progress == 1
    second.wait(60)
    assert second.received == first.received


def test_two_maps_that_compute_at_the_same_time_agree() -> None:
    trace = small_trace()
    one, other = TokenMap(trace), TokenMap(trace)
    assert one.wait(60)
    assert other.wait(60)
    assert one.received == other.received
    for layer, received in enumerate(split(one.received, tokens_of(trace))[1:], 1):
        assert np.allclose(received, trace.attention(layer).mean(axis=(0, 1)), atol=1e-6)


def test_closing_ends_the_work() -> None:
    token_map = TokenMap(small_trace())
    groups = token_map.groups
    token_map.close()
    assert groups.comm is None
    assert token_map.wait(10)
    shared = Groups()
    other = TokenMap(small_trace(), groups=shared)
    other.close()
    assert shared.comm is not None  # it belongs to whoever made it


@pytest.mark.parametrize("make", [small_trace, lambda: trace_of(small_model(registers=4, heads=4))])
def test_attention_received_is_the_mean_of_heads_and_rows(make: Callable[[], Trace]) -> None:
    trace = make()
    token_map = TokenMap(trace)
    token_map.wait(60)
    received = split(token_map.received, tokens_of(trace))
    assert np.isnan(received[0]).all()
    for layer in range(1, trace.layers + 1):
        attention = trace.attention(layer).astype(np.float64)
        expected = [np.mean([head[:, j].mean() for head in attention]) for j in range(attention.shape[-1])]
        assert np.allclose(received[layer], expected, atol=1e-6)
        assert received[layer].sum() == pytest.approx(1, abs=1e-5)


def test_layers_on_grids_of_their_own_are_laid_out_stage_by_stage() -> None:
    trace = staged_trace()
    token_map = TokenMap(trace)
    assert token_map.wait(60)
    counts = tokens_of(trace)
    assert len(set(counts)) > 1
    for packet in (token_map.pca, token_map.tsne):
        for layer, points in enumerate(split(packet, counts)):
            assert points.shape == (counts[layer], 2)
            assert np.isfinite(points).all() == (not trace.why_not("tokens", layer))
    assert token_map.clusters is not None
    assert [len(labels) for labels in token_map.clusters] == [count - 1 for count in counts]
    for layer in range(trace.layers + 1):
        token_map.layer = layer
        assert token_map.still(width=400).size[0] == 400


def test_tokens_that_are_not_finite_have_no_place_and_no_cluster() -> None:
    trace = broken_trace()
    token_map = TokenMap(trace)
    assert token_map.wait(60)
    assert any("not finite" in note for note in token_map.notes)
    assert token_map.clusters is not None
    for layer, points in enumerate(split(token_map.tsne, tokens_of(trace))):
        broken = ~np.isfinite(trace.layer(layer)).all(axis=1)
        assert np.isnan(points).any(axis=1).tolist() == broken.tolist()
        patches = broken[len(trace.prefix) :]
        assert (token_map.clusters[layer][patches] == -1).all()
    for color_by in ("cluster", "similarity", "attention", "norm", "image", "group"):
        token_map.color_by = color_by
        assert token_map.still(width=400).size[0] == 400


@pytest.mark.parametrize("method", ["kmeans", "agglomerative", "dbscan"])
def test_clusters_follow_method_and_parameter(trace: Trace, method: str) -> None:
    token_map = TokenMap(trace, cluster_method=method, cluster_count=3, cluster_eps=1.2)
    token_map.wait(60)
    assert token_map.clusters is not None
    labels = np.stack(token_map.clusters)
    assert labels.shape == (4, 15)
    assert token_map.labels == labels.tolist()
    if method != "dbscan":
        assert all(len(np.unique(layer)) == 3 for layer in labels)
        token_map.cluster_count = 2
    else:
        token_map.cluster_eps = 0.05
    assert token_map.cluster_note == "clustering…"
    token_map.wait(60)
    assert token_map.cluster_note == ""
    if method == "dbscan":
        assert (np.stack(token_map.clusters) == -1).all()  # nothing lies that close
    else:
        assert all(len(np.unique(layer)) == 2 for layer in token_map.clusters)


def test_more_clusters_than_patches_is_said_in_the_panel(trace: Trace) -> None:
    token_map = TokenMap(trace, cluster_count=60)
    token_map.wait(60)
    assert "60 clusters are more than the 15 patches" in token_map.cluster_note


def test_masks_open_with_groups(trace: Trace) -> None:
    width, height = trace.frame.original
    masks = np.zeros((2, height, width), bool)
    masks[0, :, : width // 2] = True
    masks[1, :, width // 2 :] = True
    token_map = TokenMap(trace, masks=masks, labels=["left", "right"])
    assert token_map.groups.names == ["left", "right"]
    numbers = token_map.groups.as_array()
    assert (numbers[:, :2] == 0).all()
    assert (numbers[:, 3:] == 1).all()
    with pytest.raises(ValueError, match="the masks are"):
        TokenMap(trace, masks=masks[:, 1:])
    with pytest.raises(ValueError, match="there is no masks="):
        TokenMap(trace, labels=["left"])


def test_maps_share_cursor_and_groups(trace: Trace) -> None:
    cursor, groups = Cursor(layer=1), Groups()
    one, other = (TokenMap(trace, cursor=cursor, groups=groups) for _ in range(2))
    one.layer, one.patches = 2, [3, 4]
    assert (other.layer, other.patches) == (2, [3, 4])
    one.groups.add("a", one.patches)
    assert other.groups["a"] == [3, 4]


def test_bad_input_is_refused(trace: Trace) -> None:
    with pytest.raises(TypeError, match="needs a Trace"):
        TokenMap("dog.jpg")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"groups must be a vitwidgets\.Groups; got list"):
        TokenMap(trace, groups=[])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="did you mean 'color_by'"):
        TokenMap(trace, colour_by="norm")
    wrong: dict[str, Any] = {
        "color_by": "depth",
        "cluster_count": 0,
        "cluster_eps": 0.0,
        "projection": "umap",
    }
    for name, value in wrong.items():
        with pytest.raises(t.TraitError):
            TokenMap(trace, **{name: value})
    other = Groups()
    other.bind(trace_of(small_model(size=(32, 32))))
    with pytest.raises(ValueError, match="2 x 2 patches"):
        TokenMap(trace, groups=other)


def test_the_page_may_set_its_choices_alone(trace: Trace) -> None:
    token_map = TokenMap(trace)
    token_map.wait(60)
    before = token_map.tsne
    token_map.set_state({"tsne": b"", "color_by": "norm", "pixels": True, "cluster_count": 999})
    assert token_map.tsne == before
    assert (token_map.color_by, token_map.pixels, token_map.cluster_count) == ("norm", True, 4)


def test_too_many_tokens_for_tsne_keep_pca_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitwidgets.analysis.tsne.MOST_TOKENS", 10)
    token_map = TokenMap(small_trace())
    assert token_map.wait(60)
    assert token_map.tsne == b""
    assert token_map.progress == 1
    assert any(note.startswith("no t-SNE: ") for note in token_map.notes)
    assert token_map.still(width=400).size[0] == 400


def test_a_still_shows_the_colours_of_its_groups(trace: Trace) -> None:
    token_map = TokenMap(trace, projection="pca")
    token_map.groups.add("all", range(15))
    colours = {colour for _, colour in token_map.still().getcolors(1 << 24) or []}
    red, green, blue = (int(PALETTE[0][i : i + 2], 16) for i in (1, 3, 5))
    assert (red, green, blue) in colours
    with pytest.raises(ValueError, match="at least 300"):
        token_map.still(width=200)


def test_fit_fills_the_square_and_moves_outliers_to_the_edge() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-3, 5, (200, 2))
    assert np.abs(fit(points)).max() == pytest.approx(1)
    far = fit(np.vstack([points, [[900, 1]], [[np.nan, 0]]]))
    assert np.allclose(far[:200], fit(points), atol=0.05)
    assert far[200, 0] == 1
    assert np.isnan(far[201, 0])
    assert (fit(np.ones((5, 2))) == 0).all()


def test_void_is_no_object_and_needs_no_word() -> None:
    trace = small_trace()
    width, height = trace.frame.original
    masks = np.full((height, width), 255, np.uint8)
    masks[: height // 2] = 1
    token_map = TokenMap(trace, masks=masks, computing=False)
    assert token_map.groups.names == ["object 1"]
    assert token_map.notes == []
    empty = TokenMap(trace, masks=np.full((height, width), 255, np.uint8), computing=False)
    assert empty.notes == ["the masks hold no object that covers 40 % of a patch"]


@pytest.mark.parametrize("method", ["kmeans", "agglomerative", "dbscan"])
@pytest.mark.filterwarnings("error")
def test_layers_of_equal_tokens_are_one_point_and_at_most_one_cluster(method: str) -> None:
    model = small_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    token_map = TokenMap(trace_of(model), cluster_method=method)
    assert token_map.wait(60)
    assert token_map.notes == ["no t-SNE: all tokens are equal (in all layers)"]
    assert token_map.computing is False
    assert not token_map.points().any()
    assert token_map.clusters is not None
    assert all(len(np.unique(labels)) == 1 for labels in token_map.clusters)
    assert token_map.still(width=400).size[0] == 400
