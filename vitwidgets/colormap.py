"""Two colour maps and what they need: how numbers become colours.

Both maps are curves through a few control points in OKLab, a space in which equal steps look equal. The
sequential map rises in lightness all the way, and the two arms of the diverging one differ in hues that every
kind of colour blindness leaves apart. ``js/src/math/colormap.ts`` holds the same maps; shared test vectors
keep the two equal.

OKLab: Björn Ottosson, "A perceptual color space for image processing" (2020).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

# Control points (lightness, a, b), evenly spaced along each curve.
_SEQUENTIAL = (  # dark indigo, blue, teal, green, warm yellow
    (0.23, 0.025, -0.115),
    (0.40, -0.015, -0.110),
    (0.57, -0.070, -0.035),
    (0.74, -0.080, 0.075),
    (0.91, -0.012, 0.140),
)
_BLUE = (  # from the light middle to deep blue
    (0.94, 0.000, 0.002),
    (0.80, -0.034, -0.058),
    (0.66, -0.047, -0.115),
    (0.52, -0.035, -0.165),
)
_ORANGE = (  # from the light middle to deep orange
    (0.94, 0.000, 0.002),
    (0.80, 0.050, 0.062),
    (0.66, 0.105, 0.108),
    (0.52, 0.130, 0.102),
)


def _curve(points: tuple[tuple[float, float, float], ...], where: Floats) -> Floats:
    """Catmull-Rom spline through evenly spaced points; its ends go on in a straight line.

    Parameters
    ----------
    points
        Control points, (lightness, a, b).
    where : (n,) float
        Positions in 0..1 along the curve.

    Returns
    -------
    (n, 3) float
    """
    p = np.array(points)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    spans = len(points) - 1
    span = np.minimum(np.floor(where * spans).astype(int), spans - 1)
    t = (where * spans - span)[:, None]
    a, b, c, d = p[span], p[span + 1], p[span + 2], p[span + 3]
    curve: Floats = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve


def _srgb(lab: Floats) -> Bytes:
    """OKLab (n, 3) to sRGB bytes (n, 3)."""
    to_lms = np.array(
        [
            [1.0, 0.3963377774, 0.2158037573],
            [1.0, -0.1055613458, -0.0638541728],
            [1.0, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rounded: Bytes = np.floor(encoded * 255 + 0.5).astype(np.uint8)
    return rounded


def _diverging() -> Bytes:
    signed = (2 * np.arange(256) - 255) / 255
    blue, orange = _curve(_BLUE, np.abs(signed)), _curve(_ORANGE, np.abs(signed))
    return _srgb(np.where(signed[:, None] < 0, blue, orange))


#: (256, 3) uint8: from dark indigo over teal to warm yellow, lightness strictly rising.
SEQUENTIAL: Bytes = _srgb(_curve(_SEQUENTIAL, np.arange(256) / 255))
#: (256, 3) uint8: deep blue, near-neutral light grey, deep orange; lightness symmetric about the middle.
DIVERGING: Bytes = _diverging()
#: (3,) uint8: the colour of NaN and infinity, which no map contains.
NON_FINITE: Bytes = np.array([214, 51, 132], np.uint8)


def colorize(values: npt.ArrayLike, low: float, high: float, diverging: bool = False) -> Bytes:
    """Colours of numbers.

    Parameters
    ----------
    values : (...) float
        Values outside ``low..high`` take the colour of the nearer end; NaN and infinity take ``NON_FINITE``.
    low, high
        What the two ends of the map stand for, ``low < high``.
    diverging
        Use ``DIVERGING`` instead of ``SEQUENTIAL``.

    Returns
    -------
    (..., 3) uint8
        sRGB.

    Raises
    ------
    ValueError
        Where ``low < high`` does not hold.
    """
    if not low < high:
        raise ValueError(f"low must be less than high; got low={low} and high={high}.")
    v = np.asarray(values, np.float64)
    finite = np.isfinite(v)
    position = np.clip((np.where(finite, v, low) - low) / (high - low), 0, 1)
    table = DIVERGING if diverging else SEQUENTIAL
    colours = table[np.floor(position * 255 + 0.5).astype(np.intp)]
    return np.where(finite[..., None], colours, NON_FINITE)
