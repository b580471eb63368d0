"""Activations of another pass, beside the same edits made by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hand_edits import (
    Edit,
    L,
    OwnBlock,
    OwnModel,
    agree,
    by_hand,
    changed,
    head,
    left_behind,
    multi_head,
    same,
    spelled_out,
)
from torch import Tensor, nn

from vitwidgets import Ablation, Inspector, Trace, Transplant
from vitwidgets.errors import InterventionError


@pytest.mark.parametrize("layer", range(L + 1))
def test_a_whole_layer_gives_the_logits_of_its_source(
    inspector: Inspector, x: Tensor, other: Tensor, layer: int
) -> None:
    source = inspector.trace(other, precision="float32")
    trace = inspector.trace(x, precision="float32", patch_from=Transplant(source, layer))
    assert np.array_equal(trace.logits, source.logits)
    for later in range(layer, L + 1):
        assert np.array_equal(trace.layer(later), source.layer(later))
    if layer:
        assert np.array_equal(
            trace.layer(layer - 1), inspector.trace(x, precision="float32").layer(layer - 1)
        )
    assert trace.check().passed


@pytest.mark.parametrize("layer", [0, 2, L])
def test_parts_of_a_layer(make_vit: Callable[..., Any], x: Tensor, other: Tensor, layer: int) -> None:
    model = make_vit("registers")
    inspector = Inspector(model)
    source = inspector.trace(other, precision="float32")
    given = by_hand(model, other).layers[layer]

    def rows(t: Tensor) -> None:
        t[:, [0, 2, 4, 18]] = given[:, [0, 2, 4, 18]]

    def column(t: Tensor) -> None:
        t[:, :, 6] = given[:, :, 6]

    tokens = Transplant(source, layer, tokens=["cls", "reg2", 0, (2, 4)])
    agree(
        inspector.trace(x, precision="float32", patch_from=tokens),
        by_hand(model, x, stream={layer: changed(rows)}),
    )
    agree(
        inspector.trace(x, precision="float32", patch_from=[Transplant(source, layer, neuron=6)]),
        by_hand(model, x, stream={layer: changed(column)}),
    )


def test_a_unit_of_another_pass(inspector: Inspector, x: Tensor, other: Tensor) -> None:
    given = by_hand(inspector.model, other).units[1]

    def column(t: Tensor) -> None:
        t[:, :, 11] = given[:, :, 11]

    source = inspector.trace(other, precision="float32")
    trace = inspector.trace([x, other], precision="float32", patch_from=Transplant(source, 2, unit=11))
    agree(trace[0], by_hand(inspector.model, x, units={2: changed(column)}))
    np.testing.assert_allclose(trace[1].logits, source.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("variant", ["distilled", "query and key norm"])
def test_a_head_of_another_pass(
    make_vit: Callable[..., Any], x: Tensor, other: Tensor, variant: str, fused: bool
) -> None:
    model = make_vit(variant) if fused else spelled_out(make_vit(variant))
    inspector = Inspector(model)
    source = inspector.trace(other, precision="float32")
    hand = by_hand(model, x, heads={2: changed(lambda t: t[:, 1].copy_(given_by_hand(model, other)[0, 1]))})
    traces = inspector.trace([x, other], precision="float32", patch_from=Transplant(source, 2, head=1))
    agree(traces[0], hand)
    np.testing.assert_allclose(traces[1].logits, source.logits, rtol=1e-4, atol=1e-5)  # its own head again
    assert traces[0].check().passed
    assert traces[0].notes == ["head 1 of layer 2 taken from another image"]
    assert not np.allclose(traces[0].logits, inspector.trace(x).logits, atol=1e-3)
    assert left_behind(model) == []


def given_by_hand(model: Any, x: Tensor, heads: dict[int, Edit] | None = None) -> Tensor:
    """What the heads of block 2 give, (B, heads, N, head_dim), after an edit of theirs."""
    seen: list[Tensor] = []
    edit = (heads or {}).get(2, same)

    def look(given: Tensor) -> Tensor:
        seen.append(edit(given))
        return seen[-1]

    by_hand(model, x, heads={**(heads or {}), 2: look})
    return seen[0]


def test_a_head_of_a_pass_that_was_changed_itself(inspector: Inspector, x: Tensor, other: Tensor) -> None:
    """What is taken is what the head gave there, with the edits of that pass."""
    model: Any = inspector.model
    edits = [Ablation(1, head=0), Ablation(2, head=1, fill="mean")]
    source = inspector.trace(other, precision="float32", ablate=edits)
    given = given_by_hand(model, other, {1: head(0, "zero"), 2: head(1, "mean")})
    trace = inspector.trace(x, precision="float32", patch_from=Transplant(source, 2, head=1))
    agree(trace, by_hand(model, x, heads={2: changed(lambda t: t[:, 1].copy_(given[0, 1]))}))
    assert left_behind(model) == []


@pytest.mark.parametrize("was_changed", [False, True])
def test_a_head_of_multi_head_attention(x: Tensor, other: Tensor, was_changed: bool) -> None:
    torch.manual_seed(3)
    model = MultiHeadModel().eval()
    inspector = Inspector(model, blocks="layers")
    edits = [Ablation(1, head=2, fill="mean")] if was_changed else []
    source = inspector.trace(other, precision="float32", ablate=edits)
    inner: Any = model.layers[0].attention
    seen: list[Tensor] = []

    def look(given: Tensor) -> Tensor:
        seen.append(head(2, "mean")(given) if was_changed else given)
        return given

    with torch.no_grad():
        multi_head(inner, torch.from_numpy(source.layer(0).copy())[None], look)
        put = changed(lambda t: t[:, 2].copy_(seen[0][0, 2]))
        handle = inner.register_forward_hook(lambda _m, args, _o: (multi_head(inner, args[0], put)[0], None))
        expected = model(x)[0]
        handle.remove()
    trace = inspector.trace(x, precision="float32", patch_from=Transplant(source, 1, head=2))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-6)
    assert trace.check().passed
    assert left_behind(model) == []


class MultiHeadBlock(OwnBlock):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        y: Tensor = x + self.mlp(x)
        return y


class MultiHeadModel(OwnModel):
    def __init__(self) -> None:
        super().__init__(nn.Identity)
        make = partial(nn.MultiheadAttention, 24, 3, batch_first=True)
        self.layers = nn.ModuleList(MultiHeadBlock(make(), 24) for _ in range(2))


def test_a_source_whose_model_has_changed_is_refused(
    make_vit: Callable[..., Any], x: Tensor, other: Tensor
) -> None:
    model = make_vit()
    inspector = Inspector(model)
    source = inspector.trace(other)
    with torch.no_grad():
        model.blocks[1].attn.proj.weight.mul_(2)
    with pytest.raises(RuntimeError, match="have changed since this trace"):
        inspector.trace(x, patch_from=Transplant(source, 2, head=1))
    assert left_behind(model) == []


def test_a_transplant_follows_ablations(inspector: Inspector, x: Tensor, other: Tensor) -> None:
    source = inspector.trace(other, precision="float32")
    trace = inspector.trace(
        x, precision="float32", ablate=Ablation(2, neuron=1), patch_from=Transplant(source, 2)
    )
    assert np.array_equal(trace.logits, source.logits)


def test_a_source_without_its_model_will_do(
    inspector: Inspector, x: Tensor, other: Tensor, tmp_path: Any
) -> None:
    source = inspector.trace(other, precision="float32")
    source.save(tmp_path / "source.safetensors")
    loaded = Trace.load(tmp_path / "source.safetensors")
    edits: list[dict[str, Any]] = [{}, {"neuron": 3}, {"unit": 5}]
    for edit in edits:
        one = inspector.trace(x, precision="float32", patch_from=Transplant(source, 1, **edit))
        two = inspector.trace(x, precision="float32", patch_from=Transplant(loaded, 1, **edit))
        np.testing.assert_allclose(one.logits, two.logits, atol=1e-6)


def test_sources_that_do_not_fit(make_vit: Callable[..., Any], inspector: Inspector, x: Tensor) -> None:
    larger = Inspector(make_vit("any size")).trace(torch.randn(1, 3, 24, 48))
    wider = Inspector(make_vit(embed_dim=32)).trace(x)
    turned = Inspector(make_vit(img_size=(40, 24))).trace(torch.randn(1, 3, 40, 24))
    register = Inspector(make_vit("no class token", reg_tokens=1)).trace(x)
    bare = Inspector(make_vit("no class token", img_size=(32, 32))).trace(torch.randn(1, 3, 32, 32))
    assert turned.layer(1).shape == register.layer(1).shape == bare.layer(1).shape == (16, 24)
    part = inspector.trace(x, layers=[1], keep=["tokens"])
    ours = inspector.trace(x)
    for transplant, error, words in [
        (Transplant(larger, 1), InterventionError, "3 x 6 patches and prefix tokens cls, this one 3 x 5"),
        (Transplant(larger, 1, unit=3), InterventionError, "needs the same model and input size"),
        (Transplant(wider, 1), InterventionError, r"shape \(16, 32\), of this one \(16, 24\)"),
        (Transplant(wider, 1, unit=3), InterventionError, "has 128 MLP neurons, of this one 96"),
        (Transplant(turned, 1), InterventionError, "has 5 x 3 patches and .* cls, this one 3 x 5 patches"),
        (Transplant(turned, 1, tokens=[0]), InterventionError, "has 5 x 3 patches"),
        (Transplant(turned, 1, neuron=0), InterventionError, "has 5 x 3 patches"),
        (Transplant(turned, 1, head=0), InterventionError, "has 5 x 3 patches"),
        (Transplant(register, 1), InterventionError, "prefix tokens reg1, this one .* prefix tokens cls"),
        (Transplant(bare, 1), InterventionError, "no prefix tokens, this one .* prefix tokens cls"),
        (Transplant(wider, 1, head=1), InterventionError, "gave .1, 16, 16., this one gives .1, 16, 12."),
        (Transplant(part, 1, head=0), ValueError, "layer 1 has no attention: not kept"),
        (Transplant(ours, 1, head=2), IndexError, r"layer 1 has no head 2: its heads are 0\.\.1"),
        (Transplant(ours, 0, head=1), InterventionError, "layer 0 is the input"),
        (Transplant(ours.detach(), 1, head=1), InterventionError, "was detached, or loaded from a file"),
        (Transplant(part, 2), ValueError, "layer 2 has no tokens: layer 2 was not kept"),
        (Transplant(part, 1, unit=0), ValueError, "layer 1 has no MLP units: not kept"),
        (Transplant(ours, 4), IndexError, "there is no layer 4"),
        (Transplant(ours, 1, tokens=[15]), IndexError, "patch 15 is out of range"),
        (Transplant(ours, 1, neuron=24), IndexError, "there is no neuron 24"),
        (Transplant(ours, 0, unit=1), InterventionError, "layer 0 is the input"),
    ]:
        with pytest.raises(error, match=words):
            inspector.trace(x, patch_from=transplant)
        assert left_behind(inspector.model) == []
