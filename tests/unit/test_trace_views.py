"""Views, rollouts, norms and colours of a trace, beside plain loops over what the trace itself holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from small_traces import small_trace, staged_trace
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitwidgets import Inspector, Trace
from vitwidgets.analysis import norms, projection
from vitwidgets.analysis.attention import rollout

ROWS, COLS, P, L, D = 3, 5, 8, 3, 24


@pytest.fixture(params=["distilled", "registers", "no class token"])
def trace(request: pytest.FixtureRequest, make_vit: Callable[..., VisionTransformer], x: Tensor) -> Trace:
    """Of two prefix tokens, of four, and of none."""
    return Inspector(make_vit(request.param)).trace(x, precision="float32")


def looped(picture: Any, kernel: Any, shares: Any) -> np.ndarray:
    """Filter times picture, number by number."""
    out = np.zeros(picture.shape, np.float64)
    for row in range(picture.shape[0]):
        for col in range(picture.shape[1]):
            for channel in range(picture.shape[2]):
                patch = (row // P) * COLS + col // P
                weight = kernel[channel, row % P, col % P]
                out[row, col, channel] = weight * picture[row, col, channel] * shares[patch]
    return out


def rolled(trace: Trace, head: int | None) -> list[np.ndarray]:
    """Rollout by its definition, in float64."""
    count = trace.patch_grid.tokens
    found = [np.eye(count)]
    for layer in range(1, trace.layers + 1):
        maps = trace.attention(layer).astype(np.float64)
        mixed = (maps.mean(axis=0) if head is None else maps[head]) + np.eye(count)
        found.append(mixed / mixed.sum(axis=1, keepdims=True) @ found[-1])
    return found


# ---------------------------------------------------------------- views


def test_filters_are_the_kernels_of_the_patch_embedding(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    inspector = Inspector(model)
    expected = model.patch_embed.proj.weight.detach().numpy()  # (D, C, p, q)
    assert expected.shape == (D, 3, P, P)
    for found in (inspector.filters(), inspector.trace(x).filters()):
        assert found.shape == (D, P, P, 3)
        assert found.dtype == np.float32
        assert np.array_equal(found.transpose(0, 3, 1, 2), expected)
    assert np.array_equal(inspector.trace(x, layers=[2], keep=["tokens"]).filters(), inspector.filters())


@pytest.mark.parametrize("attention", ["mean", "head"])
def test_view_against_a_loop(trace: Trace, x: Tensor, attention: Any) -> None:
    model: Any = trace._record.anatomy.model  # type: ignore[union-attr]
    kernels = model.patch_embed.proj.weight.detach().numpy()
    picture, prefix = x[0].permute(1, 2, 0).numpy(), len(trace.prefix)
    for neuron in (3, 13):  # of the first head, and of the second
        shares = rolled(trace, None if attention == "mean" else neuron // 12)
        for layer in (0, 2, L):
            tokens: list[Any] = [8, (2, 4), *trace.prefix[:2]]
            for token in tokens:
                row = trace.patch_grid.index(token)
                expected = looped(picture, kernels[neuron], shares[layer][row, prefix:])
                found = trace.view(neuron, layer, token, attention=attention)
                assert found.shape == (ROWS * P, COLS * P, 3)
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        expected = looped(picture, kernels[neuron], np.ones(ROWS * COLS))
        for layer in range(L + 1):
            np.testing.assert_allclose(trace.view(neuron, layer), expected, rtol=1e-5, atol=1e-6)


def test_a_patch_at_layer_0_sees_itself_alone(trace: Trace) -> None:
    for patch in range(ROWS * COLS):
        row, col = divmod(patch, COLS)
        seen = trace.view(5, 0, patch)
        own = seen[row * P : (row + 1) * P, col * P : (col + 1) * P]
        np.testing.assert_array_equal(own, trace.local_view(patch, 5))
        np.testing.assert_array_equal(own, trace.local_view((row, col), 5))
        assert np.abs(seen).sum() == pytest.approx(np.abs(own).sum())
        assert np.abs(own).min() > 0


def test_a_prefix_token_at_layer_0_sees_nothing(trace: Trace) -> None:
    for name in trace.prefix:
        assert not trace.view(5, 0, name).any()
        assert trace.view(5, 1, name).any()


def test_a_local_view_adds_up_to_the_models_patch_embedding(trace: Trace, x: Tensor) -> None:
    model: Any = trace._record.anatomy.model  # type: ignore[union-attr]
    seen: list[Tensor] = []
    handle = model.patch_embed.proj.register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        model(x)
    handle.remove()
    embedded = seen[0][0].flatten(1).T.numpy()  # (patches, D), before position embeddings
    bias = model.patch_embed.proj.bias.detach().numpy()
    for patch in (0, 7, 14):
        for neuron in (0, 11, D - 1):
            total = trace.local_view(patch, neuron).sum() + bias[neuron]
            assert total == pytest.approx(embedded[patch, neuron], abs=1e-4)


def test_head_of(trace: Trace) -> None:
    assert [trace.head_of(neuron) for neuron in range(D)] == [0] * 12 + [1] * 12


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda t: t.view(1.5), r"neuron must be a whole number, got 1\.5"),
        (lambda t: t.view("cls"), "neuron must be a whole number, got 'cls'"),
        (lambda t: t.view(0, "last", 0), "layer must be a whole number, got 'last'"),
        (lambda t: t.attention(None), "layer must be a whole number, got None"),
    ],
)
def test_what_is_no_number(trace: Trace, wrong: Callable[[Trace], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        wrong(trace)


def test_a_local_view_is_of_a_patch(trace: Trace) -> None:
    with pytest.raises(
        ValueError, match=r"no prefix token 'cls'; give a patch index 0\.\.14 or a \(row, column\)"
    ):
        trace.local_view("cls", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda t: t.view(D), "neuron 24 is out of range 0..23"),
        (lambda t: t.view(-1), "neuron -1"),
        (lambda t: t.view(0, 4, 0), r"layer 4 is out of range 0..3"),
        (lambda t: t.view(0, -1), "layer -1"),
        (lambda t: t.view(0, 1, 15), "patch 15 is out of range"),
        (lambda t: t.view(0, 1, (3, 0)), r"patch \(row 3, column 0\)"),
        (lambda t: t.local_view(15, 0), "15"),
        (lambda t: t.local_view((0, 5), 0), "5"),
        (lambda t: t.local_view(0, 24), "neuron 24 is out of range"),
        (lambda t: t.rollout(2), "head 2 is out of range 0..1"),
        (lambda t: t.rollout(-1), "head -1"),
        (lambda t: t.head_of(24), "neuron 24 is out of range"),
    ],
)
def test_out_of_range(trace: Trace, ask: Callable[[Trace], Any], words: str) -> None:
    with pytest.raises(IndexError, match=words):
        ask(trace)


def test_choices_that_there_are_not(trace: Trace) -> None:
    with pytest.raises(ValueError, match='attention must be "mean" or "head", got \'max\''):
        trace.view(0, attention="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no prefix token 'det1'"):
        trace.view(0, 1, "det1")


# ---------------------------------------------------------------- rollout


@pytest.mark.parametrize("head", [None, 0, 1])
def test_rollout(trace: Trace, head: int | None) -> None:
    found = trace.rollout(head)
    np.testing.assert_allclose(found, np.stack(rolled(trace, head)), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-5)
    assert np.array_equal(found[0], np.eye(trace.patch_grid.tokens))
    assert trace.rollout(head) is found
    assert not found.flags.writeable
    maps = np.stack([trace.attention(layer) for layer in range(1, L + 1)])
    assert np.array_equal(found, rollout(maps.mean(axis=1) if head is None else maps[:, head]))


def test_heads_differ(trace: Trace) -> None:
    assert not np.allclose(trace.rollout(0)[L], trace.rollout(1)[L], atol=1e-3)


# ---------------------------------------------------------------- models without


def test_a_stem_of_convolutions_has_no_filters() -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_r_s16_p8_224", img_size=(64, 96), embed_dim=24, depth=2, num_heads=2, num_classes=5
    ).eval()
    inspector = Inspector(model)
    trace = inspector.trace(torch.randn(1, 3, 64, 96))
    reason = "its patch embedding is not one convolution of whole patches, so it has no filters to show"
    for ask in (inspector.filters, trace.filters, lambda: trace.view(0), lambda: trace.local_view(0, 0)):
        with pytest.raises(ValueError, match=reason):
            ask()
    assert [trace.why_not("view", layer) for layer in range(3)] == [reason] * 3
    np.testing.assert_allclose(trace.rollout().sum(axis=2), 1, atol=1e-5)
    assert trace.norms().shape == (3, trace.patch_grid.tokens)
    assert [one.shape for one in trace.colours()] == [(trace.patch_grid.patches, 3)] * 3
    assert trace.why_not("evidence", 2) == ""


@pytest.fixture(scope="module")
def swin() -> Trace:
    torch.manual_seed(0)
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(64, 96), embed_dim=16, depths=(2, 2), num_heads=(2, 4),
        window_size=4, num_classes=5,
    ).eval()  # fmt: skip
    return Inspector(model).trace(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1)))


def test_swin_has_filters_but_no_rollout(swin: Trace) -> None:
    assert swin.filters().shape == (16, 4, 4, 3)
    assert swin.view(3).shape == (64, 96, 3)
    own = swin.view(3, 0, (5, 7))[20:24, 28:32]
    np.testing.assert_array_equal(own, swin.local_view((5, 7), 3))
    assert swin.why_not("view", 0) == ""
    reason = "the patch grid changes between the layers, so attention cannot be chained"
    assert swin.why_not("view", 1) == swin.why_not("rollout", 1) == reason
    asks: list[Callable[[], Any]] = [swin.rollout, lambda: swin.view(3, 2, 0)]
    for ask in asks:
        with pytest.raises(ValueError, match=reason):
            ask()


def test_overlapping_patches_have_no_filters() -> None:
    model = timm.create_model("pit_ti_224", img_size=(64, 96), base_dims=(8, 8, 8), depth=(1, 1, 1)).eval()
    trace = Inspector(model).trace(torch.randn(1, 3, 64, 96))
    assert "not one convolution of whole patches" in trace.why_not("view", 0)
    with pytest.raises(ValueError, match="has no filters"):
        trace.view(0)


def test_a_trace_without_attention_has_views_of_its_patches(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x, keep=["tokens"])
    assert trace.why_not("view", 0) == ""
    assert "not kept" in trace.why_not("view", 1)
    assert trace.view(0, 0, 3).any()
    assert np.array_equal(trace.view(0, 3), trace.view(0, 0))
    with pytest.raises(ValueError, match="there is no rollout: it needs the attention of block 1: not kept"):
        trace.view(0, 1, 3)


def test_a_trace_made_by_hand_has_no_filters() -> None:
    trace = staged_trace()
    with pytest.raises(ValueError, match="the trace does not hold them"):
        trace.filters()
    assert trace.why_not("view", 0) == "the trace does not hold them"


# ---------------------------------------------------------------- norms and colours


def test_norms(trace: Trace) -> None:
    found = trace.norms()
    assert found.shape == (L + 1, trace.patch_grid.tokens)
    assert found.dtype == np.float32
    assert np.array_equal(found, norms.norms(trace.tokens))
    for layer in range(L + 1):
        for row in range(trace.patch_grid.tokens):
            assert found[layer, row] == pytest.approx(
                sum(v * v for v in trace.layer(layer)[row]) ** 0.5, rel=1e-5
            )


def test_colours(trace: Trace) -> None:
    patches = [trace.layer(layer)[len(trace.prefix) :] for layer in range(L + 1)]
    for background in (None, 40):
        found = trace.colours(background)
        expected = projection.colours(patches, over="layers", background=background)
        assert len(found) == L + 1
        for one, two in zip(found, expected, strict=True):
            assert one.shape == (ROWS * COLS, 3)
            assert one.dtype == np.uint8
            assert np.array_equal(one, two)
    with pytest.raises(ValueError, match="background must be a grey"):
        trace.colours(256)


def test_colours_need_all_layers(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x, layers=[0, 1, 3])
    assert [trace.why_not("colours", layer)[:7] for layer in range(4)] == ["", "", "layer 2", ""]
    for ask in (trace.colours, trace.norms):
        with pytest.raises(ValueError, match="layer 2 was not kept"):
            ask()


def test_colours_of_changing_grids(swin: Trace) -> None:
    found = swin.colours()
    assert [len(one) for one in found] == [swin.grid_of(layer).patches for layer in range(swin.layers + 1)]
    assert all(one.dtype == np.uint8 and np.ptp(one) > 100 for one in found)


# ---------------------------------------------------------------- without the model


def test_views_outlive_the_model(make_vit: Callable[..., Any], x: Tensor, tmp_path: Path) -> None:
    model = make_vit("distilled")
    inspector = Inspector(model)
    live = inspector.trace(x, precision="float32")
    expected = live.view(4, 2, "dist", attention="head"), live.filters()
    inspector.trace(x, precision="float32").save(tmp_path / "trace.safetensors")
    detached = inspector.trace(x, precision="float32").detach()
    with torch.no_grad():
        model.patch_embed.proj.weight.mul_(2)
    for trace in (live, detached, Trace.load(tmp_path / "trace.safetensors")):
        np.testing.assert_allclose(trace.view(4, 2, "dist", attention="head"), expected[0], atol=1e-6)
        np.testing.assert_array_equal(trace.filters(), expected[1])
        assert [trace.why_not("view", layer) for layer in range(L + 1)] == [""] * (L + 1)
    np.testing.assert_array_equal(inspector.trace(x).filters(), 2 * expected[1])


def test_filters_of_a_model_that_has_changed_are_not_given(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    bound = Inspector(model).trace(x)
    with torch.no_grad():
        model.patch_embed.proj.weight.mul_(2)
    for ask in (bound.filters, lambda: bound.view(4), lambda: bound.local_view(0, 0), bound.detach):
        with pytest.raises(RuntimeError, match="changed since this trace"):
            ask()


def test_reasons_are_kept_in_files(swin: Trace, tmp_path: Path) -> None:
    for number, trace in enumerate((swin, small_trace())):
        path = tmp_path / f"{number}.safetensors"
        trace.save(path)
        back = Trace.load(path)
        for field in ("view", "evidence", "colours"):
            for layer in range(trace.layers + 1):
                assert back.why_not(field, layer) == trace.why_not(field, layer)
