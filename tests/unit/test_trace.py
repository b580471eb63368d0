from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitwidgets import Inspector, Trace
from vitwidgets.analysis import rollout


@torch.no_grad()
def test_shapes_types_and_what_follows_from_what(vit: VisionTransformer, x: Tensor) -> None:
    trace = Inspector(vit).trace(x, precision="float32")
    count, layers = trace.patch_grid.tokens, 3
    assert (trace.grid, trace.layers, trace.width, trace.heads) == ((3, 5), layers, 24, 2)
    assert trace.prefix == trace.patch_grid.prefix
    assert count == 15 + vit.num_prefix_tokens
    assert trace.tokens.shape == (layers + 1, count, 24)
    for layer in range(1, layers + 1):
        attention = trace.attention(layer)
        assert attention.shape == (2, count, count)
        assert trace.mlp(layer).shape == (count, trace.hidden)
        assert trace.queries(layer).shape == trace.keys(layer).shape == (2, count, 12)
        scores = trace.queries(layer) @ trace.keys(layer).transpose(0, 2, 1)
        rebuilt = np.exp(scores - trace.log_normalizer(layer)[:, :, None])
        np.testing.assert_allclose(rebuilt, attention, atol=1e-5)
        np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)
        for array in (attention, trace.mlp(layer), trace.queries(layer), trace.log_normalizer(layer)):
            assert array.dtype == np.float32
    assert trace.rollout().shape == (layers + 1, count, count)
    assert np.array_equal(trace.logits, vit(x)[0].numpy())
    assert trace.tokens.dtype == trace.logits.dtype == trace.pixels.dtype == np.float32


def test_rollout_is_of_the_head_means(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit("registers")).trace(x)
    means = np.stack([trace.attention(layer).mean(axis=0) for layer in (1, 2, 3)])
    np.testing.assert_array_equal(trace.rollout(), rollout(means))
    assert trace.rollout() is trace.rollout()


def test_kept_arrays_are_read_only(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x)
    kept = (trace.layer(1), trace.logits, trace.pixels, trace.rollout())
    for array in kept:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    trace.attention(1)[:] = 0
    assert trace.attention(1).sum() > 0


def test_a_trace_does_not_follow_its_input_or_its_model(make_vit: Callable[..., Any], x: Tensor) -> None:
    model, y = make_vit(), x.clone()
    inspector = Inspector(model)
    trace, other, bound = inspector.trace(y).detach(), Inspector(make_vit()).trace(x), inspector.trace(y)
    y.zero_()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for one, two in (
        (trace.pixels, other.pixels),
        (trace.tokens, other.tokens),
        (trace.attention(2), other.attention(2)),
        (trace.queries(2), other.queries(2)),
    ):
        assert np.array_equal(one, two)
        assert np.abs(one).sum() > 0
    assert np.array_equal(trace.pixels, x[0].permute(1, 2, 0).numpy())
    np.testing.assert_allclose(trace.mlp(2), other.mlp(2), atol=1e-3)  # kept in float16
    assert np.array_equal(bound.tokens, other.tokens)
    for ask in (bound.mlp, bound.attention, bound.queries):
        with pytest.raises(RuntimeError, match=r"weights of the model.* have changed.*trace the image again"):
            ask(2)
    with pytest.raises(RuntimeError, match="was detached"):
        trace.check()


def test_a_hook_that_is_gone_does_not_change_a_trace_in_silence(
    make_vit: Callable[..., Any], x: Tensor
) -> None:
    model = make_vit()
    inspector = Inspector(model)
    plain = inspector.trace(x)
    handle = model.blocks[1].attn.qkv.register_forward_hook(lambda _, __, output: 2 * output)
    edited = inspector.trace(x)
    doubled = edited.attention(2)
    with pytest.raises(RuntimeError, match="hooks in it, have changed"):
        plain.attention(2)
    handle.remove()
    assert np.abs(doubled - plain.attention(2)).max() > 1e-3
    with pytest.raises(RuntimeError, match="hooks in it, have changed"):
        edited.mlp(2)
    assert np.array_equal(plain.attention(3), inspector.trace(x).attention(3))


def test_predictions(make_vit: Callable[..., Any], x: Tensor) -> None:
    names = list("abcdefg")
    trace = Inspector(make_vit(), class_names=names).trace(x)
    expected = np.exp(trace.logits.astype(float)) / np.exp(trace.logits.astype(float)).sum()
    np.testing.assert_allclose(trace.probabilities, expected, atol=1e-6)
    top = trace.top(3)
    order = sorted(range(7), key=lambda index: -expected[index])
    assert [label for label, _ in top] == [names[index] for index in order[:3]]
    assert [p for _, p in top] == pytest.approx([expected[index] for index in order[:3]], abs=1e-6)
    assert len(trace.top(100)) == 7
    with pytest.raises(ValueError, match="at least 1"):
        trace.top(0)


def test_without_a_classifier(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit(num_classes=0)).trace(x)
    assert not trace.has_predictions
    with pytest.raises(ValueError, match="no classifier"):
        trace.top(1)
    assert "Trace(" in repr(trace)


@pytest.mark.parametrize("layer", [-1, 0, 4])
@pytest.mark.parametrize("what", ["attention", "mlp", "queries", "keys", "log_normalizer"])
def test_layers_out_of_range(make_vit: Callable[..., Any], x: Tensor, what: str, layer: int) -> None:
    trace = Inspector(make_vit()).trace(x)
    with pytest.raises(IndexError, match=r"out of range 1\.\.3" + (".*is the input" if layer == 0 else "")):
        getattr(trace, what)(layer)


def test_repr(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit("distilled"), class_names=["x"] * 7).trace(x)
    expected = r"Trace(VisionTransformerDistilled, 3 x 5 patches + cls + dist, 3 layers x 24, x 0."
    assert repr(trace).startswith(expected)


def test_identity_hash_and_weak_reference(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit())
    one, two = inspector.trace(x), inspector.trace(x)
    assert one != two
    assert len({one, two, one}) == 2
    gc.disable()  # a dropped trace must free its memory at once, not when the collector comes by
    try:
        gone = weakref.ref(one)
        one.tokens, one.rollout(), one.mlp(1), one.image, one.notes, one.top(1)
        del one
        assert gone() is None
    finally:
        gc.enable()


def poisoned(make_vit: Callable[..., Any], x: Tensor, value: float) -> Trace:
    """Trace a model whose second block puts one value that is not finite into token 4."""

    def spoil(_: object, __: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[0, 4, 2] = value
        return output

    model = make_vit()
    model.blocks[1].register_forward_hook(spoil)
    return Inspector(model).trace(x)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_are_traced_and_said(
    make_vit: Callable[..., Any], x: Tensor, value: float
) -> None:
    trace = poisoned(make_vit, x, value)
    assert np.isfinite(trace.tokens[1]).all()
    np.testing.assert_equal(trace.tokens[2, 4, 2], np.float32(value))
    assert any("layer 2 on, in 2 of 4 (1 of 16 tokens" in note for note in trace.notes)
    assert "note: NaN or infinite" in repr(trace)
    assert np.isfinite(trace.rollout()[:3]).all()
    assert np.isnan(trace.attention(3)).any()


def test_an_output_that_is_not_finite_is_said(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    with torch.no_grad():
        model.head.bias[3] = torch.inf
    trace = Inspector(model).trace(x)
    assert trace.notes == ["the model's output is not finite: its predictions mean nothing"]
    assert len(trace.top(5)) == 5


def test_large_finite_activations_are_no_alarm(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    with torch.no_grad():
        model.pos_embed.fill_(3e38)
    trace = Inspector(model).trace(x)
    assert trace.tokens[0].max() > 2e38
    assert not any("from layer 0" in note for note in trace.notes)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(make_vit: Callable[..., Any], x: Tensor, dtype: torch.dtype) -> None:
    exact = Inspector(make_vit("registers")).trace(x, precision="float32")
    trace = Inspector(make_vit("registers"), dtype=dtype).trace(x)
    kept = dtype if dtype.itemsize == 2 else torch.float16
    assert trace._record.layers[0].dtype == kept
    for layer in (1, 2, 3):
        assert trace.attention(layer).dtype == np.float32
        np.testing.assert_allclose(trace.attention(layer).sum(axis=-1), 1, atol=1e-5)
    tolerance = {torch.bfloat16: 0.1, torch.float16: 0.01, torch.float64: 1e-3}[dtype]
    scale = np.abs(exact.tokens).max()
    assert np.abs(trace.tokens - exact.tokens).max() < tolerance * scale
    assert trace.mlp(1).dtype == trace.logits.dtype == np.float32
