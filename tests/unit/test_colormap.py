"""The colour maps against a plain-loop reference, and what is claimed of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitwidgets.colormap import DIVERGING, NON_FINITE, SEQUENTIAL, colorize

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/colormap.json").read_text(encoding="utf-8"))

# Linear sRGB as dichromats see it: Machado, Oliveira and Fernandes (2009), severity 1.
EYES = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


def oklab(rgb: np.ndarray, eye: str = "normal") -> np.ndarray:
    part = rgb / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(EYES[eye]), 0, 1)
    lms = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(lms) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


@pytest.mark.parametrize(("table", "name"), [(SEQUENTIAL, "sequential"), (DIVERGING, "diverging")])
def test_tables(table: np.ndarray, name: str) -> None:
    assert table.dtype == np.uint8
    assert table.tolist() == VECTORS[name]


def test_sequential_rises_in_lightness_at_every_step() -> None:
    assert np.diff(oklab(SEQUENTIAL)[:, 0]).min() > 0


def test_diverging_is_symmetric_in_lightness_about_a_light_grey() -> None:
    lab = oklab(DIVERGING)
    assert np.abs(lab[:, 0] - lab[::-1, 0]).max() < 0.004
    assert np.diff(lab[:128:4, 0]).min() > 0
    middle = lab[127:129]
    assert middle[:, 0].min() > 0.9
    assert np.hypot(middle[:, 1], middle[:, 2]).max() < 0.01
    assert lab[0, 2] < -0.1
    assert lab[-1, 2] > 0.09


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("table", [SEQUENTIAL, DIVERGING], ids=["sequential", "diverging"])
def test_an_eighth_of_the_scale_is_seen_by_every_eye(table: np.ndarray, eye: str) -> None:
    lab = oklab(table, eye)
    assert np.linalg.norm(lab[32:] - lab[:-32], axis=1).min() > 0.035


@pytest.mark.parametrize("eye", EYES)
def test_above_and_below_zero_are_told_apart_by_every_eye(eye: str) -> None:
    lab = oklab(DIVERGING, eye)
    opposite = np.linalg.norm(lab - lab[::-1], axis=1)
    assert opposite[:64].min() > 0.1


def test_steps_look_even() -> None:
    for table in (SEQUENTIAL, DIVERGING[:128], DIVERGING[128:]):
        lab = oklab(table)
        steps = np.linalg.norm(lab[16:] - lab[:-16], axis=1)
        assert steps.max() < 1.35 * steps.min()


def test_non_finite_stands_out() -> None:
    for table in (SEQUENTIAL, DIVERGING):
        assert np.linalg.norm(oklab(table) - oklab(NON_FINITE), axis=1).min() > 0.1


@pytest.mark.parametrize("case", VECTORS["colorize"], ids=lambda case: case["map"])
def test_colorize(case: dict[str, Any]) -> None:
    values = np.array([float(v) for v in case["values"]]).reshape(3, 3)
    colours = colorize(values, case["low"], case["high"], case["map"] == "diverging")
    assert colours.dtype == np.uint8
    assert colours.reshape(-1, 3).tolist() == case["colours"]


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (float("nan"), 1)])
def test_colorize_refuses_an_empty_scale(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low must be less than high"):
        colorize([0.5], low, high)
