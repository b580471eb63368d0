from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelScalingBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from vitwidgets.capture import capture
from vitwidgets.errors import ModelError
from vitwidgets.families import anatomy
from vitwidgets.record import Record
from vitwidgets.watch import Scores, scores_of_fused


def attention_of(scores: Scores) -> Tensor:
    product = scores.q @ scores.k.transpose(-2, -1) * scores.scale
    return (product if scores.bias is None else product + scores.bias).softmax(dim=-1)


def scores_of(record: Record, layer: int) -> Scores:
    (weights,) = record.attention[layer]
    return weights.scores


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def modes() -> int:
    return torch._C._len_torch_function_stack()


def record_of(model: nn.Module, x: Tensor) -> Record:
    (record,) = capture(anatomy(model), x, precision="float32")
    return record


@torch.no_grad()
def test_logits_are_bit_equal_and_layers_are_timms_own(vit: VisionTransformer, x: Tensor) -> None:
    expected = vit(x)
    seen: list[Tensor] = []
    handle = vit.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    intermediates = vit.forward_intermediates(
        x, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )
    handle.remove()
    record = record_of(vit, x)
    assert torch.equal(record.output, expected[0])
    assert torch.equal(record.layers[0], seen[0][0])
    assert sorted(record.layers) == [0, 1, 2, 3]
    for layer, found in enumerate(intermediates, start=1):
        patches, prefix = found if isinstance(found, tuple) else (found, found[:, :0])
        assert torch.equal(record.layers[layer], torch.cat([prefix, patches], dim=1)[0])


@torch.no_grad()
@pytest.mark.parametrize("fused", [True, False])
def test_attention_and_hidden_units_rebuild_the_block(vit: VisionTransformer, x: Tensor, fused: bool) -> None:
    """From layer l - 1, captured attention, the block's values and hidden units follows layer l."""
    for module in vit.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    record = record_of(vit, x)
    for index, block in enumerate(vit.blocks):
        before, after = record.layers[index][None], record.layers[index + 1][None]
        attention, hidden = record.weights(index + 1)[None], record.hidden_units(index + 1)[None]
        assert attention.shape == (1, 2, before.shape[1], before.shape[1])
        if isinstance(block, ParallelScalingBlock):
            *_, v = torch.split(block.in_proj(block.in_norm(before)), block.in_split, dim=-1)
            values = v.unflatten(2, (2, -1)).transpose(1, 2)
            mixed = (attention @ values).transpose(1, 2).flatten(2)
            rebuilt = before + block.attn_out_proj(mixed) + block.mlp_out_proj(hidden)
        else:
            attn, mlp = block.attn, block.mlp
            post = type(block).__name__ == "ResPostBlock"
            enters = before if post else block.norm1(before)
            values = F.linear(enters, attn.qkv.weight, attn.qkv.bias).chunk(3, dim=-1)[2]
            mixed = attention @ values.unflatten(2, (2, -1)).transpose(1, 2)
            attended = attn.proj(attn.norm(mixed.transpose(1, 2).flatten(2)))
            middle = before + (block.norm1(attended) if post else block.ls1(attended))
            last = mlp.w2 if hasattr(mlp, "w2") else mlp.fc2
            branch = F.linear(hidden, last.weight, last.bias)
            rebuilt = middle + (block.norm2(branch) if post else block.ls2(branch))
        torch.testing.assert_close(rebuilt, after, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_queries_and_keys_come_from_the_weights(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit("query and key norm")
    record = record_of(model, x)
    for index, block in enumerate(model.blocks):
        enters = F.layer_norm(
            record.layers[index][None], (24,), block.norm1.weight, block.norm1.bias, block.norm1.eps
        )
        qkv = enters @ block.attn.qkv.weight.T + block.attn.qkv.bias
        for found, wanted, norm in zip(
            (scores_of(record, index + 1).q, scores_of(record, index + 1).k),
            qkv.chunk(3, dim=-1),
            (block.attn.q_norm, block.attn.k_norm),
            strict=False,
        ):
            heads = wanted.reshape(1, -1, 2, 12).transpose(1, 2)
            expected = F.layer_norm(heads, (12,), norm.weight, norm.bias, norm.eps)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        assert scores_of(record, index + 1).scale == pytest.approx(12**-0.5)


@pytest.mark.parametrize(("mask", "causal"), [(None, False), (None, True), ("bool", False), ("bias", False)])
def test_reading_a_fused_call(mask: str | None, causal: bool) -> None:
    torch.manual_seed(1)
    q, k, v = torch.randn(1, 4, 5, 6), torch.randn(1, 2, 5, 6), torch.randn(1, 2, 5, 6)
    given = {
        None: None,
        "bool": torch.rand(1, 1, 5, 5) > 0.5,
        "bias": torch.randn(4, 5, 5),
    }[mask]
    if given is not None and given.dtype == torch.bool:
        given = given | torch.eye(5, dtype=torch.bool)
    arguments: dict[str, Any] = {"attn_mask": given, "is_causal": causal, "scale": 0.7, "enable_gqa": True}
    attention = attention_of(scores_of_fused(q, k, v, **arguments))
    expected = F.scaled_dot_product_attention(q, k, v, **arguments)
    torch.testing.assert_close(attention @ v.repeat_interleave(2, dim=1), expected, atol=1e-5, rtol=1e-4)


def test_nothing_is_left_behind(vit: VisionTransformer, x: Tensor) -> None:
    hooks = hooks_of(vit)
    record = record_of(vit, x)
    assert hooks_of(vit) == hooks
    assert modes() == 0
    assert torch.is_grad_enabled()
    assert not any(tensor.requires_grad for tensor in record.tensors())


def test_train_mode_is_switched_and_restored_module_by_module(
    make_vit: Callable[..., Any], x: Tensor
) -> None:
    model = make_vit(attn_drop_rate=0.5, proj_drop_rate=0.5, drop_path_rate=0.5, patch_drop_rate=0.5)
    with torch.no_grad():
        expected = model(x)
    model.train()
    model.blocks[1].eval()
    flags = [module.training for module in model.modules()]
    record = record_of(model, x)
    assert record.was_training
    assert torch.equal(record.output, expected[0])
    assert [module.training for module in model.modules()] == flags
    assert not record_of(model.eval(), x).was_training


@pytest.mark.parametrize("place", ["attn.qkv", "attn.k_norm", "attn.proj", "mlp.act"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_inside_forward_leaves_nothing(
    make_vit: Callable[..., Any], x: Tensor, place: str, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error("in the middle")

    model = make_vit().train()
    handle = model.blocks[1].get_submodule(place).register_forward_hook(fail)
    hooks = hooks_of(model)
    with pytest.raises(error, match="in the middle"):
        record_of(model, x)
    assert hooks_of(model) == hooks
    assert modes() == 0
    assert torch.is_grad_enabled()
    assert all(module.training for module in model.modules())
    handle.remove()
    assert torch.equal(record_of(model, x).output, record_of(model.eval(), x).output)


def test_an_attention_that_is_not_understood(make_vit: Callable[..., Any], x: Tensor) -> None:
    class Odd(nn.Module):
        def __init__(self, attention: Any) -> None:
            super().__init__()
            self.num_heads, self.k_norm, self.proj = attention.num_heads, attention.k_norm, attention.proj

        def forward(self, x: Tensor, **_: object) -> Tensor:
            return F.linear(self.k_norm(x).relu(), self.proj.weight)  # never reaches the end of the span

    model = make_vit()
    model.blocks[1].attn = Odd(model.blocks[1].attn)
    with pytest.raises(ModelError, match=r"block 2 \(Odd\) computed no attention"):
        record_of(model, x)
    assert modes() == 0


def test_a_block_that_does_not_run(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    parts = anatomy(model)
    model.blocks = model.blocks[:2]
    with pytest.raises(ModelError, match=r"block 3 \(Block\) ran 0 times.*each of the 3 blocks"):
        capture(parts, x)


def test_gradient_checkpointing(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    expected = record_of(model, x)
    model.set_grad_checkpointing(True)
    found = record_of(model, x)
    assert torch.equal(found.output, expected.output)
    assert torch.equal(found.weights(3), expected.weights(3))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("resnet18", r"ResNet.*\(\.patch_embed\).*\(\.blocks\).*attention between tokens"),
        ("mixer_s32_224", r"MlpMixer.*mixed by MLPs.*no attention between tokens"),
        ("xcit_nano_12_p16_224", r"mixes channels.*no map from token to token"),
        ("crossvit_tiny_240", r"two columns of tokens"),
    ],
)
def test_models_that_are_no_vit_hear_what_is_missing(name: str, missing: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(ModelError, match=missing):
        anatomy(model)


def test_a_model_without_blocks(make_vit: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match="no blocks"):
        anatomy(make_vit(depth=0))


def test_a_block_that_runs_twice(make_vit: Callable[..., Any], x: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.block(x))

    model = make_vit()
    parts = anatomy(model)
    model.blocks[1] = Twice(model.blocks[1])
    hooks = hooks_of(model)
    with pytest.raises(ModelError, match=r"block 2 \(Block\) ran 2 times"):
        capture(parts, x)
    assert hooks_of(model) == hooks


@torch.no_grad()
def test_a_batch_leaves_each_image_its_own(vit: VisionTransformer, x: Tensor) -> None:
    batch = torch.cat([x, x.flip(-1), -x])
    alone = [capture(anatomy(vit), image[None], precision="float32")[0] for image in batch]
    together = capture(anatomy(vit), batch, precision="float32")
    for one, two in zip(together, alone, strict=True):
        torch.testing.assert_close(one.output, two.output, atol=1e-5, rtol=1e-4)
        for layer in (1, 2, 3):
            torch.testing.assert_close(one.layers[layer], two.layers[layer], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(one.weights(layer), two.weights(layer), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(one.hidden_units(layer), two.hidden_units(layer), atol=1e-5, rtol=1e-4)
    pieces = {record.layers[1].untyped_storage().data_ptr() for record in together}
    assert len(pieces) == 3  # no image holds on to the others


def test_prefix_names(make_vit: Callable[..., Any]) -> None:
    assert anatomy(make_vit("registers")).prefix == ("cls", "reg1", "reg2", "reg3")
    assert anatomy(make_vit("distilled")).prefix == ("cls", "dist")
    assert anatomy(make_vit("no class token")).prefix == ()
    odd = make_vit()
    odd.num_prefix_tokens = 3
    with pytest.raises(ModelError, match="3 tokens before the patches"):
        anatomy(odd)


def test_layers_that_are_changed_in_place_afterwards(make_vit: Callable[..., Any], x: Tensor) -> None:
    """A block may write into its input: what the trace shows is what passed."""

    class InPlace(nn.Module):
        def __init__(self, block: Any) -> None:
            super().__init__()
            self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp

        def forward(self, x: Tensor) -> Tensor:
            x += self.attn(self.norm1(x))
            x += self.mlp(self.norm2(x))
            return x

    expected = record_of(make_vit(), x)
    model = make_vit()
    for number, block in enumerate(model.blocks):
        model.blocks[number] = InPlace(block)
    found = record_of(model, x)
    for layer in range(4):
        torch.testing.assert_close(found.layers[layer], expected.layers[layer])
    assert torch.equal(found.output, expected.output)


@torch.inference_mode()
def test_inside_inference_mode(make_vit: Callable[..., Any], x: Tensor) -> None:
    record = record_of(make_vit(), x)
    assert sorted(record.layers) == [0, 1, 2, 3]
    torch.testing.assert_close(record.weights(2).sum(dim=-1), torch.ones(2, 16))
