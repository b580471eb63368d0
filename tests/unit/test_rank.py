from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from scipy.stats import zscore
from sklearn.metrics import roc_auc_score
from small_traces import broken_trace, photo, small_model, staged_trace, trace_of

from vitwidgets.analysis.filters import order
from vitwidgets.analysis.neurons import Ranking, auc, contrast, rank, strongest_contrast
from vitwidgets.trace import Trace

CHOSEN = [1, 6, 7, 12]


def patch_tokens(trace: Trace, layer: int, space: str = "residual") -> np.ndarray:
    return (trace.mlp(layer) if space == "mlp" else trace.layer(layer))[len(trace.prefix) :]


def inside(patches: list[int], count: int = 15) -> np.ndarray:
    return np.isin(np.arange(count), patches)


# ---------------------------------------------------------------------------- AUC


@pytest.mark.parametrize("levels", [1, 2, 4, 1000], ids=lambda levels: f"{levels} levels")
@pytest.mark.parametrize("chosen", [1, 5, 29])
def test_auc_against_sklearn(levels: int, chosen: int) -> None:
    random = np.random.default_rng(levels)
    values = random.integers(0, levels, size=(30, 21)).astype(np.float32) - levels / 2
    values[random.random(values.shape) < 0.1] = -0.0
    mask = random.permutation(30) < chosen
    expected = [roc_auc_score(mask, column) for column in values.T]
    np.testing.assert_allclose(auc(values, mask), expected, atol=1e-12)


def test_auc_is_the_share_of_pairs_that_it_orders() -> None:
    values = np.array([[3.0], [1.0], [1.0], [0.0]])
    # 3 beats both of the rest; 1 ties with one and beats the other
    assert auc(values, np.array([True, True, False, False])) == pytest.approx([(1 + 1 + 0.5 + 1) / 4])


def test_auc_of_what_is_not_finite() -> None:
    values = np.array([[1.0, np.inf, np.nan], [0.0, 2.0, 1.0], [-np.inf, 1.0, 5.0]])
    found = auc(values, np.array([True, False, False]))
    assert found[:2].tolist() == [1, 1]
    assert np.isnan(found[2])


def test_auc_of_bad_arguments() -> None:
    values = np.zeros((4, 2))
    for chosen in ([False] * 4, [True] * 4):
        with pytest.raises(ValueError, match=r"leave at least one; got [04] of 4"):
            auc(values, chosen)
    with pytest.raises(ValueError, match=r"boolean with shape \(4,\)"):
        auc(values, [True, False])
    with pytest.raises(ValueError, match="got int64"):
        auc(values, np.arange(4))
    with pytest.raises(ValueError, match=r"\(N, F\)"):
        auc(values[0], [True, False])


def test_strongest_contrast_is_that_of_the_most_outstanding_token() -> None:
    values = np.random.default_rng(5).normal(2, 3, size=(17, 40))
    values[:, 7] = 0.1
    every = np.stack([contrast(values, [token]) for token in range(17)])
    expected = every[np.abs(every).argmax(axis=0), np.arange(40)]
    np.testing.assert_allclose(strongest_contrast(values), expected, atol=1e-6)
    assert strongest_contrast(values)[7] == 0
    values[3, 2] = np.nan
    assert np.isnan(strongest_contrast(values)).tolist() == [number == 2 for number in range(40)]
    with pytest.raises(ValueError, match="no token"):
        strongest_contrast(values[:0])


# ---------------------------------------------------------------------------- one image


@pytest.mark.parametrize(
    ("layer", "space"), [(0, "residual"), (2, "residual"), (3, "residual"), (1, "mlp"), (3, "mlp")]
)
def test_ranks_by_auc(trace: Trace, layer: int, space: Any) -> None:
    found = rank(trace, CHOSEN, layer=layer, space=space)
    values = patch_tokens(trace, layer, space)
    expected = np.array([roc_auc_score(inside(CHOSEN), column) for column in values.T])
    assert found.auc is not None
    assert sorted(found.neurons) == list(range(values.shape[1]))
    np.testing.assert_allclose(found.auc, expected[found.neurons], atol=1e-12)
    np.testing.assert_allclose(found.scores, np.abs(2 * found.auc - 1), atol=1e-12)
    np.testing.assert_array_equal(found.sign, np.sign(found.auc - 0.5))
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_array_equal(found.by_image, found.auc[None])
    assert (found.how, found.layer, found.space, found.width) == ("auc", layer, space, values.shape[1])


def test_a_planted_neuron_is_first_with_its_sign(monkeypatch: pytest.MonkeyPatch, trace: Trace) -> None:
    planted = trace.layer(2).copy()
    planted[2:, 9] = np.where(inside(CHOSEN), -50, 50)
    planted[2:, 20] = np.where(inside(CHOSEN), 0.2, 0.1)
    planted[:2] = 0  # prefix tokens do not count
    monkeypatch.setattr(trace, "layer", lambda _: planted)
    found = rank(trace, CHOSEN, layer=2, top=2)
    assert found.neurons.tolist() == [9, 20]
    assert found.sign.tolist() == [-1, 1]
    assert found.scores.tolist() == [1, 1]


def test_three_ways_to_say_the_same_choice(trace: Trace) -> None:
    mask = inside(CHOSEN).reshape(3, 5)
    expected = rank(trace, CHOSEN)
    choices: list[Any] = [
        mask,
        np.array(CHOSEN),
        tuple(CHOSEN),
        [*CHOSEN, CHOSEN[0]],
        [(0, 1), (1, 1), (1, 2), (2, 2)],
    ]
    for choice in choices:
        found = rank(trace, choice)
        np.testing.assert_array_equal(found.neurons, expected.neurons)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_the_default_is_the_last_layer(trace: Trace) -> None:
    assert rank(trace, CHOSEN).layer == 3
    np.testing.assert_array_equal(rank(trace, CHOSEN).scores, rank(trace, CHOSEN, layer=3).scores)


def test_top_keeps_the_first(trace: Trace) -> None:
    whole, top = rank(trace, CHOSEN), rank(trace, CHOSEN, top=5)
    assert len(top) == 5
    np.testing.assert_array_equal(top.neurons, whole.neurons[:5])
    np.testing.assert_array_equal(top.by_image, whole.by_image[:, :5])
    assert len(rank(trace, CHOSEN, top=1000)) == trace.width


def test_scores_by_number_sort_the_filters(trace: Trace) -> None:
    whole = rank(trace, CHOSEN)
    bank = np.zeros((trace.width, 16, 16, 3))
    np.testing.assert_array_equal(order(bank, "separation", scores=whole.by_number()), whole.neurons)
    top = rank(trace, CHOSEN, top=5)
    assert np.isfinite(top.by_number()).sum() == 5
    np.testing.assert_array_equal(top.by_number()[top.neurons], top.scores)


def test_without_a_choice_by_contrast(trace: Trace) -> None:
    found = rank(trace, layer=2)
    scores = zscore(patch_tokens(trace, 2).astype(np.float64), axis=0)
    assert found.how == "contrast"
    assert found.auc is None
    np.testing.assert_allclose(found.by_number(), np.abs(scores).max(axis=0), atol=1e-6)
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(trace.width)]
    np.testing.assert_array_equal(found.sign, np.sign(largest)[found.neurons])
    np.testing.assert_allclose(found.by_image[0], largest[found.neurons], atol=1e-6)


def test_a_coarser_layer_takes_the_cells_under_the_patches() -> None:
    trace = staged_trace()
    found = rank(trace, [0, 1, 10, 13], layer=3, space="residual")
    # 6 x 10 patches become 3 x 5 cells: patches 0, 1 and 10 lie in cell 0, patch 13 in cell 1
    expected = auc(patch_tokens(trace, 3), inside([0, 1]))
    np.testing.assert_allclose(found.by_number(), np.abs(2 * expected - 1), atol=1e-12)
    assert "2 of 15 patches" in repr(found)
    with pytest.raises(ValueError, match="these at layer 4 cover all 2"):
        rank(trace, [0, 9], layer=4)


def test_neurons_that_are_not_finite_stand_last() -> None:
    trace = broken_trace()
    assert not np.isfinite(patch_tokens(trace, 1)).all()
    assert np.isfinite(rank(trace, CHOSEN, layer=1).scores[:20]).all()
    broken = rank(trace, CHOSEN, layer=3)
    assert np.isnan(broken.scores).all()
    assert not broken.sign.any()
    assert rank(trace, layer=1).neurons[-1] == 5


# ---------------------------------------------------------------------------- several images


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    model = small_model()
    return [trace_of(model, photo(seed=seed)) for seed in range(3)]


CHOICES: list[Any] = [CHOSEN, [0, 14], inside([3, 4, 8, 9]).reshape(3, 5)]


def test_several_images_are_judged_one_by_one(traces: list[Trace]) -> None:
    found = rank(traces, CHOICES, layer=2)
    assert found.by_image.shape == (3, traces[0].width)
    for image, (trace, choice) in enumerate(zip(traces, CHOICES, strict=True)):
        alone = rank(trace, choice, layer=2)
        assert alone.auc is not None
        expected = dict(zip(alone.neurons, alone.auc, strict=True))
        assert found.by_image[image].tolist() == [expected[neuron] for neuron in found.neurons]
    assert found.auc is not None
    np.testing.assert_allclose(found.auc, found.by_image.mean(axis=0))
    np.testing.assert_allclose(found.scores, np.abs(2 * found.by_image.mean(axis=0) - 1), atol=1e-12)


def test_a_neuron_that_turns_round_does_not_tell_but_is_shown(
    traces: list[Trace], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = [inside(CHOSEN), ~inside(CHOSEN)]
    for trace, mask in zip(traces, masks, strict=False):
        planted = np.zeros((17, 3))
        planted[2:, 1] = inside(CHOSEN)
        planted[2:, 2] = mask
        monkeypatch.setattr(trace, "layer", lambda _, values=planted: values)
    found = rank(traces[:2], [mask.reshape(3, 5) for mask in masks])
    assert found.neurons.tolist() == [2, 0, 1]
    assert found.scores.tolist() == [1, 0, 0]
    assert found.by_image.tolist() == [[1, 0.5, 1], [1, 0.5, 0]]


def test_several_images_by_contrast(traces: list[Trace]) -> None:
    found = rank(traces, layer=1, space="mlp")
    expected = np.stack([strongest_contrast(patch_tokens(trace, 1, "mlp")) for trace in traces])
    np.testing.assert_array_equal(found.by_image, expected[:, found.neurons])
    np.testing.assert_allclose(found.scores, np.abs(expected.mean(axis=0))[found.neurons])


def test_a_list_of_one_is_a_list(traces: list[Trace]) -> None:
    np.testing.assert_array_equal(rank(traces[:1], [CHOSEN]).scores, rank(traces[0], CHOSEN).scores)


# ---------------------------------------------------------------------------- reading it


def test_repr(trace: Trace) -> None:
    lines = repr(rank(trace, CHOSEN, layer=2, space="mlp")).splitlines()
    assert lines[0] == "Ranking by AUC: 4 of 15 patches, layer 2, 128 of 128 MLP neurons"
    assert lines[1].split() == ["neuron", "score", "auc", "sign"]
    assert len(lines) == 13
    assert lines[-1].split() == ["..."]
    assert len({len(line) for line in lines[1:-1]}) == 1
    number, score, area, sign = lines[2].split()
    best = rank(trace, CHOSEN, layer=2, space="mlp", top=1)
    assert best.auc is not None
    assert (int(number), score, area) == (best.neurons[0], f"{best.scores[0]:.3f}", f"{best.auc[0]:.3f}")
    assert sign == "-0+"[best.sign[0] + 1]


def test_repr_of_several_images_and_of_contrast(traces: list[Trace]) -> None:
    lines = repr(rank(traces, CHOICES, layer=0, top=3)).splitlines()
    assert lines[0] == "Ranking by AUC: 10 of 45 patches in 3 images, layer 0, 3 of 32 neurons"
    assert lines[1].endswith("image 0  image 1  image 2")
    assert len(lines) == 5
    assert repr(rank(traces[0])).startswith(
        "Ranking by contrast: all 15 patches, layer 3, 32 of 32 neurons\n"
    )


def test_frame(traces: list[Trace]) -> None:
    found = rank(traces, CHOICES, layer=2, top=4)
    frame = found.frame()
    assert list(frame.columns) == ["neuron", "score", "auc", "sign", "image 0", "image 1", "image 2"]
    assert frame["neuron"].tolist() == found.neurons.tolist()
    np.testing.assert_array_equal(frame["image 1"], found.by_image[1])
    assert list(rank(traces[0]).frame().columns) == ["neuron", "score", "sign"]


def test_frame_without_pandas(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Ranking = rank(trace, CHOSEN)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        found.frame()


# ---------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "nothing", [[], np.zeros((3, 5), bool), np.array([], int)], ids=["list", "mask", "array"]
)
def test_nothing_chosen(trace: Trace, nothing: Any) -> None:
    with pytest.raises(ValueError, match="choose at least one patch"):
        rank(trace, nothing)


@pytest.mark.parametrize("everything", [range(15), np.ones((3, 5), bool)], ids=["range", "mask"])
def test_everything_chosen(trace: Trace, everything: Any) -> None:
    with pytest.raises(ValueError, match="these are all 15"):
        rank(trace, everything)


@pytest.mark.parametrize("patch", [15, -1, (3, 0)])
def test_patch_out_of_range(trace: Trace, patch: Any) -> None:
    with pytest.raises(IndexError, match=r"out of range; give a patch index 0\.\.14"):
        rank(trace, [0, patch])


@pytest.mark.parametrize("mask", [np.ones((5, 3), bool), np.zeros(15, bool)], ids=["turned", "flat"])
def test_mask_of_another_size(trace: Trace, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"patch grid's shape \(3, 5\), got"):
        rank(trace, mask)


def test_what_is_no_choice(trace: Trace) -> None:
    wrong: list[Any] = [3, "cls", [0.5], [True, False]]
    for choice in wrong:
        with pytest.raises(TypeError, match=r"patches must be a list|is no token"):
            rank(trace, choice)
    prefix: Any = ["cls"]
    with pytest.raises(TypeError, match="'cls' is no patch: give patch indices"):
        rank(trace, prefix)


def test_layer_out_of_range(trace: Trace) -> None:
    for layer in (-1, 4):
        with pytest.raises(IndexError, match=r"out of range 0\.\.3"):
            rank(trace, CHOSEN, layer=layer)
    with pytest.raises(IndexError, match="no MLP yet"):
        rank(trace, CHOSEN, layer=0, space="mlp")
    with pytest.raises(ValueError, match="it has no MLP"):
        rank(staged_trace(), CHOSEN, layer=1, space="mlp")


def test_choices_that_do_not_fit_the_traces(traces: list[Trace]) -> None:
    wrong: list[Any] = [[CHOSEN], [*CHOICES, CHOSEN], inside(CHOSEN).reshape(3, 5)]
    for choices, got in zip(wrong, ["1", "4", "ndarray"], strict=True):
        with pytest.raises(
            ValueError, match=f"a list of 3 choices of patches, one for each trace; got {got}"
        ):
            rank(traces, choices)
    with pytest.raises(ValueError, match="no trace"):
        rank([])
    other = trace_of(small_model(width=48))
    with pytest.raises(ValueError, match=r"one model; layer 3 has \[32, 48\] neurons"):
        rank([traces[0], other])


def test_bad_options(trace: Trace) -> None:
    with pytest.raises(ValueError, match="one of residual, mlp; got 'heads'"):
        rank(trace, CHOSEN, space="heads")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top must be at least 1, got 0"):
        rank(trace, CHOSEN, top=0)
