"""What heads give to all tokens, beside the same edits made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hand_edits import (
    Edit,
    EinsumAttention,
    N,
    OwnModel,
    Pass,
    agree,
    by_hand,
    head,
    left_behind,
    multi_head,
    open_clip_tower,
    same,
    spelled_out,
    without_head,
)
from timm.models.eva import Eva
from timm.models.vision_transformer import DiffParallelScalingBlock, ParallelScalingBlock, ParallelThingsBlock
from torch import Tensor, nn

from vitwidgets import Ablation, Inspector, Transplant
from vitwidgets.errors import InterventionError
from vitwidgets.replay import Kept


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("variant", ["class token", "query and key norm", "layer scale"])
def test_a_head(make_vit: Callable[..., Any], x: Tensor, variant: str, fill: Any, fused: bool) -> None:
    model = make_vit(variant)
    inspector = Inspector(model if fused else spelled_out(model))
    plain = inspector.trace(x, precision="float32")
    for _ in range(2):  # the second time its attention is known
        trace = inspector.trace(x, precision="float32", ablate=Ablation(2, head=1, fill=fill))
        agree(trace, by_hand(model, x, heads={2: head(1, fill)}))
        assert trace.check().passed
        assert np.array_equal(trace.attention(2), plain.attention(2))
        assert not np.array_equal(trace.attention(3), plain.attention(3))
    assert left_behind(model) == []


def test_queries_and_keys_are_those_of_the_changed_pass(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit("query and key norm")
    trace = Inspector(model).trace(x, precision="float32", ablate=Ablation(2, head=1))
    hand = by_hand(model, x, heads={2: head(1, "zero")})
    for layer in (2, 3):
        block = model.blocks[layer - 1]
        with torch.no_grad():
            qkv = block.attn.qkv(block.norm1(hand.layers[layer - 1])).unflatten(-1, (3, 2, 12))
            q, k, _ = qkv.permute(2, 0, 3, 1, 4)
            q, k = block.attn.q_norm(q) * block.attn.scale, block.attn.k_norm(k)
        np.testing.assert_allclose(trace.queries(layer), q[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(trace.keys(layer), k[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_the_check_sees_the_edited_attention(make_vit: Callable[..., Any], x: Tensor, fused: bool) -> None:
    """With all heads but one gone, attention puts in what is left; a wrong map would not give it."""
    model = make_vit() if fused else spelled_out(make_vit())
    trace = Inspector(model).trace(x, ablate=Ablation(2, head=1), precision="float32")
    assert trace.check().worst < 1e-5
    weights = trace._record.attention[2][0]
    wrong = weights.raw().roll(1, dims=-1)
    trace._record.attention[2] = (Kept(wrong),)
    assert not trace.check().passed


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["ViT", "Dinov2", "DINOv3ViT"])
def test_heads_of_transformers(x: Tensor, kind: str, attention: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, image_size=24,
        patch_size=8,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}Model")._from_config(config, attn_implementation=attention).eval()
    inspector, image = Inspector(model), x[..., :24]
    blocks = [part for part in model.modules() if type(part).__name__ in (f"{kind}Layer", "DINOv3ViTLayer")]
    names = ("o_proj", "attention.output.dense")
    last = next(
        part for name, part in blocks[1].named_modules()
        if isinstance(part, nn.Linear) and name.endswith(names)
    )  # fmt: skip
    handle = without_head(last, 1, 2)
    with torch.no_grad():
        returned = model(image)
    handle.remove()
    plain = inspector.trace(image, precision="float32")
    trace = inspector.trace(image, precision="float32", ablate=Ablation(2, head=1))
    np.testing.assert_allclose(trace.logits, returned.pooler_output[0], atol=1e-5)
    assert not np.allclose(trace.logits, plain.logits, atol=1e-4)
    assert trace.check().passed


@pytest.mark.parametrize("fused", [True, False])
def test_heads_of_eva(x: Tensor, fused: bool) -> None:
    torch.manual_seed(5)
    model: Any = Eva(
        img_size=(24, 40), patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=7,
        use_rot_pos_emb=True, swiglu_mlp=True, qkv_fused=False,
    ).eval()  # fmt: skip
    for block in model.blocks:
        block.attn.fused_attn = fused
    nn.init.normal_(model.head.weight)
    handle = without_head(model.blocks[0].attn.proj, 1, 2)
    with torch.no_grad():
        expected = model(x)[0]
        handle.remove()
        plain = model(x)[0]
    trace = Inspector(model).trace(x, precision="float32", ablate=Ablation(1, head=1))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-5)
    assert not np.allclose(trace.logits, plain, atol=1e-3)
    assert trace.check().passed


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({"attn_layer": "diff"}, "attn.proj"),
        ({"block_fn": ParallelScalingBlock}, "attn_out_proj"),
        ({"block_fn": DiffParallelScalingBlock}, "out_proj"),  # of what both give
    ],
)
def test_heads_of_other_blocks(
    make_vit: Callable[..., Any], x: Tensor, other: Tensor, options: dict[str, Any], last: str, fused: bool
) -> None:
    """Heads that are the difference of two, and those of a block that computes its MLP beside them."""
    model = make_vit(**options)
    for part in model.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = fused
    linear = model.blocks[1].get_submodule(last)
    inspector = Inspector(model)
    plain = inspector.trace(x, precision="float32")
    source = inspector.trace(other, precision="float32")
    entered: list[Tensor] = []
    handle = linear.register_forward_pre_hook(lambda _m, args: entered.append(args[0]))
    with torch.no_grad():
        model(other)
    handle.remove()
    edits: list[tuple[dict[str, Any], Tensor]] = [
        ({"ablate": Ablation(2, head=1)}, torch.zeros(1, N, 12)),
        ({"patch_from": Transplant(source, 2, head=1)}, entered[0][..., 12:24]),
    ]
    for edit, value in edits:
        handle = linear.register_forward_pre_hook(
            lambda _m, args, value=value: (torch.cat([args[0][..., :12], value, args[0][..., 24:]], dim=-1),)
        )
        with torch.no_grad():
            expected = model(x)[0]
        handle.remove()
        trace = inspector.trace(x, precision="float32", **edit)
        np.testing.assert_allclose(trace.logits, expected, atol=1e-5)
        assert not np.allclose(trace.logits, plain.logits, atol=1e-3)
        assert trace.check().passed
    assert left_behind(model) == []


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_heads_of_an_einsum(x: Tensor, fill: Any) -> None:
    torch.manual_seed(3)
    model = OwnModel(lambda: EinsumAttention(24, 3)).eval()

    def edit(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        given = args[0].unflatten(-1, (3, 8)).clone()
        given[:, :, 2] = given[:, :, 2].mean(dim=1, keepdim=True) if fill == "mean" else 0
        return (given.flatten(2),)

    handle = model.layers[0].attention.out.register_forward_pre_hook(edit)  # type: ignore[union-attr]
    with torch.no_grad():
        expected = model(x)[0]
    handle.remove()
    trace = Inspector(model, blocks="layers").trace(x, ablate=Ablation(1, head=2, fill=fill))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-6)
    assert trace.check().passed


class FoldedAttention(EinsumAttention):
    """Heads in the batch, as some write it for torch.bmm."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.transpose(1, 2).flatten(0, 1)
            for part in self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        )
        mixed = torch.bmm(torch.bmm(q, k.mT).softmax(dim=-1), v)
        out: Tensor = self.out(mixed.unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(2))
        return out


class TurnedAttention(EinsumAttention):
    """Values times weights, instead of weights times values."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT).softmax(dim=-1)
        out: Tensor = self.out((v.mT @ weights.mT).permute(0, 3, 1, 2).flatten(2))
        return out


@pytest.mark.parametrize("kind", [FoldedAttention, TurnedAttention])
def test_heads_that_cannot_be_told_apart_are_refused(x: Tensor, kind: type[nn.Module]) -> None:
    model = OwnModel(lambda: kind(24, 3)).eval()
    inspector = Inspector(model, blocks="layers")
    with pytest.raises(InterventionError, match=r"head"):
        inspector.trace(x, keep=["tokens"], ablate=Ablation(1, head=2))
    assert left_behind(model) == []


def test_heads_of_torchvision() -> None:
    """nn.MultiheadAttention never calls its last linear layer: its heads are told apart all the same."""
    torch.manual_seed(2)
    model = torchvision.models.VisionTransformer(
        image_size=24, patch_size=8, num_layers=3, num_heads=2, hidden_dim=24, mlp_dim=40, num_classes=5
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    inspector, images = Inspector(model), torch.randn(2, 3, 24, 24)
    plain = inspector.trace(images[0], precision="float32")
    agree(plain, torchvision_by_hand(model, images))
    for fill in ("zero", "mean"):
        hand = torchvision_by_hand(model, images, heads={2: head(1, fill)})
        traces = inspector.trace(
            [*images], precision="float32", ablate=Ablation(2, head=1, fill=fill)
        )  # fmt: skip
        for number, trace in enumerate(traces):
            agree(trace, hand, number)
            assert trace.check().passed
        assert not np.allclose(traces[0].logits, plain.logits, atol=1e-2)
        np.testing.assert_allclose(traces[0].attention(2), plain.attention(2), atol=1e-6)
        assert not np.allclose(traces[0].attention(3), plain.attention(3), atol=1e-3)
    both = [Ablation(2, head=0, fill="mean"), Ablation(2, head=1)]
    hand = torchvision_by_hand(model, images, heads={2: lambda t: head(1, "zero")(head(0, "mean")(t))})
    agree(inspector.trace(images[1], precision="float32", ablate=both), hand, 1)
    assert np.array_equal(inspector.trace(images[0], precision="float32").logits, plain.logits)
    assert left_behind(model) == []


def torchvision_by_hand(model: Any, x: Tensor, heads: dict[int, Edit] | None = None) -> Pass:
    with torch.no_grad():
        tokens = model._process_input(x)
        first = model.class_token.expand(len(x), -1, -1)
        tokens = torch.cat([first, tokens], dim=1) + model.encoder.pos_embedding
        done = Pass([tokens], [], [], tokens)
        for number, block in enumerate(model.encoder.layers, start=1):
            edit = (heads or {}).get(number, same)
            given, weights = multi_head(block.self_attention, block.ln_1(tokens), edit)
            tokens = tokens + given
            hidden = block.mlp[1](block.mlp[0](block.ln_2(tokens)))
            tokens = tokens + block.mlp[3](hidden)
            done.layers.append(tokens)
            done.maps.append(weights)
            done.units.append(hidden)
        done.logits = model.heads(model.encoder.ln(tokens)[:, 0])
        return done


class Masked(nn.Module):
    """nn.MultiheadAttention within something that is called attention; tokens may be hidden from others."""

    def __init__(self, mask: Tensor | None, padding: Tensor | None, weights: bool = False) -> None:
        super().__init__()
        self.num_heads = 3
        self.inner = nn.MultiheadAttention(24, 3, batch_first=True)
        self.how: dict[str, Any] = {"attn_mask": mask, "key_padding_mask": padding, "need_weights": weights}

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, x, x, **self.how)[0]
        return out


NEAR = torch.ones(15, 15, dtype=torch.bool).triu(7) | torch.ones(15, 15, dtype=torch.bool).tril(-7)
LAST = (torch.arange(15) > 11)[None]


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize(
    ("mask", "padding", "weights"),
    [
        (None, None, False),
        (None, None, True),
        (NEAR, None, False),
        (torch.linspace(-2, 2, 3 * 225).view(3, 15, 15), None, False),
        (None, LAST, False),
        (NEAR, LAST, True),
    ],
)
def test_heads_of_a_masked_attention(
    x: Tensor, mask: Tensor | None, padding: Tensor | None, weights: bool, fill: Any
) -> None:
    torch.manual_seed(3)
    model = OwnModel(lambda: Masked(mask, padding, weights)).eval()
    for layer in model.layers:
        nn.init.normal_(layer.attention.inner.in_proj_bias)  # type: ignore[union-attr, arg-type]
    inspector = Inspector(model, blocks="layers")
    plain = inspector.trace(x, precision="float32")
    inner: Any = model.layers[0].attention.inner  # type: ignore[union-attr]
    bias = torch.zeros(3, 15, 15) if mask is None else mask.expand(3, 15, 15)
    bias = torch.zeros(3, 15, 15).masked_fill(bias, -torch.inf) if bias.dtype == torch.bool else bias
    bias = bias if padding is None else bias.masked_fill(padding, -torch.inf)
    tokens = torch.from_numpy(plain.layer(0).copy())[None]
    np.testing.assert_allclose(
        plain.attention(1), multi_head(inner, tokens, same, bias)[1][0].detach(), atol=1e-6
    )
    handle = model.layers[0].attention.register_forward_hook(
        lambda _m, args, _out: multi_head(inner, args[0], head(2, fill), bias)[0]
    )
    with torch.no_grad():
        expected = model(x)[0]
    handle.remove()
    trace = inspector.trace(x, precision="float32", ablate=Ablation(1, head=2, fill=fill))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-6)
    assert not np.allclose(trace.logits, plain.logits, atol=1e-4)
    assert trace.check().passed
    assert left_behind(model) == []


def test_keys_of_its_own_are_refused(x: Tensor) -> None:
    def make() -> nn.Module:
        attention = Masked(None, None)
        attention.inner = nn.MultiheadAttention(24, 3, batch_first=True, add_bias_kv=True)
        return attention

    model = OwnModel(make).eval()
    with pytest.raises(InterventionError, match=r"adds keys of its own \(bias_k, add_zero_attn\)"):
        Inspector(model, blocks="layers").trace(x, keep=["tokens"], ablate=Ablation(1, head=2))
    assert left_behind(model) == []


@pytest.mark.parametrize("batch_first", [True, False])
def test_heads_of_open_clip(x: Tensor, batch_first: bool) -> None:
    model = open_clip_tower(batch_first)
    inspector, image = Inspector(model), x[..., :24]
    plain = inspector.trace(image, precision="float32")
    trace = inspector.trace(image, precision="float32", ablate=Ablation(2, head=1))
    assert trace.check().passed
    with torch.no_grad():
        model.transformer.resblocks[1].attn.out_proj.weight[:, 12:] = 0
        expected = model(image)[0]
    np.testing.assert_allclose(trace.logits, expected, atol=1e-6)
    assert not np.allclose(plain.logits, expected, atol=1e-3)


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_heads_of_attentions_side_by_side(make_vit: Callable[..., Any], x: Tensor, fill: Any) -> None:
    """Their heads are counted one attention after the other."""
    model = make_vit(block_fn=ParallelThingsBlock)
    inspector = Inspector(model)
    assert inspector.trace(x).heads == 4

    def edit(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        given = args[0].unflatten(-1, (2, 12)).transpose(1, 2)
        return (head(1, fill)(given).transpose(1, 2).flatten(2),)

    handle = model.blocks[1].attns[1].attn.proj.register_forward_pre_hook(edit)
    with torch.no_grad():
        expected = model(x)[0]
    handle.remove()
    trace = inspector.trace(x, precision="float32", ablate=Ablation(2, head=3, fill=fill))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-5)
    with pytest.raises(IndexError, match=r"layer 2 has no head 4: its heads are 0\.\.3"):
        inspector.trace(x, ablate=Ablation(2, head=4))
    assert left_behind(model) == []
