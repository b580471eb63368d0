"""Scenes drawn by the project: textured objects on a textured ground, with instance masks.

A scene is a function of its seed alone. Everything is drawn in units of the
picture's side, so one seed gives the same scene at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

SHAPES = ("disc", "ring", "square", "triangle")
TEXTURES = ("striped", "dotted", "checked", "mottled")
KINDS: tuple[str, ...] = tuple(f"{t} {s}" for t, s in product(TEXTURES, SHAPES))

# (light, dark) pairs that differ in lightness first, so that textures survive grey-scale printing.
_PAINTS = np.array(
    [
        [[255, 214, 102], [176, 74, 16]],
        [[255, 176, 160], [150, 24, 40]],
        [[168, 226, 255], [18, 74, 148]],
        [[196, 240, 176], [16, 102, 62]],
        [[232, 200, 255], [96, 34, 140]],
        [[255, 244, 214], [52, 46, 56]],
        [[150, 236, 220], [8, 92, 104]],
        [[255, 196, 226], [158, 26, 104]],
    ],
    dtype=np.float32,
) / np.float32(255)

_GROUNDS = np.array(
    [[150, 158, 150], [168, 154, 136], [134, 144, 158], [152, 144, 158], [140, 152, 138], [160, 160, 160]],
    dtype=np.float32,
) / np.float32(255)

_TILT = 0.3  # objects stand upright, give or take this angle, in radians
_RIM = 0.014  # width of the dark line around an object, in sides of the picture


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes
    ----------
    image : ndarray, (size, size, 3), uint8
        The picture, RGB.
    masks : ndarray, (objects, size, size), bool
        The visible pixels of each object; they never overlap.
    kinds : tuple of str
        The kind of each object, in the order of `masks`: a member of `KINDS`.
    """

    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    kinds: tuple[str, ...]


def scene(
    seed: int,
    *,
    size: int = 384,
    objects: int | tuple[int, int] = (2, 3),
    radius: tuple[float, float] = (0.15, 0.25),
) -> Scene:
    """Draw a scene.

    Parameters
    ----------
    seed : int
        At least 0. The same seed draws the same scene, at every `size`.
    size : int
        Side of the picture in pixels.
    objects : int or (int, int)
        How many objects, or the inclusive range to draw the number from. Fewer
        are drawn where no room is left for another.
    radius : (float, float)
        Range of an object's radius, in sides of the picture.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If `size` is below 16, `objects` below 1, or a radius outside ``(0, 0.5]``.
    """
    low, high = objects if isinstance(objects, tuple) else (objects, objects)
    if size < 16:
        raise ValueError(f"size is {size}; a scene needs at least 16 pixels a side")
    if not 1 <= low <= high:
        raise ValueError(f"objects is {objects}; expected at least 1, as a number or a (low, high) range")
    if not 0 < radius[0] <= radius[1] <= 0.5:
        raise ValueError(f"radius is {radius}; expected 0 < low <= high <= 0.5, in sides of the picture")
    rng = np.random.default_rng(seed)
    canvas = _ground(rng, size)
    masks: list[NDArray[np.bool_]] = []
    kinds: list[str] = []
    for x, y, r in _places(rng, int(rng.integers(low, high + 1)), radius):
        shape, texture = rng.integers(len(SHAPES)), rng.integers(len(TEXTURES))
        box, cover = _draw(rng, canvas, (x, y), r, SHAPES[shape], TEXTURES[texture])
        mask = np.zeros((size, size), dtype=np.bool_)
        mask[box] = cover > 0.5
        masks.append(mask)
        kinds.append(f"{TEXTURES[texture]} {SHAPES[shape]}")
    image = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Scene(image, np.stack(masks), tuple(kinds))


def _places(
    rng: np.random.Generator, count: int, radius: tuple[float, float]
) -> list[tuple[float, float, float]]:
    """Centres and radii of discs that do not touch, whole inside the picture."""
    placed: list[tuple[float, float, float]] = []
    for _ in range(count):
        for _attempt in range(40):
            r = float(rng.uniform(*radius))
            x, y = rng.uniform(r, 1 - r, size=2)
            if all((x - a) ** 2 + (y - b) ** 2 > (r + s) ** 2 for a, b, s in placed):
                placed.append((float(x), float(y), r))
                break
    return placed


def _pixels(start: int, stop: int, size: int) -> Float:
    return (np.arange(start, stop, dtype=np.float32) + np.float32(0.5)) / np.float32(size)


def _noise(rng: np.random.Generator, u: Float, v: Float, cells: int) -> Float:
    """Smooth value noise in [-1, 1] on the grid that `u` (columns) and `v` (rows) span."""
    lattice = rng.uniform(-1, 1, size=(cells + 2, cells + 2)).astype(np.float32)

    def blend(t: Float) -> tuple[NDArray[np.intp], Float]:
        cell = np.clip(np.floor(t * cells), 0, cells).astype(np.intp)
        f = (t * cells - cell).astype(np.float32)
        return cell, f * f * (3 - 2 * f)

    column, fu = blend(u)
    row, fv = blend(v)
    top = lattice[row]
    rows = top + (lattice[row + 1] - top) * fv[:, None]
    left = rows[:, column]
    return left + (rows[:, column + 1] - left) * fu[None, :]


def _ground(rng: np.random.Generator, size: int) -> Float:
    axis = _pixels(0, size, size)
    tint = _GROUNDS[rng.integers(len(_GROUNDS))] + rng.uniform(-0.08, 0.08, size=3).astype(np.float32)
    relief = 0.07 * _noise(rng, axis, axis, 3) + 0.05 * _noise(rng, axis, axis, 14)
    relief += 0.04 * _noise(rng, axis, axis, 40)
    slope = rng.uniform(-0.12, 0.12, size=2).astype(np.float32)
    relief += slope[0] * (axis[:, None] - 0.5) + slope[1] * (axis[None, :] - 0.5)
    return np.asarray(tint[None, None, :] + relief[:, :, None], dtype=np.float32)


def _draw(
    rng: np.random.Generator,
    canvas: Float,
    centre: tuple[float, float],
    radius: float,
    shape: str,
    texture: str,
) -> tuple[tuple[slice, slice], Float]:
    """Paint one object onto `canvas`; return its box and its cover (0..1 a pixel)."""
    size = canvas.shape[0]
    spans = []
    for c in (centre[1], centre[0]):
        spans.append(slice(max(0, int((c - radius) * size) - 1), min(size, int((c + radius) * size) + 2)))
    box = (spans[0], spans[1])
    angle = float(rng.uniform(-_TILT, _TILT))
    dx = _pixels(spans[1].start, spans[1].stop, size)[None, :] - np.float32(centre[0])
    dy = _pixels(spans[0].start, spans[0].stop, size)[:, None] - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x, y = cos * dx + sin * dy, cos * dy - sin * dx
    edge = np.float32(1 / size)

    distance = _distance(shape, x, y, radius)
    cover = np.clip(0.5 - distance / edge, 0, 1)
    light, dark = _PAINTS[rng.integers(len(_PAINTS))]
    light = light + rng.uniform(-0.06, 0.06, size=3).astype(np.float32)
    dark = dark + rng.uniform(-0.06, 0.06, size=3).astype(np.float32)
    ink = _ink(rng, texture, x, y, edge)[:, :, None]
    rim = np.clip(0.5 + (distance + np.float32(_RIM)) / edge, 0, 1)[:, :, None]
    colour = light + (dark - light) * ink
    colour += (dark * np.float32(0.45) - colour) * rim
    canvas[box] += (colour - canvas[box]) * cover[:, :, None]
    return box, cover


def _distance(shape: str, x: Float, y: Float, radius: float) -> Float:
    """Signed distance to the outline (negative inside), every shape within `radius` of its centre."""
    r = np.float32(radius)
    if shape == "disc":
        return np.sqrt(x * x + y * y) - r
    if shape == "ring":
        return np.abs(np.sqrt(x * x + y * y) - r * np.float32(0.7)) - r * np.float32(0.3)
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - r * np.float32(np.sqrt(0.5))
    half = r * np.float32(0.5)
    slant = np.float32(np.sqrt(0.75))
    return np.maximum(np.maximum(slant * x - y * 0.5, -slant * x - y * 0.5), y) - half


def _ink(rng: np.random.Generator, texture: str, x: Float, y: Float, edge: np.float32) -> Float:
    """How dark the texture is at each point, 0..1, anti-aliased over one pixel (`edge`)."""
    turn = float(rng.uniform(0, np.pi))
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = cos * x + sin * y, cos * y - sin * x
    period = np.float32(rng.uniform(0.058, 0.078))

    def wave(t: Float) -> Float:
        """Distance to the nearest change of a square wave, positive on its inked half."""
        return np.asarray(period / 4 - np.abs(np.mod(t, period) - period / 2), dtype=np.float32)

    ink: Float
    if texture == "striped":
        ink = 0.5 + wave(u) / edge
    elif texture == "dotted":
        a, b = np.mod(u, period) - period / 2, np.mod(v, period) - period / 2
        ink = 0.5 + (period * np.float32(0.3) - np.sqrt(a * a + b * b)) / edge
    elif texture == "checked":
        a, b = np.clip(2 * wave(u) / edge, -1, 1), np.clip(2 * wave(v) / edge, -1, 1)
        ink = 0.5 + a * b * np.float32(0.5)
    else:
        grain = _grain(rng, u + np.float32(0.5), v + np.float32(0.5), round(1.1 / float(period)))
        ink = 0.5 + grain * np.float32(1.1)
    return np.clip(ink, 0, 1)


def _grain(rng: np.random.Generator, u: Float, v: Float, cells: int) -> Float:
    """Value noise in [-1, 1] at scattered points `u`, `v` in [0, 1]."""
    lattice = rng.uniform(-1, 1, size=(cells + 2, cells + 2)).astype(np.float32)
    i = np.clip(np.floor(u * cells), 0, cells).astype(np.intp)
    j = np.clip(np.floor(v * cells), 0, cells).astype(np.intp)
    fu, fv = u * cells - i, v * cells - j
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    top = lattice[j, i] + (lattice[j, i + 1] - lattice[j, i]) * fu
    bottom = lattice[j + 1, i] + (lattice[j + 1, i + 1] - lattice[j + 1, i]) * fu
    return np.asarray(top + (bottom - top) * fv, dtype=np.float32)
