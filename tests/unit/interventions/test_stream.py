"""Neurons and tokens of the residual stream, beside the same edits made by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hand_edits import (
    Edit,
    L,
    OwnModel,
    agree,
    at_output,
    by_hand,
    left_behind,
    neuron,
    open_clip_tower,
    token,
)
from torch import Tensor, nn

from vitwidgets import Ablation, Inspector, Transplant
from vitwidgets.errors import ModelError


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


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("layer", [0, 2, L])
def test_the_check_changes_tokens_once(inspector: Inspector, x: Tensor, layer: int, fill: Any) -> None:
    """It calls blocks again within the pass: a mean that is taken twice would be another."""
    trace = inspector.trace(x, precision="float32", ablate=Ablation(layer, token=4, fill=fill))
    assert trace.check().passed
    agree(trace, by_hand(inspector.model, x, stream={layer: token(5, fill)}))


def test_edits_act_in_the_order_in_which_they_are_given(inspector: Inspector, x: Tensor) -> None:
    mean_last = inspector.trace(x, ablate=[Ablation(1, token=0), Ablation(1, neuron=4, fill="mean")])
    mean_first = inspector.trace(x, ablate=[Ablation(1, neuron=4, fill="mean"), Ablation(1, token=0)])
    assert mean_first.layer(1)[1, 4] == 0
    assert mean_last.layer(1)[1, 4] == mean_last.layer(1)[0, 4] != 0


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_torchvision(x: Tensor, fill: Any) -> None:
    torch.manual_seed(2)
    model = torchvision.models.VisionTransformer(
        image_size=24, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=40, num_classes=5
    ).eval()  # fmt: skip
    nn.init.normal_(model.heads.head.weight)
    image = x[..., :24]
    block = model.encoder.layers[0]
    for edit, by_hand_edit in [
        (Ablation(1, neuron=3, fill=fill), neuron(3, fill)),
        (Ablation(1, token=(2, 1), fill=fill), token(8, fill)),
    ]:
        trace = Inspector(model).trace(image, precision="float32", ablate=edit)
        np.testing.assert_allclose(trace.logits, at_output(model, block, by_hand_edit, image)[0], atol=1e-5)
        assert trace.check().passed


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_open_clip(x: Tensor, batch_first: bool, fill: Any) -> None:
    """Also where tokens pass as (N, B, D)."""
    model = open_clip_tower(batch_first)
    inspector, image = Inspector(model), x[..., :24]
    block = model.transformer.resblocks[0]

    def turned(edit: Edit) -> Edit:
        return edit if batch_first else lambda t: edit(t.transpose(0, 1)).transpose(0, 1)

    for edit, by_hand_edit in [
        (Ablation(1, neuron=3, fill=fill), neuron(3, fill)),
        (Ablation(1, token=(2, 1), fill=fill), token(8, fill)),
        (Ablation(1, token="cls", fill=fill), token(0, fill)),
    ]:
        trace = inspector.trace(image, precision="float32", ablate=edit)
        expected = at_output(model, block, turned(by_hand_edit), image)
        np.testing.assert_allclose(trace.logits, expected[0], atol=1e-5)
        assert trace.check().passed
    source = inspector.trace(image.flip(-1), precision="float32")
    trace = inspector.trace(image, precision="float32", patch_from=Transplant(source, 1))
    np.testing.assert_allclose(trace.logits, source.logits, atol=1e-6)
    if not batch_first:
        with pytest.raises(ModelError, match=r"take tokens as \(N, B, D\); trace its images one by one"):
            inspector.trace([image, image])
    assert left_behind(model) == []


class SequenceFirst(OwnModel):
    """Its blocks take tokens as (N, B, D), the patches before two prefix tokens."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__(nn.Identity)
        make = partial(nn.TransformerEncoderLayer, 24, 2, 40, batch_first=batch_first)
        self.layers = nn.ModuleList(make() for _ in range(2))
        self.registers = nn.Parameter(torch.randn(1, 2, 24))
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([patches, self.registers.expand(len(x), -1, -1)], dim=1)
        tokens = tokens if self.batch_first else tokens.transpose(0, 1)
        for layer in self.layers:
            tokens = layer(tokens)
        logits: Tensor = self.head(tokens.mean(dim=1 if self.batch_first else 0))
        return logits


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_prefix_tokens_that_follow_the_patches(x: Tensor, batch_first: bool, layer: int) -> None:
    """A trace shows them first; they are changed where they are, also in (N, B, D)."""
    torch.manual_seed(4)
    model = SequenceFirst(batch_first).eval()
    inspector = Inspector(model, blocks="layers")
    assert inspector.prefix == ("reg1", "reg2")
    plain = inspector.trace(x, precision="float32")
    source = inspector.trace(x.flip(-1), precision="float32")
    shown = plain.layer(layer).copy()
    edits: list[tuple[Any, Any, Any]] = [
        (Ablation(layer, token="reg2"), 1, 0),
        (Ablation(layer, token=(1, 2), fill="mean"), 2 + 7, shown[2:].mean(axis=0)),
        (Ablation(layer, neuron=5, fill="mean"), (slice(None), 5), shown[:, 5].mean()),
        (Transplant(source, layer, tokens=["reg1", 4]), [0, 6], source.layer(layer)[[0, 6]]),
        (Transplant(source, layer, neuron=9), (slice(None), 9), source.layer(layer)[:, 9]),
    ]
    for edit, place, value in edits:
        how = {"ablate": edit} if isinstance(edit, Ablation) else {"patch_from": edit}
        trace = inspector.trace(x, precision="float32", **how)
        expected = shown.copy()
        expected[place] = value
        np.testing.assert_allclose(trace.layer(layer), expected, atol=1e-5)
        passing = torch.from_numpy(expected[[*range(2, 17), 0, 1]])[None]
        with torch.no_grad():
            passing = passing if batch_first else passing.transpose(0, 1)
            for block in model.layers[layer:]:
                passing = block(passing)
            logits = model.head(passing.mean(dim=1 if batch_first else 0))[0]
        np.testing.assert_allclose(trace.logits, logits, atol=1e-5)
        assert trace.check().passed
    assert np.array_equal(inspector.trace(x, precision="float32").logits, plain.logits)
    assert left_behind(model) == []
