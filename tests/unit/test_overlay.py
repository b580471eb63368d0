"""Overlay fields against vectors that plain loops made; the TypeScript tests read the same ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitwidgets.analysis.attention import rollout
from vitwidgets.analysis.norms import artefacts
from vitwidgets.analysis.overlay import (
    Colours,
    Field,
    Missing,
    NeuronView,
    Spec,
    cell_at,
    overlay_field,
    value_range,
)
from vitwidgets.ends import Readout
from vitwidgets.geometry import PatchGrid

FOLDER = Path(__file__).parents[1] / "vectors"


def array(nested: list[Any]) -> np.ndarray:
    return np.vectorize(float, otypes=[np.float32])(np.array(nested, object))


class RecordedTrace:
    """The activations in the vectors, with the face of a trace."""

    def __init__(self, name: str) -> None:
        vectors = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        self.cases: list[dict[str, Any]] = vectors["cases"]
        self._sizes, self._layers = vectors["sizes"], vectors["trace"]
        self._whole: dict[str, Any] = vectors.get("whole", {})
        self.class_names: list[str] = self._sizes["classes"]
        self.layers: int = self._sizes["layers"]
        self.patch_grid = self.grid_of(0)

    def grid_of(self, layer: int) -> PatchGrid:
        return PatchGrid(*self._sizes["grids"][layer], tuple(self._sizes["prefix"]))

    def heads_of(self, layer: int) -> int:
        return self._sizes["heads"][layer]

    def width_of(self, layer: int) -> int:
        return self._sizes["widths"][layer]

    def hidden_of(self, layer: int) -> int:
        return self._sizes["hidden"][layer]

    def why_not(self, field: str, layer: int) -> str:
        return self._sizes["missing"].get(field, {}).get(str(layer), "")

    def layer(self, layer: int) -> np.ndarray:
        return array(self._layers[layer]["tokens"])

    def attention(self, layer: int) -> np.ndarray:
        return array(self._layers[layer]["attention"])

    def mlp(self, layer: int) -> np.ndarray:
        return array(self._layers[layer]["mlp"])

    def rollout(self) -> np.ndarray:
        return rollout([self.attention(layer).mean(axis=0) for layer in range(1, self.layers + 1)])

    @property
    def pixels(self) -> np.ndarray:
        return array(self._whole["pixels"])

    def filters(self) -> np.ndarray:
        return array(self._whole["filters"])

    @property
    def readout(self) -> Readout | None:
        if "readout" not in self._whole:
            return None
        rows = array(self._whole["readout"])
        return Readout(rows[:, :-1], rows[:, -1], self._sizes["eps"])

    @property
    def probabilities(self) -> np.ndarray:
        leading = self._sizes["leading"]
        return np.array([1 / (1 + leading.index(target)) for target in range(len(leading))])

    def colours(self) -> list[np.ndarray]:
        return [array(layer["colours"]).astype(np.uint8) for layer in self._layers]


TRACES = {name: RecordedTrace(name) for name in ("overlay.json", "stages.json")}
CASES = [(name, case) for name, trace in TRACES.items() for case in trace.cases]


def label(value: Any) -> str:
    return value if isinstance(value, str) else " ".join(str(part) for part in value["spec"].values())


@pytest.mark.parametrize(("name", "case"), [one for one in CASES if "field" in one[1]], ids=label)
def test_field(name: str, case: dict[str, Any]) -> None:
    trace, expected = TRACES[name], case["field"]
    found = overlay_field(Spec(**case["spec"]), trace)
    assert isinstance(found, Field)
    assert found.values.dtype == np.float32
    assert found.values.flags.c_contiguous
    np.testing.assert_allclose(found.values, array(expected["values"]), rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(
        (found.low, found.high), (expected["low"], expected["high"]), rtol=2e-6, atol=2e-7
    )
    assert (found.diverging, found.title, found.unit) == (
        expected["diverging"], expected["title"], expected["unit"]
    )  # fmt: skip
    grid = trace.grid_of(case["spec"]["layer"])
    assert found.map.shape == (grid.rows, grid.cols)
    np.testing.assert_array_equal(found.map.ravel(), found.values[len(grid.prefix) :])


@pytest.mark.parametrize(("name", "case"), [one for one in CASES if "view" in one[1]], ids=label)
def test_view(name: str, case: dict[str, Any]) -> None:
    trace, expected = TRACES[name], case["view"]
    found = overlay_field(Spec(**case["spec"]), trace)
    assert isinstance(found, NeuronView)
    np.testing.assert_allclose(found.view.ravel(), array(expected["view"]), rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(found.values, array(expected["values"]), rtol=2e-5, atol=2e-6)
    assert (found.limit, found.peak) == pytest.approx((expected["limit"], expected["peak"]), rel=2e-6)
    assert (found.title, found.unit, found.grid) == (expected["title"], expected["unit"], (3, 4))


@pytest.mark.parametrize(("name", "case"), [one for one in CASES if "colours" in one[1]], ids=label)
def test_colours(name: str, case: dict[str, Any]) -> None:
    found = overlay_field(Spec(**case["spec"]), TRACES[name])
    assert isinstance(found, Colours)
    np.testing.assert_array_equal(found.rgb.reshape(-1, 3), case["colours"]["rgb"])
    assert (found.rgb.dtype, found.grid, found.title) == (np.uint8, (3, 4), case["colours"]["title"])


@pytest.mark.parametrize(
    "case", json.loads((FOLDER / "overlay.json").read_text(encoding="utf-8"))["high_norm"], ids=str
)
def test_high_norms(case: dict[str, Any]) -> None:
    marked = artefacts(array(case["norms"]).astype(float), prefix=case["prefix"])
    assert np.flatnonzero(marked).tolist() == case["marked"]


def test_tokens_of_high_norm_are_marked() -> None:
    class Long(RecordedTrace):
        def layer(self, layer: int) -> np.ndarray:
            tokens = np.full_like(super().layer(layer), 2)
            tokens[[0, 6, 13]] *= 3  # a prefix token, which is never marked, and two patches
            return tokens

    found = overlay_field(Spec("norm", 1), Long("overlay.json"))
    assert isinstance(found, Field)
    assert found.marked == (6, 13)
    assert found.values[[6, 7]] == pytest.approx([3 * 32**0.5, 32**0.5])


@pytest.mark.parametrize("channels", [2, 4])
def test_a_view_of_channels_that_are_no_colours_is_missing(channels: int) -> None:
    class Deep(RecordedTrace):
        @property
        def pixels(self) -> np.ndarray:
            return np.ones((6, 12, channels), np.float32)

    found = overlay_field(Spec("view", 1, token=3), Deep("overlay.json"))
    assert found == Missing(f"the model sees {channels} channels: a view of 1 or 3 can be shown")


@pytest.mark.parametrize(("name", "case"), [one for one in CASES if "missing" in one[1]], ids=label)
def test_missing(name: str, case: dict[str, Any]) -> None:
    assert overlay_field(Spec(**case["spec"]), TRACES[name]) == Missing(case["missing"])


@pytest.mark.parametrize(
    "case", json.loads((FOLDER / "frame.json").read_text(encoding="utf-8"))["cells"], ids=str
)
def test_cell_at(case: dict[str, Any]) -> None:
    start, to = tuple(case["from"]), tuple(case["to"])
    assert [cell_at(cell, start, to) for cell in range(start[0] * start[1])] == case["cells"]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 3, 2], "span", (1, 3, False)),
        ([-1, 3, 2], "span", (-1, 3, False)),
        ([-1, -3, -2], "span", (-3, -1, False)),
        ([-4, 3, 2], "span", (-4, 3, False)),
        ([1, 3, 2], "weights", (0, 3, False)),
        ([1, 3, -7], "symmetric", (-7, 7, True)),
        ([1, 3, -7], "weights", (-7, 7, True)),
        ([-1, 3], "weights", (-3, 3, True)),
        ([-1e-6, 3], "weights", (0, 3, False)),
        ([-2, -3], "weights", (-3, 3, True)),
        ([2, np.nan, np.inf, -np.inf, 1], "span", (1, 2, False)),
        ([-2, np.nan, np.inf, 1], "symmetric", (-2, 2, True)),
        ([0.5, 0.5, 0.5], "span", (0, 0.5, False)),
        ([-0.5, -0.5], "span", (-0.5, 0, False)),
        ([0.5, 0.50001, 0.5], "span", (0, 0.50001, False)),
        ([0, 0], "span", (0, 1, False)),
        ([0, 0], "weights", (0, 1, False)),
        ([0, 0], "symmetric", (-1, 1, True)),
        ([-3, -3], "symmetric", (-3, 3, True)),
        ([np.nan, np.inf], "span", (0, 1, False)),
        ([np.nan, np.inf], "weights", (0, 1, False)),
        ([np.nan, np.inf], "symmetric", (-1, 1, True)),
    ],
)
def test_range(values: list[float], kind: Any, expected: tuple[float, float, bool]) -> None:
    assert value_range(values, kind) == expected


def test_range_leaves_out_what_it_is_told_to() -> None:
    assert value_range([90, -80, 3, 50, 4], "span", start=2, skip=3) == (3, 4, False)
    assert value_range([90, -80, 3, 50, 4], "span", start=2) == (3, 50, False)
