"""The grouping curves against scikit-learn, plain loops, and cases whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from benchmarks.bench_grouping import by_scikit_learn
from PIL import Image
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from vitwidgets.analysis.grouping import MEASURES, curves, dbscan, neighbours, position_tokens
from vitwidgets.analysis.objects import Objects, find_objects
from vitwidgets.geometry import Frame, PatchGrid

PAPER = list(MEASURES[:6])
ROWS, COLS = 6, 9


def scene(*labels: str, rows: int = ROWS, cols: int = COLS) -> Objects:
    """Objects that lie side by side in stripes of columns, with a stripe and a row of background."""
    of_patch = np.full((rows, cols), -1)
    width = (cols - 1) // len(labels)
    for number in range(len(labels)):
        of_patch[1:, 1 + number * width : 1 + (number + 1) * width] = number
    return Objects(rows, cols, of_patch.ravel(), tuple(range(1, len(labels) + 1)), labels, {})


def layers(objects: Objects, count: int = 8, width: int = 24, seed: int = 0) -> list[np.ndarray]:
    """Tokens that gather by object, and by its upper and lower half, as layers go up; some stay far away."""
    random = np.random.default_rng(seed)
    half = np.arange(objects.rows).repeat(objects.cols) * 2 // objects.rows
    centres = random.normal(size=(2, len(objects.values) + 1, width))[0, objects.of_patch]
    centres = centres + random.normal(size=(2, len(objects.values) + 1, width))[half, objects.of_patch]
    spread = random.uniform(0.2, 2, (len(centres), 1))
    return [
        (random.normal(size=centres.shape) * spread + centres * pull).astype(np.float32)
        for pull in np.linspace(0, 4, count)
    ]


def plain_dbscan(near: np.ndarray, min_samples: int = 3) -> np.ndarray:
    """Scikit-learn's labels; neighbours are 0 apart, others 1."""
    apart = (~near).astype(float)
    return np.asarray(DBSCAN(eps=0.5, min_samples=min_samples, metric="precomputed").fit_predict(apart))


@pytest.mark.parametrize("labels", [("cat", "dog"), ("cat", "dog", "cat"), ("magpie", "magpie", "cat", "ox")])
def test_the_papers_measures_against_scikit_learn(labels: tuple[str, ...]) -> None:
    objects = scene(*labels)
    clusters = set()
    for seed in range(12):
        tokens = layers(objects, seed=seed)
        found, expected = curves(tokens, objects), by_scikit_learn(tokens, objects)
        np.testing.assert_allclose(found[PAPER].to_numpy(), expected, atol=1e-6)
        clusters |= set(found["clusters_per_object"] * len(labels))
    assert {1, 2, 3} <= clusters


def test_the_table() -> None:
    objects = scene("cat", "dog")
    found = curves(layers(objects, 5), objects)
    assert list(found.columns) == [*MEASURES, "why_not"]
    assert found.index.name == "layer"
    assert found.index.tolist() == [1, 2, 3, 4, 5]
    assert (found[list(MEASURES)].dtypes == np.float64).all()
    assert (found["why_not"] == "").all()


def test_what_chance_says_against_loops() -> None:
    objects = scene("cat", "dog", "cat")
    kept = objects.of_patch >= 0
    owner = objects.of_patch[kept]
    random = np.random.default_rng(3)
    for number, layer in enumerate(layers(objects), 1):
        row = curves([layer], objects).loc[1]
        tokens = layer[kept].astype(np.float64)
        unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        pairs = [
            (float(unit[i] @ unit[j]), owner[i] == owner[j]) for i, j in combinations(range(len(unit)), 2)
        ]
        alike = [cosine for cosine, same in pairs if same]
        unlike = [cosine for cosine, same in pairs if not same]
        wins = sum((a > b) + (a == b) / 2 for a in alike for b in unlike)
        assert row["auc"] == pytest.approx(wins / len(alike) / len(unlike)), number

        eps = np.mean([np.linalg.norm(np.diff(tokens[owner == k], axis=0), axis=1).mean() for k in range(3)])
        labels = DBSCAN(eps=eps, min_samples=3).fit_predict(tokens)
        alone = np.where(labels < 0, 100 + np.arange(len(labels)), labels)
        assert row["ari"] == pytest.approx(adjusted_rand_score(owner, alone))

        shuffled = [random.permutation(owner) for _ in range(1000)]
        draws = [
            sum(np.bincount(some[labels == c]).max() for c in range(labels.max() + 1)) / len(labels)
            for some in shuffled
        ]
        assert row["purity_chance"] == pytest.approx(np.mean(draws), abs=5 * np.std(draws) / 1000**0.5 + 1e-9)
        corrected = (row["purity"] - row["purity_chance"]) / (1 - row["purity_chance"])
        assert row["purity_corrected"] == pytest.approx(corrected)


def test_widths_may_differ_and_other_patches_do_not_matter() -> None:
    objects = scene("cat", "dog")
    tokens = [layers(objects, 1, width)[0] for width in (12, 24, 48)]
    found = curves(tokens, objects)
    for number, layer in enumerate(tokens, 1):
        np.testing.assert_allclose(
            found.loc[number, PAPER].to_numpy(float), by_scikit_learn([layer], objects)[0], atol=1e-6
        )
    for layer in tokens:
        layer[objects.of_patch < 0] = np.nan
    np.testing.assert_array_equal(curves(tokens, objects)[PAPER], found[PAPER])


def test_layers_are_measured_alike_alone_and_together(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = scene("cat", "dog", "ox")
    tokens = layers(objects)
    together = curves(tokens, objects)
    monkeypatch.setattr("vitwidgets.analysis.grouping._HELD", 1)
    np.testing.assert_allclose(curves(tokens, objects)[list(MEASURES)], together[list(MEASURES)], atol=1e-12)


# ---------------------------------------------------------------------------------------- DBSCAN


def test_dbscan_on_any_neighbourhood() -> None:
    random = np.random.default_rng(0)
    contested = 0
    for case in range(300):
        count = int(random.integers(1, 60))
        near = random.random((4, count, count)) < random.uniform(0, 4) / count
        near |= near.transpose(0, 2, 1) | np.eye(count, dtype=bool)
        enough = int(random.integers(2, 8))
        for graph, labels in zip(near, dbscan(near, enough), strict=True):
            np.testing.assert_array_equal(labels, plain_dbscan(graph, enough), err_msg=f"case {case}")
            core = graph.sum(axis=1) >= enough
            reached = [set(labels[graph[token] & core]) for token in np.flatnonzero(~core)]
            contested += sum(len(clusters) > 1 for clusters in reached)
    assert contested > 50  # tokens that two clusters reach were among them


def test_dbscan_of_a_long_chain() -> None:
    count = 700
    order = np.random.default_rng(0).permutation(count)
    near = np.zeros((1, count, count), bool)
    near[0, order[1:], order[:-1]] = True
    near |= near.transpose(0, 2, 1) | np.eye(count, dtype=bool)
    assert set(dbscan(near)[0]) == {0}
    near[0, order[350], order[351]] = near[0, order[351], order[350]] = False
    np.testing.assert_array_equal(dbscan(near)[0], plain_dbscan(near[0]))


@pytest.mark.parametrize("squared", [1, 2, 3, 5, 9, 25])
def test_a_distance_of_exactly_eps_is_within_it(squared: int) -> None:
    # whole numbers, whose squared distances are exact; roots of 2, 3 and 5 are not
    lattice = np.random.default_rng(0).integers(-4, 5, (80, 3))
    apart = ((lattice[:, None] - lattice) ** 2).sum(axis=2)
    assert (apart == squared).any()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for tokens in (lattice.astype(float), lattice @ turn, lattice * 1e-6, lattice @ turn * 1e15):
        scale = np.linalg.norm(tokens) / np.linalg.norm(lattice)
        near = neighbours((tokens @ tokens.T)[None], np.array([scale * squared**0.5]))[0]
        np.testing.assert_array_equal(near, apart <= squared)


# ---------------------------------------------------------------------------------------- known answers


def test_ties_as_far_as_each_other() -> None:
    # consecutive tokens of an object are exactly 5 apart, as are neighbours across its rows
    objects = scene("cat", "dog")
    place = np.zeros((len(objects.of_patch), 2))
    for number in (0, 1):
        patches = np.flatnonzero(objects.of_patch == number)
        place[patches] = np.arange(len(patches))[:, None] * [3, 4] + [1000 * number, 0]
    row = curves([place], objects).loc[1]
    assert row["purity"] == row["label_ratio"] == row["clusters_per_object"] == row["ari"] == 1


def test_one_cluster() -> None:
    objects = scene("cat", "dog")
    tokens = np.random.default_rng(0).normal(size=(len(objects.of_patch), 40)) + 3
    tokens[objects.of_patch == 1] *= 0.1  # the steps of the other object reach far enough for both
    row = curves([tokens], objects).loc[1]
    assert row["clusters_per_object"] == 0.5
    assert row["silhouette"] == 0
    assert row["label_ratio"] == 0.5


def test_all_noise() -> None:
    # three tokens each, 1 and then 9 apart: none has two neighbours within eps = 5
    objects = scene("cat", "dog", rows=2, cols=7)
    tokens = np.zeros((14, 2))
    tokens[objects.of_patch == 0] = [[0, 1], [1, 1], [10, 1]]
    tokens[objects.of_patch == 1] = [[1000, 1], [1001, 1], [1010, 1]]
    row = curves([tokens], objects).loc[1]
    assert row["clusters_per_object"] == row["purity"] == row["label_ratio"] == row["ari"] == 0
    assert row["purity_chance"] == row["purity_corrected"] == 0
    assert row["silhouette"] == -1
    assert np.isnan(row["cluster_cosine"])
    assert 0 < row["object_cosine"] <= 1
    assert row["why_not"] == ""


@pytest.mark.parametrize("value", [0.1, -3e4, 1e-20])
def test_equal_tokens(value: float) -> None:
    objects = scene("cat", "dog", "ox")
    row = curves([np.full((len(objects.of_patch), 768), value, np.float32)], objects).loc[1]
    assert row["clusters_per_object"] == pytest.approx(1 / 3)
    assert row["cluster_cosine"] == pytest.approx(1)
    assert row["object_cosine"] == pytest.approx(1)
    assert row["auc"] == 0.5
    assert row["silhouette"] == row["ari"] == 0
    assert row["purity_corrected"] == pytest.approx(0)


def test_tokens_of_length_zero() -> None:
    objects = scene("cat", "dog")
    row = curves([np.zeros((len(objects.of_patch), 8))], objects).loc[1]
    assert row["cluster_cosine"] == row["object_cosine"] == 0  # as similarity has it
    assert row["auc"] == 0.5


def test_one_direction_many_lengths() -> None:
    objects = scene("cat", "dog")
    direction = np.random.default_rng(0).normal(size=300)
    lengths = np.zeros(len(objects.of_patch))
    for number in (0, 1):
        patches = np.flatnonzero(objects.of_patch == number)
        lengths[patches] = 1 + 1000 * number + np.arange(len(patches))
    row = curves([lengths[:, None] * direction], objects).loc[1]
    assert row["clusters_per_object"] == row["purity"] == 1  # apart in space...
    assert row["silhouette"] == 0  # ...but not in direction
    assert row["auc"] == 0.5


def test_two_magpies_count_once() -> None:
    magpies, birds = scene("magpie", "magpie"), scene("magpie", "jay")
    tokens = layers(magpies)
    one, two = curves(tokens, magpies)["label_ratio"], curves(tokens, birds)["label_ratio"]
    found = two > 0
    assert (one[found] == 1).all()
    assert set(two[found]) == {0.5, 1.0}


def test_the_dominating_label_is_that_of_most_tokens() -> None:
    # one cluster: five tokens of each magpie, eight of the dog
    of_patch = np.repeat([0, 1, 2], [5, 5, 8])
    together = Objects(2, 9, of_patch, (1, 2, 3), ("magpie", "magpie", "dog"), {})
    row = curves([np.ones((18, 4))], together).loc[1]
    assert row["label_ratio"] == 0.5
    assert row["purity"] == 8 / 18


def test_nan_and_infinity_say_so() -> None:
    objects = scene("cat", "dog")
    tokens = layers(objects, 4)
    expected = curves(tokens, objects)
    patches = np.flatnonzero(objects.of_patch >= 0)
    tokens[1][patches[4], 3], tokens[3][patches[0], 0] = np.nan, np.inf
    found = curves(tokens, objects)
    assert found.loc[[2, 4], list(MEASURES)].isna().all(axis=None)
    assert found["why_not"].tolist() == ["", "object tokens are not finite"] * 2
    np.testing.assert_allclose(found.loc[[1, 3], PAPER], expected.loc[[1, 3], PAPER])


def test_objects_that_do_not_count() -> None:
    grid = PatchGrid(ROWS, COLS)
    lonely = find_objects(np.ones((60, 90), bool), grid)
    small = find_objects(np.arange(60 * 90).reshape(60, 90) // 2000 + 1, grid)
    few = replace(small, of_patch=np.where(np.arange(54) < 2, 0, 1), values=(1, 2), labels=("a", "b"))
    for objects in (lonely, few):
        found = curves([np.ones((54, 4))] * 3, objects)
        assert found[list(MEASURES)].isna().all(axis=None)
        assert (found["why_not"] == objects.why_not).all()
        assert objects.why_not
    assert len(curves([], lonely)) == len(curves([], small)) == 0


def test_layers_that_do_not_fit() -> None:
    objects = scene("cat", "dog")
    with pytest.raises(ValueError, match=r"layer 2 has shape \(55, 4\).*P = 54 patches, 6 x 9"):
        curves([np.ones((54, 4)), np.ones((55, 4))], objects)
    with pytest.raises(ValueError, match=r"layer 1 has shape \(54,\)"):
        curves([np.ones(54)], objects)


def test_thousands_of_tokens() -> None:
    objects = scene("cat", "dog", rows=64, cols=64)
    centres = np.eye(2, 16)[np.maximum(objects.of_patch, 0)]
    tokens = (centres + 0.05 * np.random.default_rng(0).normal(size=centres.shape)).astype(np.float32)
    row = curves([tokens], objects).loc[1]
    assert (objects.of_patch >= 0).sum() > 3800
    assert row["purity"] > 0.9
    assert row["auc"] == pytest.approx(1)


# ---------------------------------------------------------------------------------------- baselines


def test_position_tokens() -> None:
    tokens = position_tokens(3, 5)
    places = np.array([(row, col) for row in range(3) for col in range(5)])
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    np.testing.assert_allclose(np.linalg.norm(tokens[:, None] - tokens, axis=2), apart)
    centre = tokens[7]
    cosines = tokens @ centre / np.linalg.norm(tokens, axis=1) / np.linalg.norm(centre)
    order = np.argsort(apart[7], kind="stable")
    assert (np.diff(cosines[order]) <= 1e-12).all()
    assert cosines[7] == pytest.approx(1)


def test_grouping_by_place_alone() -> None:
    objects = scene("cat", "dog", "ox")
    row = curves([position_tokens(ROWS, COLS)], objects).loc[1]
    assert row["auc"] > 0.7  # objects are in one piece...
    assert row["clusters_per_object"] == pytest.approx(1 / 3)  # ...and so is what they make together
    assert row["ari"] == 0


# ---------------------------------------------------------------------------------------- a real model


@pytest.mark.assets
def test_deit_on_photos_against_scikit_learn(assets: Path) -> None:
    model: Any = timm.create_model(
        "deit_tiny_patch16_224",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(assets / "weights/deit_tiny_patch16_224.safetensors")},
    ).eval()
    mean, std = (torch.tensor(model.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    for name in ("000000000599", "000000008021", "000000000030"):
        with Image.open(assets / f"coco/images/{name}.jpg") as photo:
            frame = Frame(photo.size, (224, 224), (0, 0, *photo.size))
            pixels = np.array(photo.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
        x = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean) / std
        with torch.no_grad():
            taken = model.forward_intermediates(
                x[None], indices=12, output_fmt="NLC", intermediates_only=True
            )
        tokens = [layer[0].numpy() for layer in taken]
        objects = find_objects(assets / f"coco/masks/{name}.png", PatchGrid(14, 14), frame=frame)
        assert objects.counts
        found = curves(tokens, objects)
        np.testing.assert_allclose(found[PAPER].to_numpy(), by_scikit_learn(tokens, objects), atol=1e-6)
        assert found["auc"].between(0.5, 1).all()
