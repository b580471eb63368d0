"""One array as one byte string, for the browser; ``js/src/data/codec.ts`` reads what this writes.

A packet describes itself::

    bytes 0..3      "VWP1"
    bytes 4..7      n, the length of the header: unsigned 32-bit, little-endian
    bytes 8..8+n    the header, JSON in UTF-8, padded with spaces to make 8 + n a multiple of 8:
                    {"dtype": "float16" | "float32" | "int8" | "uint8" | "sparse",
                     "shape": [...], "scale": null | [...]}
    the rest        the numbers, C order, little-endian

With ``int8`` every row of the last axis has a scale of its own: value = byte * scale. With ``sparse`` the
numbers are one bit for each, the lowest of a byte first, padded to whole pairs of bytes: whether it is other
than zero; and then those that are, as ``float16``.

Where there is no array to send, "VWE1" and the reason in UTF-8 take the packet's place.
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Dtype = Literal["float16", "float32", "int8", "uint8", "sparse"]

_MAGIC = b"VWP1"
_STORED: dict[str, np.dtype[Any]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "sparse": np.dtype("<f2"),
}
_LARGEST_HALF = 65504.0


def encode(array: npt.ArrayLike, dtype: Dtype = "float16") -> bytes:
    """Pack an array of real numbers.

    Parameters
    ----------
    array : (...) float
        Any shape; ``int8`` needs at least one axis.
    dtype
        ``"float16"`` (finite values beyond ±65504 are clipped to it, NaN and infinity are kept),
        ``"float32"``, ``"int8"`` (error at most 1/254 of the largest magnitude in the row), ``"uint8"``
        (whole numbers in 0..255), or ``"sparse"`` (like ``"float16"``, and small where most numbers are
        zero).

    Returns
    -------
    bytes
        The packet.

    Raises
    ------
    ValueError
        For an unknown ``dtype``, for ``int8`` with a scalar, NaN or infinity, and for ``uint8`` with anything
        but whole numbers in 0..255.
    """
    if dtype not in _STORED:
        raise ValueError(f"dtype must be one of {', '.join(_STORED)}; got {dtype!r}.")
    values = np.asarray(array)
    scale: list[float] | None = None
    if dtype in ("float16", "sparse"):
        values = np.where(np.isinf(values), values, np.clip(values, -_LARGEST_HALF, _LARGEST_HALF))
    elif dtype == "int8":
        values, scale = _quantize(values)
    elif dtype == "uint8" and not np.isin(values, np.arange(256)).all():
        raise ValueError("uint8 holds whole numbers in 0..255 only, and the array has others. Use float16.")
    stored = values.astype(_STORED[dtype])
    payload = _without_zeros(stored) if dtype == "sparse" else stored.tobytes()
    header = json.dumps(
        {"dtype": dtype, "shape": values.shape, "scale": scale}, separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    return _MAGIC + len(header).to_bytes(4, "little") + header + payload


def refuse(reason: str) -> bytes:
    """What stands for an array that cannot be had: why, for people."""
    return b"VWE1" + reason.encode()


def _without_zeros(values: npt.NDArray[Any]) -> bytes:
    mask = values.ravel() != 0
    bits = np.packbits(mask, bitorder="little").tobytes()
    numbers: bytes = values.ravel()[mask].tobytes()
    return bits + b"\0" * (len(bits) % 2) + numbers


def _quantize(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], list[float]]:
    """Whole numbers in -127..127 and one scale per row."""
    if values.ndim == 0:
        raise ValueError("int8 needs at least one axis, to have rows; got a scalar. Use float32.")
    if not np.isfinite(values).all():
        raise ValueError("int8 cannot hold NaN or infinity, and the array has some. Use float16 or float32.")
    largest = np.abs(values).max(axis=-1, initial=0)
    # Six digits keep the header short; dividing by the rounded scale keeps the rounding out of the values.
    scale = np.array([float(f"{s:.6g}") for s in (largest / 127.0).ravel()]).reshape(largest.shape)
    safe = np.where(scale > 0, scale, 1.0)[..., None]
    return np.clip(np.rint(values / safe), -127, 127), scale.ravel().tolist()


def decode(packet: bytes | bytearray | memoryview) -> npt.NDArray[np.float32]:
    """Unpack what :func:`encode` packed.

    Parameters
    ----------
    packet
        One whole packet.

    Returns
    -------
    (...) float32
        In the shape of the packed array; its own memory, writable.

    Raises
    ------
    ValueError
        For a damaged packet; the message says what is wrong with it.
    """
    data = memoryview(packet).cast("B")
    if len(data) < 8 or data[:4] != _MAGIC:
        raise ValueError(
            f"not a packet: it must begin with {_MAGIC!r} and a length; got {bytes(data[:8])!r}."
        )
    start = 8 + int.from_bytes(data[4:8], "little")
    if start > len(data):
        raise ValueError(
            f"damaged packet: its header should end at byte {start}, but there are {len(data)} bytes."
        )
    dtype, shape, scale = _header(bytes(data[8:start]))
    stored = _STORED[dtype]
    count = math.prod(shape)
    expected = count * stored.itemsize
    if dtype == "sparse":
        bits = -(-count // 16) * 2
        mask = np.unpackbits(np.frombuffer(data[start : start + bits], np.uint8), bitorder="little")
        mask = mask[:count].astype(bool)
        expected = bits + int(mask.sum()) * stored.itemsize
    if len(data) - start != expected:
        raise ValueError(
            f"damaged packet: {dtype} of shape {shape} takes {expected} bytes; got {len(data) - start}."
        )
    values: npt.NDArray[np.float32]
    if dtype == "sparse":
        values = np.zeros(count, np.float32)
        values[mask] = np.frombuffer(data[start + bits :], stored)
        return values.reshape(shape)
    values = np.frombuffer(data[start:], stored).reshape(shape).astype(np.float32)
    if scale is not None:
        values *= np.array(scale, np.float32).reshape(*shape[:-1], 1)
    return values


def _header(text: bytes) -> tuple[str, tuple[int, ...], list[float] | None]:
    """Dtype, shape and scale; each checked, for they may come from a file that somebody edited."""
    try:
        header: Any = json.loads(text)
        dtype, shape, scale = header["dtype"], header["shape"], header["scale"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"damaged packet: its header must be JSON with dtype, shape and scale; got {text[:80]!r}."
        ) from None
    if not isinstance(dtype, str) or dtype not in _STORED:
        raise ValueError(f"damaged packet: dtype must be one of {', '.join(_STORED)}; got {dtype!r}.")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"damaged packet: shape must be a list of whole numbers, 0 or more; got {shape!r}.")
    if dtype != "int8":
        return dtype, tuple(shape), None
    rows = math.prod(shape[:-1])
    if not shape or not isinstance(scale, list) or len(scale) != rows or not all(map(_is_number, scale)):
        raise ValueError(
            f"damaged packet: int8 of shape {shape} needs a list of {rows} numbers as its scale."
        )
    return dtype, tuple(shape), scale


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
