"""What no honest front end sends: Python keeps valid values, the page follows, the widget stays alive."""

from __future__ import annotations

from typing import Any

import pytest
from browser.models import in_page, send, set_in_page
from browser.workbench import Workbench

HUGE = 10**18
ABSURD: dict[str, list[Any]] = {
    "layer": ["abc", -1, 5, HUGE, 1e300, 2.5, None, True, [1], {}],
    "token": [[[1]], "nobody", -1, 60, HUGE, 0.5, True, {"row": 1}],
    "head": [3, -1, "x", 1.5, [0]],
    "neuron": [-1, 48, HUGE, "x", None, [0]],
    "neuron_space": ["elsewhere", None, 5, []],
    "patches": ["x", 3, None, [60], [-1], ["a"], [None], [[1]], [1.5], {"0": 1}, [HUGE]],
    "overlay": ["everything", None, 7, ["none"]],
}
ABSURD_LOOK: dict[str, list[Any]] = {
    "opacity": ["x", 5, -1, None, [0.5], HUGE],
    "smooth": ["yes", None, 3, []],
    "store": ["", None, 7, "anywidget:nothing"],
    "cursor": ["", None, 7, "anywidget:nothing"],
}
ABSURD_STORE: dict[str, list[Any]] = {
    "wanted": ["x", [1, 2], None, ["../../etc/passwd", "tokens_99", "facts"], [["tokens_1"]]],
    "facts": [{}, None, "x", {"rows": -1}],
    "tokens_2": ["x", None, 3],
    "picture": ["x", None],
}
MESSAGES: list[Any] = [
    {"method": "update"},
    {"method": "update", "state": None},
    {"method": "update", "state": [1, 2]},
    {"method": "update", "state": {"bogus": 1, "trace": 2, "__class__": 3}},
    {"method": "update", "state": {"layer": {}}, "buffer_paths": [["layer", "deep", 0]]},
    {"method": "update", "state": {"comm": None, "keys": []}, "buffer_paths": []},
    {"method": "nonsense"},
    {"method": "custom", "content": None},
    {"method": "custom", "content": {"kind": "anywidget-command", "name": "close"}},
    {},
]


def check_alive(bench: Workbench) -> None:
    """Fail unless a click still pins, and every region follows."""
    bench.reset()
    bench.click(42)
    bench.python(token=42)
    bench.check_image()
    bench.head("1").click()
    bench.python(head=1, overlay="attention_from")
    bench.check_image()
    bench.lab.settle()
    assert bench.neurons.locator(".vw-count").inner_text().startswith("what sets patch 42")
    bench.page.mouse.click(*bench.layer_place(2))
    bench.python(layer=2)
    assert bench.shown_layer() == 2


@pytest.mark.parametrize("trait", ABSURD)
def test_absurd_points(bench: Workbench, trait: str) -> None:
    lab = bench.lab
    cursor = lab.value("explorer.cursor.model_id")
    before = lab.value(f"explorer.{trait}")
    for value in ABSURD[trait]:
        set_in_page(lab, cursor, {trait: value})
        bench.python(**{trait: before})
        assert lab.value(f"explorer.cursor.{trait}") == before
        wait_in_page(bench, cursor, trait, before)
    bench.check_image()
    check_alive(bench)


def test_one_absurd_value_among_good_ones(bench: Workbench) -> None:
    cursor = bench.lab.value("explorer.cursor.model_id")
    set_in_page(
        bench.lab, cursor, {"layer": 1, "token": "nobody", "patches": [5, 5, 2], "overlay": "rollout"}
    )
    bench.python(layer=1, token=24, patches=[2, 5], overlay="rollout")
    wait_in_page(bench, cursor, "patches", [2, 5])
    wait_in_page(bench, cursor, "token", 24)
    bench.check_image()


@pytest.mark.parametrize("trait", ABSURD_LOOK)
def test_absurd_traits_of_the_panel(bench: Workbench, trait: str) -> None:
    lab = bench.lab
    panel = lab.value("explorer.model_id")
    shown = {"opacity": "explorer.opacity", "smooth": "explorer.smooth"}
    expression = shown.get(trait, f"explorer.{trait}.model_id")
    before, in_model = lab.value(expression), in_page(lab, panel, trait)
    for value in ABSURD_LOOK[trait]:
        set_in_page(lab, panel, {trait: value})
        lab.wait_value(expression, before)
        wait_in_page(bench, panel, trait, in_model)
    check_alive(bench)


@pytest.mark.parametrize("trait", ABSURD_STORE)
def test_absurd_traits_of_the_store(bench: Workbench, trait: str) -> None:
    lab = bench.lab
    store = lab.value("explorer.store.model_id")
    digest = (
        "__import__('hashlib').sha256(repr([getattr(explorer.store, name) for name in "
        "['facts', 'picture', *explorer.store.facts['packets']]]).encode()).hexdigest()"
    )
    before = lab.value(digest)
    for value in ABSURD_STORE[trait]:
        set_in_page(lab, store, {trait: value})
        lab.wait_value(digest, before)
    check_alive(bench)


def test_messages_that_are_none(bench: Workbench) -> None:
    lab = bench.lab
    state = "{name: getattr(explorer, name) for name in START}"
    before = lab.value(state)
    for owner in ("explorer", "explorer.cursor", "explorer.store"):
        model = lab.value(f"{owner}.model_id")
        for message in MESSAGES:
            send(lab, model, message)
    lab.settle()
    assert lab.value(state) == before
    check_alive(bench)


def wait_in_page(bench: Workbench, model: str, trait: str, expected: object) -> None:
    """Wait until the page's model has a value again: the kernel's answer to one that it refused."""
    for _ in range(100):
        if (value := in_page(bench.lab, model, trait)) == expected:
            return
        bench.page.wait_for_timeout(50)
    raise AssertionError(f"the page's {trait} stays {value!r}, in Python it is {expected!r}")
