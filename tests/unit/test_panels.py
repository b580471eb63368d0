"""The panels: one cursor, one store, and nothing left behind."""

from __future__ import annotations

import gc
import weakref
from base64 import b64decode
from io import BytesIO
from typing import Any

import ipywidgets
import numpy as np
import pytest
import traitlets
from ipywidgets.widgets.widget import _instances
from PIL import Image
from small_traces import (
    biased_trace,
    broken_trace,
    photo,
    small_model,
    small_trace,
    staged_trace,
    trace_of,
)

import vitwidgets as vw
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import POINTS, Cursor
from vitwidgets.widgets.panel import Panel
from vitwidgets.widgets.store import TraceStore

PANELS = (vw.Explorer, vw.PatchView, vw.LayerStrip, vw.HeadGrid, vw.NeuronGallery)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
every_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.__name__)


def points(model: Any) -> dict[str, Any]:
    return {name: getattr(model, name) for name in POINTS}


# ------------------------------------------------------------------ opening


@every_panel
def test_a_panel_opens_where_it_is_told(trace: Trace, panel: type[Panel]) -> None:
    opened = panel(trace, layer=1, token=(2, 3), head=1, neuron=100, neuron_space="mlp", patches=[4, 2, 4])
    wanted = {
        "layer": 1, "token": 13, "head": 1, "neuron_space": "mlp", "neuron": 100, "patches": [2, 4],
        "target": None, "overlay": "similarity",
    }  # fmt: skip
    assert points(opened) == points(opened.cursor) == wanted


@every_panel
def test_the_first_picture_needs_no_question(trace: Trace, panel: type[Panel]) -> None:
    opened = panel(trace, layer=2, overlay="attention_to")
    filled = {name for name in opened.store.facts["packets"] if getattr(opened.store, name)}
    assert filled == {"tokens_2", "q_2", "k_2", "lse_2"}


@every_panel
def test_offline_sends_at_once_all_that_there_is(panel: type[Panel]) -> None:
    own = trace_of(small_model())
    opened = panel(own, layer=2, offline=True)
    state = opened.store.get_state()
    names = [*opened.store.facts["packets"], *opened.store.facts["on_demand"]]
    assert {"filters", "pixels", "readout", "colours_0", "mlp_3"} < set(names)
    assert [name for name in names if not state[name]] == []


def test_offline_can_be_set_later(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = vw.PatchView(trace_of(small_model()), layer=2)
    assert opened.store.filters == b""
    sent: list[str] = []
    monkeypatch.setattr(opened.store, "send_state", lambda key=None: sent.extend(key or ()))
    opened.offline = True
    assert opened.store.filters
    assert "tokens_2" not in sent, "what the page has is not sent again"
    assert (
        len(sent)
        == len(set(sent))
        == len(opened.store.facts["packets"] + opened.store.facts["on_demand"]) - 1
    )


@pytest.mark.parametrize("value", [None, "dog.jpg", np.zeros((8, 8, 3))], ids=lambda v: type(v).__name__)
def test_no_trace(value: Any) -> None:
    with pytest.raises(TypeError, match=rf"Explorer needs a Trace, .*; got {type(value).__name__}"):
        vw.Explorer(value)


def test_no_cursor(trace: Trace) -> None:
    with pytest.raises(TypeError, match=r"cursor must be a vitwidgets\.Cursor; got dict"):
        vw.Explorer(trace, cursor={"layer": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"opacty": 1}, TypeError, r"Explorer\(\) got an unexpected keyword argument 'opacty'; .* 'opacity'"),
        ({"opacity": 2}, traitlets.TraitError, "opacity"),
        ({"smooth": "yes"}, traitlets.TraitError, "smooth"),
        ({"layer": 4}, traitlets.TraitError, r"0\.\.3"),
        ({"token": (3, 0)}, traitlets.TraitError, r"row 3, column 0.*\(2, 4\)"),
        ({"token": (1, 2, 3)}, traitlets.TraitError, "no token"),
        ({"token": "dist"}, traitlets.TraitError, "'cls', 'reg1'"),
        ({"overlay": "glow"}, traitlets.TraitError, "similarity"),
    ],
)
def test_a_refused_panel_leaves_nothing_behind(
    trace: Trace, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    before, shared = set(_instances), Cursor(layer=1)
    for given in ({}, {"cursor": shared}):
        with pytest.raises(error, match=message):
            vw.Explorer(trace, **given, **arguments)
    assert points(shared) == points(Cursor(layer=1)) | {"token": shared.token, "neuron": shared.neuron}
    for cursor in [w for w in _instances.values() if isinstance(w, Cursor)]:
        cursor.close()
    gc.collect()
    assert set(_instances) == before


# ------------------------------------------------------------------ setting


@every_panel
def test_setting_a_panel_moves_its_cursor_and_back(trace: Trace, panel: type[Panel]) -> None:
    opened = panel(trace)
    values = {
        "layer": 3, "token": "reg1", "head": 0, "neuron_space": "mlp", "neuron": 127, "patches": [0, 14],
        "target": 6, "overlay": "evidence",
    }  # fmt: skip
    for name, value in values.items():
        setattr(opened, name, value)
    assert points(opened.cursor) == points(opened) == values
    opened.cursor.layer, opened.cursor.token = 0, None
    assert (opened.layer, opened.token) == (0, None)


@pytest.mark.parametrize("pair", [(1, 2), [1, 2], (np.int64(1), np.int32(2))])
def test_a_pair_reads_back_as_an_index(trace: Trace, pair: Any) -> None:
    view = vw.PatchView(trace)
    view.token = pair
    assert (view.token, view.cursor.token, type(view.token)) == (7, 7, int)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer", 4), ("layer", True), ("layer", "1"), ("token", 15), ("token", (3, 0)), ("token", (1,)),
        ("token", "dist"), ("token", True), ("token", np.array([1, 2])), ("token", {}), ("head", 2),
        ("neuron", 32), ("neuron_space", "brain"), ("patches", [15]), ("patches", [True]), ("overlay", None),
    ],
)  # fmt: skip
def test_a_refused_value_changes_neither_panel_nor_cursor(trace: Trace, name: str, value: Any) -> None:
    explorer = vw.Explorer(trace, layer=1, token="cls", patches=[3])
    before = points(explorer)
    with pytest.raises(traitlets.TraitError):
        setattr(explorer, name, value)
    assert points(explorer) == points(explorer.cursor) == before


def test_a_refused_value_among_held_ones_rolls_all_back(trace: Trace) -> None:
    explorer = vw.Explorer(trace, layer=1, token="cls")
    with pytest.raises(traitlets.TraitError, match=r"0\.\.14"), explorer.hold_trait_notifications():
        explorer.patches = [99]
    assert explorer.patches == explorer.cursor.patches == []


def test_the_neuron_that_is_not_in_the_new_space_is_reset_everywhere(trace: Trace) -> None:
    explorer = vw.Explorer(trace, neuron_space="mlp", neuron=127)
    explorer.neuron_space = "residual"
    assert explorer.neuron == explorer.cursor.neuron == 0


@pytest.mark.parametrize("name", ["store", "cursor"])
def test_a_panel_keeps_its_store_and_cursor(trace: Trace, name: str) -> None:
    panel, other = vw.PatchView(trace), vw.PatchView(small_trace())
    before = getattr(panel, name)
    for value in (getattr(other, name), None):
        with pytest.raises(traitlets.TraitError, match=f'"{name}" trait is read-only'):
            setattr(panel, name, value)
    assert getattr(panel, name) is before


# ------------------------------------------------------------------ watching and linking


@every_panel
def test_every_trait_can_be_observed(trace: Trace, panel: type[Panel]) -> None:
    opened, seen = panel(trace), {}
    opened.observe(lambda change: seen.update({change["name"]: change["new"]}), names=list(POINTS))
    new = {
        "layer": 3, "token": 4, "head": 1, "neuron_space": "mlp", "neuron": 40, "patches": [1],
        "target": 2, "overlay": "neuron",
    }  # fmt: skip
    opened.cursor.set_state(new)
    assert seen == new


def test_linked_with_sliders(trace: Trace) -> None:
    explorer = vw.Explorer(trace, layer=1)
    layer, opacity = ipywidgets.IntSlider(min=0, max=3), ipywidgets.FloatSlider(min=0, max=1, step=0.01)
    links = [
        traitlets.link((explorer, "layer"), (layer, "value")),
        traitlets.link((opacity, "value"), (explorer, "opacity")),
    ]
    layer.value, opacity.value = 3, 0.25
    assert (explorer.layer, explorer.cursor.layer, explorer.opacity) == (3, 3, 0.25)
    explorer.cursor.layer = 2
    assert layer.value == 2
    for link in links:
        link.unlink()


def test_panels_with_one_cursor_move_together(trace: Trace) -> None:
    cursor = Cursor(layer=1)
    panels = [panel(trace, cursor=cursor) for panel in PANELS]
    panels[0].layer = 3
    cursor.token = "cls"
    panels[1].patches = [2, 1]
    assert {(p.layer, p.token, tuple(p.patches)) for p in panels} == {(3, "cls", (1, 2))}


def test_one_cursor_over_two_traces_of_different_size(trace: Trace) -> None:
    other = trace_of(small_model(size=(96, 96), depth=5, registers=0))
    cursor = Cursor()
    large, small = vw.PatchView(other, cursor=cursor), vw.PatchView(trace, cursor=cursor)
    assert points(large) == points(small)
    for name, value in (("layer", 4), ("token", 15), ("token", "reg1")):
        with pytest.raises(traitlets.TraitError):
            setattr(large, name, value)
    large.layer = 3
    assert small.layer == 3


def test_panels_without_a_cursor_do_not_touch_each_other(trace: Trace) -> None:
    one, two = vw.PatchView(trace, layer=1), vw.PatchView(trace, layer=2)
    one.layer = 3
    assert two.layer == 2


# ------------------------------------------------------------------ sharing, closing, freeing


def test_ten_panels_share_one_store_and_its_bytes(trace: Trace) -> None:
    cursor = Cursor()
    panels = [panel(trace, cursor=cursor) for panel in PANELS * 2]
    stores = {id(panel.store) for panel in panels}
    assert len(stores) == 1
    assert sum(isinstance(widget, TraceStore) for widget in _instances.values()) == 1
    assert len({panel.get_state()["store"] for panel in panels}) == 1
    own = [
        len(value)
        for panel in panels
        for value in panel.get_state().values()
        if isinstance(value, (bytes, memoryview))
    ]
    assert own == []  # the numbers are in the store alone
    before = panels[0].store.tokens_2
    vw.HeadGrid(trace, cursor=cursor)
    assert panels[0].store.tokens_2 is before


def test_the_store_closes_with_the_last_panel(trace: Trace) -> None:
    panels = [vw.PatchView(trace), vw.HeadGrid(trace), vw.LayerStrip(trace)]
    store = panels[0].store
    for panel in panels:
        assert store.comm is not None
        panel.close()
        panel.close()
    assert store.comm is None
    assert vw.PatchView(trace).store is not store


def test_an_own_cursor_closes_with_its_panel_and_a_shared_one_does_not(trace: Trace) -> None:
    shared = Cursor()
    alone, together = vw.PatchView(trace), vw.PatchView(trace, cursor=shared)
    own = alone.cursor
    alone.close()
    together.close()
    assert own.comm is None
    assert shared.comm is not None
    shared.layer = 1  # nobody follows any more
    assert together.layer == 2


def test_a_layout_that_was_given_stays_open(trace: Trace) -> None:
    layout = ipywidgets.Layout(width="50%")
    panel = vw.PatchView(trace, layout=layout)
    panel.close()
    assert layout.comm is not None


def test_fifty_cycles_leave_nothing_open(trace: Trace) -> None:
    cursor = Cursor()
    vw.Explorer(trace, cursor=cursor).close()
    before = set(_instances)
    for cycle in range(50):
        panel = PANELS[cycle % len(PANELS)](trace, cursor=cursor if cycle % 2 else None)
        panel.layer = cycle % 4
        panel.close()
    assert set(_instances) == before


@pytest.mark.parametrize("shared", [False, True])
def test_traces_and_panels_are_freed(shared: bool) -> None:
    trace, cursor = small_trace(), Cursor() if shared else None
    panels = [panel(trace, cursor=cursor) for panel in PANELS]
    for panel in panels:
        panel._repr_mimebundle_()
        panel.layer = 1
    gone = [weakref.ref(thing) for thing in (trace, panels[0].store, *panels)]
    for panel in panels:
        panel.close()
    del trace, panel, panels
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


# ------------------------------------------------------------------ from the front end


@pytest.mark.parametrize(
    "message",
    [
        None, [], "opacity", 3, {"opacity": 7}, {"opacity": -0.1}, {"opacity": "0.5"}, {"opacity": None},
        {"opacity": 10**400}, {"opacity": [0.5]}, {"smooth": 2}, {"smooth": "true"}, {"smooth": {}},
        {"store": None}, {"store": "anywidget:gone"}, {"cursor": 1}, {"cursor": {"layer": 1}},
        {"layer": 1}, {"_css": ""}, {"_esm": "x"}, {"layout": None}, {"layout": {"width": "1px"}},
        {"nonsense": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_a_malformed_message_changes_nothing(trace: Trace, message: Any) -> None:
    explorer = vw.Explorer(trace, opacity=0.5)
    names = ["opacity", "smooth", "view_mode", "store", "cursor", "_css", "_esm", "layout", *POINTS]
    before = {name: getattr(explorer, name) for name in names}
    explorer.set_state(message)
    assert {name: getattr(explorer, name) for name in names} == before


def test_opacity_nan_is_refused(trace: Trace) -> None:
    explorer = vw.Explorer(trace, opacity=0.5)
    explorer.set_state({"opacity": float("nan"), "smooth": True})
    assert (explorer.opacity, explorer.smooth) == (0.5, True)
    with pytest.raises(traitlets.TraitError):
        explorer.opacity = float("nan")


# ------------------------------------------------------------------ shown


@every_panel
def test_the_bundle_has_a_picture_beside_the_widget(trace: Trace, panel: type[Panel]) -> None:
    opened = panel(trace)
    data, metadata = opened._repr_mimebundle_()
    assert data[WIDGET_VIEW]["model_id"] == opened.model_id
    picture = Image.open(BytesIO(b64decode(data["image/png"], validate=True)))
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    shown = metadata["image/png"]
    assert shown["height"] / shown["width"] == pytest.approx(picture.height / picture.width, rel=0.01)
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(opened.still(width=picture.width)))
    assert data["text/plain"] == repr(opened)


def test_the_bundle_shows_the_present_state(trace: Trace) -> None:
    explorer = vw.Explorer(trace, layer=1)
    before = explorer._repr_mimebundle_()[0]["image/png"]
    explorer.cursor.layer = 3
    assert explorer._repr_mimebundle_()[0]["image/png"] != before


def test_the_bundle_of_a_broken_trace_has_a_picture() -> None:
    data, _ = vw.Explorer(broken_trace())._repr_mimebundle_()
    assert Image.open(BytesIO(b64decode(data["image/png"]))).width > 600


@every_panel
def test_a_model_without_a_classifier(panel: type[Panel]) -> None:
    opened = panel(trace_of(small_model(classes=0)))
    assert "image/png" in opened._repr_mimebundle_()[0]


def test_a_model_without_prefix_tokens() -> None:
    explorer = vw.Explorer(trace_of(small_model(registers=0, class_token=False)), token=14)
    assert explorer.store.facts["prefix"] == []
    with pytest.raises(traitlets.TraitError, match="prefix tokens none"):
        explorer.token = "cls"


def test_repr_says_where_the_panel_is(trace: Trace) -> None:
    assert repr(vw.PatchView(trace, layer=1, token="cls", neuron=9)) == (
        "PatchView(VisionTransformer, layer=1, token='cls', head=None, neuron_space='residual', neuron=9, "
        "patches=[], target=None, overlay='similarity')"
    )


def test_one_layer_and_one_patch() -> None:
    explorer = vw.Explorer(trace_of(small_model(size=(16, 16), depth=1, registers=0), photo(1, 1)))
    assert (explorer.layer, explorer.token) == (1, 0)
    assert explorer.still().width == 1200


@every_panel
def test_none_reaches_the_cursor(trace: Trace, panel: type[Panel]) -> None:
    opened = panel(trace, token=3, head=1)
    opened.token, opened.head = None, None
    assert (opened.cursor.token, opened.cursor.head) == (None, None)


def test_a_failing_still_leaves_the_live_view(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no ink")

    explorer = vw.Explorer(trace)
    monkeypatch.setattr(explorer, "still", fail)
    data, _ = explorer._repr_mimebundle_()
    assert WIDGET_VIEW in data
    assert "image/png" not in data


@every_panel
@pytest.mark.parametrize("overlay", ["similarity", "attention_from", "attention_to", "rollout", "neuron"])
def test_layers_that_differ(panel: type[Panel], overlay: str) -> None:
    trace = staged_trace()
    for layer in range(5):
        opened = panel(trace, layer=layer, token=42, overlay=overlay, patches=[0, 1, 59], neuron_space="mlp")
        assert "image/png" in opened._repr_mimebundle_()[0]
        opened.close()


def test_the_first_picture_of_attention_weights_needs_no_question() -> None:
    opened = vw.HeadGrid(biased_trace(), layer=2, overlay="attention_from")
    filled = {name for name in opened.store.facts["packets"] if getattr(opened.store, name)}
    assert filled == {"tokens_2", "attention_2"}


@every_panel
def test_a_trace_that_kept_little(panel: type[Panel]) -> None:
    trace = vw.Inspector(small_model()).trace(photo(), keep=("tokens",), layers=[1])
    for layer, overlay in ((0, "similarity"), (1, "similarity"), (1, "attention_to"), (2, "rollout")):
        opened = panel(trace, layer=layer, overlay=overlay)
        assert "image/png" in opened._repr_mimebundle_()[0]
