"""The cursor: what it takes, what it refuses, and how it follows the traces that it is bound to."""

from __future__ import annotations

import gc
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from ipywidgets.widgets.widget import _instances
from small_traces import photo, small_model, staged_trace, trace_of

import vitwidgets as vw
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import POINTS, Cursor


@pytest.fixture(scope="module")
def smaller() -> Trace:
    """Fewer layers, patches, heads, neurons and prefix tokens."""
    return trace_of(small_model(size=(32, 48), depth=1, width=8, heads=1, registers=0), photo(48, 32))


@pytest.fixture(scope="module")
def larger() -> Trace:
    return trace_of(small_model(size=(96, 80), depth=5, width=64, heads=4, registers=2))


@pytest.fixture
def cursor(trace: Trace) -> Cursor:
    bound = Cursor()
    bound.bind(trace)
    return bound


def points(cursor: Cursor) -> dict[str, Any]:
    return {name: getattr(cursor, name) for name in POINTS}


# ------------------------------------------------------------------ unbound


def test_an_unbound_cursor_takes_what_some_trace_may_have() -> None:
    cursor = Cursor(layer=40, token="reg7", head=31, neuron_space="mlp", neuron=5000, patches=[4000])
    cursor.token = 4000
    assert points(cursor) == {
        "layer": 40, "token": 4000, "head": 31, "neuron_space": "mlp", "neuron": 5000,
        "patches": [4000], "target": None, "overlay": "similarity",
    }  # fmt: skip


@pytest.mark.parametrize("unknown", ["layr", "tokens", "kopf"])
def test_unknown_keyword(unknown: str) -> None:
    with pytest.raises(TypeError, match=rf"Cursor\(\) got an unexpected keyword argument '{unknown}'"):
        Cursor(**{unknown: 3})


def test_unknown_keyword_names_a_near_one() -> None:
    with pytest.raises(TypeError, match="did you mean 'layer'"):
        Cursor(layr=3)


def test_a_refused_cursor_leaves_no_widget_behind() -> None:
    before = set(_instances)
    with pytest.raises(traitlets.TraitError):
        Cursor(layer="six")
    with pytest.raises(TypeError):
        Cursor(leyer=6)
    gc.collect()
    assert set(_instances) == before


# ------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer", 4, r"layer is 4; VisionTransformer has layers 0\.\.3"),
        ("layer", -1, r"layer is -1; .* 0\.\.3"),
        ("token", 15, r"patch is 15; .* has patches 0\.\.14"),
        ("token", -1, r"patch is -1"),
        ("token", "dist", r"token is 'dist'; .* prefix tokens 'cls', 'reg1' and the patches 0\.\.14"),
        ("head", 2, r"head is 2; .* heads 0\.\.1"),
        ("neuron", 32, r"neuron is 32; .* neurons 0\.\.31"),
        ("patches", [0, 15], r"patch is 15"),
        ("overlay", "sparkle", r"similarity"),
        ("neuron_space", "spleen", r"mlp"),
    ],
)
def test_out_of_range_says_the_range(cursor: Cursor, name: str, value: Any, message: str) -> None:
    before = points(cursor)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(cursor, name, value)
    assert points(cursor) == before


@pytest.mark.parametrize(
    "value",
    [True, False, np.True_, 2.0, "2", [2], (2,), {"a": 1}, np.array([1, 2]), np.array(1.5), float("nan")],
    ids=repr,
)
def test_a_layer_is_a_whole_number(cursor: Cursor, value: Any) -> None:
    before = cursor.layer
    with pytest.raises(traitlets.TraitError):
        cursor.layer = value
    assert cursor.layer == before


@pytest.mark.parametrize("name", ["token", "head", "neuron"])
def test_a_bool_is_no_index(cursor: Cursor, name: str) -> None:
    with pytest.raises(traitlets.TraitError):
        setattr(cursor, name, True)
    with pytest.raises(traitlets.TraitError):
        cursor.patches = [True]


@pytest.mark.parametrize("value", [2, np.int64(2), np.uint8(2), np.array(2), torch.tensor(2)], ids=repr)
def test_whole_numbers_of_other_kinds_become_ints(cursor: Cursor, value: Any) -> None:
    cursor.layer = cursor.token = cursor.neuron = value
    cursor.head = np.int32(1)
    cursor.patches = [value, np.int16(0)]
    assert [type(v) for v in (cursor.layer, cursor.token, cursor.neuron, cursor.head)] == [int] * 4
    assert points(cursor) | {"layer": 2, "token": 2, "neuron": 2, "head": 1, "patches": [0, 2]} == points(
        cursor
    )
    assert all(type(patch) is int for patch in cursor.patches)


def test_none_is_a_token_and_a_head_but_no_layer(cursor: Cursor) -> None:
    cursor.token = cursor.head = None
    assert cursor.token is None
    assert cursor.head is None
    with pytest.raises(traitlets.TraitError):
        cursor.layer = None


@pytest.mark.parametrize("name", ["cls", "reg1"])
def test_a_prefix_token_by_name(cursor: Cursor, name: str) -> None:
    cursor.token = name
    assert cursor.token == name


def test_patches_are_sorted_without_repetition() -> None:
    assert Cursor(patches=[9, 2, 9, 0]).patches == [0, 2, 9]


def test_the_range_of_neurons_depends_on_the_space(cursor: Cursor) -> None:
    cursor.neuron_space = "mlp"
    cursor.neuron = 127
    with pytest.raises(traitlets.TraitError, match=r"MLP neuron is 128; .* MLP neurons 0\.\.127"):
        cursor.neuron = 128
    cursor.neuron = 31
    cursor.neuron_space = "residual"
    assert cursor.neuron == 31  # it exists in both
    cursor.neuron_space, cursor.neuron = "mlp", 32
    cursor.neuron_space = "residual"
    assert cursor.neuron == 0  # it did not


def test_repr_is_a_call_that_makes_it(cursor: Cursor) -> None:
    cursor.patches = [1, 2]
    assert points(eval(repr(cursor))) == points(cursor)


# ------------------------------------------------------------------ binding


def test_binding_chooses_what_nobody_chose(trace: Trace) -> None:
    cursor = Cursor(overlay="rollout")
    cursor.bind(trace)
    tokens = trace.tokens[2]
    strongest = np.abs((tokens[2 + 7] - tokens.mean(axis=0)) / tokens.std(axis=0)).argmax()
    assert points(cursor) == {
        "layer": 2, "token": 7, "head": None, "neuron_space": "residual", "neuron": strongest,
        "patches": [], "target": None, "overlay": "rollout",
    }  # fmt: skip


@pytest.mark.parametrize("space", ["residual", "mlp"])
def test_binding_chooses_the_neuron_that_sets_the_patch_apart_most(trace: Trace, space: str) -> None:
    cursor = Cursor()
    cursor.bind(trace, neuron_space=space)
    table = (trace.mlp(2) if space == "mlp" else trace.tokens[2]).astype(float)
    spread = np.abs(table[2 + 7] - table.mean(axis=0)) / table.std(axis=0)
    assert cursor.neuron == int(spread.argmax())


def test_binding_keeps_what_somebody_chose(trace: Trace) -> None:
    cursor = Cursor(token=None)
    cursor.layer = 0
    cursor.bind(trace)
    assert (cursor.layer, cursor.token) == (0, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 4}, r"0\.\.3"),
        ({"token": "dist"}, "'cls', 'reg1'"),
        ({"patches": [3, 99]}, r"0\.\.14"),
        ({"head": 2}, r"0\.\.1"),
        ({"neuron": 40}, r"0\.\.31"),
        ({"neuron": 128, "neuron_space": "mlp"}, r"0\.\.127"),
    ],
)
def test_binding_an_invalid_value_leaves_the_cursor_as_it_was(
    trace: Trace, given: dict[str, Any], message: str
) -> None:
    cursor = Cursor(**given)
    before = points(cursor)
    with pytest.raises(traitlets.TraitError, match=message):
        cursor.bind(trace)
    assert points(cursor) == before
    cursor.layer = 99  # unbound: no trace holds it


def test_binding_again_changes_nothing(cursor: Cursor, trace: Trace) -> None:
    cursor.layer, cursor.token = 1, "cls"
    before = points(cursor)
    cursor.bind(trace)
    assert points(cursor) == before


def test_binding_moves_and_all_of_it_or_nothing(cursor: Cursor, trace: Trace) -> None:
    cursor.bind(trace, layer=1, neuron=100, neuron_space="mlp")
    assert (cursor.layer, cursor.neuron_space, cursor.neuron) == (1, "mlp", 100)
    before = points(cursor)
    with pytest.raises(traitlets.TraitError, match="patch is 99"):
        cursor.bind(trace, layer=3, neuron_space="residual", patches=[99])
    assert points(cursor) == before


def test_several_traces_hold_the_cursor_together(trace: Trace, smaller: Trace, larger: Trace) -> None:
    cursor = Cursor(layer=1, token="cls")
    for each in (larger, trace, smaller):
        cursor.bind(each)
    for name, value in (
        ("layer", 2), ("token", 6), ("token", "reg1"), ("head", 1), ("neuron", 8), ("patches", [6])
    ):  # fmt: skip
        with pytest.raises(traitlets.TraitError, match=r"0\.\.|patches 0"):
            setattr(cursor, name, value)
    cursor.token, cursor.head, cursor.neuron, cursor.patches = 5, 0, 7, [5]


def test_what_was_chosen_for_one_trace_is_chosen_anew_for_a_smaller(larger: Trace, smaller: Trace) -> None:
    cursor = Cursor()
    cursor.bind(larger)
    assert (cursor.layer, cursor.token) == (3, 17)
    cursor.bind(smaller)
    assert (cursor.layer, cursor.token) == (1, 4)


def test_what_fits_stays_when_another_trace_comes(larger: Trace, smaller: Trace) -> None:
    cursor = Cursor()
    cursor.bind(smaller)
    before = points(cursor)
    cursor.bind(larger)
    assert points(cursor) == before


def test_a_trace_that_is_gone_holds_nothing(trace: Trace) -> None:
    cursor = Cursor(layer=1)
    cursor.bind(trace_of(small_model(depth=1)))
    cursor.bind(trace)
    gc.collect()
    cursor.layer = 3
    with pytest.raises(traitlets.TraitError):
        cursor.layer = 4


# ------------------------------------------------------------------ watching


def test_every_trait_can_be_observed(cursor: Cursor) -> None:
    seen = []
    cursor.observe(lambda change: seen.append((change["name"], change["new"])), names=list(POINTS))
    new = {
        "layer": 3, "token": 4, "head": 1, "neuron_space": "mlp", "neuron": 40, "patches": [1],
        "overlay": "neuron",
    }  # fmt: skip
    for name, value in new.items():
        setattr(cursor, name, value)
    assert seen == list(new.items())


def test_linked_with_a_slider(cursor: Cursor) -> None:
    slider = ipywidgets.IntSlider(min=0, max=3)
    link = traitlets.link((cursor, "layer"), (slider, "value"))
    slider.value = 1
    assert cursor.layer == 1
    cursor.layer = 3
    assert slider.value == 3
    link.unlink()


# ------------------------------------------------------------------ from the front end


@pytest.mark.parametrize(
    "message",
    [
        None, 7, "layer", ["layer", 1], [], {}, {"": 1}, {3: 1}, {"no such trait": {"a": [1]}},
        {"layer": 10**400}, {"layer": -(10**400)}, {"layer": 1e308}, {"layer": {"layer": [1]}},
        {"layer": None},
        {"layer": "1"}, {"layer": True}, {"token": [[[]]]}, {"token": 10**30}, {"token": "__class__"},
        {"token": True}, {"token": 2.5}, {"head": "mean"}, {"head": []}, {"neuron": float("nan")},
        {"neuron": float("inf")}, {"neuron_space": 3}, {"neuron_space": ["mlp"]}, {"patches": "0123"},
        {"patches": {"0": 1}}, {"patches": [[0]]}, {"patches": [0, None]}, {"patches": [10**40]},
        {"patches": 5}, {"overlay": {}}, {"overlay": "<script>"}, {"_esm": "alert(1)"}, {"_model_name": 1},
        {"layout": "IPY_MODEL_gone"}, {"layout": None}, {"tooltip": [1]}, {"_dom_classes": 4}, {"comm": 1},
        {"keys": []},
    ],
    ids=lambda message: repr(message)[:40],
)  # fmt: skip
def test_a_malformed_message_changes_nothing(cursor: Cursor, message: Any) -> None:
    before, esm = points(cursor), cursor._esm
    cursor.set_state(message)
    assert points(cursor) == before
    assert cursor._esm == esm
    assert isinstance(cursor.layout, ipywidgets.Layout)
    assert cursor.comm is not None


def test_valid_values_of_a_message_are_kept_and_the_truth_is_sent_back(
    cursor: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(cursor.comm, "send", lambda data, **_: sent.append(data))
    cursor.set_state({"layer": 99, "token": 3, "patches": [2, 1], "head": "x", "unheard of": 1})
    assert (cursor.layer, cursor.token, cursor.patches, cursor.head) == (2, 3, [1, 2], None)
    told: dict[str, Any] = {}
    for message in sent:
        told |= message["state"]  # the last word on each counts
    assert told == {"layer": 2, "token": 3, "patches": [1, 2], "head": None}


def test_values_that_are_valid_only_together_arrive_in_any_order(cursor: Cursor) -> None:
    cursor.set_state({"neuron": 100, "neuron_space": "mlp"})
    assert (cursor.neuron, cursor.neuron_space) == (100, "mlp")
    cursor.set_state({"neuron_space": "residual", "neuron": 20})
    assert (cursor.neuron, cursor.neuron_space) == (20, "residual")


@pytest.mark.parametrize("kind", [ValueError, traitlets.TraitError])
def test_the_error_of_an_observer_is_not_swallowed(cursor: Cursor, kind: type[Exception]) -> None:
    def fail(_change: Any) -> None:
        raise kind("mine")

    cursor.observe(fail, names="layer")
    with pytest.raises(kind, match="mine"):
        cursor.set_state({"layer": 1})
    assert cursor.layer == 1


# ------------------------------------------------------------------ layers that differ


def test_what_some_layer_has_may_be_chosen_at_any() -> None:
    cursor, trace = Cursor(layer=1), staged_trace()
    cursor.bind(trace)
    cursor.token, cursor.patches, cursor.head, cursor.neuron = 59, [0, 59], 2, 23
    cursor.neuron_space, cursor.neuron = "mlp", 47
    for name, value, message in (
        ("token", 60, r"patches 0\.\.59"), ("head", 3, r"heads 0\.\.2"), ("neuron", 48, r"neurons 0\.\.47"),
    ):  # fmt: skip
        with pytest.raises(traitlets.TraitError, match=message):
            setattr(cursor, name, value)


def test_the_start_is_the_neuron_that_sets_the_cell_of_the_middle_patch_apart() -> None:
    cursor, trace = Cursor(), staged_trace()
    cursor.bind(trace)
    assert (cursor.layer, cursor.token) == (3, 35)  # row 3 of 6, column 5 of 10
    table = trace.layer(3).astype(float)
    cell = 1 + 1 * 5 + 2
    apart = np.abs(table[cell] - table.mean(axis=0)) / table.std(axis=0)
    assert cursor.neuron == int(apart.argmax())


@pytest.mark.parametrize(("kept", "layer"), [([0, 1], 1), ([3], 3), ([0], 0)])
def test_the_start_is_where_something_was_kept(kept: list[int], layer: int) -> None:
    cursor = Cursor()
    cursor.bind(vw.Inspector(small_model()).trace(photo(), layers=kept, keep=("tokens",)))
    assert cursor.layer == layer


def test_a_model_without_heads_or_mlp() -> None:
    trace = staged_trace()
    trace._record.heads[:] = trace._record.hidden[:] = [0] * 5
    cursor = Cursor()
    cursor.bind(trace)
    cursor.neuron_space = "mlp"
    with pytest.raises(traitlets.TraitError, match="has no heads"):
        cursor.head = 0


# ------------------------------------------------------------------ the class that is followed


def test_the_class_is_one_that_the_trace_has(trace: Trace) -> None:
    cursor = Cursor()
    cursor.bind(trace, target=6)
    with pytest.raises(traitlets.TraitError, match=r"class is 7; VisionTransformer has classes 0\.\.6"):
        cursor.target = 7
    with pytest.raises(traitlets.TraitError, match="class is -1"):
        cursor.target = -1
    assert cursor.target == 6
    cursor.target = None
    assert cursor.target is None


def test_a_model_without_classes_does_not_limit_the_class(trace: Trace) -> None:
    cursor = Cursor(target=3)
    cursor.bind(trace_of(small_model(classes=0)))
    cursor.bind(trace)
    assert cursor.target == 3
