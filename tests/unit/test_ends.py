"""What a head reads of one token, beside the model's own norm, head and logits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save_file
from timm.layers.norm import RmsNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitwidgets import Ablation, Inspector, Trace
from vitwidgets.ends import Readout
from vitwidgets.errors import TraceError

L, N, CLASSES = 3, 16, 7


def read_by(norm: nn.Module, head: nn.Module, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = head(norm(torch.from_numpy(tokens.copy()))).numpy()
    return found


def tokens_of(width: int = 24, scale: float = 3.0) -> np.ndarray:
    """Of the size of a few layers, with means far from 0."""
    random = np.random.default_rng(2)
    return (scale * random.normal(size=(5, 9, width)) + random.normal(size=(5, 9, 1))).astype(np.float32)


def the_readout(trace: Trace) -> Readout:
    assert trace.readout is not None, trace.why_not("evidence", trace.layers)
    return trace.readout


# ---------------------------------------------------------------- timm


# a model, the norm that its head stands behind, and of what its logits are a reading
READ: dict[str, tuple[dict[str, Any], str, str]] = {
    "class token": ({}, "norm", "class token"),
    "registers": ({"reg_tokens": 3}, "norm", "class token"),
    "norm of embeddings": ({"embed_norm_layer": nn.LayerNorm, "pre_norm": True}, "norm", "class token"),
    "norm after pooling": ({"global_pool": "avg"}, "fc_norm", "mean patch"),
    "norm after pooling all": (
        {"global_pool": "avg", "pool_include_prefix": True}, "fc_norm", "mean token",
    ),
    "norm before pooling all": (
        {"global_pool": "avg", "fc_norm": False, "pool_include_prefix": True}, "norm", "each token",
    ),
    "norm before pooling": ({"global_pool": "avg", "fc_norm": False}, "norm", "each patch"),
    "no class token": ({"global_pool": "avg", "class_token": False}, "fc_norm", "mean patch"),
    "registers alone": (
        {"global_pool": "avg", "class_token": False, "reg_tokens": 2, "fc_norm": False}, "norm", "each patch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_the_head_reads_a_token(make_vit: Callable[..., VisionTransformer], x: Tensor, name: str) -> None:
    options, norm, read = READ[name]
    model = make_vit(**options)
    trace = Inspector(model).trace(x, precision="float32")
    readout = the_readout(trace)
    assert readout.weight.shape == (CLASSES, 24)
    assert readout.bias.shape == (CLASSES,)
    own = model.get_submodule(norm)
    for tokens in (tokens_of(), tokens_of(scale=0.01)):
        np.testing.assert_allclose(
            readout.read(tokens), read_by(own, model.head, tokens), rtol=1e-4, atol=1e-4
        )
    lens, prefix = trace.lens(), len(trace.prefix)
    assert lens.shape == (L + 1, trace.patch_grid.tokens, CLASSES)
    assert lens.dtype == np.float32
    np.testing.assert_allclose(lens, read_by(own, model.head, trace.tokens), rtol=1e-4, atol=1e-4)
    last = trace.layer(L)
    expected = {
        "class token": lens[L, 0],
        "mean patch": readout.read(last[prefix:].mean(axis=0)),
        "mean token": readout.read(last.mean(axis=0)),
        "each patch": lens[L, prefix:].mean(axis=0),
        "each token": lens[L].mean(axis=0),
    }
    np.testing.assert_allclose(expected[read], trace.logits, rtol=1e-4, atol=1e-4)
    assert [trace.why_not("evidence", layer) for layer in range(L + 1)] == [""] * (L + 1)


def test_half_precision_is_near(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x)
    scale = np.abs(trace.logits).max()
    assert np.abs(trace.lens()[L, 0] - trace.logits).max() < 0.005 * scale


def test_the_embedded_model() -> None:
    inspector = Inspector("demo")
    trace = inspector.trace(np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8))
    scale = np.abs(trace.logits).max()
    assert trace.lens(layers=[trace.layers]).shape == (1, trace.patch_grid.tokens, len(inspector.class_names))
    assert np.abs(trace.lens()[-1, 0] - trace.logits).max() < 0.01 * scale


def test_some_layers(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x)
    assert np.array_equal(trace.lens(layers=[3, 0]), trace.lens()[[3, 0]])
    for layer in (4, -1):
        with pytest.raises(IndexError, match=f"layer {layer} is out of range 0..3"):
            trace.lens(layers=[layer])


def test_layers_that_were_not_kept(make_vit: Callable[..., Any], x: Tensor) -> None:
    inspector = Inspector(make_vit())
    early = inspector.trace(x, layers=[0, 1])
    assert early.readout is None
    assert "tested on the last layer: layer 3 was not kept" in early.why_not("evidence", 1)
    with pytest.raises(ValueError, match="there is no reading of layer 1: it is tested on the last layer"):
        early.lens(layers=[1])
    late = inspector.trace(x, layers=[1, 3])
    assert late.why_not("evidence", 1) == late.why_not("evidence", 3) == ""
    assert "layer 2 was not kept" in late.why_not("evidence", 2)
    assert late.lens(layers=[1, 3]).shape == (2, N, CLASSES)
    with pytest.raises(ValueError, match="no reading of layer 0: layer 0 was not kept"):
        late.lens()


class RmsHead(VisionTransformer):
    """A last norm that does not take the mean away."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm = RmsNorm(self.embed_dim)


class TwoNorms(VisionTransformer):
    """One norm before the patches are pooled, and one after."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norm = nn.LayerNorm(self.embed_dim)


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "two heads": ("distilled", {}, "its head does more than to norm a token"),
    "attention pools": ("pooling head", {}, "its head does more than to norm a token"),
    "the largest is pooled": ("class token", {"global_pool": "max"}, "its head does more than to norm"),
    "two norms": ("no class token", {"model": TwoNorms}, "its head does more than to norm"),
    "no classifier": ("class token", {"num_classes": 0}, "the model has no classifier"),
    "no norm": ("class token", {"final_norm": False}, "no layer norm of as many stands between"),
    "no mean taken": ("class token", {"model": RmsHead}, "no layer norm of as many stands between"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_heads_that_read_no_single_token(make_vit: Callable[..., Any], x: Tensor, name: str) -> None:
    variant, options, words = REFUSED[name]
    trace = Inspector(make_vit(variant, **options)).trace(x, precision="float32")
    assert trace.readout is None
    assert {trace.why_not("evidence", layer) for layer in range(L + 1)} == {trace.why_not("evidence", 0)}
    assert words in trace.why_not("evidence", 0)
    with pytest.raises(ValueError, match=f"no reading of layer 0: .*{words}"):
        trace.lens()


def test_layers_of_another_width() -> None:
    torch.manual_seed(0)
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=(64, 96), embed_dim=16, depths=(1, 1), num_heads=(2, 4),
        window_size=4, num_classes=5,
    ).eval()  # fmt: skip
    nn.init.normal_(model.get_submodule("head.fc").weight)  # type: ignore[arg-type]
    trace = Inspector(model).trace(torch.randn(1, 3, 64, 96), precision="float32")
    assert trace.why_not("evidence", 2) == ""
    np.testing.assert_allclose(trace.lens(layers=[2])[0].mean(axis=0), trace.logits, rtol=1e-4, atol=1e-4)
    assert trace.why_not("evidence", 0) == "the head reads 32 neurons, and this layer has 16"
    with pytest.raises(ValueError, match="no reading of layer 0: the head reads 32 neurons"):
        trace.lens()


def test_an_edited_pass_is_read_too(make_vit: Callable[..., Any], x: Tensor) -> None:
    trace = Inspector(make_vit()).trace(x, precision="float32", ablate=Ablation(L, token="cls", fill="mean"))
    np.testing.assert_allclose(trace.lens()[L, 0], trace.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("affine", [True, False])
def test_norms_and_heads_without_weights_or_bias(
    make_vit: Callable[..., Any], x: Tensor, affine: bool
) -> None:
    model = make_vit()
    model.norm = nn.LayerNorm(24, eps=0.1, elementwise_affine=affine, bias=False)
    model.head = nn.Linear(24, CLASSES, bias=False)
    if affine:
        nn.init.normal_(model.norm.weight)
    trace = Inspector(model).trace(x, precision="float32")
    readout = the_readout(trace)
    assert readout.eps == 0.1
    tokens = tokens_of(scale=0.3)
    np.testing.assert_allclose(
        readout.read(tokens), read_by(model.norm, model.head, tokens), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_models_in_half_precision(make_vit: Callable[..., Any], x: Tensor, dtype: torch.dtype) -> None:
    trace = Inspector(make_vit(), dtype=dtype).trace(x)
    readout = the_readout(trace)
    assert readout.weight.dtype == readout.bias.dtype == np.float32
    assert trace.filters().dtype == np.float32
    assert np.abs(trace.lens()[L, 0] - trace.logits).max() < 0.02 * np.abs(trace.logits).max()


def test_logits_that_are_not_finite(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    with torch.no_grad():
        model.blocks[1].mlp.fc2.bias[3] = float("nan")
    trace = Inspector(model).trace(x)
    assert trace.readout is None
    assert trace.why_not("evidence", 0)


# ---------------------------------------------------------------- other libraries


def square(x: Tensor) -> Tensor:
    return x[..., :24]


def hugging(kind: str, x: Tensor, **options: Any) -> tuple[Any, Trace]:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(5)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, image_size=24,
        patch_size=8, num_labels=5, **options,
    )  # fmt: skip
    model = getattr(transformers, f"{kind}ForImageClassification")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval(), Inspector(model).trace(square(x), precision="float32")


def test_transformers_vit(x: Tensor) -> None:
    model, trace = hugging("ViT", x)
    tokens = tokens_of()
    expected = read_by(model.vit.layernorm, model.classifier, tokens)
    np.testing.assert_allclose(the_readout(trace).read(tokens), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace.lens()[-1, 0], trace.logits, rtol=1e-4, atol=1e-4)
    kernel = model.vit.embeddings.patch_embeddings.projection.weight.detach().numpy()
    assert np.array_equal(trace.filters(), kernel.transpose(0, 2, 3, 1))


def test_transformers_beit_pools_its_patches(x: Tensor) -> None:
    model, trace = hugging("Beit", x, use_mean_pooling=True)
    tokens = tokens_of()
    expected = read_by(model.beit.pooler.layernorm, model.classifier, tokens)
    np.testing.assert_allclose(the_readout(trace).read(tokens), expected, rtol=1e-4, atol=1e-4)


def test_transformers_dinov2_reads_two_tokens_at_once(x: Tensor) -> None:
    _, trace = hugging("Dinov2", x)
    reason = "its head reads 48 numbers, and no layer norm of as many stands between it and the last block"
    assert trace.readout is None
    assert trace.why_not("evidence", 0) == reason
    with pytest.raises(ValueError, match=reason):
        trace.lens()
    assert trace.filters().shape == (24, 8, 8, 3)


def test_a_timm_model_in_transformers_clothes(x: Tensor) -> None:
    transformers = pytest.importorskip("transformers")
    options = {"img_size": 24, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    config = transformers.TimmWrapperConfig(
        architecture="vit_tiny_patch16_224", num_labels=5, model_args=options
    )
    model = transformers.TimmWrapperForImageClassification(config).eval()
    nn.init.normal_(model.timm_model.head.weight)
    trace = Inspector(model).trace(square(x), precision="float32")
    np.testing.assert_allclose(trace.lens()[-1, 0], trace.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("representation", [None, 10])
def test_torchvision(x: Tensor, representation: int | None) -> None:
    torch.manual_seed(2)
    model = torchvision.models.VisionTransformer(
        image_size=24, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=40, num_classes=5,
        representation_size=representation,
    ).eval()  # fmt: skip
    nn.init.normal_(model.heads.head.weight)
    trace = Inspector(model).trace(square(x), precision="float32")
    assert trace.filters().shape == (24, 8, 8, 3)
    if representation:
        assert trace.why_not("evidence", 2) == "its head is not one linear layer, so it reads no single token"
        return
    tokens = tokens_of()
    expected = read_by(model.encoder.ln, model.heads, tokens)
    np.testing.assert_allclose(the_readout(trace).read(tokens), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trace.lens()[-1, 0], trace.logits, rtol=1e-4, atol=1e-4)


def test_a_tower_of_open_clip_has_no_classes(x: Tensor) -> None:
    open_clip = pytest.importorskip("open_clip")
    model = open_clip.transformer.VisionTransformer(
        image_size=24, patch_size=8, width=24, layers=2, heads=2, mlp_ratio=2.0, output_dim=10
    )
    trace = Inspector(model.eval()).trace(square(x))
    assert trace.readout is None
    assert trace.why_not("evidence", 1) == "the model has no classifier"
    assert np.array_equal(trace.filters(), model.conv1.weight.detach().numpy().transpose(0, 2, 3, 1))


# ---------------------------------------------------------------- a model that changes


def test_readings_outlive_the_model(make_vit: Callable[..., Any], x: Tensor, tmp_path: Path) -> None:
    model = make_vit()
    inspector = Inspector(model)
    expected = inspector.trace(x, precision="float32").lens()
    inspector.trace(x, precision="float32").save(tmp_path / "trace.safetensors")
    detached = inspector.trace(x, precision="float32").detach()
    with torch.no_grad():
        model.head.weight.mul_(3)
        model.norm.bias.add_(1)
    for trace in (detached, Trace.load(tmp_path / "trace.safetensors")):
        np.testing.assert_allclose(trace.lens(), expected, rtol=1e-5, atol=1e-5)
        assert the_readout(trace).eps == model.norm.eps
        assert trace.why_not("evidence", 0) == ""
    fresh = inspector.trace(x, precision="float32")
    np.testing.assert_allclose(fresh.lens()[L, 0], fresh.logits, rtol=1e-4, atol=1e-4)
    assert not np.allclose(fresh.lens(), expected, atol=1e-2)


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Tensor]], None]) -> None:
    """Change a trace's file: its description and its tensors."""
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["vitwidgets"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    change(facts, tensors)
    save_file(tensors, path, metadata={"vitwidgets": json.dumps(facts)})


def test_files_from_before_there_were_readouts(
    make_vit: Callable[..., Any], x: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "old.safetensors"
    Inspector(make_vit()).trace(x).save(path)

    def as_before(facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        del facts["ends"], tensors["filters"], tensors["readout.weight"], tensors["readout.bias"]

    rewritten(path, as_before)
    trace = Trace.load(path)
    assert trace.layer(L).shape == (N, 24)
    assert trace.readout is None
    assert trace.why_not("view", 0)
    assert trace.why_not("evidence", 0)


@pytest.mark.parametrize("lost", ["filters", "readout.weight", "readout.bias"])
def test_damaged_files_are_refused_at_once(
    make_vit: Callable[..., Any], x: Tensor, tmp_path: Path, lost: str
) -> None:
    path = tmp_path / "damaged.safetensors"
    Inspector(make_vit()).trace(x).save(path)
    rewritten(path, lambda _, tensors: tensors.__delitem__(lost))
    with pytest.raises(TraceError, match="is damaged"):
        Trace.load(path)


def test_a_trace_bound_to_a_model_in_training_is_not_read(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    inspector = Inspector(model)
    bound, other = inspector.trace(x), inspector.trace(x).detach()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x).square().mean().backward()
    optimizer.step()
    bound_now = Inspector(model).trace(x)
    optimizer.step()
    for ask in (bound_now.lens, lambda: bound_now.readout, lambda: bound_now.view(0), bound_now.detach):
        with pytest.raises(RuntimeError, match=r"changed since this trace.* detach\(\)|detach\(\) a trace"):
            ask()
    np.testing.assert_allclose(other.lens()[L, 0], other.logits, rtol=0.01, atol=0.05)
    # these ends were read before the model changed, and are those of the trace's own time
    np.testing.assert_allclose(bound.lens(), other.lens(), atol=1e-6)
