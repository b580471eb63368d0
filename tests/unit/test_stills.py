"""Still pictures: of every panel and overlay, right in what they show, legible in every letter."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from small_traces import NAMES, broken_trace, photo, small_model, staged_trace, trace_of

import vitwidgets as vw
from vitwidgets.analysis.overlay import Field, Spec
from vitwidgets.colormap import NON_FINITE, colorize
from vitwidgets.lettering import figure, fitted, legible, length, magnitude
from vitwidgets.stills.groups import border
from vitwidgets.stills.inks import ACCENT, SELECT
from vitwidgets.stills.panel import still
from vitwidgets.stills.view import View
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import OVERLAYS

REGIONS = ("image", "layers", "heads", "neurons", "predictions")


@pytest.fixture(scope="module")
def broken() -> Trace:
    return broken_trace()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is drawn."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: Any, text: str, *rest: Any, **named: Any) -> None:
        texts.append(text)
        draw(self, xy, text, *rest, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


def view(
    trace: Trace, overlay: str = "similarity", layer: int = 2, token: int | None = 7, **more: Any
) -> View:
    """`token` counts in the sequence: 2 is the first patch after ``cls`` and ``reg1``."""
    names = ("head", "neuron", "space")
    spec = Spec(overlay, layer, token, **{n: more.pop(n) for n in names if n in more})  # type: ignore[arg-type]
    return View(trace, spec, **more)


def share_of(picture: Image.Image, colour: str) -> float:
    """Which part of the picture has exactly this colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((np.asarray(picture) == wanted).all(axis=-1).mean())


# ------------------------------------------------------------------ all there is


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("token", [None, 1, 16])
def test_every_overlay(trace: Trace, overlay: str, layer: int, token: int | None) -> None:
    for space, patches in (("residual", ()), ("mlp", (0, 1, 14))):
        shown = view(trace, overlay, layer, token, space=space, patches=patches)
        picture = still(shown, REGIONS, width=800)
        assert (picture.mode, picture.width) == ("RGB", 800)
        assert picture.getcolors(50) is None  # more than 50 colours: it is a picture of something


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("width", [300, 601, 1200, 2400])
def test_every_region_in_every_width(trace: Trace, region: str, width: int) -> None:
    picture = still(view(trace, patches=(3,)), [region], width=width)
    assert picture.width == width
    page = np.asarray(picture)
    assert (page[:16] == 255).all()
    assert (page[:, :16] == 255).all()
    assert (page[:, -16:] == 255).all()  # nothing runs over the margin
    assert (page[-16:] == 255).all()
    assert (page != 255).any()


@pytest.mark.parametrize("width", [300, 500, 699, 700, 1200])
def test_nothing_runs_over_the_margin(trace: Trace, width: int) -> None:
    page = np.asarray(still(view(trace, patches=(0, 14)), REGIONS, width=width))
    assert (page[:, :16] == 255).all()
    assert (page[:, -16:] == 255).all()


@pytest.mark.parametrize("panel", [vw.Explorer, vw.PatchView, vw.LayerStrip, vw.HeadGrid, vw.NeuronGallery])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_panel(trace: Trace, panel: type[Any], overlay: str) -> None:
    for layer in (0, 3):
        picture = panel(trace, overlay=overlay, layer=layer, token=None).still(width=640)
        assert (picture.mode, picture.width) == ("RGB", 640)


def test_too_narrow(trace: Trace) -> None:
    with pytest.raises(ValueError, match=r"width is 299; .* at least 300"):
        vw.Explorer(trace).still(width=299)


def test_unknown_region(trace: Trace) -> None:
    with pytest.raises(ValueError, match="unknown region 'sidebar'; there are image, layers"):
        still(view(trace), ["image", "sidebar"])


@pytest.mark.parametrize(("wide", "high"), [(6000, 3), (3, 6000), (1, 1), (900, 40), (40, 900), (3000, 2000)])
@pytest.mark.parametrize("width", [300, 1200])
def test_photos_of_every_shape(wide: int, high: int, width: int) -> None:
    shown = view(trace_of(small_model(), photo(wide, high)), patches=(0, 7))
    picture = still(shown, REGIONS, width=width)
    assert picture.width == width
    assert picture.height < 8 * width


@pytest.mark.parametrize("size", [(16, 16), (16, 320), (320, 16), (160, 160)])
def test_grids_of_every_shape(size: tuple[int, int]) -> None:
    model = small_model(size=size, depth=2, registers=0)
    shown = view(trace_of(model, photo(size[1], size[0])), token=1)
    assert still(shown, REGIONS, width=900).width == 900


def test_many_layers_heads_and_registers() -> None:
    model = small_model(depth=60, width=96, heads=24, registers=16)
    shown = view(trace_of(model), layer=40, token=20)
    for width in (300, 1200):
        page = np.asarray(still(shown, REGIONS, width=width))
        assert (page[:, -16:] == 255).all()


def test_activations_that_are_not_finite_have_their_own_colour(trace: Trace, broken: Trace) -> None:
    colour = "#{:02x}{:02x}{:02x}".format(*NON_FINITE.tolist())
    for overlay in OVERLAYS:
        assert still(view(broken, overlay, neuron=3), REGIONS).width == 1200
    shown = view(broken, "neuron", neuron=3, opacity=1.0)
    assert share_of(still(shown, ["image"]), colour) > 0.5
    assert share_of(still(view(trace, "neuron", neuron=3, opacity=1.0), ["image"]), colour) == 0


# ------------------------------------------------------------------ what it shows


@pytest.mark.parametrize("overlay", ["similarity", "attention_from", "attention_to", "rollout", "neuron"])
def test_the_image_shows_the_field_where_the_patches_lie(overlay: str) -> None:
    trace = trace_of(small_model(), photo(300, 180))  # the same shape as the input: nothing is cut
    shown = view(trace, overlay, token=0, opacity=1.0)
    field = shown.field()
    assert isinstance(field, Field)
    wanted = colorize(field.values[2:].reshape(3, 5), field.low, field.high, field.diverging)
    page = np.asarray(still(shown, ["image"], width=1032))
    box = np.array(trace.frame.box) * 1000 / 300
    for row, col in itertools.product(range(3), range(5)):
        x = 16 + box[0] + (col + 0.5) * (box[2] - box[0]) / 5
        y = 16 + box[1] + (row + 0.5) * (box[3] - box[1]) / 3
        assert page[int(y), int(x)].tolist() == wanted[row, col].tolist(), (row, col)


def test_opacity_goes_from_the_photo_to_the_overlay(trace: Trace) -> None:
    photo_only = np.asarray(still(view(trace, opacity=0.0, token=None), ["image"])).astype(int)
    half = np.asarray(still(view(trace, "neuron", opacity=0.5, token=None), ["image"])).astype(int)
    full = np.asarray(still(view(trace, "neuron", opacity=1.0, token=None), ["image"])).astype(int)
    square = np.s_[100:300, 500:700]
    assert not np.array_equal(photo_only[square], full[square])
    assert np.abs(half[square] - (photo_only[square] + full[square]) / 2).max() <= 2


def test_smooth_blends_between_patches(trace: Trace) -> None:
    steps, smooth = (
        np.asarray(still(view(trace, "neuron", opacity=1.0, token=None, smooth=on), ["image"]))[200, 200:900]
        for on in (False, True)
    )
    assert len(np.unique(steps, axis=0)) < len(np.unique(smooth, axis=0)) // 4


def test_the_pinned_patch_is_marked_where_it_lies() -> None:
    trace = trace_of(small_model(), photo(300, 180))
    bare = np.asarray(still(view(trace, "neuron", token=None), ["image"], width=1032)).astype(int)
    for patch in (0, 7, 14):
        marked = np.asarray(still(view(trace, "neuron", token=2 + patch), ["image"], width=1032)).astype(int)
        ys, xs = np.nonzero((marked != bare).any(axis=-1)[: 16 + 600])  # above the legend
        left, top, right, bottom = (
            16 + edge * 1000 / 300 for edge in trace.frame.patch_box(trace.patch_grid, patch)
        )
        assert (
            np.abs(np.array([xs.min() - left, xs.max() - right]))[[xs.min() > 16, xs.max() < 1015]].max() < 6
        )
        assert (
            np.abs(np.array([ys.min() - top, ys.max() - bottom]))[[ys.min() > 16, ys.max() < 615]].max() < 6
        )
        centre = np.s_[int(top) + 20 : int(bottom) - 20, int(left) + 20 : int(right) - 20]
        np.testing.assert_array_equal(marked[centre], bare[centre])


def test_the_selection_is_one_outline() -> None:
    edges = list(range(0, 60, 10))
    assert border([0], edges, edges[:4]) == [(0, 0, 10, 0), (0, 10, 10, 10), (0, 0, 0, 10), (10, 0, 10, 10)]
    for patches in ([0, 1], [0, 5], [6, 7, 8, 11, 12, 13], list(range(15)), [0, 14], [4, 5]):
        taken = np.zeros((5, 7), dtype=int)
        for patch in patches:
            taken[1 + patch // 5, 1 + patch % 5] = 1
        lines = border(patches, edges, edges[:4])
        assert len(lines) == len(set(lines))
        assert len(lines) == np.abs(np.diff(taken, axis=0)).sum() + np.abs(np.diff(taken, axis=1)).sum()


def test_the_selection_is_drawn_and_counted(trace: Trace, drawn: list[str]) -> None:
    none = still(view(trace), ["image"])
    assert share_of(none, SELECT) == 0
    one = share_of(still(view(trace, patches=(6,)), ["image"]), SELECT)
    assert one > 0
    assert "1 patch selected" in drawn
    assert one < share_of(still(view(trace, patches=(6, 8)), ["image"]), SELECT)
    assert "2 patches selected" in drawn


@pytest.mark.parametrize("region", ["layers", "heads", "neurons"])
def test_the_chosen_map_is_framed(trace: Trace, region: str) -> None:
    spec = {
        "layers": {"layer": 1},
        "heads": {"overlay": "attention_from", "head": 1},
        "neurons": {"overlay": "neuron"},
    }[region]
    chosen = view(trace, **spec)  # type: ignore[arg-type]
    if region == "neurons":
        far = np.abs(trace.tokens[2] - trace.tokens[2].mean(axis=0))[7] / trace.tokens[2].std(axis=0)
        chosen = replace(chosen, spec=replace(chosen.spec, neuron=int(far.argmax())))
    assert share_of(still(chosen, [region]), ACCENT) > 0
    other = replace(chosen, spec=replace(chosen.spec, overlay="rollout"))
    assert (share_of(still(other, [region]), ACCENT) > 0) == (region == "layers")


def test_the_neurons_that_stand_out_come_first(trace: Trace, drawn: list[str]) -> None:
    still(view(trace, patches=(0, 4)), ["neurons"])
    table = trace.tokens[2].astype(float)
    scores = (table[[2, 6]].mean(axis=0) - table.mean(axis=0)) / table.std(axis=0)
    order = np.argsort(-np.abs(scores))[:12]
    assert [text for text in drawn if text.startswith("#")] == [f"#{neuron}" for neuron in order]
    assert [float(text) for text in drawn if text[0] in "+-"] == pytest.approx(scores[order], rel=0.02)


def test_each_head_with_its_greatest_value(trace: Trace, drawn: list[str]) -> None:
    still(view(trace, "attention_to"), ["heads"])
    attention = trace.attention(2)
    rows = [attention.mean(axis=0), *attention]
    at = drawn.index("mean")
    assert drawn[at::2] == ["mean", "0", "1"]
    assert drawn[at + 1 :: 2] == [figure(float(row[2:, 7].max())) for row in rows]
    assert "attention to patch 5 (row 1, column 0), max" in drawn


def test_prefix_tokens_with_their_values(trace: Trace, drawn: list[str]) -> None:
    still(view(trace, "neuron", neuron=4, token=1), ["image"])
    at = drawn.index("cls")
    assert drawn[at : at + 4] == [
        "cls", figure(float(trace.tokens[2, 0, 4])), "reg1", figure(float(trace.tokens[2, 1, 4]))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"overlay": "attention_from", "layer": 0}, "layer 0 is the input: no attention yet"),
        ({"overlay": "neuron", "layer": 0, "space": "mlp"}, "layer 0 is the input: no MLP yet"),
        ({"token": None}, "pin a token to see this"),
        ({"token": None}, "pin a token or select patches"),
    ],
)
def test_what_is_missing_is_said(trace: Trace, drawn: list[str], change: dict[str, Any], reason: str) -> None:
    still(view(trace, **change), REGIONS)
    assert reason in drawn


def test_predictions(trace: Trace, drawn: list[str]) -> None:
    still(view(trace), ["predictions"])
    shares = [f"{p * 100:.1f} %" for _, p in trace.top(5)]
    assert [text for text in drawn if text.endswith(" %")] == shares


def test_predictions_that_are_not_finite(broken: Trace, drawn: list[str]) -> None:
    still(view(broken), ["predictions"])
    assert drawn.count("NaN") == 5


def test_no_classifier(drawn: list[str]) -> None:
    still(view(trace_of(small_model(classes=0))), REGIONS)
    assert "this model has no classifier" in drawn


def test_notes_are_shown(broken: Trace, drawn: list[str]) -> None:
    still(view(broken), REGIONS)
    assert any(text.startswith("NaN or infinite activations") for text in drawn)


# ------------------------------------------------------------------ letters


def glyph(letter: str) -> bytes:
    return bytes(ImageFont.load_default(24).getmask(letter))


def test_only_letters_that_the_font_has(broken: Trace, trace: Trace, drawn: list[str]) -> None:
    named = trace_of(small_model(registers=3))
    states = ((None, (), "residual"), (0, (1,), "mlp"), (5, (1, 2), "residual"))
    for shown, overlay, layer in itertools.product((broken, named), OVERLAYS, (0, 3)):
        for token, patches, space in states:
            regions = REGIONS if overlay == "similarity" else ("image",)
            still(view(shown, overlay, layer, token, space=space, patches=patches), regions, width=300)
    still(view(trace, patches=(3,)), REGIONS)
    letters = set("".join(drawn)) - {" "}
    assert len(letters) > 40
    box = glyph("\uffff")
    assert [letter for letter in sorted(letters) if glyph(letter) == box] == []


def test_class_names_stay_text(trace: Trace, drawn: list[str]) -> None:
    model = small_model()
    for name in NAMES:
        one = vw.Inspector(model, class_names=[name] * len(NAMES)).trace(photo())
        still(view(one), ["predictions"], width=1600)
    for wanted in ("school bus", "cafe", "???", "<b>bold</b> & 'quoted'", "dog with a line break"):
        assert drawn.count(wanted) == 5, wanted
    assert repr(trace).count("<") == 0
    assert "&lt;b&gt;" in vw.Inspector(model, class_names=NAMES[3:4] * 7)._repr_html_()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain text, 12 % #3 (a·b)…", "plain text, 12 % #3 (a·b)…"),
        ("Schäferhund café Jalapeño", "Schaferhund cafe Jalapeno"),
        ("e\u0301", "e"),
        ("Straße Ærø", "Strasse Aero"),
        ("3 × 4 ≤ −5 – x", "3 x 4 <= -5 - x"),
        ("\ta\nb\r\nc\x00\u202e\u200b ", "a b c"),
        ("日本", "??"),
        ("🐕", "?"),
        ("", ""),
    ],
)
def test_legible(text: str, wanted: str) -> None:
    assert legible(text) == wanted


@pytest.mark.parametrize("text", ["short", "a rather long name of a class", "W" * 5000, "", "日本犬" * 40])
@pytest.mark.parametrize("width", [0, 3, 20, 90, 400])
def test_fitted(text: str, width: int) -> None:
    cut = fitted(text, 18, width)
    assert length(cut, 18) <= width
    whole = legible(text)
    if length(whole, 18) <= width:
        assert cut == whole
    elif cut:
        assert cut.endswith("…")
        assert whole.startswith(cut[:-1])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"), (0.12345, "0.123"), (-0.5, "-0.500"), (1.234, "1.23"), (-12.34, "-12.3"),
        (123.4, "123"), (99999, "99999"), (100000, "1.0e+5"), (0.00012, "1.2e-4"), (-3e12, "-3.0e+12"),
        (float("nan"), "NaN"),
        (float("inf"), "inf"), (float("-inf"), "-inf"),
    ],
)  # fmt: skip
def test_figure(value: float, text: str) -> None:
    assert figure(value) == text


def test_a_still_is_the_same_every_time(trace: Trace) -> None:
    one, two = (still(view(trace, patches=(3,)), REGIONS).tobytes() for _ in range(2))
    assert one == two


# ------------------------------------------------------------------ layers that differ


@pytest.mark.parametrize(("layer", "rows", "cols", "cell"), [(0, 6, 10, 42), (3, 3, 5, 11), (4, 1, 2, 0)])
def test_a_layer_is_drawn_on_its_own_grid(layer: int, rows: int, cols: int, cell: int) -> None:
    trace = staged_trace()
    shown = view(trace, "neuron", layer, 43, neuron=2, opacity=1.0)  # patch 42: row 4, column 2 of 6 x 10
    values = trace.layer(layer)[1:, 2].reshape(rows, cols)
    wanted = colorize(values, -np.abs(values).max(), np.abs(values).max(), True)
    page = np.asarray(still(shown, ["image"], width=1032)).astype(int)
    high, wide = 600 / rows, 1000 / cols  # of a photo of 150 x 90
    for row, col in itertools.product(range(rows), range(cols)):
        y, x = 16 + (row + 0.5) * high, 16 + (col + 0.5) * wide
        assert page[int(y), int(x)].tolist() == wanted[row, col].tolist(), (row, col)
    row, col = divmod(cell, cols)
    corner = page[int(16 + row * high), int(16 + col * wide)]
    assert corner.tolist() == [255, 255, 255], "the pinned cell is framed in white"


def test_the_cell_of_the_pinned_patch_is_named(drawn: list[str]) -> None:
    still(view(staged_trace(), "similarity", 3, 43), ["image", "neurons"])
    assert "similarity to cell 11 (row 2, column 1) · layer 3 · 3 x 5" in drawn
    assert "what sets cell 11 (row 2, column 1) apart, in sd" in drawn


def test_selected_patches_count_as_the_cells_they_lie_in(drawn: list[str]) -> None:
    trace = staged_trace()
    still(view(trace, layer=3, patches=(0, 1, 10, 59)), ["neurons"])
    assert "what sets 2 selected cells apart, in sd" in drawn
    table = trace.layer(3).astype(float)
    scores = (table[[1, 15]].mean(axis=0) - table.mean(axis=0)) / table.std(axis=0)
    order = np.argsort(-np.abs(scores))[:12]
    assert [text for text in drawn if text.startswith("#")] == [f"#{neuron}" for neuron in order]


def test_sizes_that_change_are_given_first_and_last(drawn: list[str]) -> None:
    still(view(staged_trace(), layer=2), REGIONS)
    assert "6 x 10 to 1 x 2 patches + cls · 4 layers · width 8 to 24 · 2 to 3 heads" in drawn


def test_why_a_layer_has_no_map_is_said(drawn: list[str]) -> None:
    for overlay, layer, reason in (
        ("attention_from", 4, "no attention at layer 4: its attention pools"),
        ("neuron", 1, "no MLP neurons at layer 1: it has no MLP"),
    ):
        still(view(staged_trace(), overlay, layer, space="mlp"), ["image"])
        assert reason in drawn


def test_the_model_computes_the_attention_of_a_layer_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = staged_trace()
    asked: list[int] = []
    attention = trace.attention
    monkeypatch.setattr(trace, "attention", lambda layer: (asked.append(layer), attention(layer))[1])
    still(view(trace, "attention_from", 2), ["heads"])
    assert asked == [2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (3e-6, "3.0e-6"),
        (0.000884, "0.00088"),
        (0.0050, "0.0050"),
        (0.0996, "0.10"),
        (1.234, "1.23"),
    ],
)
def test_small_sizes_keep_two_digits(value: float, text: str) -> None:
    assert magnitude(value) == text
