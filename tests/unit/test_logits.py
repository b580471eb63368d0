"""Many images at once, and inputs that are changed before the model sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

import vitwidgets as vw
from vitwidgets import Inspector, ModelInput
from vitwidgets.errors import ImageError


@pytest.fixture
def inspector(make_vit: Callable[..., VisionTransformer]) -> Inspector:
    return Inspector(make_vit())


def pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [random.integers(0, 256, (30 + 3 * number, 50, 3), np.uint8) for number in range(count)]


def left_behind(model: torch.nn.Module) -> list[Any]:
    return [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]


# ---------------------------------------------------------------- many images


@pytest.mark.parametrize("batch", [1, 3, 7, 16])
def test_batches_give_what_single_traces_give(inspector: Inspector, batch: int) -> None:
    images = pictures(7)
    found = inspector.logits(images, batch=batch)
    assert found.shape == (7, 7)
    assert found.dtype == np.float32
    expected = np.stack([inspector.trace(image).logits for image in images])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 1e-3


def test_all_kinds_of_images(inspector: Inspector, x: Tensor, tmp_path: Any) -> None:
    array = pictures(1)[0]
    Image.fromarray(array).save(tmp_path / "x.png")
    one = inspector.logits([array, Image.fromarray(array), tmp_path / "x.png", inspector.input(array)])
    np.testing.assert_allclose(one, np.tile(one[0], (4, 1)), rtol=1e-5, atol=1e-5)
    two = inspector.logits([x, x[0]])
    with torch.no_grad():
        np.testing.assert_allclose(two, inspector.model(x).expand(2, -1), rtol=1e-5, atol=1e-5)


def test_images_may_be_made_as_they_are_asked_for(inspector: Inspector) -> None:
    made: list[int] = []
    told: list[tuple[int, int]] = []

    def stream() -> Iterator[np.ndarray]:
        for number, picture in enumerate(pictures(5), start=1):
            made.append(number)
            yield picture

    found = inspector.logits(stream(), batch=2, progress=lambda done: told.append((done, len(made))))
    assert told == [(2, 2), (4, 4), (5, 5)]  # never more than a batch ahead
    np.testing.assert_allclose(found, inspector.logits(pictures(5)), rtol=1e-5, atol=1e-5)


def test_cancelling(inspector: Inspector) -> None:
    told: list[int] = []
    with pytest.raises(vw.Cancelled, match="after 4 images"):
        inspector.logits(pictures(6), batch=2, progress=told.append, cancelled=lambda: told == [2, 4])
    assert told == [2, 4]
    with pytest.raises(vw.Cancelled, match="after 0 images"):
        inspector.logits(pictures(1), cancelled=lambda: True)
    assert len(inspector.logits(pictures(1), cancelled=lambda: False)) == 1


def test_the_model_is_as_before(make_vit: Callable[..., Any]) -> None:
    model = make_vit().train()
    model.blocks[1].eval()
    flags = [module.training for module in model.modules()]
    inspector = Inspector(model)
    found = inspector.logits(pictures(2))
    assert flags == [module.training for module in model.modules()]
    assert left_behind(model) == []
    assert all(parameter.grad is None for parameter in model.parameters())
    np.testing.assert_allclose(found[1], inspector.trace(pictures(2)[1]).logits, rtol=1e-5, atol=1e-5)


def test_half_precision_comes_as_float32(make_vit: Callable[..., Any]) -> None:
    found = Inspector(make_vit(), dtype="bfloat16").logits(pictures(2))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, Inspector(make_vit()).logits(pictures(2)), atol=0.5)


def test_features_where_there_is_no_classifier(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit(num_classes=0))
    assert np.array_equal(inspector.logits([x])[0], inspector.trace(x).logits)


def test_images_that_cannot_be_run(inspector: Inspector) -> None:
    with pytest.raises(ImageError, match="there is no image to run the model on"):
        inspector.logits([])
    assert issubclass(ImageError, ValueError)
    for batch in (0, -1):
        with pytest.raises(ValueError, match=f"batch must be at least 1, got {batch}"):
            inspector.logits(pictures(1), batch=batch)
    with pytest.raises(ImageError, match="takes 24 x 40 pixels"):
        inspector.logits([torch.randn(3, 24, 48)])


def test_inputs_of_different_sizes_do_not_share_a_batch(make_vit: Callable[..., Any]) -> None:
    inspector = Inspector(make_vit("any size"))
    images = [torch.randn(3, 24, 40), torch.randn(3, 24, 48)]
    with pytest.raises(ImageError, match=r"different shapes .*batch=1"):
        inspector.logits(images)
    found = inspector.logits(images, batch=1)
    expected = [inspector.trace(image).logits for image in images]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- inputs


def test_an_input_gives_the_logits_of_its_image(inspector: Inspector, x: Tensor) -> None:
    for image in (pictures(1)[0], x):
        given = inspector.input(image)
        assert isinstance(given, ModelInput)
        assert given.size == (24, 40)
        assert given.patch_grid == inspector.patch_grid
        assert given.patch_size == (8, 8)
        one, two = inspector.trace(image), inspector.trace(given)
        assert np.array_equal(one.logits, two.logits)
        assert np.array_equal(one.pixels, two.pixels)
        assert inspector.input(given).pixels.equal(given.pixels)


def test_the_picture_of_an_input_is_what_the_model_sees(inspector: Inspector) -> None:
    picture = pictures(1)[0]
    given = inspector.input(picture)
    trace = inspector.trace(given)
    assert trace.image.size == (40, 24)
    assert list(trace.frame.box) == [0, 0, 40, 24]
    shown = np.asarray(trace.image, np.float32) / 255
    assert given.mean is not None
    assert given.std is not None
    np.testing.assert_allclose(shown, trace.pixels * given.std + given.mean, atol=0.5 / 255 + 1e-6)


def test_changes_that_change_nothing(inspector: Inspector) -> None:
    given = inspector.input(pictures(1)[0])
    plain = inspector.trace(given).logits
    orders = (vw.shuffle(given, grid=(1, 2), seed=seed) for seed in range(99))
    in_place = next(changed for changed in orders if changed.pixels.equal(given.pixels))
    for changed in (vw.occlude(given, []), vw.shuffle(given, grid=1), in_place):
        assert np.array_equal(inspector.trace(changed).logits, plain)
        assert np.array_equal(inspector.logits([changed]), inspector.logits([given]))


def test_changes_are_seen_and_said(inspector: Inspector) -> None:
    given = inspector.input(pictures(1)[0])
    changed = vw.occlude(given, [0, 7])
    trace = inspector.trace(changed)
    assert not np.allclose(trace.logits, inspector.trace(given).logits, atol=1e-4)
    assert trace.notes == list(changed.notes) != []
    assert np.array_equal(trace.pixels, changed.pixels.permute(1, 2, 0).numpy())
    assert not np.asarray(trace.image)[8:16, 16:24].any()
    assert inspector.trace(given).notes == []


def test_an_input_is_not_changed_by_tracing_it(inspector: Inspector) -> None:
    given = inspector.input(pictures(1)[0])
    before = given.pixels.clone()
    trace = inspector.trace(given)
    trace.check()
    assert given.pixels.equal(before)
    given.pixels.zero_()
    assert trace.pixels.any()


def test_inputs_in_a_list(inspector: Inspector) -> None:
    inputs: list[Any] = [inspector.input(picture) for picture in pictures(3)]
    traces = inspector.trace(inputs)
    for given, trace in zip(inputs, traces, strict=True):
        np.testing.assert_allclose(trace.logits, inspector.trace(given).logits, rtol=1e-5, atol=1e-5)
