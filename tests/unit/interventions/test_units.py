"""Hidden units of MLPs, beside the same edits made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hand_edits import HIDDEN, Edit, L, N, agree, by_hand, changed, left_behind, neuron, open_clip_tower
from timm.models.vision_transformer import ParallelThingsBlock
from torch import Tensor, nn

from vitwidgets import Ablation, Inspector, Transplant
from vitwidgets.errors import InterventionError


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("layer", [1, L])
def test_a_unit(inspector: Inspector, x: Tensor, layer: int, fill: Any) -> None:
    trace = inspector.trace(x, precision="float32", ablate=Ablation(layer, unit=40, fill=fill))
    agree(trace, by_hand(inspector.model, x, units={layer: neuron(40, fill)}))
    assert len(set(trace.mlp(layer)[:, 40])) == 1
    assert trace.check().passed


@pytest.mark.parametrize("batch_first", [True, False])
def test_open_clip(x: Tensor, batch_first: bool) -> None:
    model = open_clip_tower(batch_first)
    image = x[..., :24]

    def edit(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        units = args[0].clone()
        units[..., 3] = units[..., 3].mean()
        return (units,)

    with torch.no_grad():
        handle = model.transformer.resblocks[0].mlp.c_proj.register_forward_pre_hook(edit)
        expected = model(image)[0]
        handle.remove()
    trace = Inspector(model).trace(image, precision="float32", ablate=Ablation(1, unit=3, fill="mean"))
    np.testing.assert_allclose(trace.logits, expected, atol=1e-5)
    assert trace.mlp(1).shape == (10, 48)
    assert np.ptp(trace.mlp(1)[:, 3]) < 1e-6


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
    source = inspector.trace(x.flip(-1), precision="float32")
    trace = inspector.trace(x, precision="float32", patch_from=Transplant(source, 1, unit=3))
    np.testing.assert_allclose(trace.mlp(1)[:, 3], source.mlp(1)[:, 3], atol=1e-6)
    assert not np.allclose(trace.mlp(1)[:, 4], source.mlp(1)[:, 4], atol=1e-3)
    token = inspector.trace(x, precision="float32", ablate=Ablation(1, token="det2"))
    assert inspector.prefix[2] == "det2"
    assert not token.layer(1)[2].any()
    assert token.layer(1)[[0, 1, 3, 4, 5]].any(axis=1).all()
    assert token.check().passed


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_units_of_mlps_side_by_side(
    make_vit: Callable[..., Any], x: Tensor, other: Tensor, fill: Any
) -> None:
    """They are counted one MLP after the other."""
    model = make_vit(block_fn=ParallelThingsBlock)
    inspector = Inspector(model)
    plain = inspector.trace(x, precision="float32")
    assert plain.mlp(2).shape == (N, 2 * HIDDEN)
    last = model.blocks[1].ffns[1].mlp.fc2

    def edited(edit: Edit) -> Tensor:
        handle = last.register_forward_pre_hook(lambda _m, args: (edit(args[0]),))
        with torch.no_grad():
            logits: Tensor = model(x)[0]
        handle.remove()
        return logits

    trace = inspector.trace(x, precision="float32", ablate=Ablation(2, unit=HIDDEN + 3, fill=fill))
    np.testing.assert_allclose(trace.logits, edited(neuron(3, fill)), atol=1e-5)
    assert not np.allclose(trace.logits, plain.logits, atol=1e-4)
    assert len(set(trace.mlp(2)[:, HIDDEN + 3])) == 1
    source = inspector.trace(other, precision="float32")
    given = torch.from_numpy(source.mlp(2)[:, HIDDEN + 3].copy())
    trace = inspector.trace(x, precision="float32", patch_from=Transplant(source, 2, unit=HIDDEN + 3))
    np.testing.assert_allclose(trace.logits, edited(changed(lambda t: t[:, :, 3].copy_(given))), atol=1e-5)
    with pytest.raises(IndexError, match=r"layer 2 has no MLP neuron 192: its neurons are 0\.\.191"):
        inspector.trace(x, ablate=Ablation(2, unit=2 * HIDDEN))
    assert left_behind(model) == []


def test_units_of_tokens_that_join_later_are_refused() -> None:
    """Of ConViT's first blocks the class token is shown, but does not pass."""
    torch.manual_seed(0)
    model = timm.create_model("convit_tiny", img_size=32, embed_dim=16, num_heads=2, depth=3,
                              local_up_to_layer=1, num_classes=5).eval()  # fmt: skip
    inspector, image = Inspector(model), torch.randn(3, 32, 32)
    for edit in (Ablation(1, unit=2), Ablation(0, neuron=2), Ablation(0, token=1)):
        with pytest.raises(InterventionError, match="some join later"):
            inspector.trace(image, ablate=edit)
        assert left_behind(model) == []
    trace = inspector.trace(
        image, precision="float32", ablate=[Ablation(2, unit=2), Ablation(3, token="cls")]
    )
    assert not trace.mlp(2)[:, 2].any()
    assert not trace.layer(3)[0].any()
