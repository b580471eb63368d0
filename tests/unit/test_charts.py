"""Charts: their numbers against plain loops, and the cursor that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from small_traces import NAMES, photo, small_model, small_trace, staged_trace

from vitwidgets import charts, perturb, plot
from vitwidgets.analysis.grouping import MEASURES
from vitwidgets.inspector import Inspector
from vitwidgets.study.grouping_study import GroupingStudy
from vitwidgets.trace import Trace
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.perturb_lab import PerturbLab

RATES = (0, 0.3, 0.7, 1)


@pytest.fixture(scope="module")
def inspector() -> Inspector:
    return Inspector(small_model(), class_names=NAMES)


@pytest.fixture(scope="module")
def trace() -> Trace:
    return small_trace()


@pytest.fixture(scope="module")
def curve(inspector: Inspector) -> Iterator[charts.RateCurve]:
    curve = charts.RateCurve(inspector, photo(), rates=RATES, seeds=3, batch=4)
    curve.wait(30)
    yield curve
    curve.close()


def test_every_point_is_the_models_own_probability(inspector: Inspector, curve: charts.RateCurve) -> None:
    x = inspector.input(photo())
    before = inspector.trace(x)
    target = int(before.logits.argmax())
    assert len(curve.data) == 3 * 4 * 3
    for point in curve.data.itertuples():
        hidden = perturb.select(
            x, point.mode, point.rate, salience=perturb.rollout_salience(before), seed=point.seed
        )
        with torch.no_grad():
            logits = inspector.model(perturb.occlude(x, hidden).pixels[None])[0]
        assert point.hidden == len(hidden)
        assert point.probability == pytest.approx(float(logits.softmax(-1)[target]), abs=1e-5)


def test_the_marks_are_mean_and_band_over_seeds(curve: charts.RateCurve) -> None:
    bands, means = curve.figure.marks[::2], curve.figure.marks[1::2]
    assert [mark.labels[0] for mark in means] == ["random", "salient", "non-salient"]
    for mode, band, mean in zip(perturb.MODES, bands, means, strict=True):
        table = curve.data[curve.data["mode"] == mode].pivot_table("probability", "rate", "seed").to_numpy()
        np.testing.assert_allclose(mean.x, RATES)
        np.testing.assert_allclose(mean.y, table.mean(axis=1))
        np.testing.assert_allclose(band.y, [table.min(axis=1), table.max(axis=1)])


def test_shared_sets_of_patches_go_through_once(inspector: Inspector, monkeypatch: Any) -> None:
    asked = []
    logits = inspector.logits

    def counted(images: Iterable[Any], **options: Any) -> Any:
        images = list(images)
        asked.append(len(images))
        return logits(images, **options)

    traced, trace = [], inspector.trace

    def watched(*args: Any, **options: Any) -> Any:
        traced.append("trace")
        return trace(*args, **options)

    monkeypatch.setattr(inspector, "logits", counted)
    monkeypatch.setattr(inspector, "trace", watched)
    charts.RateCurve(inspector, photo(), rates=RATES, seeds=3).wait(30)
    assert asked == [1 + 2 * 3 + 2 + 2]  # all; random at two rates; salient and non-salient at two
    # The original itself went through for its rollout, and not once more.
    assert traced == ["trace"]


def test_a_lab_lends_its_image_salience_and_fill(inspector: Inspector) -> None:
    lab = PerturbLab(inspector, photo(), fill="mean", salience=np.arange(15.0).reshape(3, 5))
    curve = charts.RateCurve(lab, rates=(0.2,), modes=("salient",), seeds=[5])
    curve.wait(30)
    hidden = perturb.occlude(lab.input, [12, 13, 14], fill="mean")
    with torch.no_grad():
        chances = inspector.model(hidden.pixels[None])[0].softmax(-1)
    assert list(curve.data["seed"]) == [5]
    top = int(lab.before.logits.argmax())
    assert curve.data["probability"][0] == pytest.approx(float(chances[top]), abs=1e-5)
    with pytest.raises(TypeError, match="its own image"):
        charts.RateCurve(lab, photo())


def test_only_random_needs_no_trace(inspector: Inspector, monkeypatch: Any) -> None:
    monkeypatch.setattr(inspector, "trace", None)
    curve = charts.RateCurve(inspector, photo(), rates=(0.5,), modes=("random",), seeds=1)
    curve.wait(30)
    with torch.no_grad():
        top = int(inspector.model(inspector.input(photo()).pixels[None]).argmax())
    assert curve.figure.title == f"probability of {NAMES[top]}"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rates": (0, 1.5)}, "0..1"), ({"rates": ()}, "at least one"), ({"modes": ("best",)}, "mode must"),
        ({"fill": "red"}, "fill must be"), ({"target": 7}, "classes are 0..6"), ({"seeds": 0}, "at least"),
        ({"salience": np.zeros((2, 2))}, "shape"),
    ],
)  # fmt: skip
def test_what_a_rate_curve_does_not_take(inspector: Inspector, options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        charts.RateCurve(inspector, photo(), **options)


def test_a_rate_curve_needs_a_model_with_classes_and_an_image(inspector: Inspector) -> None:
    with pytest.raises(ValueError, match="no classes"):
        charts.RateCurve(Inspector(small_model(classes=0)), photo())
    with pytest.raises(TypeError, match="needs an image"):
        charts.RateCurve(inspector)
    with pytest.raises(TypeError, match="Inspector or a PerturbLab"):
        charts.RateCurve("demo", photo())  # type: ignore[arg-type]


def test_a_failure_is_told(inspector: Inspector, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(inspector, "logits", fail)
    curve = charts.RateCurve(inspector, photo())
    with pytest.raises(MemoryError, match="too large"):
        curve.wait(30)
    assert curve.problem == "too large"


def test_cancelling_leaves_the_curve_as_it_was(inspector: Inspector) -> None:
    curve = charts.RateCurve(inspector, photo())
    curve.cancel()
    curve.wait(5)
    assert curve.data.empty
    curve.run()
    curve.wait(30)
    assert len(curve.data) == 60


# ---------------------------------------------------------------- curves over layers


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"purity": [0.2, np.nan, 0.9], "why_not": ["", "void", ""]}, index=[1, 2, 3])


def test_the_handle_and_the_cursor_move_each_other(trace: Trace, frame: pd.DataFrame) -> None:
    cursor = Cursor(layer=2)
    cursor.bind(trace)
    chart = charts.lines(frame[["purity"]], cursor=cursor)
    line, handle = chart.figure.marks[-2:]
    assert (list(line.x), list(handle.x)) == ([2, 2], [2])
    cursor.layer = 3
    assert list(handle.x) == [3]
    handle.x = np.array([1.3])
    assert cursor.layer == 1
    assert list(line.x) == [1, 1]
    cursor.layer = 3
    cursor.layer = 0  # has no row: the mark stays at the edge
    assert (list(line.x), cursor.layer) == ([1, 1], 0)
    chart.close()
    cursor.layer = 2
    assert list(line.x) == [1, 1]


def test_a_handle_that_is_let_go_stands_on_its_layer(trace: Trace, frame: pd.DataFrame) -> None:
    cursor = Cursor(layer=2)
    cursor.bind(trace)
    handle = charts.lines(frame[["purity"]], cursor=cursor).figure.marks[-1]

    def tell(event: str) -> None:
        handle._handle_custom_msgs(handle, {"event": event}, None)

    tell("drag_start")
    handle.x = np.array([2.3])
    assert list(handle.x) == [2.3]
    tell("drag_end")
    assert list(handle.x) == [2]
    handle.x = np.array([2.2])  # a busy page sends it late
    assert (list(handle.x), cursor.layer) == ([2], 2)


def test_the_curve_and_its_scale(frame: pd.DataFrame) -> None:
    chart = charts.lines(frame[["purity"]])
    curve, dots = chart.figure.marks
    np.testing.assert_array_equal(curve.y, [0.2, np.nan, 0.9])
    assert (list(dots.x), list(dots.y)) == ([1, 3], [0.2, 0.9])  # none where there is no number
    assert curve.marker is None
    scale = curve.scales["y"]
    assert scale.min == 0
    assert 0.9 < scale.max < 1
    with pytest.raises(ValueError, match="nothing to draw"):
        charts.lines(frame[[]])


def test_a_curve_is_drawn_from_its_first_number_to_its_last() -> None:
    frame = pd.DataFrame({"a": [np.nan, 1, np.nan, 3, np.nan], "b": np.nan}, index=[1, 2, 3, 4, 5])
    chart = charts.lines(frame, low=frame - 1, high=frame + 1)
    band, curve, dots = chart.figure.marks  # and nothing of the other, which has no number
    np.testing.assert_array_equal(curve.x, [2, 3, 4])
    np.testing.assert_array_equal(curve.y, [1, np.nan, 3])
    np.testing.assert_array_equal(band.y, [[0, np.nan, 2], [2, np.nan, 4]])
    np.testing.assert_array_equal(dots.x, [2, 4])
    assert curve.scales["x"].max == 5


def test_grouping_has_a_chart_for_each_number_and_its_baselines(frame: pd.DataFrame) -> None:
    frame["silhouette"] = [-1.0, 0.0, 1.0]
    chart = charts.GroupingChart(frame, baselines={"position": frame[["purity"]] / 2})
    assert list(chart.charts) == ["purity", "silhouette"]
    faint, curve, _dots = chart.charts["purity"].figure.marks
    np.testing.assert_array_equal(faint.y, [0.1, np.nan, 0.45])
    assert (faint.line_style, curve.line_style) == ("dashed", "solid")
    assert len(chart.charts["silhouette"].figure.marks) == 1
    with pytest.raises(ValueError, match="no column"):
        charts.GroupingChart(frame, columns=["purty"])
    with pytest.raises(ValueError, match="no column"):
        charts.GroupingChart(frame[["why_not"]])


def study_of(images: int) -> GroupingStudy:
    """A study of random numbers: 3 layers, with both baselines."""
    draw = np.random.default_rng(3)
    rows = [
        {"image": str(image), "variant": variant, "layer": layer, **dict.fromkeys(MEASURES, draw.random())}
        for image in range(images)
        for variant in ("model", "position", "random")
        for layer in (1, 2, 3)
    ]
    return GroupingStudy(pd.DataFrame(rows), {})


def test_a_study_has_its_interval_and_its_baselines() -> None:
    study = study_of(5)
    chart = charts.GroupingChart(study, columns=["purity", "auc"])
    pd.testing.assert_frame_equal(chart.data, study.mean())
    band, position, untrained, curve = chart.charts["auc"].figure.marks
    of_model = study.rows[study.rows["variant"] == "model"].pivot_table("auc", "layer", "image").to_numpy()
    reach = scipy.stats.sem(of_model, axis=1) * scipy.stats.t.ppf(0.975, 4)
    np.testing.assert_allclose(curve.y, of_model.mean(axis=1))
    np.testing.assert_allclose(band.y, [of_model.mean(axis=1) - reach, of_model.mean(axis=1) + reach])
    np.testing.assert_allclose(position.y, study.mean("position")["auc"])
    np.testing.assert_allclose(untrained.y, study.mean("random")["auc"])
    assert len({mark.line_style for mark in (position, untrained, curve)}) == 3
    legend = chart.children[-1].value
    for name in ("model", "position alone", "random weights", "95 % interval"):
        assert name in legend


def test_a_study_of_one_image_has_no_interval_and_baselines_can_be_left_out() -> None:
    chart = charts.GroupingChart(study_of(1), baselines={}, columns=["auc"])
    (curve,) = chart.charts["auc"].figure.marks
    assert np.isfinite(curve.y).all()
    assert len(chart.children) == 1  # one look needs no legend


def test_a_band_is_drawn_where_both_edges_are_given(frame: pd.DataFrame) -> None:
    low, high = frame[["purity"]] - 0.1, frame[["purity"]] + 0.2
    chart = charts.GroupingChart(frame, low=low, high=high, band="<all>")
    band, *_ = chart.charts["purity"].figure.marks
    np.testing.assert_allclose(band.y, [[0.1, np.nan, 0.8], [0.4, np.nan, 1.1]])
    assert "&lt;all&gt;" in chart.children[-1].value
    with pytest.raises(ValueError, match="give high too"):
        charts.GroupingChart(frame, low=low)
    with pytest.raises(ValueError, match="across is 0"):
        charts.GroupingChart(frame, across=0)


@pytest.mark.parametrize(
    ("low", "high", "least", "ticks"),
    [
        (0, 1, 0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (1, 12, 1, [2, 4, 6, 8, 10, 12]), (1, 4, 1, [1, 2, 3, 4]),
        (-0.27, 0.53, 0, [-0.2, 0, 0.2, 0.4]), (0, 57, 0, [0, 10, 20, 30, 40, 50]),
    ],
)  # fmt: skip
def test_ticks_are_round_numbers(low: float, high: float, least: float, ticks: list[float]) -> None:
    np.testing.assert_allclose(plot.ticks(low, high, least), ticks, atol=1e-12)


def test_a_baseline_stretches_only_the_chart_of_its_column(frame: pd.DataFrame) -> None:
    frame["silhouette"] = [-5.0, 0.0, 1.0]
    chart = charts.GroupingChart(frame, baselines={"position": frame[["purity", "silhouette"]]})
    assert chart.charts["purity"].figure.marks[-1].scales["y"].min == 0


# ---------------------------------------------------------------- heads and layers


def test_attention_distance_against_a_plain_loop(trace: Trace) -> None:
    data = charts.attention_distance(trace).data
    high, wide = trace.pixels.shape[0] / 3, trace.pixels.shape[1] / 5
    for layer in (1, 3):
        for head in (0, 1):
            weights = trace.attention(layer)[head, 2:, 2:]
            total = 0.0
            for i in range(15):
                near = [np.hypot((i // 5 - j // 5) * high, (i % 5 - j % 5) * wide) for j in range(15)]
                total += np.dot(weights[i], near) / weights[i].sum() / 15
            assert data.loc[layer, head] == pytest.approx(total, rel=1e-5)


def test_head_entropy_against_a_plain_loop(trace: Trace) -> None:
    data = charts.head_entropy(trace).data
    weights = trace.attention(2)[1].astype(float)
    assert data.loc[2, 1] == pytest.approx(-(weights * np.log(weights)).sum(axis=1).mean(), rel=1e-5)


def test_a_click_on_a_head_sets_the_cursor_and_the_cursor_marks_the_head(trace: Trace) -> None:
    cursor = Cursor()
    cursor.bind(trace)
    chart = charts.attention_distance(trace, cursor=cursor)
    (points,) = chart.figure.marks
    points._element_click_handlers(points, {"data": {"index": 3}})  # layer 2, head 1
    assert (cursor.layer, cursor.head) == (2, 1)
    assert list(points.selected) == [3]
    cursor.head = None
    assert list(points.selected) == []


def test_layers_without_attention_are_left_out() -> None:
    data = charts.head_entropy(staged_trace()).data
    assert list(data.index) == [1, 2, 3]
    assert data.loc[1].isna().tolist() == [False, False, True]


def test_cka_against_the_formula_and_its_click(trace: Trace) -> None:
    cursor = Cursor()
    other = Inspector(small_model(width=48, heads=3)).trace(photo())
    cursor.bind(trace)
    chart = charts.cka(trace, other, cursor=cursor)
    a, b = (t.layer(layer)[2:].astype(float) for t, layer in ((trace, 1), (other, 3)))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    expected = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert chart.data.loc[1, 3] == pytest.approx(expected, rel=1e-6)
    (cells,) = chart.figure.marks
    cells._element_click_handlers(cells, {"data": {"row": 3, "column": 0}})
    assert cursor.layer == 3
    np.testing.assert_allclose(np.diag(charts.cka(trace).data), 1)
    with pytest.raises(ValueError, match="same patches"):
        charts.cka(trace, staged_trace())


def test_a_trace_without_attention_says_so() -> None:
    bare = Inspector(small_model()).trace(photo(), keep=("tokens",))
    with pytest.raises(ValueError, match="no attention to draw"):
        charts.attention_distance(bare)


def test_bqplot_is_imported_by_charts_alone() -> None:
    import subprocess
    import sys

    code = (
        "import sys, vitwidgets.widgets.perturb_lab, vitwidgets.widgets.compare, vitwidgets.stills.chart; "
        "print('bqplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
