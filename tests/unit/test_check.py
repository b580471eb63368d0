"""The proof must hold for what is right, and fail for what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitwidgets import Inspector
from vitwidgets.check import TOLERANCE
from vitwidgets.replay import FromScores


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_what_was_traced_is_what_was_computed(vit: VisionTransformer, x: Tensor, precision: Any) -> None:
    trace = Inspector(vit).trace(x, precision=precision)
    assert trace.checked is None
    check = trace.check()
    assert check is trace.checked
    assert check.passed
    assert sorted(check.attention) == [1, 2, 3]
    assert check.logits == 0
    assert check.worst < (1e-5 if precision == "float32" else TOLERANCE[torch.float16])
    assert "bit-equal" in check.text


def altered(trace: Any, layer: int, **changes: Any) -> None:
    """Change what a trace kept of one attention."""
    (weights,) = trace._record.attention[layer]
    trace._record.attention[layer] = (FromScores(dataclasses.replace(weights.scores, **changes)),)


def test_the_gate_bites(make_vit: Callable[..., Any], x: Tensor) -> None:
    """A wrong scale, a token too few to attend to, a norm left out: each is seen in its own block."""
    trace = Inspector(make_vit("registers")).trace(x, precision="float32")
    scores = trace._record.attention[2][0].scores
    for changes in (
        {"scale": scores.scale * 1.1},
        {"k": scores.k.roll(1, dims=2)},
        {"bias": torch.zeros(19, 19).index_fill(1, torch.tensor([2]), float("-inf"))},
    ):
        altered(trace, 2, **changes)
        check = trace.check()
        assert not check.passed
        assert check.attention[2] > 10 * check.tolerance
        assert check.attention[1] < 1e-5 > check.attention[3]
        assert "block 2 differs" in check.text
        altered(trace, 2, **{name: getattr(scores, name) for name in changes})
    assert trace.check().passed


def test_other_logits_are_seen(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    trace = Inspector(model).trace(x)
    with torch.no_grad():
        model.head.bias += 0.5
    check = trace.check()
    assert check.logits == pytest.approx(0.5, rel=1e-3)
    assert not check.passed


def test_attention_that_is_not_finite_does_not_pass(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x)
    scores = trace._record.attention[1][0].scores
    altered(trace, 1, q=scores.q * float("nan"))
    assert not trace.check().passed


def test_a_check_leaves_the_model_alone(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit().train()
    trace = Inspector(model).trace(x)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert trace.check().passed
    assert all(module.training for module in model.modules())
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_an_exception_in_the_middle_of_a_check_leaves_nothing(
    make_vit: Callable[..., Any], x: Tensor
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("in the middle")

    model = make_vit()
    trace = Inspector(model).trace(x)
    handle = model.blocks[1].attn.proj.register_forward_hook(fail)
    hooks = [len(m._forward_hooks) for m in model.modules()]
    with pytest.raises(MemoryError):
        trace.check()
    assert hooks == [len(m._forward_hooks) for m in model.modules()]
    handle.remove()
    assert trace.check().passed


def test_images_of_a_batch_pass(make_vit: Callable[..., Any], x: Tensor) -> None:
    for trace in Inspector(make_vit("distilled")).trace([x, x.flip(-1)]):
        assert trace.check().passed


class Spelled(nn.Module):
    """Attention written out, with heads that are mixed after the softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.k_norm, self.mix = nn.Identity(), nn.Linear(heads, heads)

    def forward(self, x: Tensor, **_: object) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = torch.einsum("bhid,bhjd->bhij", self.k_norm(q), k)
        weights = torch.softmax(scores * q.shape[-1] ** -0.5, dim=-1)
        weights = self.mix(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mixed = torch.einsum("bhij,bhjd->bhid", weights, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def test_effective_weights_of_mixed_heads(make_vit: Callable[..., Any], x: Tensor) -> None:
    torch.manual_seed(0)
    model = make_vit()
    for block in model.blocks:
        block.attn = Spelled(24, 2)
    trace = Inspector(model.eval()).trace(x, precision="float32")
    assert trace.queries(1) is None
    assert trace.attention(1).shape == (2, 16, 16)
    assert trace.check().passed
    with torch.no_grad():  # by hand: block 1 sees the first norm of layer 0
        enters = model.blocks[0].norm1(torch.from_numpy(trace.layer(0).copy())[None])
        q, k, _ = model.blocks[0].attn.qkv(enters).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * 12**-0.5).softmax(dim=-1)
        mixed = model.blocks[0].attn.mix(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(torch.from_numpy(trace.attention(1)), mixed[0], atol=1e-5, rtol=1e-4)


def test_weights_that_may_be_negative_make_no_rollout(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit(attn_layer="diff")).trace(x)
    assert "may be negative" in trace.why_not("rollout", 2)
    with pytest.raises(ValueError, match=r"no rollout: it needs the attention of block 1: .*negative"):
        trace.rollout()
