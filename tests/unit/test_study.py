from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import stats

from vitwidgets import Inspector, demo, grouping, study
from vitwidgets.analysis.grouping import MEASURES, curves, position_tokens
from vitwidgets.analysis.objects import find_objects
from vitwidgets.geometry import Frame
from vitwidgets.study.changes import label_image

SCENES = [demo.scene(seed) for seed in range(4)]
IMAGES = [scene.image for scene in SCENES]
MASKS = [scene.masks for scene in SCENES]


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector("demo")


@pytest.fixture(scope="module")
def found(inspector: Inspector) -> study.GroupingStudy:
    return grouping(inspector, IMAGES, MASKS, progress=False)


def rows_of(result: study.GroupingStudy, variant: str, image: str) -> np.ndarray[Any, Any]:
    rows = result.rows
    chosen = rows[(rows["variant"] == variant) & (rows["image"] == image)]
    return chosen[list(MEASURES)].to_numpy(float)


def test_one_image_is_measured_layer_by_layer(inspector: Inspector) -> None:
    trace = inspector.trace(IMAGES[0])
    objects = find_objects(MASKS[0], trace.patch_grid, frame=trace.frame)
    expected = curves([trace.layer(layer)[1:] for layer in range(1, 9)], objects)
    table = grouping(trace, MASKS[0])
    assert list(table.index) == list(range(1, 9))
    np.testing.assert_array_equal(table[list(MEASURES)], expected[list(MEASURES)])


def test_each_image_of_many_is_measured_as_if_alone(inspector: Inspector, found: study.GroupingStudy) -> None:
    assert found.images == len(IMAGES)
    assert not found.skipped
    for number, (image, masks) in enumerate(zip(IMAGES, MASKS, strict=True)):
        trace = inspector.trace(image)
        alone = grouping(trace, masks)[list(MEASURES)].to_numpy(float)
        np.testing.assert_allclose(rows_of(found, "model", str(number)), alone, atol=1e-9)
        objects = find_objects(masks, trace.patch_grid, frame=trace.frame)
        place = curves([position_tokens(*trace.grid)], objects)[list(MEASURES)].to_numpy(float)
        np.testing.assert_array_equal(rows_of(found, "position", str(number)), np.repeat(place, 8, axis=0))


def test_means_and_intervals(found: study.GroupingStudy) -> None:
    summary = found.summary(confidence=0.9)
    values = np.array([rows_of(found, "model", str(number))[4, 1] for number in range(len(IMAGES))])
    row = summary.loc[("model", 5)]["purity"]
    assert MEASURES[1] == "purity"
    assert row["mean"] == pytest.approx(values.mean())
    low, high = stats.t.interval(0.9, len(values) - 1, values.mean(), stats.sem(values))
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["images"] == len(IMAGES)
    assert found.mean().loc[5, "purity"] == pytest.approx(values.mean())
    assert found.mean("position").loc[1, "auc"] == pytest.approx(summary.loc[("position", 1)]["auc"]["mean"])
    with pytest.raises(KeyError, match="no 'luck'"):
        found.mean("luck")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="between 0 and 1"):
        found.summary(confidence=95)


def test_a_study_goes_on_where_it_stopped(
    inspector: Inspector, found: study.GroupingStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "study.jsonl"
    first = grouping(inspector, IMAGES[:2], MASKS[:2], baselines=["position"], resume=file, progress=False)
    assert first.images == 2
    with file.open("a") as out:
        out.write('{"image": "2", "rows": [{"aug')  # the machine went down here
    seen: list[Any] = []
    trace = inspector.trace

    def counted(image: Any, **options: Any) -> Any:
        seen.append(image)
        return trace(image, **options)

    monkeypatch.setattr(inspector, "trace", counted)
    whole = grouping(inspector, IMAGES, MASKS, baselines=["position"], resume=file, progress=False)
    assert seen == IMAGES[2:]
    for variant in ("model", "position"):
        for image in map(str, range(len(IMAGES))):
            np.testing.assert_allclose(rows_of(whole, variant, image), rows_of(found, variant, image))
    with pytest.raises(ValueError, match="holds another study"):
        grouping(inspector, IMAGES, MASKS, resume=file, progress=False)
    assert json.loads(file.read_text().splitlines()[0])["model"] == inspector.name


def test_images_that_do_not_count_are_named(inspector: Inspector) -> None:
    one = np.where(np.asarray(MASKS[0])[0] if np.asarray(MASKS[0]).ndim == 3 else MASKS[0] == 1, 1, 0)
    result = grouping(
        inspector, IMAGES[:2], [one, MASKS[1]], names=["alone", "several"], baselines=[], progress=False
    )
    assert "only one object" in result.skipped["alone"]
    assert set(result.rows["image"]) == {"several"}
    assert np.isnan(result.summary()["purity"]["low"]).all()  # of one image there is no interval


def test_shuffling_takes_the_masks_along(inspector: Inspector) -> None:
    given = inspector.input(IMAGES[0])
    labels = np.arange(given.size[0] * given.size[1]).reshape(given.size) % 251
    same, kept = study.Shuffled(1)(given, labels)
    assert torch.equal(same.pixels, given.pixels)
    assert np.array_equal(kept, labels)
    shuffled, moved = study.Shuffled(2, seed=3)(given, labels)
    half = given.size[0] // 2
    for row in (0, half):
        for col in (0, half):
            tile = (slice(row, row + half), slice(col, col + half))
            source = [
                (slice(r, r + half), slice(c, c + half))
                for r in (0, half)
                for c in (0, half)
                if torch.equal(
                    given.pixels[:, r : r + half, c : c + half], shuffled.pixels[(slice(None), *tile)]
                )
            ]
            assert len(source) == 1
            assert np.array_equal(moved[tile], labels[source[0]])
    plain = grouping(inspector, IMAGES[:1], MASKS[:1], baselines=[], progress=False)
    label = label_of(MASKS[0])
    changed = grouping(inspector, IMAGES[:1], [label], baselines=[], change=study.Shuffled(1), progress=False)
    np.testing.assert_allclose(rows_of(changed, "model", "0"), rows_of(plain, "model", "0"), atol=2e-2)


def label_of(masks: Any) -> np.ndarray[Any, Any]:
    """One label image of boolean masks."""
    masks = np.asarray(masks)
    if masks.ndim == 2:
        return masks
    label = np.zeros(masks.shape[1:], np.uint8)
    for number, mask in enumerate(masks, start=1):
        label[(label == 0) & mask] = number
    return label


def test_occlusion_of_objects_leaves_the_masks(inspector: Inspector) -> None:
    given, labels = inspector.input(IMAGES[1]), label_of(MASKS[1])
    frame = inspector.trace(IMAGES[1]).frame
    own = label_image(labels, frame)
    changed, kept = study.Occluded(0.2, salient=True)(given, own)
    assert np.array_equal(kept, own)
    different = (changed.pixels != given.pixels).any(dim=0).numpy()
    assert 0 < different.mean() <= 29 / 144
    assert (own[different] > 0).mean() > (own > 0).mean()


def test_a_label_image_follows_the_crop() -> None:
    values = np.random.default_rng(0).integers(0, 9, (40, 60))
    frame = Frame((60, 40), (12, 20), (-3.0, 5.0, 57.0, 41.0))
    found = label_image(values, frame)
    for y in range(12):
        for x in range(20):
            left, top = (int(np.floor(v)) for v in frame.to_original(x + 0.5, y + 0.5))
            inside = 0 <= left < 60 and 0 <= top < 40
            assert found[y, x] == (values[top, left] if inside else 0)
    with pytest.raises(ValueError, match="masks are a boolean array"):
        label_image(np.zeros((2, 40, 60)), frame)
    with pytest.raises(ValueError, match="20 x 60 pixels, but the picture is 40 x 60"):
        label_image(values[:20], frame)


def test_boolean_masks_become_a_label_image_in_which_the_first_wins() -> None:
    masks = np.random.default_rng(1).random((3, 12, 20)) < 0.4
    frame = Frame.whole(20, 12)
    expected = label_of(masks)
    assert np.array_equal(label_image(masks, frame), expected)
    assert np.array_equal(label_image(list(masks), frame), expected)
    void = np.where(masks[0], 255, expected)
    assert np.array_equal(label_image(Image.fromarray(void.astype(np.uint8)), frame), void)


def test_random_weights_leave_the_model_and_the_random_state_alone(inspector: Inspector) -> None:
    before = {name: value.clone() for name, value in inspector.model.state_dict().items()}
    state = torch.random.get_rng_state()
    one, same = study.random_weights(inspector, seed=1), study.random_weights(inspector, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in inspector.model.state_dict().items())
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, same.model.state_dict()[name])
    assert not torch.equal(one.model.blocks[3].attn.qkv.weight, inspector.model.blocks[3].attn.qkv.weight)
    assert not torch.equal(one.model.pos_embed, inspector.model.pos_embed)
    assert torch.equal(one.input(IMAGES[0]).pixels, inspector.input(IMAGES[0]).pixels)
    assert "random weights" in one.name


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((IMAGES, MASKS[:2]), {}, ValueError, "4 images, but masks of 2"),
        ((IMAGES, MASKS), {"names": ["a", "a", "b", "c"]}, ValueError, "names must be different"),
        ((IMAGES, MASKS), {"baselines": ["luck"]}, ValueError, "baselines must be some of"),
        ((IMAGES,), {}, ValueError, "4 images, but masks of 0"),
    ],
)
def test_what_does_not_fit(
    inspector: Inspector, arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        grouping(inspector, *arguments, progress=False, **options)


def test_what_can_be_measured(inspector: Inspector) -> None:
    with pytest.raises(TypeError, match="a Trace or an Inspector"):
        grouping(Image.new("RGB", (4, 4)), MASKS)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="masks alone"):
        grouping(inspector.trace(IMAGES[0]), IMAGES, MASKS)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="images and their masks"):
        grouping(inspector, masks=MASKS)  # type: ignore[call-overload]


def test_images_and_masks_can_be_named(inspector: Inspector, found: study.GroupingStudy) -> None:
    named = grouping(inspector, images=IMAGES[:1], masks=MASKS[:1], baselines=(), progress=False)
    np.testing.assert_array_equal(rows_of(named, "model", "0"), rows_of(found, "model", "0"))
    trace = inspector.trace(IMAGES[0])
    pd.testing.assert_frame_equal(grouping(trace, masks=MASKS[0]), grouping(trace, MASKS[0]))
