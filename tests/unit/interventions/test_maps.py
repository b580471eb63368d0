"""Models whose layers are maps, whose tokens pass in a layout of their own, and whose heads see windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hand_edits import at_output, left_behind
from timm.models.nest import Nest
from torch import Tensor, nn

from vitwidgets import Ablation, Inspector, Transplant
from vitwidgets.errors import InterventionError

SWIN: dict[str, Any] = {"img_size": (64, 96), "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
MAXVIT: dict[str, Any] = {
    "img_size": (64, 96), "embed_dim": (16, 32), "depths": (1, 1), "block_type": ("M", "M"), "stem_width": 8,
    "transformer_dim_head": 8, "transformer_partition_ratio": 16,
}  # fmt: skip
FOUR: dict[str, Any] = {"embed_dims": (8, 16, 24, 32), "num_heads": (2, 2, 2, 2)}
# Of a model: how it is built, and the number of a block that attends in windows, or over the whole map.
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "swin_tiny_patch4_window7_224": ({**SWIN, "window_size": 5}, 2),  # shifted, with padding
    "swinv2_tiny_window8_256": ({**SWIN, "window_size": 4}, 4),
    "swinv2_cr_tiny_ns_224": ({**SWIN, "window_size": 4}, 2),
    "maxvit_tiny_tf_224": (MAXVIT, 3),  # a grid over the whole map
    "maxxvitv2_nano_rw_256": ({**MAXVIT, "block_type": ("PM", "PM")}, 2),  # two attentions side by side
    "hiera_tiny_224": ({"img_size": (64, 96), "embed_dim": 16, "num_heads": 2, "stages": (1, 2, 1, 2)}, 1),
    "hieradet_small": ({"embed_dim": 16, "num_heads": 2, "stages": (2, 2, 2, 2)}, 2),
    "davit_tiny": ({"embed_dims": (8, 16), "depths": (1, 1), "num_heads": (2, 2), "window_size": 5}, 1),
    "twins_svt_small": ({"img_size": (64, 96), **FOUR, "depths": (2, 2, 1, 1), "wss": (4, 4, 4, 4)}, 1),
    "gcvit_xxtiny": ({"img_size": (64, 96)}, 1),
    "nest_tiny": ({"img_size": 64, "embed_dims": (8, 8, 8), "num_heads": (2, 2, 2), "depths": (1, 1, 1)}, 1),
    "tiny_vit_5m_224": ({**FOUR, "depths": (1, 2, 2, 1), "window_sizes": (5, 5, 5, 5)}, 2),
    "samvit_base_patch16": ({"img_size": (80, 112), "patch_size": 8, "embed_dim": 24, "depth": 3,
                             "num_heads": 2, "window_size": 3, "global_attn_indexes": (1,)}, 1),
    "levit_128s": ({"img_size": (64, 96)}, 2),
    "pit_ti_distilled_224": ({"img_size": (64, 96), "base_dims": (8, 8, 8), "depth": (1, 2, 1)}, 2),
}  # fmt: skip
ONE_STREAM = [name for name in CASES if name != "gcvit_xxtiny"]  # whose stages hand on a query beside it


def build(name: str, **changes: Any) -> Any:
    torch.manual_seed(3)
    make: Callable[..., Any] = Nest if name == "nest_tiny" else partial(timm.create_model, name)
    model = make(num_classes=5, **{**CASES[name][0], **changes}).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            amount = 1.0 if "relative_position" in path or "attention_bias" in path else 0.1
            parameter.add_(torch.randn_like(parameter) * amount)
    return model


def images(name: str) -> Tensor:
    size = CASES[name][0].get("img_size", (64, 96))
    size = (size, size) if isinstance(size, int) else size
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@contextmanager
def changed_head(attention: Any, head: int, heads: int, fill: str, *, heads_last: bool) -> Iterator[None]:
    """Change a head of two images by hand: its part of what enters the projection behind the heads.

    Padding enters attention as zeros: its rows are no tokens.
    """
    real: list[Tensor] = []

    def enter(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        real[:] = [args[0].flatten(0, -2).any(dim=-1)]

    def edit(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        given = args[0].clone()
        rows = given.view(2, -1, given.shape[-1])  # image by image
        size = rows.shape[-1] // heads
        part = rows[..., head::heads] if heads_last else rows[..., head * size : (head + 1) * size]
        if fill == "zero":
            part[:] = 0
        else:
            for image, kept in zip(part, real[0].view(2, -1), strict=True):
                image[:] = image[kept].mean(dim=0)
        return (given,)

    handles = attention.register_forward_pre_hook(enter), attention.proj.register_forward_pre_hook(edit)
    yield
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("name", CASES)
def test_a_head_in_windows(name: str, fill: Any) -> None:
    model, batch = build(name), images(name)
    layer = CASES[name][1]
    inspector = Inspector(model)
    attentions = inspector.anatomy.blocks[layer - 1].attentions
    module: Any = attentions[-1].module
    heads = attentions[-1].heads
    plain = inspector.trace([*batch], precision="float32")
    with torch.no_grad(), changed_head(module, 1, heads, fill, heads_last=name == "nest_tiny"):
        expected = model(batch).numpy()
    edit = Ablation(layer, head=plain[0].heads_of(layer) - heads + 1, fill=fill)
    for number, trace in enumerate(inspector.trace([*batch], precision="float32", ablate=edit)):
        effect = abs(expected[number] - plain[number].logits).max()
        assert effect > 1e-4
        assert abs(expected[number] - trace.logits).max() < 0.01 * effect + 1e-6
        np.testing.assert_allclose(trace.attention(layer), plain[number].attention(layer), atol=1e-6)
    assert inspector.trace(batch[1], precision="float32", ablate=edit).check().passed
    assert left_behind(model) == []


@pytest.mark.parametrize("name", CASES)
def test_a_head_of_another_pass(name: str) -> None:
    model, batch = build(name), images(name)
    layer = CASES[name][1]
    inspector = Inspector(model)
    source = inspector.trace(batch[1], precision="float32")
    heads = [Transplant(source, layer, head=number) for number in range(source.heads_of(layer))]
    given = inspector.trace([*batch], precision="float32", patch_from=heads)
    np.testing.assert_allclose(given[1].logits, source.logits, rtol=1e-4, atol=1e-5)  # its own heads again
    plain = inspector.trace(batch[0], precision="float32")
    module = inspector.anatomy.blocks[layer - 1].attentions[-1].module
    put_out: list[Tensor] = []

    def note(value: Tensor) -> Tensor:
        put_out.append(value)
        return value

    at_output(model, module, note, batch[1:])
    expected = at_output(model, module, lambda _: put_out[0], batch[:1])[0].numpy()
    if len(heads) == inspector.anatomy.blocks[layer - 1].attentions[-1].heads:  # all are in that module
        effect = abs(expected - plain.logits).max()
        assert effect > 1e-4
        assert abs(expected - given[0].logits).max() < 0.01 * effect + 1e-6
    one = inspector.trace(batch[0], precision="float32", patch_from=heads[1])
    assert abs(one.logits - plain.logits).max() > 0
    assert one.check().passed
    assert left_behind(model) == []


@pytest.mark.parametrize("name", ONE_STREAM)
def test_a_whole_layer_gives_the_logits_of_its_source(name: str) -> None:
    """Whatever the layout, tokens are put back to where they were read."""
    model, batch = build(name), images(name)
    inspector = Inspector(model)
    source = inspector.trace(batch[1], precision="float32")
    for layer in range(source.layers + 1):
        trace = inspector.trace(batch[0], precision="float32", patch_from=Transplant(source, layer))
        np.testing.assert_allclose(trace.logits, source.logits, rtol=1e-4, atol=1e-5)
    assert left_behind(model) == []


@pytest.mark.parametrize("name", CASES)
def test_tokens_of_another_pass(name: str) -> None:
    model, batch = build(name), images(name)
    inspector = Inspector(model)
    plain, source = (inspector.trace(x, precision="float32") for x in batch)
    for layer in (0, CASES[name][1], source.layers):
        grid = source.grid_of(layer)
        every_second = [grid.token(index) for index in range(0, grid.tokens, 2)]
        edit = Transplant(source, layer, tokens=every_second)
        trace = inspector.trace(batch[0], precision="float32", patch_from=edit)
        np.testing.assert_allclose(trace.layer(layer)[::2], source.layer(layer)[::2], atol=1e-6)
        np.testing.assert_allclose(trace.layer(layer)[1::2], plain.layer(layer)[1::2], atol=1e-6)
    assert left_behind(model) == []


def cell(row: int, col: int, fill: str, *, channels_first: bool = False) -> Callable[[Tensor], Tensor]:
    def edit(given: Tensor) -> Tensor:
        grid = given.permute(0, 2, 3, 1).clone() if channels_first else given.clone()
        for image in grid:
            image[row, col] = image.flatten(0, 1).mean(dim=0) if fill == "mean" else 0
        return grid.permute(0, 3, 1, 2) if channels_first else grid

    return edit


def channel(number: int, fill: str, *, channels_first: bool = False) -> Callable[[Tensor], Tensor]:
    def edit(given: Tensor) -> Tensor:
        changed = given.clone()
        for image in changed.unbind():
            one = image[number] if channels_first else image[..., number]
            one[:] = one.mean() if fill == "mean" else 0
        return changed

    return edit


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize(
    ("name", "layer", "channels_first"),
    [
        ("swin_tiny_patch4_window7_224", 1, False),
        ("swin_tiny_patch4_window7_224", 3, False),  # half as many rows and columns
        ("davit_tiny", 1, True),
        ("gcvit_xxtiny", 2, False),
        ("samvit_base_patch16", 2, False),
        ("maxvit_tiny_tf_224", 5, False),
    ],
)
def test_tokens_and_neurons_of_a_map(name: str, layer: int, channels_first: bool, fill: Any) -> None:
    model, batch = build(name), images(name)
    inspector = Inspector(model)
    module = inspector.anatomy.blocks[layer - 1].module
    grid = inspector.trace(batch[0]).grid_of(layer)
    assert grid.rows < grid.cols
    for edit, by_hand in [
        (Ablation(layer, token=(1, 2), fill=fill), cell(1, 2, fill, channels_first=channels_first)),
        (Ablation(layer, token=grid.cols + 2, fill=fill), cell(1, 2, fill, channels_first=channels_first)),
        (Ablation(layer, neuron=5, fill=fill), channel(5, fill, channels_first=channels_first)),
    ]:
        expected = at_output(model, module, by_hand, batch)
        for number, trace in enumerate(inspector.trace([*batch], precision="float32", ablate=edit)):
            np.testing.assert_allclose(trace.logits, expected[number], rtol=1e-4, atol=1e-5)
        assert inspector.trace(batch[1], precision="float32", ablate=edit).check().passed
    with pytest.raises(IndexError, match=rf"row {grid.rows}, column 0\) is out of range"):
        inspector.trace(batch[0], ablate=Ablation(layer, token=(grid.rows, 0)))
    assert left_behind(model) == []


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_prefix_tokens_of_a_pooled_sequence(fill: Any) -> None:
    """PiT's two prefix tokens stand before the patches of each stage."""
    name = "pit_ti_distilled_224"
    model, batch = build(name), images(name)
    inspector = Inspector(model)
    layer = 2
    grid = inspector.trace(batch[0]).grid_of(layer)
    assert (grid.prefix, grid.rows * grid.cols < inspector.patch_grid.patches) == (("cls", "dist"), True)
    for token, row in (("dist", 1), ((1, 2), 2 + grid.cols + 2)):

        def edit(given: Tensor, row: int = row) -> Tensor:
            changed = given.clone()
            changed[:, row] = given[:, 2:].mean(dim=1) if fill == "mean" else 0
            return changed

        expected = at_output(model, inspector.anatomy.blocks[layer - 1].module, edit, batch[:1])
        trace = inspector.trace(batch[0], precision="float32", ablate=Ablation(layer, token=token, fill=fill))
        np.testing.assert_allclose(trace.logits, expected[0], rtol=1e-4, atol=1e-5)
        assert trace.check().passed


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "hiera_tiny_224", "maxvit_tiny_tf_224"])
def test_units_of_a_map(name: str) -> None:
    model, batch = build(name), images(name)
    inspector = Inspector(model)
    layer = 2 if name != "hiera_tiny_224" else 3
    plain = inspector.trace([*batch], precision="float32")
    edit = Ablation(layer, unit=2, fill="mean")
    for trace, before in zip(inspector.trace([*batch], precision="float32", ablate=edit), plain, strict=True):
        expected = before.mlp(layer).copy()
        expected[:, 2] = expected[:, 2].mean()
        np.testing.assert_allclose(trace.mlp(layer), expected, atol=1e-5)
        assert np.ptp(before.mlp(layer)[:, 2]) > 1e-3
    source = plain[1]
    trace = inspector.trace(batch[0], precision="float32", patch_from=Transplant(source, layer, unit=2))
    np.testing.assert_allclose(trace.mlp(layer)[:, 2], source.mlp(layer)[:, 2], atol=1e-5)
    np.testing.assert_allclose(trace.mlp(layer)[:, 3], plain[0].mlp(layer)[:, 3], atol=1e-5)
    assert left_behind(model) == []


def test_blocks_without_a_map_of_attention_have_no_head_to_change() -> None:
    model, batch = build("davit_tiny"), images("davit_tiny")
    with pytest.raises(
        InterventionError, match="a head of block 2 cannot be changed: it attends from channel"
    ):
        Inspector(model).trace(batch[0], ablate=Ablation(2, head=0))
    assert left_behind(model) == []
