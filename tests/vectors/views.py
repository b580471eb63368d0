"""Writes views.json, for the Python and the TypeScript tests: ``python tests/vectors/views.py``.

A reference on its own, as make.py is: plain loops over nested lists, formulas from their definitions.
"""

from __future__ import annotations

import math
import random
from typing import Any

from make import NON_FINITE, float32, write

ROWS, COLS = 3, 2
PATCH = (2, 4)
HEIGHT, WIDTH = ROWS * PATCH[0], COLS * PATCH[1]
MODES = ("signed", "positive", "magnitude")

Picture = list[list[list[float]]]  # rows of pixels of channels


def drawn(rng: random.Random, height: int, width: int, channels: int) -> Picture:
    return [
        [[float32(rng.gauss(0, 1.5)) for _ in range(channels)] for _ in range(width)] for _ in range(height)
    ]


def composed(pixels: Picture, kernel: Picture, shares: list[float]) -> Picture:
    """Pixel (y, x) of patch k, times the filter's number for that place, times the share of k."""
    p, q = PATCH
    return [
        [
            [
                float32(float32(value * kernel[y % p][x % q][c]) * shares[(y // p) * COLS + x // q])
                for c, value in enumerate(pixel)
            ]
            for x, pixel in enumerate(line)
        ]
        for y, line in enumerate(pixels)
    ]


def patch_of(picture: Picture, patch: int) -> Picture:
    p, q = PATCH
    top, left = patch // COLS * p, patch % COLS * q
    return [line[left : left + q] for line in picture[top : top + p]]


def flat(picture: Picture) -> list[float]:
    return [value for line in picture for pixel in line for value in pixel]


def level(value: float, mode: str, limit: float) -> int:
    part = min(max(value / limit, -1.0), 1.0)
    if mode == "signed":
        return math.floor(128 + 127 * part + 0.5)
    return math.floor(255 * (abs(part) if mode == "magnitude" else max(part, 0.0)) + 0.5)


def coloured(view: Picture, mode: str, limit: float) -> list[list[int]]:
    colours = []
    for line in view:
        for pixel in line:
            if all(math.isfinite(value) for value in pixel):
                three = pixel if len(pixel) == 3 else pixel * 3
                colours.append([level(value, mode, limit) for value in three])
            else:
                colours.append(NON_FINITE)
    return colours


def end_of(values: list[float]) -> float:
    """Where a scale ends: at twice the mean magnitude, each weighted with itself, at most at the largest."""
    sizes = [abs(value) for value in values if math.isfinite(value)]
    total = sum(sizes)
    return min(max(sizes), 2 * sum(size / total * size for size in sizes)) if total else 1.0


def views() -> None:
    rng = random.Random(1714)
    compositions: list[dict[str, Any]] = []
    for channels in (1, 3):
        pixels, kernel = drawn(rng, HEIGHT, WIDTH, channels), drawn(rng, *PATCH, channels)
        shares = [float32(rng.random() ** 3) for _ in range(ROWS * COLS)]
        alone = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]
        faint = [float32(0.001)] * 5 + [float32(0.995)]
        scales = [
            {"shares": row, "limit": end_of(flat(composed(pixels, kernel, row)))}
            for row in ([1.0] * 6, shares, alone, faint, [-0.5] + [0.25] * 5, [0.0] * 6)
        ]
        whole = composed(pixels, kernel, [1.0] * (ROWS * COLS))
        compositions.append(
            {
                "pixels": pixels,
                "kernel": kernel,
                "shares": shares,
                "whole": whole,
                "scaled": composed(pixels, kernel, shares),
                "local": [patch_of(whole, patch) for patch in range(ROWS * COLS)],
                "scales": scales,
            }
        )

    odd = drawn(rng, 2, 3, 3)
    odd[0][1][2], odd[1][0][0], odd[1][2][1] = math.nan, math.inf, -math.inf
    zeros = [[[0.0] * 3] * 2] * 2
    tiny = [[[float32(1e-42)] * 3, [float32(-1e-42)] * 3]]
    huge = [[[float32(3.4e38)] * 3, [float32(-3.4e38)] * 3]]  # finite, though their sum is not
    pictures: list[dict[str, Any]] = []
    constant = [[[-2.5]] * 3] * 2
    for view in (drawn(rng, 4, 5, 3), drawn(rng, 3, 4, 1), odd, zeros, constant, tiny, huge):
        limit = end_of(flat(view))
        for mode in MODES:
            for scale in (limit, float32(limit / 3), float32(min(limit * 2, 3e38))):
                pictures.append(
                    {
                        "view": view,
                        "limit": limit,
                        "mode": mode,
                        "scale": scale,
                        "colours": coloured(view, mode, scale),
                    }
                )
    write("views.json", {"patch": list(PATCH), "compositions": compositions, "pictures": pictures})


if __name__ == "__main__":
    views()
