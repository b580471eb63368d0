"""Several interventions in one pass: what is said of them, what stays of them, what ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hand_edits import L, agree, by_hand, head, left_behind, neuron, spelled_out, token
from torch import Tensor

import vitwidgets as vw
from vitwidgets import Ablation, Inspector, Transplant
from vitwidgets.errors import InterventionError


def test_the_hand_written_pass_is_the_models(make_vit: Callable[..., Any], x: Tensor) -> None:
    for variant in ("class token", "registers", "distilled", "query and key norm", "layer scale"):
        model = make_vit(variant)
        with torch.no_grad():
            torch.testing.assert_close(by_hand(model, x).logits, model(x), rtol=1e-5, atol=1e-5)


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
        "token cls, patch 4 of layer 3 taken from another image",
    ]
    assert str(Ablation(1, token=(2, 3))) == "patch (2, 3) of layer 1 set to 0"
    assert str(Transplant(source, 3, tokens=range(9))) == "9 tokens of layer 3 taken from another image"
    assert str(Transplant(source, 3)) == "all tokens of layer 3 taken from another image"
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
    with pytest.raises(ValueError, match="at most one of tokens, neuron, unit and head"):
        Transplant(source, 1, tokens=[0], neuron=1)
    with pytest.raises(ValueError, match=r"got \['unit', 'head'\]"):
        Transplant(source, 1, unit=0, head=1)
    for tokens in ("cls", 3):
        with pytest.raises(TypeError, match="tokens must be a list of tokens"):
            Transplant(source, 1, tokens=tokens)  # type: ignore[arg-type]
