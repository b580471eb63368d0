from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform
from torch import Tensor, nn
from torchvision import transforms as tv

from vitwidgets import Inspector, loading
from vitwidgets.errors import ImageError, ModelError, WeightsError
from vitwidgets.geometry import Frame
from vitwidgets.preprocess import Preprocessing

NAME = "vit_tiny_patch16_224"


def config(**changes: Any) -> dict[str, Any]:
    base = {
        "input_size": (3, 24, 40),
        "interpolation": "bicubic",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "crop_pct": 0.9,
        "crop_mode": "center",
    }
    return {**base, **changes}


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 255, (height, width, 3), np.uint8))


# ---------------------------------------------------------------- preprocessing


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(640, 427), (427, 640), (37, 301), (40, 24), (13, 13)])
@pytest.mark.parametrize("target", [(24, 40), (32, 32)])
@pytest.mark.parametrize("crop", [1.0, 0.9, 0.5])
def test_pixels_are_timms_and_the_frame_is_where_they_came_from(
    mode: str, size: tuple[int, int], target: tuple[int, int], crop: float
) -> None:
    """A picture whose colours are its coordinates tells where each input pixel came from."""
    width, height = size
    options = config(crop_mode=mode, crop_pct=crop, input_size=(3, *target), interpolation="bilinear")
    preprocessing = Preprocessing.from_config(options)
    assert torch.equal(
        preprocessing(noise(*size)), create_transform(**options, is_training=False)(noise(*size))[None]
    )
    frame = preprocessing.frame(width, height)
    assert frame is not None
    assert frame.input == target
    assert frame.original == size

    def seen(ramp: np.ndarray) -> np.ndarray:
        """The ramp, which runs from 0 to 255, after the transform without normalisation."""
        picture = Image.fromarray(np.repeat(ramp[:, :, None], 3, axis=2).astype(np.uint8))
        plain = create_transform(**{**options, "mean": (0, 0, 0), "std": (1, 1, 1)}, is_training=False)
        return plain(picture)[0].numpy() * 255

    rows, cols = np.mgrid[0 : target[0], 0 : target[1]] + 0.5
    from_x, from_y = frame.to_original(cols, rows)
    # near the edges the resize has nothing to average on one side
    step_x, step_y = (frame.box[2] - frame.box[0]) / target[1], (frame.box[3] - frame.box[1]) / target[0]
    margin_x, margin_y = max(step_x, 1), max(step_y, 1)
    inside = (
        (from_x > margin_x) & (from_x < width - margin_x) & (from_y > margin_y) & (from_y < height - margin_y)
    )
    assert inside.any()
    y, x = np.mgrid[0:height, 0:width] + 0.5
    for ramp, length, came_from in ((x, width, from_x), (y, height, from_y)):
        error = seen(np.rint(ramp / length * 255)) - came_from / length * 255
        assert np.abs(error[inside]).max() < 1.6  # three roundings to whole grey levels


def test_border_mode_shows_beyond_the_picture() -> None:
    frame = Preprocessing.from_config(config(crop_mode="border", crop_pct=1.0, input_size=(3, 32, 32))).frame(
        200, 100
    )
    assert frame is not None
    assert frame.box == (0.0, -50.0, 200.0, 150.0)


def test_transforms_whose_geometry_is_read() -> None:
    compose = tv.Compose([tv.Resize((48, 80)), tv.CenterCrop((24, 40)), tv.ToTensor()])
    assert Preprocessing(compose).frame(160, 96) == Frame((160, 96), (24, 40), (40.0, 24.0, 120.0, 72.0))
    limited = tv.Compose([tv.Resize(100, max_size=150), tv.ToTensor()])
    for size in ((300, 100), (100, 300), (110, 100)):
        frame = Preprocessing(limited).frame(*size)
        assert frame is not None
        assert frame.input == tuple(limited(noise(*size)).shape[1:])
    assert Preprocessing(tv.Compose([tv.RandomCrop(8), tv.ToTensor()])).frame(20, 20) is None


def test_slivers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    preprocessing = Preprocessing.from_config(config())
    with pytest.raises(ImageError, match=r"too elongated \(60000 x 1\).*crop it"):
        preprocessing(Image.new("RGB", (60_000, 1)))
    squeeze = Preprocessing.from_config(config(crop_mode="border"))
    with pytest.raises(ImageError, match="too elongated"):
        squeeze(Image.new("RGB", (1, 3000)))


def test_pictures_of_inputs() -> None:
    picture = noise(40, 24)
    undone = Preprocessing.from_config(config(crop_pct=1.0))
    back = undone.picture(undone(picture)[0].permute(1, 2, 0).numpy())
    assert np.abs(np.asarray(back).astype(int) - np.asarray(picture)).max() <= 1
    unknown = Preprocessing(lambda image: tv.ToTensor()(image) * 6 - 3)
    stretched = unknown.picture(unknown(picture)[0].permute(1, 2, 0).numpy())
    assert np.asarray(stretched).min() == 0
    assert np.asarray(stretched).max() == 255
    flat = unknown.picture(np.full((2, 2, 1), 7, np.float32))
    assert flat.mode == "RGB"
    assert np.isin(np.asarray(unknown.picture(np.full((2, 2, 3), np.nan, np.float32))), 0).all()


# ---------------------------------------------------------------- inspectors


def test_what_is_read_from_a_module(make_vit: Callable[..., Any]) -> None:
    model = make_vit("registers")
    inspector = Inspector(model)
    assert inspector.model is model
    assert inspector.name == "VisionTransformer"
    assert (inspector.grid, inspector.prefix) == ((3, 5), ("cls", "reg1", "reg2", "reg3"))
    assert (inspector.layers, inspector.width) == (3, 24)
    assert inspector.patch_size == (8, 8)
    assert inspector.class_names == tuple(f"class {index}" for index in range(7))
    assert (inspector.device, inspector.dtype) == (torch.device("cpu"), torch.float32)


def test_a_picture_goes_through_the_models_own_preprocessing(make_vit: Callable[..., Any]) -> None:
    model = make_vit()
    model.pretrained_cfg = config()
    picture = noise(90, 50)
    trace = Inspector(model).trace(picture)
    x = create_transform(**config(), is_training=False)(picture)[None]
    with torch.no_grad():
        assert np.array_equal(trace.logits, model(x)[0].numpy())
    assert np.array_equal(trace.pixels, x[0].permute(1, 2, 0).numpy())
    assert np.array_equal(np.asarray(trace.image), np.asarray(picture))
    assert trace.frame.original == (90, 50)
    assert trace.frame.input == (24, 40)
    assert trace.notes == []


def test_all_kinds_of_sources_agree(make_vit: Callable[..., Any], tmp_path: Path) -> None:
    inspector, picture = Inspector(make_vit()), noise(90, 50)
    picture.save(tmp_path / "noise.png")
    logits = inspector.trace(picture).logits
    pixels = np.asarray(picture)
    for source in (tmp_path / "noise.png", str(tmp_path / "noise.png"), pixels, pixels / 255):
        assert np.array_equal(inspector.trace(source).logits, logits)
    x = inspector.preprocessing(picture)
    for tensor in (x, x[0], x.double(), x.clone().requires_grad_()):
        assert np.array_equal(inspector.trace(tensor).logits, logits)


def test_a_tensor_is_taken_as_it_is_and_shown(make_vit: Callable[..., Any]) -> None:
    inspector = Inspector(make_vit())
    picture = noise(40, 24)
    trace = inspector.trace(
        tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))(tv.ToTensor()(picture))
    )
    assert trace.frame == Frame.whole(40, 24)
    assert np.abs(np.asarray(trace.image).astype(int) - np.asarray(picture)).max() <= 1


def test_one_pixel_is_enlarged(make_vit: Callable[..., Any]) -> None:
    trace = Inspector(make_vit()).trace(np.full((1, 1, 3), 200, np.uint8))
    assert trace.image.size == (1, 1)
    assert trace.frame.input == (24, 40)
    assert np.isfinite(trace.logits).all()


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros(2, 3, 24, 40), "give several as a list"),
        (torch.zeros(24, 40), r"\(C, H, W\)"),
        (torch.zeros(3, 24, 40, dtype=torch.uint8), "preprocessed.*numpy array"),
        (torch.zeros(1, 24, 40), "takes 3 channels"),
        (torch.zeros(3, 40, 24), "24 x 40 pixels.*got 40 x 24"),
    ],
)
def test_tensors_that_do_not_fit(make_vit: Callable[..., Any], tensor: Tensor, problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        Inspector(make_vit()).trace(tensor)


def test_one_channel(make_vit: Callable[..., Any]) -> None:
    model = make_vit(in_chans=1)
    trace = Inspector(model).trace(torch.randn(1, 24, 40))
    assert trace.pixels.shape == (24, 40, 1)
    assert trace.image.mode == "RGB"
    with pytest.raises(ImageError, match=r"1 channels.*transform="):
        Inspector(model).trace(noise(40, 24))
    grey = tv.Compose([tv.Resize((24, 40)), tv.Grayscale(), tv.ToTensor()])
    assert Inspector(model, transform=grey).trace(noise(40, 24)).pixels.shape == (24, 40, 1)


# ---------------------------------------------------------------- other sizes


def test_any_size(make_vit: Callable[..., Any]) -> None:
    model = make_vit("any size", reg_tokens=1)
    y = torch.randn(1, 3, 48, 16)
    trace = Inspector(model).trace(y)
    assert trace.grid == (6, 2)
    assert trace.tokens.shape == (4, 14, 24)
    with torch.no_grad():
        assert np.array_equal(trace.logits, model(y)[0].numpy())
    with pytest.raises(ImageError, match="multiples of the patch size 8 x 8"):
        Inspector(model).trace(torch.randn(1, 3, 44, 16))


def test_padded_input(make_vit: Callable[..., Any]) -> None:
    model = make_vit("any size", dynamic_img_pad=True)
    trace = Inspector(model).trace(torch.ones(1, 3, 20, 33))
    assert trace.grid == (3, 5)
    assert trace.pixels.shape == (24, 40, 3)
    assert np.all(trace.pixels[:20, :33] == 1)
    assert not trace.pixels[20:].any()
    assert not trace.pixels[:, 33:].any()
    assert trace.frame == Frame((33, 20), (24, 40), (0, 0, 40, 24))


def test_pixels_beyond_the_last_patch(make_vit: Callable[..., Any]) -> None:
    trace = Inspector(make_vit(img_size=(27, 46))).trace(noise(92, 54))
    assert trace.grid == (3, 5)
    assert trace.pixels.shape == (24, 40, 3)
    assert trace.frame.input == (24, 40)
    assert trace.frame.box[2] < 92


# ---------------------------------------------------------------- transforms, names, places


def test_own_transform_of_known_steps(make_vit: Callable[..., Any]) -> None:
    steps = tv.Compose([tv.Resize((24, 40)), tv.ToTensor()])
    trace = Inspector(make_vit(), transform=steps).trace(noise(90, 50))
    assert trace.image.size == (90, 50)
    assert trace.frame.box == (0.0, 0.0, 90.0, 50.0)
    assert trace.notes == []


def test_own_transform_of_unknown_geometry(make_vit: Callable[..., Any]) -> None:
    def middle(image: Image.Image) -> Tensor:
        return tv.ToTensor()(image.crop((10, 10, 50, 34)))

    picture = noise(90, 50)
    inspector = Inspector(make_vit(), transform=middle)
    trace = inspector.trace(picture)
    assert np.array_equal(np.asarray(trace.image), np.asarray(picture.crop((10, 10, 50, 34))))
    assert trace.frame == Frame.whole(40, 24)
    assert "what the model saw" in trace.notes[0]
    assert "middle" in repr(inspector)


@pytest.mark.parametrize(
    ("transform", "error", "problem"),
    [
        (lambda _image: _image, TypeError, "must give a tensor.*got Image"),
        (lambda _image: torch.zeros(24, 40), ValueError, r"\(C, H, W\)"),
        (lambda _image: torch.zeros(3, 24, 40, dtype=torch.uint8), ValueError, "float tensor"),
        (lambda _image: torch.zeros(3, 8, 8), ImageError, "24 x 40"),
    ],
)
def test_own_transform_that_gives_no_input(
    make_vit: Callable[..., Any], transform: Any, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        Inspector(make_vit(), transform=transform).trace(noise(40, 24))


def test_class_names(make_vit: Callable[..., Any]) -> None:
    assert Inspector(make_vit(), class_names=list("abcdefg")).class_names == tuple("abcdefg")
    with pytest.raises(ValueError, match=r"2 names.*7 classes"):
        Inspector(make_vit(), class_names=["a", "b"])
    with pytest.raises(TypeError, match="sequence of 7 names"):
        Inspector(make_vit(), class_names="abcdefg")
    assert Inspector(make_vit(num_classes=0)).class_names == ()


def test_class_names_of_label_sets(make_vit: Callable[..., Any]) -> None:
    model = make_vit(num_classes=1000)
    assert Inspector(model).class_names[3] == "class 3"
    model.pretrained_cfg = config(num_classes=1000)
    names = Inspector(model).class_names
    assert (names[0], names[779], names[963]) == ("tench", "school bus", "pizza")
    model.pretrained_cfg = config(num_classes=21843)
    assert Inspector(model).class_names[3] == "class 3"
    small = make_vit()
    labels = [f"n{index}" for index in range(7)]
    small.pretrained_cfg = config(num_classes=7, label_names=labels)
    assert Inspector(small).class_names == tuple(labels)
    described = {label: "dog, hound" if label == "n1" else label for label in labels}
    small.pretrained_cfg = config(num_classes=7, label_names=labels, label_descriptions=described)
    assert Inspector(small).class_names[1] == "dog"


def test_dtype_and_device_change_a_copy_of_your_module(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit()
    inspector = Inspector(model, dtype="bfloat16")
    assert inspector.dtype == torch.bfloat16
    assert next(model.parameters()).dtype == torch.float32
    assert Inspector(model, dtype=torch.float32, device="cpu").model is model
    with torch.no_grad():
        expected = inspector.model(x.bfloat16())[0].float().numpy()
    assert np.array_equal(inspector.trace(x).logits, expected)


@pytest.mark.parametrize("dtype", ["half-ish", "int8", torch.int64])
def test_bad_dtype(make_vit: Callable[..., Any], dtype: Any) -> None:
    with pytest.raises(ValueError, match="dtype="):
        Inspector(make_vit(), dtype=dtype)


def test_a_model_without_weights() -> None:
    with torch.device("meta"):
        model = timm.create_model(NAME)
    with pytest.raises(ModelError, match="meta device"):
        Inspector(model)


def test_wrapped_modules(make_vit: Callable[..., Any]) -> None:
    model = make_vit()
    assert Inspector(nn.DataParallel(model)).model is model
    assert Inspector(torch.compile(model)).model is model


def test_train_mode_is_said_and_kept(make_vit: Callable[..., Any], x: Tensor) -> None:
    model = make_vit(proj_drop_rate=0.5).train()
    inspector = Inspector(model)
    trace = inspector.trace(x)
    assert model.training
    assert any("train mode" in note for note in trace.notes)
    assert np.array_equal(trace.logits, inspector.trace(x).logits)


@pytest.mark.parametrize("model", [None, 3, nn.Linear, Path("vit.pth")])
def test_no_model(model: Any) -> None:
    with pytest.raises(TypeError, match="timm name or a timm VisionTransformer"):
        Inspector(model)


def test_unknown_arguments_raise(make_vit: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="weight"):
        Inspector(make_vit(), weight="file")  # type: ignore[call-arg]


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("vit_bse_patch16_224", "vit_base_patch16_224"),
        ("google/ViT-base-patch16-224", "vit_base_patch16_224"),
        ("dmeo", "demo"),
        ("dinov2", "vit_"),
        ("", "list_models"),
        ("qqqqqqqq", "list_models"),
    ],
)
def test_unknown_names_hear_near_ones(name: str, near: str) -> None:
    with pytest.raises(ModelError, match=rf"no model '{re.escape(name)}'.*{near}"):
        Inspector(name)


def test_a_file_is_no_name() -> None:
    with pytest.raises(ModelError, match="weights=file"):
        Inspector("deit_tiny.safetensors")


def test_unknown_tags_hear_the_known() -> None:
    with pytest.raises(WeightsError, match=r"deit_tiny_patch16_224\.fb_in1k"):
        Inspector("deit_tiny_patch16_224.nothing")


def test_models_that_are_no_vit_are_refused_before_their_weights_are_fetched() -> None:
    with pytest.raises(ModelError, match=r"ResNet.*lacks a patch embedding"):
        Inspector("resnet18")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the network and the caches away."""

    def unreachable(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(loading, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.usefixtures("no_network")
def test_no_network() -> None:
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    with pytest.raises(
        WeightsError, match=r'could not be fetched.*weights="file\.safetensors".*Inspector\("demo"\)'
    ):
        Inspector(f"{NAME}.augreg_in21k_ft_in1k")
    assert before == constants.HF_HUB_OFFLINE


def test_other_errors_are_not_blamed_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> nn.Module:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        Inspector(NAME)


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_from_a_file(tmp_path: Path, ending: str) -> None:
    torch.manual_seed(11)
    model = timm.create_model(NAME)
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    inspector = Inspector(NAME, weights=path)
    assert inspector.name == NAME
    assert not inspector.model.training
    for name, value in inspector.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    assert inspector.class_names[0] == "tench"
    assert "mean 0.5 0.5 0.5" in repr(inspector)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    with pytest.raises(
        WeightsError, match=r"small\.safetensors do not fit 'vit_tiny_patch16_224'.*and \d+ more"
    ):
        Inspector(NAME, weights=path)
    path.write_bytes(b"these are no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        Inspector(NAME, weights=path)
    with pytest.raises(WeightsError, match="no weights file"):
        Inspector(NAME, weights=tmp_path / "nowhere.safetensors")


def test_weights_of_another_number_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "ten.safetensors"
    save_file(timm.create_model(NAME, num_classes=10).state_dict(), path)
    with pytest.raises(WeightsError, match=r"head\.weight.*number of classes"):
        Inspector(NAME, weights=path)


def test_weights_go_with_a_name(make_vit: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="goes with a timm name"):
        Inspector(make_vit(), weights="file.safetensors")
    with pytest.raises(ValueError, match="its own weights"):
        Inspector("demo", weights="file.safetensors")


def test_demo(monkeypatch: pytest.MonkeyPatch, make_vit: Callable[..., Any]) -> None:
    import vitwidgets.demo

    model = make_vit()
    model.pretrained_cfg = config(architecture=None)
    monkeypatch.setattr(vitwidgets.demo, "load", lambda: (model, tuple("abcdefg")))
    inspector = Inspector("demo")
    assert (inspector.model, inspector.name, inspector.class_names) == (model, "demo", tuple("abcdefg"))
    assert Inspector().name == "demo"
    assert Inspector("demo", class_names=list("ABCDEFG")).class_names[0] == "A"


# ---------------------------------------------------------------- the model card


class Words(HTMLParser):
    """The text of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self.tags.add(tag)
        if tag not in {"rect", "path"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"rect", "path"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_repr_and_card_say_what_is_used(make_vit: Callable[..., Any]) -> None:
    model = make_vit("registers")
    model.pretrained_cfg = config()
    inspector = Inspector(model, class_names=list("abcdefg"))
    page = Words(inspector._repr_html_())
    assert page.open == []
    for place in (repr(inspector), " ".join(page.words)):
        for fact in (
            "VisionTransformer",
            "3 x 5 patches of 8 x 8 px",
            "cls, reg1, reg2, reg3",
            "3 layers x 24",
            "96",
            "bicubic",
            "centre crop 24 x 40",
            "mean 0.5 0.4 0.3, std 0.2 0.3 0.4",
            "7 (a, b, c, ...)",
            "cpu, float32",
        ):
            assert fact in place


def test_the_card_escapes_everything(make_vit: Callable[..., Any]) -> None:
    model = make_vit()
    model.pretrained_cfg = config(architecture='<img src=x onerror="alert(1)">')
    names = ["<script>alert(1)</script>", *"abcdef"]
    card = Inspector(model, class_names=names)._repr_html_()
    page = Words(card)
    assert not page.tags & {"img", "script"}
    assert "<script>alert(1)</script>" in "".join(page.words)
    assert '<img src=x onerror="alert(1)">' in "".join(page.words)


def test_the_card_follows_the_theme_and_has_fallbacks(make_vit: Callable[..., Any]) -> None:
    card = Inspector(make_vit())._repr_html_()
    assert card.count("var(--jp-") >= 5
    assert not re.findall(r"var\(--jp-[a-z0-9-]+\)", card)


# ---------------------------------------------------------------- a real model, real photographs


@pytest.mark.assets
def test_deit_tiny_names_the_bus_the_pizza_and_the_bear(assets: Path) -> None:
    weights = assets / "weights/deit_tiny_patch16_224.safetensors"
    inspector = Inspector("deit_tiny_patch16_224", weights=weights)
    for photo, label, probability in (
        ("000000000471.jpg", "school bus", 0.84),
        ("000000000450.jpg", "pizza", 0.84),
        ("000000000285.jpg", "brown bear", 0.77),
    ):
        trace = inspector.trace(assets / "coco/images" / photo)
        (found, certainty), *_ = trace.top(5)
        assert found == label
        assert certainty == pytest.approx(probability, abs=0.01)
        assert trace.notes == []


def test_importing_the_package_loads_neither_torch_nor_timm() -> None:
    program = (
        "import sys, vitwidgets; print([name for name in ('torch', 'timm', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
