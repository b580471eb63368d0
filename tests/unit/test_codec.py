"""Packets against vectors that plain loops made; the TypeScript tests read the same ones."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitwidgets.widgets.codec import decode, encode

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/packets.json").read_text(encoding="utf-8"))


def numbers(items: list[Any], shape: list[int]) -> np.ndarray:
    return np.array([float(item) for item in items], np.float32).reshape(shape)


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda case: case["name"])
def test_decode(case: dict[str, Any]) -> None:
    values = decode(base64.b64decode(case["packet"]))
    expected = numbers(case["values"], case["shape"])
    assert values.dtype == np.float32
    assert values.shape == expected.shape
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(np.signbit(values), np.signbit(expected))


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda case: case["name"])
def test_encode(case: dict[str, Any]) -> None:
    packet = encode(numbers(case["input"], case["shape"]), case["dtype"])
    assert packet == base64.b64decode(case["packet"])


@pytest.mark.parametrize("case", VECTORS["damaged"], ids=lambda case: case["name"])
def test_damaged(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="packet") as caught:
        decode(base64.b64decode(case["packet"]))
    assert case["says"] in str(caught.value)


def test_numbers_begin_at_a_multiple_of_eight() -> None:
    for width in range(1, 12):
        packet = encode(np.zeros((1, width)), "float32")
        assert (len(packet) - 4 * width) % 8 == 0


def test_float64_beyond_float32_is_clipped() -> None:
    assert decode(encode(np.array([1e300, -1e300]))).tolist() == [65504, -65504]


def test_layout_of_the_array_does_not_matter() -> None:
    array = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
    turned = np.asfortranarray(array)[:, ::-2]
    for dtype in ("float16", "float32", "int8", "sparse"):
        np.testing.assert_array_equal(decode(encode(turned, dtype)), decode(encode(turned.copy(), dtype)))


def test_int8_error_is_a_part_of_each_row() -> None:
    array = np.random.default_rng(0).standard_normal((9, 64)) * 10.0 ** np.arange(-4, 5)[:, None]
    error = np.abs(decode(encode(array, "int8")) - array).max(axis=1) / np.abs(array).max(axis=1)
    assert error.max() < 1 / 254 + 1e-5
    assert len(encode(array, "int8")) < len(encode(array, "float16"))


def test_sparse_says_what_float16_says_in_fewer_bytes() -> None:
    array = np.random.default_rng(0).standard_normal((3, 40, 40)) * (np.arange(40) % 10 == 0)
    packed = encode(array, "sparse")
    np.testing.assert_array_equal(decode(packed), decode(encode(array, "float16")))
    assert len(packed) < 0.2 * len(encode(array, "float16"))


def test_decoded_memory_is_its_own() -> None:
    packet = bytearray(encode([1.0, 2.0], "float32"))
    values = decode(packet)
    packet[-1] = 0
    values[0] = 7
    assert values.tolist() == [7, 2]


@pytest.mark.parametrize(
    ("array", "dtype", "says"),
    [
        ([1.0], "float64", "dtype must be one of float16, float32, int8, uint8, sparse; got 'float64'"),
        (1.0, "int8", "at least one axis"),
        ([[1.0, np.nan]], "int8", "NaN or infinity"),
        ([[1.0, -np.inf]], "int8", "NaN or infinity"),
        ([0.5], "uint8", "whole numbers in 0..255"),
        ([-1], "uint8", "whole numbers in 0..255"),
        ([256], "uint8", "whole numbers in 0..255"),
        ([np.nan], "uint8", "whole numbers in 0..255"),
    ],
)
def test_what_cannot_be_encoded(array: Any, dtype: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        encode(array, dtype)
