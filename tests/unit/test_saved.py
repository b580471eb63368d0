"""Traces in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitwidgets import Explorer, Inspector, Trace
from vitwidgets.errors import TraceError


def same(one: Trace, two: Trace) -> None:
    for layer in range(one.layers + 1):
        assert np.array_equal(one.layer(layer), two.layer(layer))
        assert one.grid_of(layer) == two.grid_of(layer)
        assert [one.why_not(f, layer) for f in ("tokens", "attention", "mlp", "rollout")] == [
            two.why_not(f, layer) for f in ("tokens", "attention", "mlp", "rollout")
        ]
    for layer in range(1, one.layers + 1):
        np.testing.assert_allclose(one.attention(layer), two.attention(layer), atol=1e-3)
        np.testing.assert_allclose(one.mlp(layer), two.mlp(layer), atol=1e-2, rtol=1e-3)
    assert np.array_equal(one.logits, two.logits)
    assert np.array_equal(one.pixels, two.pixels)
    assert one.top(3) == two.top(3)
    assert (one.frame, one.prefix, one.model_name, one.notes) == (
        two.frame,
        two.prefix,
        two.model_name,
        two.notes,
    )
    assert one.image.tobytes() == two.image.tobytes()


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 255, (40, 64, 3), np.uint8))


def test_there_and_back(vit: VisionTransformer, tmp_path: Path) -> None:
    trace = Inspector(vit, class_names=list("abcdefg")).trace(picture())
    trace.check()
    trace.save(tmp_path / "x.safetensors")
    back = Trace.load(tmp_path / "x.safetensors")
    same(trace, back)
    assert back.checked == trace.checked
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
    with pytest.raises(RuntimeError, match="not at hand"):
        back.check()


def test_attention_with_a_bias_is_stored_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "beit_base_patch16_224", img_size=64, embed_dim=24, depth=2, num_heads=2, num_classes=4
    ).eval()
    trace = Inspector(model, class_names=list("abcd")).trace(picture())
    trace.save(tmp_path / "x.safetensors")
    back = Trace.load(tmp_path / "x.safetensors")
    same(trace, back)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert back.attention(1).std() > 0  # needs no model


def test_what_was_not_kept_stays_away(make_vit: Callable[..., Any], x: Tensor, tmp_path: Path) -> None:
    trace = Inspector(make_vit()).trace(x, keep=("tokens", "attention"), layers=(0, 2))
    trace.save(tmp_path / "x.safetensors")
    back = Trace.load(tmp_path / "x.safetensors")
    assert np.array_equal(back.layer(2), trace.layer(2))
    with pytest.raises(ValueError, match="layer 1 was not kept"):
        back.layer(1)
    with pytest.raises(ValueError, match="'mlp' in keep="):
        back.mlp(2)


def test_a_loaded_trace_can_be_explored(make_vit: Callable[..., Any], tmp_path: Path) -> None:
    Inspector(make_vit("registers"), class_names=list("abcdefg")).trace(picture()).save(tmp_path / "x.st")
    explorer = Explorer(Trace.load(tmp_path / "x.st"))
    explorer.layer = 3
    assert explorer.still().width == 1200


@pytest.fixture
def file(make_vit: Callable[..., Any], x: Tensor, tmp_path: Path) -> Path:
    path = tmp_path / "trace.safetensors"
    Inspector(make_vit()).trace(x).save(path)
    return path


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> Path:
    with safe_open(path, framework="pt") as handle:
        facts = json.loads(handle.metadata()["vitwidgets"])
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    change(facts, tensors)
    save_file(tensors, path, metadata={"vitwidgets": json.dumps(facts)})
    return path


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"there is no file .*nowhere"):
        Trace.load(tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [0, 5, 300, 0.5, 0.99])
def test_a_truncated_file(file: Path, cut: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(cut if cut >= 1 or cut == 0 else cut * len(whole))])
    with pytest.raises(TraceError, match="damaged"):
        Trace.load(file)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(TraceError, match="holds no trace"):
        Trace.load(tmp_path / "w.safetensors")


def test_a_newer_version(file: Path) -> None:
    rewritten(file, lambda facts, _: facts.update(version=99))
    with pytest.raises(TraceError, match="newer vitwidgets"):
        Trace.load(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda _, tensors: tensors.pop("tokens.2"),
        lambda _, tensors: tensors.pop("q.1.0"),
        lambda _, tensors: tensors.update({"tokens.1": torch.zeros(3, 3)}),
        lambda _, tensors: tensors.update({"image": torch.zeros(9, dtype=torch.uint8)}),
        lambda facts, _: facts.update(grids=[[0, 5]] * 4),
        lambda facts, _: facts.update(depth=7),
        lambda facts, _: facts.pop("frame"),
        lambda facts, _: facts.update(prefix=["cls", "cls"]),
    ],
)
def test_a_file_that_contradicts_itself(file: Path, change: Callable[..., None]) -> None:
    rewritten(file, change)
    with pytest.raises(TraceError, match="damaged"):
        Trace.load(file)


def test_a_failing_save_leaves_the_old_file(make_vit: Callable[..., Any], x: Tensor, file: Path) -> None:
    before = file.read_bytes()
    model = make_vit()
    trace = Inspector(model).trace(x)
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight.zero_()
    with pytest.raises(RuntimeError, match="have changed"):
        trace.save(file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
