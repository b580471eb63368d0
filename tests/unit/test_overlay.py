"""Overlay fields against vectors that plain loops made; the TypeScript tests read the same ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitwidgets.analysis.attention import rollout
from vitwidgets.analysis.overlay import Field, Missing, Spec, overlay_field, value_range
from vitwidgets.geometry import PatchGrid

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/overlay.json").read_text(encoding="utf-8"))
SIZES = VECTORS["sizes"]


def array(nested: list[Any]) -> np.ndarray:
    return np.vectorize(float, otypes=[np.float32])(np.array(nested, object))


class RecordedTrace:
    """The activations in the vectors, with the face of a trace."""

    patch_grid = PatchGrid(SIZES["rows"], SIZES["cols"], tuple(SIZES["prefix"]))
    layers, width, heads, hidden = (SIZES[name] for name in ("layers", "width", "heads", "hidden"))
    tokens = np.stack([array(layer["tokens"]) for layer in VECTORS["trace"]])

    def attention(self, layer: int) -> np.ndarray:
        return array(VECTORS["trace"][layer]["attention"])

    def mlp(self, layer: int) -> np.ndarray:
        return array(VECTORS["trace"][layer]["mlp"])

    def rollout(self) -> np.ndarray:
        return rollout([self.attention(layer).mean(axis=0) for layer in range(1, self.layers + 1)])


def label(case: dict[str, Any]) -> str:
    return " ".join(str(value) for value in case["spec"].values())


@pytest.mark.parametrize("case", [c for c in VECTORS["cases"] if "field" in c], ids=label)
def test_field(case: dict[str, Any]) -> None:
    found, expected = overlay_field(Spec(**case["spec"]), RecordedTrace()), case["field"]
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


@pytest.mark.parametrize("case", [c for c in VECTORS["cases"] if "missing" in c], ids=label)
def test_missing(case: dict[str, Any]) -> None:
    assert overlay_field(Spec(**case["spec"]), RecordedTrace()) == Missing(case["missing"])


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 3, 2], "span", (1, 3, False)),
        ([-1, 3, 2], "span", (-1, 3, False)),
        ([-1, -3, -2], "span", (-3, -1, False)),
        ([-4, 3, 2], "span", (-4, 3, False)),
        ([1, 3, 2], "positive", (0, 3, False)),
        ([1, 3, -7], "symmetric", (-7, 7, True)),
        ([2, np.nan, np.inf, -np.inf, 1], "span", (1, 2, False)),
        ([-2, np.nan, np.inf, 1], "symmetric", (-2, 2, True)),
        ([0.5, 0.5, 0.5], "span", (0, 0.5, False)),
        ([-0.5, -0.5], "span", (-0.5, 0, False)),
        ([0.5, 0.50001, 0.5], "span", (0, 0.50001, False)),
        ([0, 0], "span", (0, 1, False)),
        ([0, 0], "positive", (0, 1, False)),
        ([0, 0], "symmetric", (-1, 1, True)),
        ([-3, -3], "symmetric", (-3, 3, True)),
        ([np.nan, np.inf], "span", (0, 1, False)),
        ([np.nan, np.inf], "positive", (0, 1, False)),
        ([np.nan, np.inf], "symmetric", (-1, 1, True)),
    ],
)
def test_range(values: list[float], kind: Any, expected: tuple[float, float, bool]) -> None:
    assert value_range(values, kind) == expected


def test_range_leaves_out_what_it_is_told_to() -> None:
    assert value_range([90, -80, 3, 50, 4], "span", start=2, skip=3) == (3, 4, False)
    assert value_range([90, -80, 3, 50, 4], "span", start=2) == (3, 50, False)
