"""Ablations and transplants, beside the same edits made by hand in a forward pass written out here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

import vitwidgets as vw
from vitwidgets import Ablation, Inspector, Trace, Transplant
from vitwidgets.errors import InterventionError
from vitwidgets.replay import Kept

Edit = Callable[[Tensor], Tensor]

L, N, D, HEADS, HIDDEN = 3, 16, 24, 2, 96


@dataclass
class Pass:
    """A pass written out by hand: layers (B, N, D), maps (B, heads, N, N), units (B, N, hidden)."""

    layers: list[Tensor]
    maps: list[Tensor]
    units: list[Tensor]
    logits: Tensor


def same(tensor: Tensor) -> Tensor:
    return tensor


@torch.no_grad()
def by_hand(
    model: Any,
    x: Tensor,
    *,
    stream: dict[int, Edit] | None = None,
    heads: dict[int, Edit] | None = None,
    units: dict[int, Edit] | None = None,
) -> Pass:
    """Run a timm model module by module, with edits of the stream, of what heads give, of units."""
    stream, heads, units = stream or {}, heads or {}, units or {}
    tokens = model.norm_pre(model.patch_drop(model._pos_embed(model.patch_embed(x))))
    tokens = stream.get(0, same)(tokens)
    done = Pass([tokens], [], [], tokens)
    for number, block in enumerate(model.blocks, start=1):
        attn = block.attn
        qkv = attn.qkv(block.norm1(tokens)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (attn.q_norm(q) @ attn.k_norm(k).mT * attn.scale).softmax(-1)
        given = heads.get(number, same)(weights @ v).transpose(1, 2).flatten(2)
        tokens = tokens + block.ls1(attn.proj(attn.norm(given)))
        hidden = block.mlp.norm(block.mlp.act(block.mlp.fc1(block.norm2(tokens))))
        hidden = units.get(number, same)(hidden)
        tokens = stream.get(number, same)(tokens + block.ls2(block.mlp.fc2(hidden)))
        done.layers.append(tokens)
        done.maps.append(weights)
        done.units.append(hidden)
    done.logits = model.forward_head(model.norm(tokens))
    return done


def agree(trace: Trace, hand: Pass, image: int = 0) -> None:
    np.testing.assert_allclose(trace.logits, hand.logits[image], rtol=1e-4, atol=1e-4)
    for layer in range(trace.layers + 1):
        np.testing.assert_allclose(trace.layer(layer), hand.layers[layer][image], rtol=1e-4, atol=1e-4)
    for layer in range(1, trace.layers + 1):
        np.testing.assert_allclose(trace.attention(layer), hand.maps[layer - 1][image], atol=1e-5)
        np.testing.assert_allclose(trace.mlp(layer), hand.units[layer - 1][image], rtol=1e-4, atol=1e-4)


def changed(write: Callable[[Tensor], None]) -> Edit:
    """Make an edit of what writes into a copy."""

    def edit(tensor: Tensor) -> Tensor:
        copy = tensor.clone()
        write(copy)
        return copy

    return edit


def neuron(number: int, fill: str) -> Edit:
    def write(t: Tensor) -> None:
        t[:, :, number] = t[:, :, number].mean(dim=1, keepdim=True) if fill == "mean" else 0

    return changed(write)


def head(number: int, fill: str) -> Edit:
    def write(t: Tensor) -> None:
        t[:, number] = t[:, number].mean(dim=1, keepdim=True) if fill == "mean" else 0

    return changed(write)


def token(row: int, fill: str, prefix: int = 1) -> Edit:
    def write(t: Tensor) -> None:
        t[:, row] = t[:, prefix:].mean(dim=1) if fill == "mean" else 0

    return changed(write)


def left_behind(model: nn.Module) -> list[Any]:
    hooks = [h for m in model.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)]
    return [*hooks, *_get_current_function_mode_stack()]


def spelled_out(model: Any) -> Any:
    for block in model.blocks:
        block.attn.fused_attn = False
    return model


@pytest.fixture
def model(make_vit: Callable[..., VisionTransformer]) -> VisionTransformer:
    return make_vit()


@pytest.fixture
def inspector(model: VisionTransformer) -> Inspector:
    return Inspector(model)


@pytest.fixture
def other(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(8))


# ---------------------------------------------------------------- each kind, by hand


def test_the_hand_written_pass_is_the_models(make_vit: Callable[..., Any], x: Tensor) -> None:
    for variant in ("class token", "registers", "distilled", "query and key norm", "layer scale"):
        model = make_vit(variant)
        with torch.no_grad():
            torch.testing.assert_close(by_hand(model, x).logits, model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("layer", [0, 1, L])
def test_a_neuron(inspector: Inspector, x: Tensor, layer: int, fill: Any) -> None:
    trace = inspector.trace(x, precision="float32", ablate=Ablation(layer, neuron=5, fill=fill))
    agree(trace, by_hand(inspector.model, x, stream={layer: neuron(5, fill)}))
    assert len(set(trace.layer(layer)[:, 5])) == 1
    assert trace.check().passed


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize(("place", "row"), [(7, 9), ((1, 2), 9), ("cls", 0), ("dist", 1)])
@pytest.mark.parametrize("layer", [0, 2, L])
def test_a_token(
    make_vit: Callable[..., Any], x: Tensor, layer: int, place: Any, row: int, fill: Any
) -> None:
    inspector = Inspector(make_vit("distilled"))
    trace = inspector.trace(x, precision="float32", ablate=[Ablation(layer, token=place, fill=fill)])
    agree(trace, by_hand(inspector.model, x, stream={layer: token(row, fill, prefix=2)}))


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


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("layer", [1, L])
def test_a_unit(inspector: Inspector, x: Tensor, layer: int, fill: Any) -> None:
    trace = inspector.trace(x, precision="float32", ablate=Ablation(layer, unit=40, fill=fill))
    agree(trace, by_hand(inspector.model, x, units={layer: neuron(40, fill)}))
    assert len(set(trace.mlp(layer)[:, 40])) == 1
    assert trace.check().passed


def test_several_together_in_a_batch(inspector: Inspector, x: Tensor, other: Tensor) -> None:
    images: list[Any] = [x, other, x]
    traces = inspector.trace(
        images,
        precision="float32",
        ablate=[
            Ablation(0, token="cls", fill="mean"),
            Ablation(0, neuron=3),
            Ablation(2, head=0, fill="mean"),
            Ablation(2, head=1),
            Ablation(2, unit=7, fill="mean"),
            Ablation(2, neuron=23, fill="mean"),
            Ablation(L, token=(2, 4)),
        ],
    )

    def both(tokens: Tensor) -> Tensor:
        return neuron(3, "zero")(token(0, "mean")(tokens))

    def heads(given: Tensor) -> Tensor:
        return head(1, "zero")(head(0, "mean")(given))

    hand = by_hand(
        inspector.model,
        torch.cat(images),
        stream={0: both, 2: neuron(23, "mean"), L: token(15, "zero")},
        heads={2: heads},
        units={2: neuron(7, "mean")},
    )
    for image, trace in enumerate(traces):
        agree(trace, hand, image)
    assert traces[1].check().passed
    assert not np.allclose(traces[0].logits, traces[1].logits)
    assert left_behind(inspector.model) == []


def test_edits_act_in_the_order_in_which_they_are_given(inspector: Inspector, x: Tensor) -> None:
    mean_last = inspector.trace(x, ablate=[Ablation(1, token=0), Ablation(1, neuron=4, fill="mean")])
    mean_first = inspector.trace(x, ablate=[Ablation(1, neuron=4, fill="mean"), Ablation(1, token=0)])
    assert mean_first.layer(1)[1, 4] == 0
    assert mean_last.layer(1)[1, 4] == mean_last.layer(1)[0, 4] != 0


def test_edits_are_said(inspector: Inspector, x: Tensor) -> None:
    source = inspector.trace(x)
    trace = inspector.trace(
        x,
        ablate=[Ablation(2, head=1), Ablation(1, unit=4, fill="mean")],
        patch_from=Transplant(source, 3, tokens=["cls", 4]),
    )
    assert trace.notes == [
        "head 1 of layer 2 set to 0",
        "MLP neuron 4 of layer 1 set to its mean",
        "tokens ['cls', 4] of layer 3 taken from another image",
    ]
    assert source.notes == []


def test_edits_survive_detaching(inspector: Inspector, x: Tensor) -> None:
    edits = [Ablation(1, head=0), Ablation(2, unit=4)]
    hand = by_hand(inspector.model, x, heads={1: head(0, "zero")}, units={2: neuron(4, "zero")})
    agree(inspector.trace(x, precision="float32", ablate=edits).detach(), hand)


def test_half_precision_retraces_with_the_same_edits(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    with torch.no_grad():
        model.blocks[0].mlp.fc2.bias[3] = 1e5  # beyond float16: the pass is made twice
    trace = Inspector(model).trace(x, ablate=Ablation(2, head=1))
    np.testing.assert_allclose(
        trace.logits, by_hand(model, x, heads={2: head(1, "zero")}).logits[0], rtol=1e-4, atol=1e-4
    )
    assert left_behind(model) == []


# ---------------------------------------------------------------- transplants


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


# ---------------------------------------------------------------- nothing is left behind


def test_nothing_stays_in_the_model(make_vit: Callable[..., Any], x: Tensor, other: Tensor) -> None:
    model = make_vit().train()
    inspector = Inspector(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    versions = [parameter._version for parameter in model.parameters()]
    plain = inspector.trace(x)
    source = inspector.trace(other)
    edits: list[Any] = [Ablation(0, neuron=1), Ablation(2, head=1), Ablation(3, unit=2), Ablation(1, token=1)]
    trace = inspector.trace(x, ablate=edits, patch_from=Transplant(source, 1, tokens=[3]))
    trace.attention(2), trace.mlp(3), trace.check()
    assert left_behind(model) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert versions == [parameter._version for parameter in model.parameters()]
    assert all(module.training for module in model.modules())
    assert np.array_equal(inspector.trace(x).logits, plain.logits)
    assert not np.array_equal(trace.logits, plain.logits)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("where", ["attn.proj", "attn.qkv", "mlp.fc1", "norm1"])
def test_nothing_is_left_after_an_exception(
    make_vit: Callable[..., Any], x: Tensor, where: str, fused: bool
) -> None:
    model = make_vit() if fused else spelled_out(make_vit())
    inspector = Inspector(model)
    edits = [Ablation(0, neuron=1), Ablation(2, head=1), Ablation(2, unit=2)]
    inspector.trace(x)

    def fail(*_: Any) -> None:
        raise ArithmeticError("on purpose")

    handle = model.blocks[1].get_submodule(where).register_forward_pre_hook(fail)
    with pytest.raises(ArithmeticError, match="on purpose"):
        inspector.trace(x, ablate=edits)
    handle.remove()
    assert left_behind(model) == []
    assert inspector.trace(x, ablate=edits).check().passed


def test_cancelling(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit().train()
    inspector = Inspector(model)
    edits = [Ablation(0, neuron=1), Ablation(1, head=1), Ablation(3, unit=2)]
    for keep in (("tokens", "attention", "mlp"), ("tokens",)):
        for after in range(L + 1):
            asked = iter(range(99))
            with pytest.raises(vw.Cancelled):
                inspector.trace(x, keep=keep, ablate=edits, cancelled=lambda: next(asked) == after)  # noqa: B023
            assert next(asked) == after + 1
            assert left_behind(model) == []
            assert all(module.training for module in model.modules())
    asked = iter(range(99))
    trace = inspector.trace(x, cancelled=lambda: next(asked) < 0)
    assert next(asked) == L + 1
    assert np.array_equal(trace.logits, inspector.trace(x).logits)


def test_cancelling_stops_between_the_layers(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    inspector, ran = Inspector(model), list[int]()
    handles = [
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(model.blocks, start=1)
    ]
    for _ in range(2):  # the second time blocks are watched at their entrance
        ran.clear()
        with pytest.raises(vw.Cancelled):
            inspector.trace(x, cancelled=lambda: len(ran) >= 2)
        assert ran == [1, 2]
        inspector.trace(x)
    for handle in handles:
        handle.remove()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (Ablation(4, neuron=0), IndexError, "there is no layer 4: layers are 0..3"),
        (Ablation(-1, neuron=0), IndexError, "there is no layer -1"),
        (Ablation(1, neuron=24), IndexError, "there is no neuron 24: neurons are 0..23"),
        (Ablation(0, neuron=-1), IndexError, "there is no neuron -1"),
        (Ablation(2, head=2), IndexError, r"layer 2 has no head 2: its heads are 0..1"),
        (Ablation(2, unit=96), IndexError, r"layer 2 has no MLP neuron 96: its neurons are 0..95"),
        (Ablation(1, token=15), IndexError, "patch 15 is out of range"),
        (Ablation(1, token=(3, 0)), IndexError, r"patch \(row 3, column 0\) is out of range"),
        (Ablation(1, token="dist"), ValueError, "no prefix token 'dist'"),
        (Ablation(0, head=1), InterventionError, "layer 0 is the input"),
        (Ablation(0, unit=1), InterventionError, "layer 0 is the input"),
        ("head 3", TypeError, "expected an Ablation or a Transplant, got str"),
    ],
)
def test_places_that_there_are_not(
    inspector: Inspector, x: Tensor, edit: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        inspector.trace(x, ablate=edit)
    assert left_behind(inspector.model) == []


@pytest.mark.parametrize("given", [{}, {"neuron": 1, "head": 0}, {"token": 0, "unit": 0}])
def test_an_ablation_takes_out_one_thing(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="exactly one of neuron, token, head, unit"):
        Ablation(1, **given)  # type: ignore[arg-type]


def test_bad_arguments(inspector: Inspector, x: Tensor) -> None:
    source = inspector.trace(x)
    with pytest.raises(ValueError, match='fill must be "zero" or "mean", got 3'):
        Ablation(1, neuron=0, fill=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most one of tokens, neuron and unit"):
        Transplant(source, 1, tokens=[0], neuron=1)
    for tokens in ("cls", 3):
        with pytest.raises(TypeError, match="tokens must be a list of tokens"):
            Transplant(source, 1, tokens=tokens)  # type: ignore[arg-type]


def test_sources_that_do_not_fit(make_vit: Callable[..., Any], inspector: Inspector, x: Tensor) -> None:
    larger = Inspector(make_vit("any size")).trace(torch.randn(1, 3, 24, 48))
    wider = Inspector(make_vit(embed_dim=32)).trace(x)
    part = inspector.trace(x, layers=[1], keep=["tokens"])
    ours = inspector.trace(x)
    for transplant, error, words in [
        (Transplant(larger, 1), InterventionError, "the other pass has 19 tokens, this one 16"),
        (Transplant(larger, 1, unit=3), InterventionError, "the other pass has 19 tokens, this one 16"),
        (Transplant(wider, 1), InterventionError, r"shape \(16, 32\), of this one \(16, 24\)"),
        (Transplant(wider, 1, unit=3), InterventionError, "has 128 MLP neurons, of this one 96"),
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


# ---------------------------------------------------------------- other families


def test_torchvision(x: Tensor) -> None:
    torch.manual_seed(2)
    model = torchvision.models.VisionTransformer(
        image_size=24, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=40, num_classes=5
    ).eval()
    nn.init.normal_(model.heads.head.weight)
    inspector, image = Inspector(model), x[..., :24]
    with pytest.raises(InterventionError, match=r"attends by nn\.MultiheadAttention"):
        inspector.trace(image, ablate=Ablation(1, head=0))
    with torch.no_grad():
        handle = model.encoder.layers[0].register_forward_hook(lambda _m, _a, out: neuron(3, "zero")(out))
        expected = model(image)[0]
        handle.remove()
    trace = inspector.trace(image, ablate=Ablation(1, neuron=3))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-5)
    assert trace.check().passed


def without_head(linear: nn.Linear, number: int, count: int) -> Any:
    """Zero a head's part of what enters the projection behind the heads."""

    def before(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        given = args[0].clone()
        size = given.shape[-1] // count
        given[..., number * size : (number + 1) * size] = 0
        return (given,)

    return linear.register_forward_pre_hook(before)


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


class EinsumAttention(nn.Module):
    """Attention by two einsums, whose result has heads after the tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        weights = torch.einsum("b i h d, b j h d -> b h i j", q, k).softmax(dim=-1)
        mixed: Tensor = self.out(torch.einsum("bjhd,bhij->bihd", v, weights).flatten(2))
        return mixed


class OwnBlock(nn.Module):
    def __init__(self, attention: nn.Module, width: int) -> None:
        super().__init__()
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(width, 40), nn.GELU(), nn.Linear(40, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        y: Tensor = x + self.mlp(x)
        return y


class OwnModel(nn.Module):
    def __init__(self, make: Callable[[], nn.Module], width: int = 24) -> None:
        super().__init__()
        self.img_size = (24, 40)
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.layers = nn.ModuleList(OwnBlock(make(), width) for _ in range(2))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        logits: Tensor = self.head(tokens.mean(dim=1))
        return logits


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


class WrappedAttention(nn.Module):
    """nn.MultiheadAttention within something that is called attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, x, x, need_weights=False)[0]
        return out


@pytest.mark.parametrize("kind", [FoldedAttention, TurnedAttention, WrappedAttention])
def test_heads_that_cannot_be_told_apart_are_refused(x: Tensor, kind: type[nn.Module]) -> None:
    model = OwnModel(lambda: kind(24, 3)).eval()
    inspector = Inspector(model, blocks="layers")
    with pytest.raises(InterventionError, match=r"head"):
        inspector.trace(x, keep=["tokens"], ablate=Ablation(1, head=2))
    assert left_behind(model) == []


def test_open_clip(x: Tensor) -> None:
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(3)
    model = open_clip.transformer.VisionTransformer(
        image_size=24, patch_size=8, width=24, layers=2, heads=2, mlp_ratio=2.0, output_dim=10
    ).eval()
    with torch.no_grad():
        handle = model.transformer.resblocks[0].mlp.c_proj.register_forward_pre_hook(
            lambda _m, args: (neuron(3, "mean")(args[0]),)
        )
        expected = model(x[..., :24])[0]
        handle.remove()
    trace = Inspector(model).trace(x[..., :24], ablate=Ablation(1, unit=3, fill="mean"))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-5)


def test_units_in_another_order(x: Tensor) -> None:
    """Of YOLOS, detection tokens pass after the patches, and are shown before them."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    config = transformers.YolosConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, image_size=[24, 40],
        patch_size=8, num_detection_tokens=4,
    )  # fmt: skip
    model = transformers.YolosForObjectDetection(config).eval()
    inspector = Inspector(model)
    with pytest.raises(InterventionError, match="layout of their own"):
        inspector.trace(x, ablate=Ablation(1, neuron=0))
    source = inspector.trace(x.flip(-1), precision="float32")
    trace = inspector.trace(x, precision="float32", patch_from=Transplant(source, 1, unit=3))
    np.testing.assert_allclose(trace.mlp(1)[:, 3], source.mlp(1)[:, 3], atol=1e-6)
    assert not np.allclose(trace.mlp(1)[:, 4], source.mlp(1)[:, 4], atol=1e-3)


def test_maps_of_tokens() -> None:
    """Swin: layers are maps on ever coarser grids."""
    torch.manual_seed(0)
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(64, 96), embed_dim=16, depths=(2, 2), num_heads=(2, 4),
        window_size=4, num_classes=5,
    ).eval()  # fmt: skip
    inspector = Inspector(model)
    image, other = torch.randn(2, 1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with pytest.raises(InterventionError, match="in windows"):
        inspector.trace(image, ablate=Ablation(1, head=0))
    trace = inspector.trace(image, precision="float32", ablate=Ablation(4, unit=2, fill="mean"))
    plain = inspector.trace(image, precision="float32")
    np.testing.assert_allclose(trace.mlp(4)[:, 2], plain.mlp(4)[:, 2].mean(), atol=1e-5)
    assert np.ptp(plain.mlp(4)[:, 2]) > 1e-3
    source = inspector.trace(other, precision="float32")
    trace = inspector.trace(image, precision="float32", patch_from=Transplant(source, 4, unit=2))
    np.testing.assert_allclose(trace.mlp(4)[:, 2], source.mlp(4)[:, 2], atol=1e-5)
