"""The perturbation lab without a page: what its traits do, take and refuse; the model stays itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import traitlets as t
from small_traces import NAMES, photo, small_model

from vitwidgets import perturb
from vitwidgets.inspector import Inspector
from vitwidgets.interventions import Ablation, Transplant
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.explorer import Explorer
from vitwidgets.widgets.pair import LeanStore
from vitwidgets.widgets.perturb_lab import PerturbLab


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector(small_model(), class_names=NAMES)


@pytest.fixture
def lab(inspector: Inspector) -> Iterator[PerturbLab]:
    lab = PerturbLab(inspector, photo(), donor=photo(seed=1))
    yield lab
    lab.close()


def by_hand(lab: PerturbLab, hidden: Any, **how: Any) -> np.ndarray:
    """The logits of an input that was changed here, by the model itself."""
    changed = perturb.occlude(lab.input, hidden, **how)
    with torch.no_grad():
        return np.asarray(lab.inspector.model(changed.pixels[None])[0])


def test_at_first_nothing_is_perturbed_and_nothing_runs(lab: PerturbLab) -> None:
    assert lab.after is lab.before
    assert lab.progress is None
    assert not lab._runs.busy
    assert (lab.result["change"] == 0).all()


@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_painted_patches_are_hidden(lab: PerturbLab, fill: Any) -> None:
    lab.fill = fill
    lab.patches = [7, 3, 3]
    lab.wait(20)
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, [3, 7], fill=fill), atol=1e-5)
    assert lab.cursor.patches == [3, 7]


def test_what_the_cursor_selects_is_painted(lab: PerturbLab) -> None:
    lab.cursor.patches = [0, 14]
    lab.wait(20)
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, [0, 14]), atol=1e-5)


def test_painting_nothing_gives_back_the_original(lab: PerturbLab) -> None:
    lab.patches = [1]
    lab.wait(20)
    lab.patches = []
    assert lab.after is lab.before
    assert lab.other is lab.store


@pytest.mark.parametrize("mode", ["random", "salient", "non_salient"])
def test_modes_hide_a_share_of_the_patches(lab: PerturbLab, mode: Any) -> None:
    lab.patches, lab.seed, lab.rate, lab.mode = [0], 4, 0.4, mode
    lab.wait(20)
    hidden = perturb.select(lab.input, mode, 0.4, salience=perturb.rollout_salience(lab.before), seed=4)
    assert len(hidden) == 6
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, hidden), atol=1e-5)


def test_a_salience_of_ones_own(inspector: Inspector) -> None:
    salience = np.arange(15.0).reshape(3, 5)
    lab = PerturbLab(inspector, photo(), salience=salience, mode="salient", rate=0.2)
    lab.wait(20)
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, [12, 13, 14]), atol=1e-5)
    with pytest.raises(ValueError, match="shape"):
        PerturbLab(inspector, photo(), salience=salience.T)


def test_shuffling_comes_after_hiding(lab: PerturbLab) -> None:
    lab.patches, lab.grid, lab.seed = [0], 4, 2
    lab.wait(20)
    expected = perturb.shuffle(perturb.occlude(lab.input, [0]), grid=4, seed=2)
    np.testing.assert_array_equal(lab.after.pixels, expected.pixels.permute(1, 2, 0).numpy())


def test_interventions_are_those_of_the_inspector(lab: PerturbLab) -> None:
    donor = lab.inspector.trace(photo(seed=1))
    lab.interventions = [Ablation(2, neuron=5), Transplant(donor, 1, tokens=["cls"])]
    lab.wait(20)
    expected = lab.inspector.trace(lab.input, ablate=lab.interventions[0], patch_from=lab.interventions[1])
    np.testing.assert_array_equal(lab.after.logits, expected.logits)
    assert not np.allclose(lab.after.logits, lab.before.logits)


def test_interventions_cross_to_the_page_and_back(lab: PerturbLab) -> None:
    own = lab.inspector.trace(photo(seed=2))
    lab.interventions = [
        Ablation(2, unit=100, fill="mean"), Ablation(0, token="reg1"), Ablation(3, head=1),
        Transplant(own, 3), Transplant(lab._sources[0], 1, tokens=[4, "cls"]), Transplant(own, 2, head=1),
        Ablation(1, token=(1, 2)),
    ]  # fmt: skip
    told = lab.get_state("interventions")["interventions"]
    assert [one["text"] for one in told] == [str(one) for one in lab.interventions]
    before = list(lab.interventions)
    lab.set_state({"interventions": told[1:]})
    after = lab.interventions
    assert after[:2] == before[1:3]
    assert [one.source for one in after[2:5]] == [own, lab._sources[0], own]
    assert after[3].tokens == [4, "cls"]
    assert after[4].head == 1
    assert after[5] == before[6]


@pytest.mark.parametrize(
    "told",
    [
        [{"layer": 9, "neuron": 1}], [{"layer": 1, "neuron": 32}], [{"layer": 1, "head": 2}],
        [{"layer": 1, "unit": 128}], [{"layer": 1, "token": 15}], [{"layer": 1, "token": "nobody"}],
        [{"layer": 1}], [{"layer": 1, "neuron": 1, "head": 1}], [{"layer": True, "neuron": 1}],
        [{"layer": 1, "source": 9}], [{"layer": 1, "neuron": 1, "fill": "noise"}], [{"nonsense": 1}],
        ["text"], 5, None, [None], [{"layer": 0, "head": 0}], [{"layer": 1, "neuron": "1"}],
    ],
)  # fmt: skip
def test_interventions_that_are_none_are_refused(lab: PerturbLab, told: Any) -> None:
    lab.interventions = [Ablation(1, neuron=3)]
    lab.set_state({"interventions": told})
    assert lab.interventions == [Ablation(1, neuron=3)]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("mode", "all", "painted"), ("fill", "red", "black"), ("rate", 1.1, "1.1"), ("rate", -0.1, "-0.1"),
        ("rate", float("nan"), "NaN"), ("seed", -1, "-1"), ("seed", 1.5, "int"), ("grid", 3, "1, 2, 4, 8"),
        ("patches", [15], "patches 0..14"), ("interventions", ["neuron 3"], "Ablation"),
        ("interventions", [Ablation(4, neuron=0)], "layers 0..3"),
    ],
)  # fmt: skip
def test_what_a_trait_does_not_take(lab: PerturbLab, name: str, value: Any, says: str) -> None:
    before = getattr(lab, name)
    with pytest.raises(t.TraitError, match=says.replace(".", r"\.")):
        setattr(lab, name, value)
    assert getattr(lab, name) == before


@pytest.mark.parametrize(
    "name", ["grids", "progress", "problem", "comparison", "other", "titles", "has_donor"]
)
def test_the_page_cannot_set_what_is_the_kernels(lab: PerturbLab, name: str) -> None:
    before = getattr(lab, name)
    lab.set_state({name: [1]})
    assert getattr(lab, name) == before


def test_the_last_state_wins_and_no_queue_builds_up(lab: PerturbLab, monkeypatch: Any) -> None:
    passes = []
    trace = lab.inspector.trace

    def counted(image: Any, **options: Any) -> Any:
        passes.append(image)
        return trace(image, **options)

    monkeypatch.setattr(lab.inspector, "trace", counted)
    for count in range(1, 15):
        lab.patches = list(range(count))
        time.sleep(0.004)
    lab.wait(20)
    assert len(passes) <= 4
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, range(14)), atol=1e-5)


def test_the_same_state_is_not_run_twice(lab: PerturbLab) -> None:
    lab.patches = [2]
    lab.wait(20)
    after = lab.after
    lab.rate = 0.9  # has no say while patches are painted
    lab.wait(20)
    assert lab.after is after


def test_a_run_that_fails_is_told_and_the_next_goes_on(lab: PerturbLab, monkeypatch: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lab.inspector, "trace", fail)
        lab.patches = [2]
        with pytest.raises(MemoryError, match="too large"):
            lab.wait(20)
    assert lab.problem == "too large"
    assert lab.progress is None
    lab.patches = [3]
    lab.wait(20)
    assert lab.problem == ""
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, [3]), atol=1e-5)


def fail(*_: Any, **__: Any) -> None:
    raise MemoryError("too large")


def test_the_result_is_the_difference_of_the_predictions(lab: PerturbLab) -> None:
    lab.patches = [4, 5, 6]
    lab.wait(20)
    result = lab.result
    order = np.argsort(-lab.before.probabilities)
    assert list(result.index) == [NAMES[number] for number in order]
    logits = by_hand(lab, [4, 5, 6])
    np.testing.assert_allclose(result["logit_change"], (logits - lab.before.logits)[order], atol=1e-5)
    p = np.exp(logits - logits.max())
    np.testing.assert_allclose(result["after"], (p / p.sum())[order], atol=1e-6)
    rows = {name: numbers for name, *numbers in lab.comparison}
    for name, (p_before, p_after, z_before, z_after) in rows.items():
        row = result.loc[name]
        assert (p_before, p_after) == pytest.approx((row["before"], row["after"]))
        assert (z_before, z_after) == pytest.approx((row["logit_before"], row["logit_after"]))
    assert result["after"].idxmax() in rows


def test_a_model_without_classes_has_no_result() -> None:
    lab = PerturbLab(Inspector(small_model(classes=0)), photo(), patches=[3])
    lab.wait(20)
    assert lab.after is not lab.before
    assert lab.comparison == []
    assert lab.result.empty


def test_without_a_rollout_salient_says_why_and_random_works(inspector: Inspector, monkeypatch: Any) -> None:
    lab = PerturbLab(inspector, photo())

    def no_rollout(_trace: Any) -> None:
        raise ValueError("no rollout: the grids differ")

    monkeypatch.setattr(perturb, "rollout_salience", no_rollout)
    lab.mode = "salient"
    with pytest.raises(ValueError, match="the grids differ"):
        lab.wait(20)
    assert "the grids differ" in lab.problem
    lab.mode = "random"
    lab.wait(20)
    assert lab.problem == ""


def test_the_model_is_never_modified(lab: PerturbLab) -> None:
    weights = {name: value.clone() for name, value in lab.inspector.model.state_dict().items()}
    lab.interventions = [Ablation(1, neuron=2), Ablation(2, head=0), Ablation(2, unit=4)]
    lab.wait(20)
    for name, value in lab.inspector.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in lab.inspector.model.modules())
    with torch.no_grad():
        logits = lab.inspector.model(lab.input.pixels[None])[0].numpy()
    np.testing.assert_array_equal(logits, lab.before.logits)


def test_traits_given_at_the_start(inspector: Inspector) -> None:
    cursor = Cursor(layer=2)
    lab = PerturbLab(inspector, photo(), cursor=cursor, mode="random", rate=1, seed=3, fill="mean", token=4)
    lab.wait(20)
    assert (cursor.layer, cursor.token) == (2, 4)
    np.testing.assert_allclose(lab.after.logits, by_hand(lab, range(15), fill="mean"), atol=1e-5)
    with pytest.raises(TypeError, match="did you mean 'fill'"):
        PerturbLab(inspector, photo(), fil="mean")


def test_a_donor_of_another_size_is_refused(inspector: Inspector) -> None:
    other = Inspector(small_model(size=(32, 32))).trace(photo())
    with pytest.raises(ValueError, match="2 x 2 patches"):
        PerturbLab(inspector, photo(), donor=other)


def test_after_can_be_observed(lab: PerturbLab) -> None:
    seen: list[Any] = []
    lab.observe(lambda change: seen.append(change["new"]), "after")
    lab.patches = [2]
    lab.wait(20)
    assert seen == [lab.after]


def test_stores_of_old_runs_are_closed(lab: PerturbLab) -> None:
    stores = []
    for patch in range(4):
        lab.patches = [patch]
        lab.wait(20)
        stores.append(lab.other)
    assert [store.comm is None for store in stores] == [True, True, False, False]
    assert isinstance(lab.other, LeanStore)
    assert lab.store.comm is not None
    lab.close()
    assert all(store.comm is None for store in stores)
    assert lab.store.comm is None


def test_a_replaced_run_sends_only_what_is_shown(lab: PerturbLab) -> None:
    lab.layer, lab.overlay = 2, "attention_from"
    lab.patches = [1]
    lab.wait(20)
    sent = {
        name
        for name in lab.other.trait_names()
        if name in lab.other.facts["on_demand"] and getattr(lab.other, name)
    }
    assert sent == {"tokens_2", "q_2", "k_2", "lse_2"}
    assert lab.other.facts["packets"] == []


def test_another_panel_on_the_perturbed_trace_has_a_store_of_its_own(lab: PerturbLab) -> None:
    lab.patches = [1]
    lab.wait(20)
    explorer = Explorer(lab.after)
    assert explorer.store is not lab.other
    assert "tokens_0" in explorer.store.facts["packets"]
    lab.close()
    assert explorer.store.comm is not None


def test_closing_cancels(lab: PerturbLab, monkeypatch: Any) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(lab.inspector, "trace", until_cancelled(ended))
    lab.patches = [1]
    end = time.monotonic() + 5
    while lab.progress is None and time.monotonic() < end:
        time.sleep(0.005)
    lab.close()
    while not ended and time.monotonic() < end:
        time.sleep(0.005)
    assert ended == [True]
    assert lab.after is lab.before


def until_cancelled(ended: list[bool]) -> Callable[..., None]:
    def trace(_image: Any, *, cancelled: Callable[[], bool], **_: Any) -> None:
        while not cancelled():
            time.sleep(0.002)
        ended.append(True)

    return trace


def test_waiting_has_a_limit(lab: PerturbLab, monkeypatch: Any) -> None:
    monkeypatch.setattr(lab.inspector, "trace", until_cancelled([]))
    lab.patches = [1]
    with pytest.raises(TimeoutError, match="within"):
        lab.wait(0.1)


def test_the_still_picture_shows_both_sides(lab: PerturbLab) -> None:
    lab.overlay, lab.opacity = "none", 0
    lab.patches = list(range(15))
    lab.wait(20)
    picture = np.asarray(lab.still(width=1000)).astype(float)
    left, right = picture[180:220, 30:180], picture[180:220, 540:690]
    assert left.mean() > 80  # noise
    assert right.mean() < 60  # black, but for the grid
    assert lab.still(width=400).width == 400


def test_offline_sends_what_the_perturbed_side_shows(inspector: Inspector) -> None:
    lab = PerturbLab(inspector, photo(), offline=True, mode="random", rate=0.5)
    lab.wait(30)
    assert lab.other.trace is lab.after is not lab.before
    for store in (lab.store, lab.other):
        names = [*store.facts["packets"], *store.facts["on_demand"]]
        assert [name for name in names if not getattr(store, name)] == []
    lab.close()
