"""timm's plain columns: one small name per structural variant passes the sweep, and its gate bites."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sweep
import timm
import torch
from torch import Tensor, nn

from vitwidgets import watch
from vitwidgets.capture import capture
from vitwidgets.check import check
from vitwidgets.errors import ModelError
from vitwidgets.families import anatomy
from vitwidgets.families.timm_windows import spread, windows
from vitwidgets.record import Record
from vitwidgets.replay import FromScores, Replay
from vitwidgets.watch import Listener, Scores

VARIANTS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "deit_tiny_distilled_patch16_224": {},  # two prefix tokens
    "deit3_small_patch16_224": {},  # layer scale; positions without the class token's
    "vit_wee_patch16_reg1_gap_256": {},
    "vit_small_patch14_reg4_dinov2": {},
    "vit_giant_patch14_dinov2": {"embed_dim": 96, "num_heads": 6},  # packed SwiGLU
    "vit_medium_patch16_gap_240": {},  # no prefix
    "vit_xsmall_patch16_clip_224": {},  # norm before
    "vit_base_patch16_siglip_224": {"embed_dim": 96, "num_heads": 6},  # attention pool head
    "vit_so150m_patch16_reg4_map_256": {"embed_dim": 96, "num_heads": 6},
    "vit_intern300m_patch14_448": {"embed_dim": 96, "num_heads": 6},  # query and key norm
    "aimv2_large_patch14_224": {"embed_dim": 96, "num_heads": 6},  # RMS norm, SwiGLU
    "beit3_base_patch16_224": {"embed_dim": 96, "num_heads": 6},  # norms within attention and MLP
    "vit_base_patch16_radio_v3": {"embed_dim": 96, "num_heads": 6},  # any size
    "vit_pwee_patch16_reg1_gap_256": {},  # attention and MLP in parallel
    "vit_dwee_patch16_reg1_gap_256": {},  # differential attention
    "vit_dpwee_patch16_reg1_gap_256": {},  # both
    "vit_small_patch16_18x2_224": {},  # two attentions and two MLPs side by side
    "vit_base_patch16_rpn_224": {"embed_dim": 96, "num_heads": 6},  # norm after
    "vit_tiny_r_s16_p8_224": {},
    "vit_base_mci_224": {},
    "vit_relpos_small_patch16_224": {},
    "vit_relpos_small_patch16_rpn_224": {},
    "vit_relpos_base_patch16_cls_224": {"embed_dim": 96, "num_heads": 6},
    "vit_srelpos_small_patch16_224": {},  # positions shared by the blocks
    "beit_base_patch16_224": {"embed_dim": 96, "num_heads": 6},
    "eva02_tiny_patch14_224": {},  # RoPE, SwiGLU, separate projections
    "eva02_enormous_patch14_clip_224": {"embed_dim": 96, "num_heads": 6},  # norm after
    "vit_pe_core_tiny_patch16_384": {},
    "vit_small_plus_patch16_dinov3": {},
    "vit_base_patch16_sapiens2": {
        "embed_dim": 96,
        "num_heads": 6,
        "num_kv_heads": (None, 2),
    },  # grouped queries
    "vit_small_patch16_rope_mixed_ape_224": {},  # a RoPE of its own for each block
    "vit_medium_patch16_rope_reg1_gap_256": {},
    "naflexvit_base_patch16_map": {"embed_dim": 96, "num_heads": 6},
    "naflexvit_base_patch16_parfac_gap": {"embed_dim": 96, "num_heads": 6},
    "vitamin_small_224": {},
    "qwen3_vit_88m_merge": {"embed_dim": 96, "num_heads": 6},
    "gemma4_vit_167m_enc": {"embed_dim": 96, "num_heads": 6, "head_dim": 16},
    "deepseek_vit_412m": {"embed_dim": 96, "num_heads": 6},
    "cait_xxs24_224": {},
    "convit_tiny": {"local_up_to_layer": 1},
    "samvit_base_patch16": {"embed_dim": 48, "num_heads": 3},
}


def build(name: str, **options: Any) -> nn.Module:
    return sweep.build(name, **{"depth": 2, **VARIANTS[name], **options})


def look(model: nn.Module, name: str) -> tuple[Record, Tensor]:
    x = sweep.pixels(model, name)
    return capture(anatomy(model), x, precision="float32")[0], x


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_passes_the_sweep(name: str) -> None:
    model = build(name)
    file = type(model).__module__.rpartition(".")[2]
    result = sweep.judge(model, sweep.pixels(model, name), name, file)
    assert result.problems == {}
    assert result.blocks == 2


# ---------------------------------------------------------------------- the gate


def test_the_gate_sees_a_dropped_bias_that_logits_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("beit_base_patch16_224")
    whole = watch.scores_of_fused

    def without_bias(*args: Any, **kwargs: Any) -> Scores:
        return replace(whole(*args, **kwargs), bias=None)

    monkeypatch.setattr(watch, "scores_of_fused", without_bias)
    result = sweep.judge(model, sweep.pixels(model, "beit_base_patch16_224"), "beit_base_patch16_224", "beit")
    assert result.error > 100 * sweep.BOUND
    assert list(result.problems) == ["attention"]


@torch.no_grad()
def test_the_gate_sees_a_dropped_rope() -> None:
    name = "eva02_tiny_patch14_224"
    model: Any = build(name)
    record, x = look(model, name)
    assert check(record, x).worst < sweep.BOUND
    block = model.blocks[0]
    with Listener() as listener:
        block.attn(block.norm1(record.layers[0][None]), rope=None)
    (heard,) = listener.heard
    assert isinstance(heard, Scores)
    record.attention[1] = (FromScores(heard),)
    errors = check(record, x).attention
    assert errors[1] > 100 * sweep.BOUND
    assert errors[2] < sweep.BOUND


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_pwee_patch16_reg1_gap_256"])
def test_the_gate_sees_a_dropped_register(name: str) -> None:
    model = build(name)
    record, x = look(model, name)
    (kept,) = record.attention[2]
    assert isinstance(kept, Replay)
    assert kept.scores is not None
    tokens = kept.scores.k.shape[2]
    unseen = torch.zeros(tokens, tokens)
    unseen[:, len(record.anatomy.prefix) - 1] = -torch.inf  # the last register
    record.attention[2] = (FromScores(replace(kept.scores, bias=unseen)),)
    errors = check(record, x).attention
    assert errors[2] > 100 * sweep.BOUND
    assert errors[1] < sweep.BOUND


def test_a_register_that_is_not_counted_is_refused() -> None:
    name = "vit_small_patch14_reg4_dinov2"
    model = build(name)
    parts = anatomy(model)
    assert parts.prefix == ("cls", "reg1", "reg2", "reg3", "reg4")
    with pytest.raises(ModelError, match="made 29 tokens of this input, but 4 prefix tokens and 4 x 6"):
        capture(replace(parts, prefix=parts.prefix[:-1]), sweep.pixels(model, name))


# ---------------------------------------------------------------------- late tokens, windows, two maps


@torch.no_grad()
def test_cait_shows_the_weights_after_its_heads_talked() -> None:
    model: Any = build("cait_xxs24_224")
    record, _ = look(model, "cait_xxs24_224")
    assert record.anatomy.prefix == ()
    for number, block in enumerate(model.blocks, start=1):
        attn = block.attn
        q, k, _ = attn.qkv(block.norm1(record.layers[number - 1])).chunk(3, dim=1)
        q, k = (part.unflatten(1, (attn.num_heads, -1)).transpose(0, 1) for part in (q, k))
        scores = torch.einsum("hij,gh->gij", q @ k.transpose(1, 2) * attn.scale, attn.proj_l.weight)
        maps = (scores + attn.proj_l.bias[:, None, None]).softmax(dim=-1)
        talked = torch.einsum("hij,gh->gij", maps, attn.proj_w.weight) + attn.proj_w.bias[:, None, None]
        torch.testing.assert_close(record.weights(number), talked, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_convit_class_token_waits_alone() -> None:
    model: Any = build("convit_tiny")
    record, _ = look(model, "convit_tiny")
    assert record.anatomy.prefix == ("cls",)
    for layer in (0, 1):
        assert torch.equal(record.layers[layer][0], model.cls_token[0, 0])
    alone, joined = record.weights(1), record.weights(2)
    assert alone.shape == joined.shape == (4, 26, 26)
    assert torch.equal(alone[:, 0], torch.eye(26)[:1].expand(4, -1))
    assert float(alone[:, 1:, 0].abs().max()) == 0
    assert float(joined[:, :, 0].min()) > 0
    assert torch.allclose(
        alone[:, 1:, 1:], model.blocks[0].attn.get_attention(_entering(model, record, 1))[0]
    )
    assert not record.hidden_units(1)[0].any()
    assert record.hidden_units(2)[0].any()


def _entering(model: Any, record: Record, number: int) -> Tensor:
    """What enters the attention of a block of ConViT before the class token joins."""
    return model.blocks[number - 1].norm1(record.layers[number - 1][None, 1:])


@torch.no_grad()
def test_sam_windows_lie_where_they_were() -> None:
    """A block's map over the whole picture, times the values of all tokens, is what its attention adds."""
    name = "samvit_base_patch16"
    model: Any = build(name, global_attn_indexes=(1,))
    record, _ = look(model, name)
    rows, cols = record.grids[0]
    for number, block in enumerate(model.blocks, start=1):
        attn, weights = block.attn, record.weights(number)
        assert weights.shape == (3, rows * cols, rows * cols)
        values = attn.qkv(block.norm1(record.layers[number - 1]))[:, -48:]
        padding = attn.qkv.bias[-48:].unflatten(
            0, (3, 1, 16)
        )  # each padded token is 0, so its value is the bias
        mixed = weights @ values.unflatten(1, (3, 16)).transpose(0, 1)
        mixed += (1 - weights.sum(dim=-1, keepdim=True)) * padding
        stream = record.layers[number - 1] + attn.proj(mixed.transpose(0, 1).flatten(1))
        stream = stream + block.mlp(block.norm2(stream))
        torch.testing.assert_close(stream, record.layers[number], rtol=1e-4, atol=1e-4)
    sums = record.weights(1).sum(dim=-1).reshape(3, rows, cols)
    assert torch.allclose(sums[:, :14, :14], torch.ones(()))
    assert float(sums[:, -1].max()) < 1  # part of the attention of a window at the edge goes to padding
    assert torch.allclose(record.weights(2).sum(dim=-1), torch.ones(()))


def test_windows_keep_apart() -> None:
    weights = torch.rand(4, 2, 9, 9) + 1
    full = spread(weights, windows((5, 4), (3, 3)), 20).reshape(2, 5, 4, 5, 4)
    assert torch.equal(full[:, 1, 2, :3, :3], weights[0, :, 1 * 3 + 2].reshape(2, 3, 3))
    assert torch.equal(full[:, 4, 3, 3:, 3:], weights[3, :, 1 * 3 + 0].reshape(2, 3, 3)[:, :2, :1])
    assert not full[:, 1, 2, 3:].any()
    assert not full[:, 4, 3, :, :3].any()


@torch.no_grad()
@pytest.mark.parametrize("fused", [True, False])
def test_differential_attention_shows_the_difference(fused: bool) -> None:
    name = "vit_dwee_patch16_reg1_gap_256"
    model: Any = build(name)
    for block in model.blocks:
        block.attn.fused_attn = fused
    record, x = look(model, name)
    attn = model.blocks[0].attn
    q, k, _ = attn.qkv(model.blocks[0].norm1(record.layers[0])).chunk(3, dim=1)
    q, k = (
        norm(part.unflatten(1, (-1, attn.head_dim)).transpose(0, 1))
        for norm, part in ((attn.q_norm, q), (attn.k_norm, k))
    )
    maps = (q @ k.transpose(1, 2) * attn.scale).softmax(dim=-1)
    expected = maps[0::2] - attn._compute_lambda() * maps[1::2]
    torch.testing.assert_close(record.weights(1), expected, rtol=1e-4, atol=1e-5)
    assert check(record, x).worst < sweep.BOUND
    assert any("does not sum to 1" in note for note in record.anatomy.notes)


@torch.no_grad()
def test_mlps_side_by_side_show_the_units_of_both() -> None:
    name = "vit_small_patch16_18x2_224"
    model: Any = build(name)
    record, _ = look(model, name)
    first = record.layers[0]
    within = first + sum(branch(first[None])[0] for branch in model.blocks[0].attns)
    units = [ffn.mlp.act(ffn.mlp.fc1(ffn.norm(within))) for ffn in model.blocks[0].ffns]
    torch.testing.assert_close(record.hidden_units(1), torch.cat(units, dim=1), rtol=1e-4, atol=1e-4)
    assert record.weights(1).shape == (12, 25, 25)  # the heads of both attentions


def test_stems_and_registers_of_radio_are_explained() -> None:
    hybrid, radio = (anatomy(build(name)) for name in ("vit_tiny_r_s16_p8_224", "vit_base_patch16_radio_v3"))
    assert "CNN stem" in hybrid.family
    assert any("no patch filters" in note for note in hybrid.notes)
    assert any("class tokens for other teachers" in note for note in radio.notes)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "lacks a patch embedding .* and attention between tokens"),
        ("mixer_s32_224", "has no attention between tokens"),
        ("xcit_nano_12_p16_224", "mixes channels .* no map from token to token"),
        ("crossvit_tiny_240", "two columns of tokens on two patch grids"),
        ("tnt_s_patch16_224", "two columns, of patches and of the pixels"),
        ("volo_d1_224", "no token-by-token map"),
        ("visformer_tiny", "in no one column"),
    ],
)
def test_a_model_that_is_no_column_is_refused_with_what_it_lacks(name: str, reason: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(ModelError, match=reason):
        anatomy(model)


def test_a_model_of_no_known_library_is_told_how_to_name_its_blocks() -> None:
    with pytest.raises(ModelError, match=r"of no library that is known here .*blocks="):
        anatomy(nn.Sequential(nn.Linear(2, 2)))
