"""Models of transformers, torchvision and open_clip, and of one's own, beside what they say of themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from vitwidgets.errors import ModelError
from vitwidgets.families import anatomy
from vitwidgets.inspector import Inspector
from vitwidgets.labels import class_names, label_config
from vitwidgets.preprocess import Preprocessing
from vitwidgets.trace import Trace

transformers = pytest.importorskip("transformers")
open_clip = pytest.importorskip("open_clip")

# Built for 3 x 3 patches; 3 x 5 where other sizes are taken, so that rows cannot be taken for columns.
WIDTH, HIDDEN = 24, 40
SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": HIDDEN,
    "image_size": 24,
    "patch_size": 8,
}
TEXT = {**SHAPE, "vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}
DECODER = {
    "decoder_hidden_size": 24,
    "decoder_num_attention_heads": 2,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 40,
}
REGISTERS = ("cls", "reg1", "reg2", "reg3")


@dataclass(frozen=True)
class Case:
    """A model of transformers, by the names of its classes, and what a reader must be told of its tokens."""

    model: str
    config: str
    prefix: tuple[str, ...]
    options: dict[str, Any]
    size: tuple[int, int] = (24, 40)


def case(model: str, config: str, prefix: tuple[str, ...] = ("cls",), **options: Any) -> Case:
    size = options.pop("size", (24, 40))
    options = (
        {"vision_config": SHAPE, "text_config": TEXT} if options.pop("pair", False) else {**SHAPE, **options}
    )
    return Case(model, config, prefix, options, size)


MAE = {**DECODER, "mask_ratio": 0.0}
CASES = [
    case("ViTModel", "ViTConfig"),
    case("ViTForImageClassification", "ViTConfig", num_labels=5),
    case("DeiTModel", "DeiTConfig", ("cls", "dist")),
    case("DeiTForImageClassificationWithTeacher", "DeiTConfig", ("cls", "dist"), num_labels=5),
    case("Dinov2Model", "Dinov2Config", mlp_ratio=2),
    case("Dinov2ForImageClassification", "Dinov2Config", mlp_ratio=2, use_swiglu_ffn=True, num_labels=5),
    case(
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", REGISTERS, mlp_ratio=2, num_register_tokens=3
    ),
    case("DINOv3ViTModel", "DINOv3ViTConfig", REGISTERS, num_register_tokens=3),
    case("DINOv3ViTModel", "DINOv3ViTConfig", num_register_tokens=0, use_gated_mlp=True),
    case("CLIPVisionModel", "CLIPVisionConfig"),
    case("CLIPVisionModelWithProjection", "CLIPVisionConfig", projection_dim=8),
    case("CLIPModel", "CLIPConfig", pair=True),
    case("SiglipVisionModel", "SiglipVisionConfig", ()),
    case("SiglipForImageClassification", "SiglipConfig", (), pair=True),
    case("Siglip2VisionModel", "Siglip2VisionConfig", (), num_patches=9),
    case("BeitModel", "BeitConfig", use_relative_position_bias=True),
    case("BeitForImageClassification", "BeitConfig", use_shared_relative_position_bias=True, num_labels=5),
    case("Data2VecVisionModel", "Data2VecVisionConfig", use_relative_position_bias=True),
    case("ViTMAEModel", "ViTMAEConfig", **MAE),
    case("ViTMAEForPreTraining", "ViTMAEConfig", **MAE),
    case("ViTMSNModel", "ViTMSNConfig"),
    case("IJepaModel", "IJepaConfig", ()),
    case("Aimv2VisionModel", "Aimv2VisionConfig", (), size=(24, 24)),
    case(
        "YolosForObjectDetection",
        "YolosConfig",
        ("cls", "det1", "det2", "det3", "det4"),
        image_size=[24, 40],
        num_detection_tokens=4,
    ),
]
NAMES = [f"{number} {each.model}" for number, each in enumerate(CASES)]


def perturbed(model: nn.Module) -> Any:
    """In eval mode, with biases, norms and layer scales far from their initial values."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def build(case: Case, attention: str = "sdpa") -> Any:
    torch.manual_seed(5)
    config = getattr(transformers, case.config)(**case.options)
    return perturbed(getattr(transformers, case.model)._from_config(config, attn_implementation=attention))


def picture(case: Case) -> Tensor:
    return torch.randn(1, 3, *case.size, generator=torch.Generator().manual_seed(3))


def plain(case: Case, model: Any, x: Tensor, **asked: Any) -> Any:
    """Run a model as its own documentation says."""
    inputs: dict[str, Any] = {"pixel_values": x}
    takes_it = "Siglip" in case.model or "CLIP" in case.model or "ViT" in case.model or "DeiT" in case.model
    if (takes_it or "IJepa" in case.model) and "DINO" not in case.model and "Siglip2" not in case.model:
        inputs["interpolate_pos_encoding"] = True
    if "MAE" in case.model:
        inputs["noise"] = torch.arange(15)[None] / 15
    if "Siglip2" in case.model:
        from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

        inputs = {
            "pixel_values": convert_image_to_patches(x[0], 8)[None],
            "pixel_attention_mask": torch.ones(1, 15, dtype=torch.int64),
            "spatial_shapes": torch.tensor([[3, 5]]),
        }
    run = model
    if case.model in ("ViTMAEForPreTraining", "YolosForObjectDetection"):
        run = model.vit
    elif case.model == "CLIPModel":
        run = model.get_image_features
    with torch.no_grad():
        return run(**inputs, **asked)


def row(output: Any, prefix: tuple[str, ...]) -> Tensor:
    """Logits or features of one image."""
    for name in ("logits", "image_embeds", "pooler_output"):
        if getattr(output, name, None) is not None:
            return getattr(output, name)[0]
    last = output.last_hidden_state[0]
    return last[0] if "cls" in prefix else last.mean(dim=0)


def as_shown(case: Case, tokens: Tensor) -> np.ndarray:
    """Tokens in the order of the patch grid: YOLOS appends its detection tokens."""
    if "Yolos" in case.model:
        tokens = torch.cat([tokens[:1], tokens[-4:], tokens[1:-4]])
    return tokens.numpy()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_trace_is_what_the_model_says_of_itself(case: Case) -> None:
    model, x = build(case), picture(case)
    inspector = Inspector(model)
    trace = inspector.trace(x, precision="float32")
    own = plain(case, model, x, output_hidden_states=True)
    assert (trace.patch_grid.rows, trace.patch_grid.cols) == (case.size[0] // 8, case.size[1] // 8)
    assert trace.patch_grid.prefix == case.prefix
    assert len(own.hidden_states) == 3
    for layer, expected in enumerate(own.hidden_states[:2]):
        np.testing.assert_array_equal(trace.layer(layer), as_shown(case, expected[0]))
    np.testing.assert_array_equal(trace.logits, row(own, case.prefix).numpy())
    check = trace.check()
    assert check.passed
    assert check.worst < 1e-5
    assert len(check.attention) == 2
    expected = case.options.get("num_labels", 2) if "Classification" in case.model else 0
    assert len(inspector.class_names) == expected


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_attention_is_the_librarys_own(case: Case) -> None:
    """What eager attention gives out is what a trace shows, whether the traced model is eager or fused."""
    eager, fused, x = build(case, "eager"), build(case), picture(case)
    own = plain(case, eager, x, output_attentions=True).attentions
    for model in (eager, fused):
        trace = Inspector(model).trace(x, precision="float32")
        for layer, expected in enumerate(own, start=1):
            wanted = expected[0].numpy()
            if "Yolos" in case.model:
                order = [0, *range(16, 20), *range(1, 16)]
                wanted = wanted[:, order][:, :, order]
            np.testing.assert_allclose(trace.attention(layer), wanted, atol=1e-6)
    assert len(own) == 2


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_hidden_units_make_what_the_mlp_puts_out(case: Case) -> None:
    model, x = build(case), picture(case)
    ends = ("fc2", "down_proj", "output.dense")
    lasts = [
        module
        for name, module in model.named_modules()
        if name.endswith(ends) and "attention" not in name and "text" not in name and "head" not in name
        if "decoder" not in name
    ]
    assert len(lasts) == 2
    made: list[Tensor] = []
    handles = [last.register_forward_hook(lambda _m, _i, out: made.append(out[0])) for last in lasts]
    plain(case, model, x)
    for handle in handles:
        handle.remove()
    trace = Inspector(model).trace(x, precision="float32")
    for layer, last, expected in zip((1, 2), lasts, made, strict=True):
        units = torch.tensor(trace.mlp(layer))
        found = F.linear(units, last.weight, last.bias).detach()
        np.testing.assert_allclose(found.numpy(), as_shown(case, expected), atol=1e-5)


@pytest.mark.parametrize("name", ["ViTForImageClassification", "DeiTModel", "CLIPVisionModel", "IJepaModel"])
def test_at_the_size_that_it_was_built_for_nothing_is_asked_of_the_model(name: str) -> None:
    case = next(each for each in CASES if each.model == name)
    model, x = build(case), torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        expected = row(model(pixel_values=x), case.prefix)
    np.testing.assert_array_equal(Inspector(model).trace(x).logits, expected.numpy())


def test_the_images_of_a_batch_are_traced_as_alone() -> None:
    for case in (CASES[1], CASES[14], CASES[15], CASES[18], CASES[-1]):
        model, one, other = build(case), picture(case)[0], torch.randn(3, *case.size)
        inspector = Inspector(model)
        for single, traced in zip((one, other), inspector.trace([one, other]), strict=True):
            alone = inspector.trace(single)
            for layer in (1, 2):
                np.testing.assert_allclose(traced.attention(layer), alone.attention(layer), atol=1e-4)
                np.testing.assert_allclose(traced.mlp(layer), alone.mlp(layer), atol=2e-2)


def test_a_model_of_images_and_text_shows_its_image_tower() -> None:
    case = next(each for each in CASES if each.model == "CLIPModel")
    model, x = build(case), picture(case)
    trace = Inspector(model).trace(x)
    assert any("image tower" in note for note in trace.notes)
    assert trace.logits.shape == (512,)
    with torch.no_grad():
        expected = model.get_image_features(pixel_values=x, interpolate_pos_encoding=True).pooler_output
    np.testing.assert_array_equal(trace.logits, expected[0].numpy())


def test_a_model_that_hides_patches_is_refused_until_it_hides_none() -> None:
    model = transformers.ViTMAEModel(transformers.ViTMAEConfig(**{**SHAPE, **DECODER})).eval()
    with pytest.raises(ModelError, match=r"hides 75% of the patches.*set model\.config\.mask_ratio = 0"):
        Inspector(model)
    model.config.mask_ratio = 0.0
    one, two = (Inspector(model).trace(torch.ones(1, 3, 24, 24)) for _ in range(2))
    np.testing.assert_array_equal(one.tokens, two.tokens)


def test_attention_that_cannot_be_seen_is_refused() -> None:
    model = build(CASES[0])
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ModelError, match=r"attends with flex_attention.*set_attn_implementation\('sdpa'\)"):
        Inspector(model)


def test_models_in_windows_of_other_libraries_are_refused_in_words() -> None:
    swin = transformers.SwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)
    with torch.device("meta"):
        models = transformers.SwinModel(swin), torchvision.models.swin_t(), torchvision.models.resnet18()
    with pytest.raises(ModelError, match="Swin attends in windows"):
        anatomy(models[0])
    with pytest.raises(ModelError, match="Swin attends in windows"):
        anatomy(models[1])
    with pytest.raises(ModelError, match="ResNet cannot be traced"):
        anatomy(models[2])


def test_a_timm_model_in_transformers() -> None:
    config = transformers.TimmWrapperConfig(
        architecture="vit_tiny_patch16_224", num_labels=5, model_args={"depth": 2, "img_size": 32}
    )
    model, x = perturbed(transformers.TimmWrapperForImageClassification(config)), torch.randn(1, 3, 32, 32)
    trace = Inspector(model).trace(x)
    with torch.no_grad():
        np.testing.assert_array_equal(trace.logits, model(pixel_values=x).logits[0].numpy())
    assert trace.check().passed
    assert trace.patch_grid.prefix == ("cls",)


# ---------------------------------------------------------------- torchvision, open_clip


def maps_of(attention: nn.MultiheadAttention, x: Tensor) -> np.ndarray:
    with torch.no_grad():
        return attention(x, x, x, need_weights=True, average_attn_weights=False)[1][0].numpy()


def check_column(trace: Trace, model: nn.Module, x: Tensor, blocks: Any, parts: tuple[str, str]) -> None:
    """Hold a trace against the blocks' own inputs and the attention that they give when asked."""
    norm, attention = parts
    entered: list[Tensor] = []
    handles = [b.register_forward_pre_hook(lambda _m, args: entered.append(args[0])) for b in blocks]
    with torch.no_grad():
        expected = model(x)
        for handle in handles:
            handle.remove()
        np.testing.assert_array_equal(trace.logits, expected[0].numpy())
        for layer, (block, tokens) in enumerate(zip(blocks, entered, strict=True)):
            np.testing.assert_array_equal(trace.layer(layer), tokens[0].numpy())
            wanted = maps_of(getattr(block, attention), getattr(block, norm)(tokens))
            np.testing.assert_allclose(trace.attention(layer + 1), wanted, atol=1e-6)
    check = trace.check()
    assert check.passed
    assert check.worst < 1e-5


@pytest.fixture
def slow_path() -> Iterator[None]:
    """Keep torch's fast path, which computes the same in another order, out of what is compared."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.usefixtures("slow_path")
def test_torchvision() -> None:
    torch.manual_seed(0)
    model = perturbed(torchvision.models.VisionTransformer(24, 8, 2, 2, WIDTH, HIDDEN, num_classes=5))
    x = torch.randn(1, 3, 24, 24)
    trace = Inspector(model).trace(x, precision="float32")
    check_column(trace, model, x, model.encoder.layers, ("ln_1", "self_attention"))
    assert (trace.patch_grid.rows, trace.patch_grid.cols, trace.patch_grid.prefix) == (3, 3, ("cls",))
    last = model.encoder.layers[1].mlp[3]
    assert trace.mlp(2).shape == (10, HIDDEN)
    assert last.in_features == HIDDEN
    assert len(Inspector(model).class_names) == 5


def clip(**options: Any) -> Any:
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = {"layers": 2, "width": 64, "patch_size": 8, "image_size": (24, 40), "head_width": 32, **options}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    return perturbed(CLIP(12, vision, text))


@pytest.mark.parametrize(
    "options", [{}, {"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_heads": 2}]
)
@pytest.mark.usefixtures("slow_path")
def test_open_clip(options: dict[str, Any]) -> None:
    tower, x = clip(**options).visual, torch.randn(1, 3, 24, 40)
    trace = Inspector(tower).trace(x, precision="float32")
    assert (trace.patch_grid.rows, trace.patch_grid.cols, trace.patch_grid.prefix) == (3, 5, ("cls",))
    check_column(trace, tower, x, tower.transformer.resblocks, ("ln_1", "attn"))


def test_open_clip_with_blocks_of_its_own() -> None:
    model, x = (
        clip(qk_norm=True, scale_heads=True, scale_attn_inner=True, scale_fc=True),
        torch.randn(1, 3, 24, 40),
    )
    trace = Inspector(model).trace(x, precision="float32")
    assert trace.check().passed
    assert trace.check().worst < 1e-5
    with torch.no_grad():
        np.testing.assert_array_equal(trace.logits, model.encode_image(x)[0].numpy())
    assert any("image tower" in note for note in trace.notes)


def test_open_clip_over_timm() -> None:
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    tower, x = perturbed(TimmModel("test_vit", embed_dim=12, image_size=160)), torch.randn(1, 3, 160, 160)
    trace = Inspector(tower).trace(x)
    with torch.no_grad():
        np.testing.assert_array_equal(trace.logits, tower(x)[0].numpy())
    assert trace.check().passed


def test_open_clip_without_a_transformer_is_refused() -> None:
    with pytest.raises(ModelError, match="its image tower is a ModifiedResNet"):
        anatomy(clip(layers=[1, 1, 1, 1], width=16, image_size=64, head_width=16))


# ---------------------------------------------------------------- one's own


class Attend(nn.Module):
    """Attention with names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.n_heads = 2
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * 12**-0.5).softmax(dim=-1)
        self.last = weights[0]
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Ours(nn.Module):
    """A block."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.attend = nn.LayerNorm(WIDTH), Attend()
        self.after = nn.LayerNorm(WIDTH)
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.before(x))
        return x + self.feed_forward(self.after(x))


class Own(nn.Module):
    """A vision transformer with any order of tokens: class token, registers, mean of the patches, patches."""

    def __init__(self, trunk: nn.Module | None = None, *, order: str = "cp", turned: bool = False) -> None:
        super().__init__()
        self.order, self.turned, self.img_size = order, turned, (24, 40)
        self.stem = nn.Conv2d(3, WIDTH, 8, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, WIDTH)) if "c" in order else None
        self.register = nn.Parameter(torch.randn(1, 2, WIDTH)) if "r" in order else None
        self.trunk = nn.ModuleList([Ours(), Ours()]) if trunk is None else trunk
        self.classifier = nn.Linear(WIDTH, 5)

    def embed(self, patches: Tensor) -> Tensor:
        return patches.flatten(2).mT

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(self.stem(x))
        parts = {"c": self.cls_token, "r": self.register, "m": patches.mean(dim=1, keepdim=True)}
        x = torch.cat([patches if p == "p" else parts[p].expand(len(x), -1, -1) for p in self.order], dim=1)
        x = x.transpose(0, 1) if self.turned else x
        for block in self.trunk if isinstance(self.trunk, nn.ModuleList) else [self.trunk]:
            x = block(x)
        return self.classifier((x.transpose(0, 1) if self.turned else x).mean(dim=1))


class ByColumns(Own):
    def embed(self, patches: Tensor) -> Tensor:
        return patches.mT.flatten(2).mT


class Mixing(Own):
    def embed(self, patches: Tensor) -> Tensor:
        return F.avg_pool2d(patches, 3, 1, 1).flatten(2).mT


def encoder(*, batch_first: bool = True) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, HIDDEN, batch_first=batch_first, activation="gelu")
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@pytest.mark.parametrize(
    ("order", "prefix", "sequence"),
    [
        ("cp", ("cls",), [*range(16)]),
        ("crp", ("cls", "reg1", "reg2"), [*range(18)]),
        ("cpr", ("cls", "reg1", "reg2"), [0, 16, 17, *range(1, 16)]),
        ("pc", ("cls",), [15, *range(15)]),
        ("p", (), [*range(15)]),
        ("mp", ("prefix1",), [*range(16)]),
    ],
)
def test_tokens_of_ones_own_model_are_found_in_any_order(
    order: str, prefix: tuple[str, ...], sequence: list[int]
) -> None:
    torch.manual_seed(1)
    model, x = perturbed(Own(order=order)), torch.randn(1, 3, 24, 40)
    entered: list[Tensor] = []
    model.trunk[0].register_forward_pre_hook(lambda _m, args: entered.append(args[0]))
    with torch.no_grad():
        logits = model(x)[0].numpy()
    trace = Inspector(model, blocks="trunk").trace(x, precision="float32")
    assert trace.patch_grid.prefix == prefix
    assert (trace.patch_grid.rows, trace.patch_grid.cols) == (3, 5)
    np.testing.assert_array_equal(trace.layer(0), entered[0][0, sequence].numpy())
    np.testing.assert_array_equal(trace.logits, logits)
    with torch.no_grad():
        model(x)
    for layer, block in enumerate(model.trunk, start=1):
        weights = block.attend.last[:, sequence][:, :, sequence]
        np.testing.assert_allclose(trace.attention(layer), weights.detach().numpy(), atol=1e-6)
    last = model.trunk[1].feed_forward[2]
    assert trace.mlp(2).shape == (len(sequence), last.in_features)
    assert trace.check().passed


@pytest.mark.parametrize("blocks", ["trunk", "trunk.layers"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_encoder_of_torch(blocks: str, batch_first: bool) -> None:
    torch.manual_seed(1)
    model = perturbed(Own(encoder(batch_first=batch_first), turned=not batch_first))
    x = torch.randn(1, 3, 24, 40)
    trace = Inspector(model, blocks=blocks).trace(x, precision="float32")
    for layer, block in enumerate(model.trunk.layers):
        tokens = torch.tensor(trace.layer(layer))[None if batch_first else slice(None)]
        wanted = maps_of(block.self_attn, tokens if batch_first else tokens[:, None])
        np.testing.assert_allclose(trace.attention(layer + 1), wanted, atol=1e-6)
        units = torch.tensor(trace.mlp(layer + 1))
        assert units.shape == (16, HIDDEN)
    assert trace.check().passed
    if not batch_first:
        with pytest.raises(ModelError, match=r"take tokens as \(N, B, D\); trace its images one by one"):
            Inspector(model, blocks=blocks).trace([x[0], x[0]])


def test_blocks_may_be_given_themselves() -> None:
    model, x = perturbed(Own()), torch.randn(1, 3, 24, 40)
    trace = Inspector(model, blocks=list(model.trunk)).trace(x)
    assert trace.attention(2).shape == (2, 16, 16)
    assert len(Inspector(model, blocks="trunk").class_names) == 5


class NoPatches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.trunk = nn.Linear(3, WIDTH), nn.ModuleList([Ours()])

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk[0](self.stem(x.flatten(2).mT))


class Unused(Own):
    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("model", "blocks", "words"),
    [
        (Own, "nothing.here", r"Own has nothing there; a list of blocks.*are at 'trunk'"),
        (Own, "stem", "Own has a Conv2d there"),
        (Own, [], "is empty"),
        (Own, [Ours()], r"number 1 \(Ours\) is no module of the model"),
        (NoPatches, "trunk", "no patch embedding. Expected an nn.Conv2d whose kernel size is its stride"),
        (Unused, "trunk", r"the first block \(Ours\) was not called"),
        (ByColumns, "trunk", "no tokens that stand for the patches of 8 x 8 pixels row by row"),
        (Mixing, "trunk", "a change of one patch does not change its one token"),
        (lambda: Own(nn.ModuleList([nn.Linear(WIDTH, WIDTH)])), "trunk", r"block 1 \(Linear\).*no attention"),
        (lambda: Own(nn.ModuleList([nn.ModuleList([Ours()])])), "trunk", "ModuleList, which is never called"),
    ],
)
def test_what_is_missing_is_named(model: Any, blocks: Any, words: str) -> None:
    made = model()
    with pytest.raises(ModelError, match=words):
        anatomy(made, blocks=blocks)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.modules())


# ---------------------------------------------------------------- preprocessing, class names


def ramps(width: int, height: int) -> Image.Image:
    """A picture whose red says how far right a pixel is, and whose green how far down."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.rint(np.linspace(20, 230, width))
    pixels[..., 1] = np.rint(np.linspace(20, 230, height))[:, None]
    return Image.fromarray(pixels)


def box_seen(pre: Preprocessing, width: int, height: int) -> np.ndarray:
    """Which rectangle of a picture the input shows, read off the input."""
    pixels = pre(ramps(width, height))[0]
    norm = next(step for step in pre.steps if type(step).__name__ == "Normalize")
    shown = pixels * torch.tensor(norm.std)[:, None, None] + torch.tensor(norm.mean)[:, None, None]
    edges = []
    for values, length in ((shown[0].mean(dim=0), width), (shown[1].mean(dim=1), height)):
        where = (values.numpy() * 255 - 20) / 210 * (length - 1) + 0.5
        middle = slice(len(where) // 4, len(where) - len(where) // 4)
        slope, start = np.polyfit((np.arange(len(where)) + 0.5)[middle], where[middle], 1)
        edges.append((start, start + slope * len(where)))
    return np.array([edges[0][0], edges[1][0], edges[0][1], edges[1][1]])


def preset(mode: str, size: tuple[int, int]) -> Any:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    return image_transform_v2(PreprocessCfg(size=size, resize_mode=mode), is_train=False)


SQUARE = {"height": 96, "width": 96}
PROCESSORS: dict[str, Any] = {
    "ViT": lambda: transformers.ViTImageProcessor(size={"height": 96, "width": 128}),
    "CLIP": lambda: transformers.CLIPImageProcessor(size={"shortest_edge": 101}, crop_size=SQUARE),
    "CLIP, by PIL": lambda: transformers.CLIPImageProcessorPil(size={"shortest_edge": 101}, crop_size=SQUARE),
    "DINOv2": lambda: transformers.BitImageProcessor(size={"shortest_edge": 123}, crop_size=SQUARE),
    "DeiT": lambda: transformers.DeiTImageProcessor(size={"height": 109, "width": 117}, crop_size=SQUARE),
    "SigLIP 2": lambda: transformers.Siglip2ImageProcessor(max_num_patches=60),
    "DINOv3": lambda: transformers.DINOv3ViTImageProcessor(size=SQUARE),
    "BEiT": lambda: transformers.BeitImageProcessor(size=SQUARE, do_center_crop=False),
    "YOLOS": lambda: transformers.YolosImageProcessor(size={"shortest_edge": 200, "longest_edge": 260}),
    "torchvision": lambda: torchvision.models.ViT_B_16_Weights.IMAGENET1K_V1.transforms(),
    "open_clip": lambda: preset("shortest", (96, 96)),
    "open_clip, wide": lambda: preset("shortest", (96, 128)),
    "open_clip, squashed": lambda: preset("squash", (96, 96)),
}


@pytest.mark.parametrize("name", list(PROCESSORS))
@pytest.mark.parametrize(("width", "height"), [(301, 173), (150, 260)])
def test_the_frame_is_what_a_processor_really_shows(name: str, width: int, height: int) -> None:
    pre = Preprocessing.of(PROCESSORS[name]())
    frame = pre.frame(width, height)
    assert frame is not None
    assert frame.input == tuple(pre(ramps(width, height)).shape[2:])
    np.testing.assert_allclose(frame.box, box_seen(pre, width, height), atol=0.7)  # half an input pixel


def test_the_pixels_are_the_processors_own() -> None:
    processor, image = PROCESSORS["CLIP"](), ramps(301, 173)
    expected = processor(images=image, return_tensors="pt")["pixel_values"]
    assert torch.equal(Preprocessing.of(processor)(image), expected)
    processor = PROCESSORS["SigLIP 2"]()
    made, pixels = processor(images=image, return_tensors="pt"), Preprocessing.of(processor)(image)
    rows, cols = made["spatial_shapes"][0].tolist()
    assert pixels.shape == (1, 3, rows * 16, cols * 16)
    fourth = made["pixel_values"][0, 3].reshape(16, 16, 3).permute(2, 0, 1)
    assert torch.equal(pixels[0, :, :16, 48:64], fourth)


def test_a_processor_that_is_not_known_has_no_frame() -> None:
    pre = Preprocessing.of(transformers.ConvNextImageProcessor())  # it crops as it resizes
    assert pre.frame(300, 200) is None
    assert "ConvNextImageProcessor" in pre.describe()


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_without_a_processor_the_usual_one_of_the_kind_is_taken_and_named(case: Case) -> None:
    model = build(case)
    pre = Preprocessing.for_model(model, anatomy(model))
    pixels, frame = pre(ramps(70, 50)), pre.frame(70, 50)
    assert frame is not None
    size = (24, 40) if "Yolos" in case.model else (24, 24)
    assert tuple(pixels.shape[2:]) == frame.input == size
    assert "ImageProcessor with its usual settings: no processor of the model's own" in pre.describe()
    imagenet = (
        "DeiT",
        "Dinov2",
        "DINOv3",
        "MAE",
        "MSN",
        "IJepa",
        "Yolos",
    )  # as their checkpoints are published
    clip_own = "CLIP", "Aimv2"
    half = not any(name in case.model for name in imagenet + clip_own)
    assert ("mean 0.485 0.456 0.406" in pre.describe()) == any(name in case.model for name in imagenet)
    assert ("mean 0.5 0.5 0.5" in pre.describe()) == half


def test_a_processor_beside_the_weights_is_taken(tmp_path: Path) -> None:
    build(CASES[0]).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(
        size={"height": 24, "width": 24}, image_mean=[0.1, 0.2, 0.3]
    ).save_pretrained(tmp_path)
    model = transformers.ViTModel.from_pretrained(tmp_path)
    pre = Preprocessing.for_model(model, anatomy(model))
    assert pre.describe() == "resize 24 x 24 (bilinear), mean 0.1 0.2 0.3, std 0.5 0.5 0.5"


def test_the_usual_of_torchvision_and_open_clip() -> None:
    model = torchvision.models.VisionTransformer(224, 32, 1, 2, WIDTH, HIDDEN)
    pre = Preprocessing.for_model(model, anatomy(model))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8))
    assert torch.allclose(pre(image)[0], PROCESSORS["torchvision"]()(image), atol=1e-5)
    assert "torchvision's usual" in pre.describe()
    tower = clip().visual
    assert "open_clip's usual" in Preprocessing.for_model(tower, anatomy(tower)).describe()
    tower.preprocess_cfg = {
        "size": (24, 40),
        "mean": (0.1, 0.2, 0.3),
        "std": (1, 1, 1),
        "resize_mode": "squash",
    }
    words = Preprocessing.for_model(tower, anatomy(tower)).describe()
    assert words == "resize 24 x 40 (bicubic), mean 0.1 0.2 0.3, std 1 1 1"


def test_class_names_of_a_config() -> None:
    names = {0: "tench, Tinca tinca", 1: "crane", 2: "crane, machine"}
    model = build(case("ViTForImageClassification", "ViTConfig", num_labels=3))
    assert class_names(3, label_config(model)) == ("class 0", "class 1", "class 2")
    model.config.id2label = names
    assert class_names(3, label_config(model)) == ("tench", "crane", "crane, machine")


def test_no_library_is_loaded_for_a_model_of_another() -> None:
    code = (
        "import sys, vitwidgets; vitwidgets.Inspector('demo'); "
        "print([name for name in ('transformers', 'open_clip') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
