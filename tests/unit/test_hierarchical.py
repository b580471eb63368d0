"""timm's hierarchical models: layers are maps on their own grids, windows lie where the model has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.metaformer import Attention, LayerNorm2dNoBias, LayerNormNoBias, MetaFormer, SepConv
from timm.models.mvitv2 import MultiScaleVit, MultiScaleVitCfg
from timm.models.nest import Nest
from torch import Tensor, nn
from torch.nn import functional as F

from vitwidgets import Inspector, Trace
from vitwidgets.capture import capture
from vitwidgets.check import check
from vitwidgets.families import anatomy, timm_hierarchical
from vitwidgets.families.timm_windows import spaced, spread, windows
from vitwidgets.record import Record

SWIN: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
FOUR: dict[str, Any] = {"embed_dims": (8, 16, 24, 32), "num_heads": (1, 2, 2, 2)}
MAXVIT: dict[str, Any] = {
    "embed_dim": (16, 32),
    "depths": (1, 1),
    "block_type": ("M", "M"),
    "stem_width": 8,
    "transformer_dim_head": 8,
    "transformer_partition_ratio": 16,  # windows of 4 x 6
}
# Inputs are 64 x 96, so that rows and columns cannot be confused; two models take squares alone.
SQUARE = {"nest_tiny": 64, "efficientformer_l1": 224}
CASES: dict[str, dict[str, Any]] = {
    "swin_tiny_patch4_window7_224": {"img_size": (64, 96), **SWIN},
    "swinv2_tiny_window8_256": {"img_size": (64, 96), **SWIN},
    "swinv2_cr_tiny_ns_224": {"img_size": (64, 96), **SWIN},
    "maxvit_tiny_tf_224": {"img_size": (64, 96), **MAXVIT},
    "maxxvitv2_nano_rw_256": {"img_size": (64, 96), **MAXVIT, "block_type": ("PM", "PM")},
    "coatnet_rmlp_nano_rw_224": {
        "img_size": (64, 96),
        **MAXVIT,
        "block_type": ("C", "T"),
        "transformer_rel_pos_type": "bias",
    },
    "hiera_tiny_224": {"img_size": (64, 96), "embed_dim": 8, "stages": (1, 2, 1, 2)},
    "hieradet_small": {"embed_dim": 8, "num_heads": 1, "stages": (2, 2, 2, 2), "global_att_blocks": (3,)},
    "mvitv2_tiny": {"img_size": 96},
    "mvitv2_small_cls": {"img_size": 96},
    "pvt_v2_b0": {**FOUR, "depths": (1, 1, 1, 2)},
    "pit_ti_distilled_224": {"img_size": (64, 96), "base_dims": (8, 8, 8), "depth": (1, 2, 1)},
    "twins_svt_small": {"img_size": (64, 96), **FOUR, "depths": (2, 2, 1, 1), "wss": (4, 4, 4, 4)},
    "levit_128s": {"img_size": (64, 96)},
    "levit_conv_128s": {"img_size": (64, 96)},
    "davit_tiny": {"embed_dims": (8, 16), "depths": (1, 1), "num_heads": (2, 2), "window_size": 5},
    "gcvit_xxtiny": {"img_size": (64, 96)},
    "nest_tiny": {"img_size": 64, "embed_dims": (8, 16, 24), "num_heads": (1, 2, 2), "depths": (1, 1, 1)},
    "tiny_vit_5m_224": {
        **FOUR,
        "embed_dims": (8, 16, 24, 32),
        "depths": (1, 2, 2, 1),
        "window_sizes": (5, 5, 5, 5),
    },
    "edgenext_xx_small": {"dims": (8, 16, 24, 32)},
    "fastvit_sa12": {"layers": (1, 1, 1, 1), "embed_dims": (32, 32, 32, 64)},
    "efficientformer_l1": {},
    "efficientformerv2_s0": {"img_size": (64, 96)},
    "efficientvit_b0": {},
    "efficientvit_m0": {"img_size": (64, 96)},
    "nextvit_small": {},
    "swiftformer_xs": {},
    "iformer_t": {},
    "shvit_s1": {},
    "lowformer_b0": {},
    "caformer_s18": {
        "depths": (1, 1, 1, 1),
        "dims": (16, 32, 64, 96),
        "token_mixers": [SepConv, SepConv, Attention, Attention],
        "norm_layers": [LayerNorm2dNoBias, LayerNorm2dNoBias, LayerNormNoBias, LayerNormNoBias],
    },
}
TINY_MVIT = MultiScaleVitCfg(embed_dim=8, depths=(1, 2), num_heads=1, stride_q=((1, 1), (2, 2)))
CLASSES: dict[str, Callable[..., nn.Module]] = {  # whose names fix what is to be small
    "mvitv2_tiny": partial(MultiScaleVit, TINY_MVIT),
    "mvitv2_small_cls": partial(MultiScaleVit, replace(TINY_MVIT, use_cls_token=True)),
    "nest_tiny": Nest,
    "caformer_s18": MetaFormer,
}
WINDOWED = ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swinv2_cr_tiny_ns_224"]


def build(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(3)
    make = CLASSES.get(name, partial(timm.create_model, name))
    model: nn.Module = make(num_classes=5, **{**CASES[name], **options}).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            # far from the initial values, tables of relative positions above all: none may be left out unseen
            amount = 1.0 if "relative_position" in path or "attention_bias" in path else 0.1
            amount *= 0.1 if name == "nextvit_small" else 1  # or its many norms overflow
            parameter.add_(torch.randn_like(parameter) * amount)
    return model


def pixels(name: str, count: int = 1) -> Tensor:
    size = (SQUARE[name],) * 2 if name in SQUARE else (64, 96)
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def look(model: nn.Module, x: Tensor) -> Record:
    return capture(anatomy(model), x, precision="float32")[0]


# ---------------------------------------------------------------- all families


@pytest.mark.parametrize("name", CASES)
def test_a_trace_is_what_the_model_computes(name: str) -> None:
    model, x = build(name), pixels(name)
    record = look(model, x)
    with torch.no_grad():
        assert torch.equal(record.output, model(x)[0])
    result = check(record, x)
    assert result.logits == 0
    assert result.worst < 1e-4
    for layer in range(1, record.depth + 1):
        count = record.prefix + record.grids[layer][0] * record.grids[layer][1]
        assert record.layers[layer].shape == (count, record.widths[layer])
        assert (layer in record.attention) != bool(record.missing["attention"].get(layer))
        assert (layer in record.units) != bool(record.missing["mlp"].get(layer))
        if layer in record.attention:
            weights = record.weights(layer)
            assert weights.shape == (record.heads[layer], count, count)
            assert float(weights.min()) >= 0
            assert float(weights.sum(dim=-1).max()) < 1 + 1e-5
        if layer in record.units:
            assert record.hidden_units(layer).shape == (count, record.hidden[layer])
    assert set(record.attention) == set(result.attention)


@pytest.mark.parametrize("name", CASES)
def test_cells_lie_where_the_picture_changed(name: str) -> None:
    """The corner that changes is the corner of every layer, and of every MLP, that changes most."""
    model = build(name)
    x = pixels(name)
    other = x.clone()
    side = x.shape[2] // 4
    other[..., :side, -side:] += 4 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    before, after = look(model, x), look(model, other)
    least = min(8, *before.grids[0])  # beyond, a cell is made of most of the picture
    layers = [number for number, grid in enumerate(before.grids) if min(grid) >= least]
    assert len(layers) > 1
    for layer in layers:
        rows, cols = before.grids[layer]
        assert (rows < cols) == (x.shape[2] < x.shape[3])
        pairs = [(before.layers[layer], after.layers[layer])]
        if layer in before.units:
            pairs.append((before.hidden_units(layer), after.hidden_units(layer)))
        for first, second in pairs:
            change = (first - second).norm(dim=1)[before.prefix :].reshape(rows, cols)
            corner = change[: rows // 4, -(cols * side // x.shape[3]) :]
            assert corner.mean() > 1.5 * change[rows // 2 :, : cols // 2].mean(), layer


def test_each_case_is_of_a_family_of_its_own() -> None:
    kinds = {type(build(name)).__name__ for name in CASES}
    assert set(timm_hierarchical._KINDS) - kinds <= {"Levit", "EfficientVitLarge"}  # of the same blocks


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "hiera_tiny_224", "maxvit_tiny_tf_224"])
def test_last_layers_of_stages_are_timms_own_feature_maps(name: str) -> None:
    model, x = build(name), pixels(name)
    record = look(model, x)
    maps = model.forward_intermediates(x, intermediates_only=True, norm=False)
    layers = {tuple(grid): number for number, grid in enumerate(record.grids) if number > 0}
    found = 0
    for feature in maps:
        layer = layers.get(tuple(feature.shape[2:]))
        if layer is not None and feature.shape[1] == record.widths[layer]:
            assert torch.equal(record.layers[layer], feature[0].flatten(1).T)
            found += 1
    assert found == len(set(record.grids[1:]))


def test_units_are_what_enters_the_last_layer_of_the_mlp() -> None:
    model, x = build("maxvit_tiny_tf_224"), pixels("maxvit")
    seen: list[Tensor] = []
    mlp: Any = model.stages[1].blocks[0].attn_grid.mlp
    mlp.fc2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    record = look(model, x)
    assert torch.equal(record.hidden_units(record.depth), seen[0][0].flatten(0, 1))


def test_units_of_convolutional_mlps_have_one_row_for_each_patch() -> None:
    model, x = build("coatnet_rmlp_nano_rw_224"), pixels("coatnet")
    seen: list[Tensor] = []
    mlp: Any = model.stages[1].blocks[0].mlp
    mlp.fc2.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    record = look(model, x)
    assert torch.allclose(record.hidden_units(record.depth), seen[0][0].flatten(1).T, atol=1e-5)


# ---------------------------------------------------------------- windows


def of_swin(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys, (tokens, heads, d), and bias between the places of a window, (heads, n, n)."""
    bias = getattr(attn, "q_bias", None)
    if bias is not None:
        bias = torch.cat((attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias))
    qkv = F.linear(x, attn.qkv.weight, attn.qkv.bias if bias is None else bias)
    q, k, _ = qkv.unflatten(-1, (3, attn.num_heads, -1)).unbind(1)
    kind = type(attn).__name__, hasattr(attn, "cpb_mlp")
    if kind == ("WindowAttention", False):
        return q * attn.scale, k, attn._get_rel_pos_bias()[0]
    scale = attn.logit_scale.reshape(1, -1, 1).clamp(max=4.605170185988092).exp()
    q, k = F.normalize(q, dim=-1) * scale, F.normalize(k, dim=-1)
    if not kind[1]:
        return q, k, attn._relative_positional_encodings()[0]
    table = attn.cpb_mlp(attn.relative_coords_table).reshape(-1, attn.num_heads)
    return q, k, 16 * table[attn.relative_position_index].permute(2, 0, 1).sigmoid()


def swin_reference(block: Any, x: Tensor) -> Tensor:
    """Attention of one block over a map (rows, cols, D), token by token, straight from the paper."""
    rows, cols, width = x.shape
    (high, wide), (down, right) = block.window_size, block.shift_size
    zero = rows * cols  # an empty token for the padding
    q, k, bias = of_swin(block.attn, torch.cat((x.reshape(-1, width), x.new_zeros(1, width))))
    padded = -(-rows // high) * high, -(-cols // wide) * wide
    full = torch.zeros(q.shape[1], zero, zero)

    def token(place: tuple[int, int]) -> int:
        row, col = place
        return ((row + down) % rows) * cols + (col + right) % cols if row < rows and col < cols else zero

    def region(at: int, size: int, window: int, shift: int) -> int:
        """Which part of the rolled map: only one of them was together before the roll."""
        return 0 if shift == 0 or at < size - window else (1 if at < size - shift else 2)

    def part(place: tuple[int, int]) -> tuple[int, int]:
        return region(place[0], padded[0], high, down), region(place[1], padded[1], wide, right)

    for top in range(0, padded[0], high):
        for left in range(0, padded[1], wide):
            places = [(top + row, left + col) for row in range(high) for col in range(wide)]
            tokens = [token(place) for place in places]
            for here, place in enumerate(places):
                if tokens[here] == zero:
                    continue
                scores = torch.stack([(q[tokens[here]] * k[other]).sum(dim=-1) for other in tokens], dim=1)
                hidden = torch.tensor([part(place) != part(other) for other in places])
                weights = (scores + bias[:, here] - 100.0 * hidden).softmax(dim=-1)
                for there, other in enumerate(tokens):
                    if other != zero:
                        full[:, tokens[here], other] = weights[:, there]
    return full


@pytest.mark.parametrize("size", [(32, 48), (40, 56)], ids=["whole windows", "padding"])
@pytest.mark.parametrize("name", WINDOWED)
@torch.no_grad()
def test_attention_of_swin_is_that_of_a_plain_loop(name: str, size: tuple[int, int]) -> None:
    model = build(name, img_size=size)
    inputs: list[Tensor] = []
    blocks: list[Any] = [part for part in model.modules() if hasattr(part, "shift_size")]
    for block in blocks:
        before = block.norm1 if name.startswith("swin_") else block  # V2 norms what comes out
        side = before.register_forward_hook if before is not block else before.register_forward_pre_hook
        side(lambda _, args, *output: inputs.append(output[0] if output else args[0]))
    record = look(model, torch.randn(1, 3, *size))
    assert any(any(block.shift_size) for block in blocks)
    for number, block in enumerate(blocks, start=1):
        expected = swin_reference(block, inputs[number - 1][0])
        weights = record.weights(number)
        assert torch.allclose(weights, expected, atol=2e-5), number
        (rows, cols), (high, wide) = record.grids[number], block.window_size
        if not any(block.shift_size):  # else the mask may hide the padding
            whole = rows % high == 0 and cols % wide == 0
            assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-5) == whole


@torch.no_grad()
def test_masks_of_windows_are_not_taken_for_a_batch() -> None:
    """As many images as windows: each image still gets the mask of all windows."""
    model = build("swin_tiny_patch4_window7_224", img_size=(32, 48))  # 2 x 3 windows in the first stage
    x = torch.randn(6, 3, 32, 48)
    together = capture(anatomy(model), x, precision="float32")
    for index in (0, 5):
        alone = look(model, x[index : index + 1])
        for layer in range(1, 5):
            assert torch.allclose(together[index].weights(layer), alone.weights(layer), atol=1e-5)


def share(kind: str, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Which tokens share a window, (N, N)."""
    (rows, cols), (high, wide) = grid, size
    names = []
    for token in range(rows * cols):
        row, col = divmod(token, cols)
        block = row // high, col // wide
        names.append(block if kind == "block" else (row % (rows // high), col % (cols // wide)))
    return torch.tensor([[one == other for other in names] for one in names])


def plain_reference(q: Tensor, k: Tensor, together: Tensor) -> Tensor:
    """Softmax over the tokens of the own window, of (heads, N, d)."""
    return (q @ k.transpose(-2, -1)).masked_fill(~together, -torch.inf).softmax(dim=-1)


@torch.no_grad()
def test_blocks_and_grids_of_maxvit() -> None:
    model, x = build("maxvit_tiny_tf_224"), pixels("maxvit")
    parts: list[Any] = [part for part in model.modules() if hasattr(part, "partition_block")]
    inputs: list[Tensor] = []
    for part in parts:
        part.norm1.register_forward_hook(lambda *call: inputs.append(call[-1]))
        nn.init.zeros_(part.attn.rel_pos.relative_position_bias_table)
    record = look(model, x)
    assert [part.partition_block for part in parts] == [True, False, True, False]
    seen = inputs[: len(parts)]  # those of the pass; each is called once more to see whether it is understood
    for number, part, entered in zip(sorted(record.attention), parts, seen, strict=True):
        attn, grid = part.attn, record.grids[number]
        assert grid[0] // part.partition_size[0] > 1
        qkv = attn.qkv(entered[0].flatten(0, 1)).unflatten(-1, (attn.num_heads, 3, -1)).permute(2, 1, 0, 3)
        if not attn.head_first:
            qkv = (
                attn.qkv(entered[0].flatten(0, 1)).unflatten(-1, (3, attn.num_heads, -1)).permute(1, 2, 0, 3)
            )
        together = share("block" if part.partition_block else "grid", grid, part.partition_size)
        expected = plain_reference(qkv[0] * attn.scale, qkv[1], together)
        assert torch.allclose(record.weights(number), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("davit_tiny", {"window_size": 4}),
        ("twins_svt_small", {}),
        ("nest_tiny", {}),
        ("hiera_tiny_224", {}),
        ("hieradet_small", {}),
        ("gcvit_xxtiny", {}),
    ],
)
@torch.no_grad()
def test_windows_without_a_bias(name: str, options: dict[str, Any]) -> None:
    """Windows as their papers say, where they are whole."""
    model, x = build(name, **options), pixels(name)
    for path, parameter in model.named_parameters():
        if path.endswith("relative_position_bias_table"):
            nn.init.zeros_(parameter)
    parts = anatomy(model)
    record = look(model, x)
    tested = 0
    for number, block in enumerate(parts.blocks, start=1):
        if not block.attentions:
            continue
        attn: Any = block.attentions[0].module
        module: Any = block.module
        grid = record.grids[number]
        size = window_of(name, module, attn, grid)
        if grid[0] % size[0] or grid[1] % size[1]:
            continue
        entered = entering(model, module.norm1, x)
        if block.read is not None and name in ("nest_tiny", "hiera_tiny_224"):
            entered = block.read(entered)
        if not hasattr(attn, "qkv"):
            continue
        qkv = attn.qkv(entered.flatten(0, -2)).unflatten(-1, (3, attn_heads(attn), -1)).permute(1, 2, 0, 3)
        expected = plain_reference(qkv[0] * attn.scale, qkv[1], share("block", grid, size))
        assert torch.allclose(record.weights(number), expected, atol=1e-5)
        tested += 1
    assert tested >= 2


@torch.no_grad()
def test_windows_of_tiny_vit() -> None:
    model, x = build("tiny_vit_5m_224", window_sizes=(4, 4, 4, 4)), pixels("tiny_vit")
    parts: list[Any] = [part for part in model.modules() if type(part).__name__ == "TinyVitBlock"]
    inputs: list[Tensor] = []
    for part in parts:
        part.register_forward_pre_hook(lambda *call: inputs.append(call[-1][0]))
        nn.init.zeros_(part.attn.attention_biases)
    record = look(model, x)
    tested = 0
    seen = inputs[: len(parts)]  # those of the pass; each is called once more to see whether it is understood
    for number, part, entered in zip(sorted(record.attention), parts, seen, strict=True):
        attn, grid = part.attn, record.grids[number]
        if grid[0] % 4 or grid[1] % 4:
            continue
        qkv = attn.qkv(attn.norm(entered[0].flatten(0, 1))).unflatten(-1, (attn.num_heads, 3, -1))
        q, k, _ = qkv.permute(2, 1, 0, 3)
        expected = plain_reference(q * attn.scale, k, share("block", grid, (4, 4)))
        assert torch.allclose(record.weights(number), expected, atol=1e-5)
        tested += 1
    assert tested >= 2


def attn_heads(attn: Any) -> int:
    return int(getattr(attn, "num_heads", 0) or attn.heads)


def window_of(name: str, module: Any, attn: Any, grid: tuple[int, int]) -> tuple[int, int]:
    if name.startswith("twins"):
        return (attn.ws, attn.ws) if hasattr(attn, "ws") else grid
    if name.startswith("hieradet"):
        return module.window_size if module.is_windowed else grid
    if name.startswith("nest"):
        side = 4  # 16 x 16 patches in 4 x 4 blocks; the side of a block stays
        return side, side
    if name.startswith("hiera"):
        side = round(attn.window_size**0.5)
        return (side, side) if attn.use_mask_unit_attn else grid
    return (module.window_size[0], module.window_size[1])


def entering(model: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """What leaves a norm."""
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(lambda *call: seen.append(call[-1]))
    model(x)
    handle.remove()
    return seen[0]


def test_windows_of_another_size_are_refused() -> None:
    with pytest.raises(RuntimeError, match="windows of the model have changed"):
        spread(torch.zeros(4, 1, 9, 9), windows((4, 4), (2, 2)), 16)


def test_windows_are_counted_row_by_row() -> None:
    assert windows((2, 4), (2, 2)).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert windows((2, 3), (2, 2)).tolist() == [[0, 1, 3, 4], [2, 6, 5, 6]]  # 6 is padding
    assert windows((2, 4), (2, 2), (1, 1)).tolist() == [[5, 6, 1, 2], [7, 4, 3, 0]]
    assert spaced((2, 4), (2, 2)).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


# ---------------------------------------------------------------- what is not shown, and files


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("mvitv2_tiny", "pooled"),
        ("pvt_v2_b0", "keys are pooled"),
        ("davit_tiny", "channel to channel"),
        ("maxvit_tiny_tf_224", "convolves"),
        ("gcvit_xxtiny", "queries are those of the whole picture"),
        ("efficientvit_b0", "linear"),
        ("hiera_tiny_224", "queries are pooled"),
    ],
)
def test_a_block_without_a_map_says_why(name: str, reason: str) -> None:
    trace = Inspector(build(name)).trace(pixels(name)[0])
    reasons = [trace.why_not("attention", layer) for layer in range(1, trace.layers + 1)]
    layer = next(number for number, text in enumerate(reasons, start=1) if reason in text)
    with pytest.raises(ValueError, match=reason):
        trace.attention(layer)
    assert "grid changes" in trace.why_not("rollout", trace.layers)
    assert any("feature map" in note for note in trace.notes)


NOT_HERE = (
    "resnet18 convnext_atto mixer_s32_224 poolformer_s12 fastvit_t8 focalnet_tiny_srf xcit_nano_12_p16_224 "
    "crossvit_tiny_240 tnt_s_patch16_224 visformer_tiny coat_lite_tiny volo_d1_224 vit_tiny_patch16_224"
)


@pytest.mark.parametrize("name", NOT_HERE.split())
def test_models_without_maps_of_attention_are_left_to_others(name: str) -> None:
    assert timm_hierarchical.find(timm.create_model(name)) is None


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "mvitv2_small_cls"])
def test_a_trace_of_changing_grids_survives_its_file(name: str, tmp_path: Path) -> None:
    trace = Inspector(build(name)).trace(pixels(name)[0], precision="float32")
    trace.save(tmp_path / "trace.safetensors")
    again = Trace.load(tmp_path / "trace.safetensors")
    assert again.notes == trace.notes
    for layer in range(trace.layers + 1):
        assert again.grid_of(layer) == trace.grid_of(layer)
        assert (again.layer(layer) == trace.layer(layer)).all()
        assert again.why_not("attention", layer) == trace.why_not("attention", layer)
        if not trace.why_not("attention", layer):
            assert (again.attention(layer) == trace.attention(layer)).all()
        if not trace.why_not("mlp", layer):
            assert (again.mlp(layer) == trace.mlp(layer)).all()


def test_swin_that_takes_any_size() -> None:
    inspector = Inspector(build("swin_tiny_patch4_window7_224", dynamic_img_size=True))
    trace = inspector.trace(torch.randn(3, 40, 72))
    assert trace.grid == (10, 18)
    assert trace.grid_of(trace.layers).rows == 5
    assert trace.check().passed
