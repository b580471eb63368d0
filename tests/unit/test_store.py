"""The store: facts, picture and packets of a trace, shared by its panels and freed with them."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image
from small_traces import (
    NAMES,
    biased_trace,
    broken_trace,
    photo,
    small_model,
    small_trace,
    staged_trace,
    trace_of,
)

import vitwidgets as vw
from vitwidgets.check import Check
from vitwidgets.trace import Trace
from vitwidgets.widgets import store as store_module
from vitwidgets.widgets.codec import decode
from vitwidgets.widgets.store import TraceStore, names_on_demand, needed_first, packet, packet_names


def expected(trace: Trace, name: str) -> np.ndarray:
    """The array of a packet, by the definitions in the trace's own documentation."""
    field, _, number = name.rpartition("_")
    layer = int(number)
    if field == "tokens":
        return trace.layer(layer)
    if field == "attention_mean":
        return trace.attention(layer).mean(axis=0)
    if field == "rollout":
        product = np.eye(trace.patch_grid.tokens)
        for block in range(1, layer + 1):
            mixed = trace.attention(block).mean(axis=0).astype(float) + np.eye(len(product))
            product = mixed / mixed.sum(axis=1, keepdims=True) @ product
        return product
    arrays: dict[str, Any] = {
        "q": trace.queries, "k": trace.keys, "lse": trace.log_normalizer, "mlp": trace.mlp,
        "attention": trace.attention,
    }  # fmt: skip
    return arrays[field](layer)


def filled(store: TraceStore) -> set[str]:
    names = store.facts["packets"] + store.facts["on_demand"]
    return {name for name in names if getattr(store, name)}


# ------------------------------------------------------------------ packets


def test_every_field_has_a_packet_for_every_layer_that_has_it(trace: Trace) -> None:
    assert list(packet_names(trace)) == [
        "tokens_0", "tokens_1", "tokens_2", "tokens_3",
        *(f"{field}_{layer}" for field in ("q", "k", "lse", "rollout", "mlp") for layer in (1, 2, 3)),
    ]  # fmt: skip


@pytest.mark.parametrize("make", [small_trace, biased_trace, staged_trace])
def test_decoded_packets_are_the_arrays_of_the_trace(make: Callable[[], Trace]) -> None:
    trace = make()
    for name in packet_names(trace):
        wanted = expected(trace, name)
        found = decode(packet(trace, name))
        assert found.shape == wanted.shape, name
        # float16 keeps 11 bits; what is smaller than 2^-14 keeps fewer
        np.testing.assert_allclose(found, wanted, rtol=2**-11, atol=2**-25, err_msg=name)


def test_attention_from_packets_is_that_of_the_trace(trace: Trace) -> None:
    for layer in (1, 2, 3):
        q, k, lse = (decode(packet(trace, f"{field}_{layer}")).astype(float) for field in ("q", "k", "lse"))
        attention = np.exp(q @ k.transpose(0, 2, 1) - lse[:, :, None])
        np.testing.assert_allclose(attention, trace.attention(layer), atol=1e-3)
        np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=5e-3)


def test_attention_that_is_no_plain_softmax_is_sent_as_it_is() -> None:
    names = set(packet_names(biased_trace()))
    assert {"attention_1", "attention_2", "rollout_2"} <= names
    assert not names & {"q_1", "k_1", "lse_1", "attention_mean_1"}


def test_only_what_a_layer_has_is_sent() -> None:
    assert list(packet_names(staged_trace())) == [
        *(f"tokens_{layer}" for layer in range(5)), "mlp_2", "mlp_3", "mlp_4",
        "attention_1", "attention_2", "attention_3",
    ]  # fmt: skip


def test_heads_too_large_to_send_are_sent_as_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = biased_trace()
    one = 2 * 16 * 16
    monkeypatch.setattr(store_module, "LARGEST", 2 * one)
    assert "attention_1" in packet_names(trace)
    monkeypatch.setattr(store_module, "LARGEST", 2 * one - 1)
    assert {"attention_mean_1", "attention_mean_2"} <= set(packet_names(trace))
    assert "attention_1" not in packet_names(trace)
    mean = decode(packet(trace, "attention_mean_2"))
    np.testing.assert_allclose(mean, trace.attention(2).mean(axis=0), rtol=2**-11, atol=2**-25)
    assert needed_first(trace, "attention_to", 2) == ["tokens_2", "attention_mean_2"]
    monkeypatch.setattr(store_module, "LARGEST_MAP", one - 1)
    assert not [name for name in packet_names(trace) if name.startswith(("attention", "rollout"))]
    missing = TraceStore(trace).facts["missing"]
    assert (
        missing["attention"]
        == missing["rollout"]
        == dict.fromkeys("12", "16 x 16 weights are too large to send")
    )


def test_queries_and_keys_are_sent_however_many_tokens_there_are(
    trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LARGEST_MAP", 1)
    assert [name for name in packet_names(trace) if name.endswith("_2")] == [
        "tokens_2", "q_2", "k_2", "lse_2", "mlp_2"
    ]  # fmt: skip


def test_what_the_model_can_no_longer_compute_is_answered_with_the_reason() -> None:
    model = small_model()
    trace = trace_of(model)
    store = TraceStore(trace)
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight.add_(1)
    store.set_state({"wanted": ["mlp_1", "tokens_1"]})
    assert bytes(store.mlp_1).startswith(b"VWE1the weights of the model, or hooks in it, have changed")
    np.testing.assert_array_equal(decode(store.tokens_1), decode(packet(trace, "tokens_1")))


def test_packets_keep_nan_and_infinity() -> None:
    trace = broken_trace()
    first, second = (decode(packet(trace, f"tokens_{layer}")) for layer in (1, 2))
    assert np.isposinf(first[:, 5]).all()
    assert np.isfinite(np.delete(first, 5, axis=1)).all()
    assert np.isnan(second[:, 3]).all()


@pytest.mark.parametrize(
    "overlay",
    [
        "similarity",
        "attention_from",
        "attention_to",
        "rollout",
        "neuron",
        "none",
        "view",
        "evidence",
        "norm",
        "colours",
    ],
)
@pytest.mark.parametrize("layer", [0, 2])
def test_first_packets_exist(trace: Trace, overlay: str, layer: int) -> None:
    names = needed_first(trace, overlay, layer)
    assert names[0] == f"tokens_{layer}"
    assert set(names) <= {*packet_names(trace), *names_on_demand(trace)}


@pytest.mark.parametrize(
    ("overlay", "first"),
    [
        ("view", ["tokens_2", "rollout_2", "filters", "pixels"]),
        ("evidence", ["tokens_2", "readout"]),
        ("colours", ["tokens_2", "colours_2"]),
        ("norm", ["tokens_2"]),
    ],
)
def test_what_is_fetched_on_demand_comes_first_where_it_is_shown(
    trace: Trace, overlay: str, first: list[str]
) -> None:
    assert needed_first(trace, overlay, 2) == first


# ------------------------------------------------------------------ packets on demand


def test_filters_pixels_and_readout_are_those_of_the_trace(trace: Trace) -> None:
    assert list(names_on_demand(trace)) == [
        "filters", "pixels", "readout", "colours_0", "colours_1", "colours_2", "colours_3"
    ]  # fmt: skip
    near = {"rtol": 2**-11, "atol": 2**-25}
    np.testing.assert_allclose(decode(packet(trace, "filters")), trace.filters(), **near)
    np.testing.assert_allclose(decode(packet(trace, "pixels")), trace.pixels, **near)
    readout = decode(packet(trace, "readout"))
    assert trace.readout is not None
    np.testing.assert_allclose(readout[:, :-1], trace.readout.weight, **near)
    np.testing.assert_allclose(readout[:, -1], trace.readout.bias, **near)


def test_the_colours_of_all_layers_come_together(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    colours, calls = trace.colours(), []
    monkeypatch.setattr(trace, "colours", lambda: calls.append(1) or colours)
    store = TraceStore(trace)
    store.set_state({"wanted": ["colours_2"]})
    assert filled(store) == {f"colours_{layer}" for layer in range(4)}
    assert calls == [1]
    for layer in range(4):
        np.testing.assert_array_equal(decode(getattr(store, f"colours_{layer}")), colours[layer])


def test_nothing_on_demand_is_sent_unasked(trace: Trace) -> None:
    store = TraceStore(trace)
    store.set_state({"wanted": store.facts["packets"]})
    assert filled(store) == set(store.facts["packets"])
    store.set_state({"wanted": ["filters", "pixels"]})
    assert filled(store) == {*store.facts["packets"], "filters", "pixels"}


def test_a_model_that_has_changed_shows_no_filters_and_says_why() -> None:
    model = small_model()
    trace = trace_of(model)
    with torch.no_grad():
        model.patch_embed.proj.weight.add_(1)
    store = TraceStore(trace)
    assert {"filters", "pixels", "readout"} & set(store.facts["on_demand"]) == set()
    for field in ("view", "evidence"):
        assert "has changed since this trace" in store.facts["missing"][field]["2"]
    store.set_state({"wanted": ["tokens_1"]})
    assert filled(store) == {"tokens_1"}


def test_a_trace_without_filters_says_why_there_are_no_views() -> None:
    trace = staged_trace()
    store = TraceStore(trace)
    assert store.facts["on_demand"] == [f"colours_{layer}" for layer in range(5)]
    missing = store.facts["missing"]
    assert missing["view"] == {str(layer): trace.why_not("view", layer) for layer in range(5)}
    assert missing["evidence"] == {str(layer): trace.why_not("evidence", layer) for layer in range(5)}
    assert all(missing["view"].values())


def test_a_head_of_too_many_classes_is_not_sent(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "LARGEST_MAP", 2 * 7 * 32 - 1)
    assert "readout" not in names_on_demand(trace)
    assert "7 classes is too large" in TraceStore(trace).facts["missing"]["evidence"]["2"]


def test_first_packets_come_with_the_store(trace: Trace) -> None:
    store = TraceStore(trace, first=["tokens_2", "q_1"])
    assert filled(store) == {"tokens_2", "q_1"}
    state = store.get_state()
    assert bytes(state["tokens_2"]) == packet(trace, "tokens_2")
    assert bytes(state["tokens_1"]) == b""


# ------------------------------------------------------------------ questions


def test_the_answer_is_exactly_the_missing_packets(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TraceStore(trace, first=["tokens_2"])
    sent: list[set[str]] = []
    monkeypatch.setattr(
        store.comm, "send", lambda data, **_: sent.append({path[0] for path in data["buffer_paths"]})
    )
    store.set_state(
        {"wanted": ["tokens_2", "mlp_1", "tokens_9", "__class__", "facts", "picture", "mlp_1", ""]}
    )
    assert filled(store) == {"tokens_2", "mlp_1"}
    assert [names for names in sent if names] == [{"mlp_1"}]  # one message, nothing twice
    store.set_state({"wanted": ["q_1", "k_1", "lse_1"]})
    assert filled(store) == {"tokens_2", "mlp_1", "q_1", "k_1", "lse_1"}
    assert [names for names in sent if names][1:] == [{"q_1", "k_1", "lse_1"}]
    for name in filled(store):
        assert bytes(getattr(store, name)) == packet(trace, name)


@pytest.mark.parametrize(
    "message",
    [
        {"wanted": {"tokens_1": 1}}, {"wanted": [1]}, {"wanted": [["tokens_1"]]},
        {"wanted": None}, {"wanted": 3}, {"wanted": [None, "tokens_1"]}, {"facts": {}},
        {"facts": {"packets": []}},
        {"picture": b"x"}, {"picture": "x"}, {"tokens_1": b"VWP1"}, {"tokens_1": memoryview(b"abc")},
        {"check": {"passed": True}}, {"check": None},
        {"_esm": ""}, {"keys": []}, {"trace": 1}, [], None, "wanted", 5,
    ],
    ids=lambda message: repr(message).split(" at ")[0],  # an address differs from run to run
)  # fmt: skip
def test_a_malformed_message_changes_nothing(trace: Trace, message: Any) -> None:
    store = TraceStore(trace, first=["tokens_0"])
    before = {
        name: getattr(store, name) for name in ("facts", "picture", "check", "wanted", "_esm", "tokens_0")
    }
    store.set_state(message)
    assert {name: getattr(store, name) for name in before} == before
    assert filled(store) == {"tokens_0"}
    store.set_state({"wanted": ["tokens_1"]})
    assert filled(store) == {"tokens_0", "tokens_1"}


def test_what_is_refused_is_sent_back(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TraceStore(trace)
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(store.comm, "send", lambda data, **_: sent.append(data["state"]))
    store.set_state({"facts": {"rows": 10**9}, "wanted": ["tokens_1"]})
    assert sent[-1]["facts"]["rows"] == 3
    assert "tokens_1" in filled(store)


# ------------------------------------------------------------------ facts


def test_facts(trace: Trace) -> None:
    facts = TraceStore(trace).facts
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    names = ("rows", "cols", "prefix", "layers", "widths", "heads", "hidden", "grids", "missing", "model")
    assert {name: facts[name] for name in names} == {
        "rows": 3, "cols": 5, "prefix": ["cls", "reg1"], "layers": 3, "widths": [32] * 4,
        "heads": [0, 2, 2, 2], "hidden": [0, 128, 128, 128], "grids": [[3, 5]] * 4, "missing": {},
        "model": "VisionTransformer",
    }  # fmt: skip
    assert (facts["original"], facts["input"]) == ([64, 40], [48, 80])
    assert (facts["patch"], facts["channels"]) == ([16, 16], 3)
    assert facts["classes"] == list(NAMES)
    assert trace.readout is not None
    assert facts["eps"] == trace.readout.eps > 0
    assert facts["box"] == pytest.approx(trace.frame.box)
    assert facts["notes"] == []
    assert facts["no_top"] is None
    logits = trace.logits.astype(float)
    order = np.argsort(-logits)[:5]
    shares = np.exp(logits) / np.exp(logits).sum()
    assert [label for label, _ in facts["top"]] == [NAMES[i] for i in order]
    assert facts["leading"] == order.tolist()
    assert [p for _, p in facts["top"]] == pytest.approx(shares[order].tolist(), rel=1e-5)


def test_facts_of_layers_that_differ() -> None:
    facts = TraceStore(staged_trace()).facts
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert (facts["rows"], facts["cols"]) == (6, 10)
    assert facts["grids"] == [[6, 10], [6, 10], [3, 5], [3, 5], [1, 2]]
    assert facts["widths"] == [8, 8, 16, 16, 24]
    assert facts["heads"] == [0, 2, 3, 3, 0]
    assert facts["hidden"] == [0, 0, 32, 32, 48]
    assert facts["missing"]["attention"] == {"4": "its attention pools"}
    assert facts["missing"]["mlp"] == {"1": "it has no MLP"}
    assert set(facts["missing"]["rollout"]) == set("1234")


def test_facts_of_a_trace_that_kept_little() -> None:
    trace = vw.Inspector(small_model()).trace(photo(), keep=("tokens",), layers=[2])
    store = TraceStore(trace)
    assert store.facts["packets"] == ["tokens_2"]
    assert set(store.facts["missing"]["tokens"]) == set("013")
    assert set(store.facts["missing"]["attention"]) == set("123")
    assert set(store.facts["missing"]["colours"]) == set("0123")  # they are those of all layers together


def test_facts_of_a_broken_trace() -> None:
    trace = broken_trace()
    facts = TraceStore(trace).facts
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [p for _, p in facts["top"]] == [None] * 5
    assert facts["notes"] == trace.notes
    assert "NaN" in facts["notes"][0]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_facts_of_one_logit_that_is_not_finite(value: float) -> None:
    model = small_model()
    with torch.no_grad():
        model.head.bias[2] = value
    facts = TraceStore(trace_of(model)).facts
    json.dumps(facts, allow_nan=False)
    assert all(p is None or 0 <= p <= 1 for _, p in facts["top"])


def test_facts_without_a_classifier() -> None:
    facts = TraceStore(trace_of(small_model(classes=0))).facts
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["top"] == []
    assert "no classifier" in facts["no_top"]


def test_fewer_classes_than_five() -> None:
    assert len(TraceStore(trace_of(small_model(classes=2))).facts["top"]) == 2


# ------------------------------------------------------------------ the check


def test_the_check_is_made_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = small_trace()
    store = TraceStore(trace)
    assert store.check is None
    store.set_state({"wanted": ["check", "tokens_1"]})
    made = trace.checked
    assert made is not None
    assert store.check == {
        "passed": True, "attention": made.worst, "logits": made.logits, "text": made.text
    }  # fmt: skip
    assert json.loads(json.dumps(store.check, allow_nan=False)) == store.check
    assert filled(store) == {"tokens_1"}
    monkeypatch.setattr(trace, "check", pytest.fail)
    store.set_state({"wanted": []})
    store.set_state({"wanted": ["check"]})  # known already
    assert TraceStore(trace).check == store.check


def test_a_check_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = small_trace()
    bad = Check(attention={1: 0.5, 2: float("inf")}, logits=float("inf"), tolerance=1e-4)
    monkeypatch.setattr(trace, "check", lambda: bad)
    store = TraceStore(trace)
    store.set_state({"wanted": ["check"]})
    assert store.check == {"passed": False, "attention": None, "logits": None, "text": bad.text}


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyError("block"), MemoryError()])
def test_a_check_that_cannot_run_says_why(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error

    trace = small_trace()
    monkeypatch.setattr(trace, "check", fail)
    store = TraceStore(trace)
    store.set_state({"wanted": ["check"]})
    assert store.check["passed"] is None
    assert store.check["text"] == (str(error) or "MemoryError")
    store.set_state({"wanted": ["tokens_1"]})
    assert filled(store) == {"tokens_1"}


def test_a_trace_without_its_model_cannot_be_checked() -> None:
    store = TraceStore(staged_trace())
    store.set_state({"wanted": ["check"]})
    assert store.check["passed"] is None
    assert "the model is not at hand" in store.check["text"]


# ------------------------------------------------------------------ picture


@pytest.mark.parametrize(
    ("size", "shown"),
    [((64, 40), (64, 40)), ((2048, 512), (1024, 256)), ((3000, 2), (1024, 1)), ((1, 1), (1, 1))],
)
def test_the_picture_is_a_file_of_the_original(size: tuple[int, int], shown: tuple[int, int]) -> None:
    store = TraceStore(trace_of(small_model(), photo(*size)))
    picture = Image.open(BytesIO(store.picture))
    assert picture.size == shown
    assert store.facts["original"] == list(size)  # the frame stays in pixels of the original


def test_a_small_drawing_arrives_exactly() -> None:
    flat = np.zeros((40, 64, 3), dtype=np.uint8)
    flat[10:20, 30:50] = (200, 30, 90)
    store = TraceStore(trace_of(small_model(), flat))
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(store.picture)).convert("RGB")), flat)


# ------------------------------------------------------------------ sharing and closing


def test_one_store_per_trace(trace: Trace) -> None:
    store = TraceStore.of(trace, first=["tokens_1"])
    assert TraceStore.of(trace, first=["tokens_2"]) is store
    assert filled(store) == {"tokens_1"}
    assert TraceStore.of(small_trace()) is not store


def test_the_last_user_closes_the_store(trace: Trace) -> None:
    store, users = TraceStore.of(trace), [object(), object()]
    for user in users:
        store.hold(user)
    store.release(users[0])
    assert store.comm is not None
    store.release(users[0])  # again: nothing happens
    assert store.comm is not None
    store.release(users[1])
    assert store.comm is None
    assert TraceStore.of(trace) is not store


def test_closing_an_old_store_leaves_the_new_one(trace: Trace) -> None:
    old = TraceStore.of(trace)
    old.close()
    new = TraceStore.of(trace)
    old.close()
    assert TraceStore.of(trace) is new


def test_a_closed_store_frees_the_trace_and_its_bytes() -> None:
    trace = small_trace()
    store = TraceStore.of(trace, first=["tokens_1"])
    gone = weakref.ref(trace), weakref.ref(store)
    store.close()
    del trace, store
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_unknown_first_packet_leaves_no_widget_behind(trace: Trace) -> None:
    before = set(_instances)
    with pytest.raises(KeyError):
        TraceStore.of(trace, first=["lens_3"])
    gc.collect()
    assert set(_instances) == before
