"""Writes the test vectors that the Python and the TypeScript tests share: ``python tests/vectors/make.py``.

A reference on its own: plain loops over lists, the standard library only, formulas from their definitions.
Numbers that JSON has no word for are written as the strings "NaN", "Infinity", "-Infinity" and "-0".
"""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from pathlib import Path

HERE = Path(__file__).parent
Vector = list[float]
Matrix = list[Vector]

ROWS, COLS, PREFIX = 3, 4, ("cls", "reg1")
N = len(PREFIX) + ROWS * COLS
WIDTH, HEADS, HEAD_DIM, HIDDEN, LAYERS = 8, 2, 4, 6, 2


def plain(value: object) -> object:
    """`value` for JSON: lists all the way down, special numbers as strings, nine digits."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        if value == 0 and math.copysign(1, value) < 0:
            return "-0"
        return int(value) if value == int(value) and abs(value) < 1e9 else float(f"{value:.9g}")
    return value


def write(name: str, content: dict[str, object]) -> None:
    parts = []
    for key, value in content.items():
        if isinstance(value, list):
            lines = ",\n".join("  " + json.dumps(plain(item), ensure_ascii=False) for item in value)
            parts.append(f'"{key}": [\n{lines}\n]')
        else:
            parts.append(f'"{key}": {json.dumps(plain(value), ensure_ascii=False)}')
    (HERE / name).write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


# Packets


def packet(header: object, payload: bytes, magic: bytes = b"VWP1", extra: int = 0) -> str:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    while (8 + len(text)) % 8:
        text += b" "
    return base64.b64encode(magic + struct.pack("<I", len(text) + extra) + text + payload).decode()


def float32(value: float) -> float:
    return struct.unpack("<f", struct.pack("<f", value))[0]


def half(value: float) -> bytes:
    if math.isfinite(value):
        value = min(max(value, -65504.0), 65504.0)
    return struct.pack("<e", value)


def packets() -> None:
    inf, nan = math.inf, math.nan
    numbers = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        65504.0,
        -65504.0,
        70000.0,
        -1e9,
        2**-24,
        2**-25,
        -(2**-24) * 1.5,
        2**-14,
    ]
    numbers += [1023 * 2**-24, float32(0.1), float32(1 / 3), inf, -inf, nan, 1 + 2**-11, 1 + 3 * 2**-11]
    kept = [struct.unpack("<e", half(v))[0] for v in numbers]
    whole = {
        "name": "float16, specials",
        "dtype": "float16",
        "shape": [4, 5],
        "input": numbers,
        "values": kept,
        "packet": packet(
            {"dtype": "float16", "shape": [4, 5], "scale": None}, b"".join(half(v) for v in numbers)
        ),
    }
    cases = [whole]
    for name, shape, some in [
        ("float32, specials", [2, 5, 2], numbers),
        ("float32, a scalar", [], [2.5]),
        ("float32, nothing", [0, 3], []),
    ]:
        payload = b"".join(struct.pack("<f", v) for v in some)
        header = {"dtype": "float32", "shape": shape, "scale": None}
        cases.append(
            {
                "name": name,
                "dtype": "float32",
                "shape": shape,
                "input": some,
                "values": some,
                "packet": packet(header, payload),
            }
        )
    rows = [[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [300.0, -0.25, 150.0], [-1e-3, 5e-4, 1e-3]]
    rows = [[float32(v) for v in row] for row in rows]
    scales = [float(f"{max(abs(v) for v in row) / 127:.6g}") for row in rows]
    bytes_ = [[round(v / s) if s else 0 for v in row] for row, s in zip(rows, scales, strict=True)]
    cases.append(
        {
            "name": "int8, a scale for each row",
            "dtype": "int8",
            "shape": [2, 2, 3],
            "input": [v for row in rows for v in row],
            "values": [float32(b * float32(s)) for row, s in zip(bytes_, scales, strict=True) for b in row],
            "packet": packet(
                {"dtype": "int8", "shape": [2, 2, 3], "scale": scales},
                b"".join(struct.pack("b", b) for row in bytes_ for b in row),
            ),
        }
    )
    good = {"dtype": "float32", "shape": [3], "scale": None}
    data = bytes(12)
    damaged = [
        ("nothing at all", "", "not a packet"),
        ("another file", packet(good, data, magic=b"\x89PNG"), "not a packet"),
        ("cut inside the header", packet(good, b"", extra=40), "header should end at byte"),
        ("header is no JSON", packet(b"{dtype", data), "must be JSON"),
        ("header is no UTF-8", packet(b"\xff\xfe\xfa", data), "must be JSON"),
        ("header is a number", packet(7, data), "must be JSON"),
        ("no dtype", packet({"shape": [3], "scale": None}, data), "dtype"),
        ("unknown dtype", packet({**good, "dtype": "float64"}, data), "dtype must be"),
        ("dtype is no word", packet({**good, "dtype": ["float32"]}, data), "dtype must be"),
        ("shape is a number", packet({**good, "shape": 3}, data), "shape must be a list"),
        ("negative shape", packet({**good, "shape": [-3]}, data), "shape must be a list"),
        ("fractional shape", packet({**good, "shape": [1.5, 2]}, data), "shape must be a list"),
        ("huge shape", packet({**good, "shape": [2**40, 2**40]}, data), "bytes; got 12"),
        ("too few numbers", packet(good, data[:8]), "takes 12 bytes; got 8"),
        ("too many numbers", packet(good, data + b"x"), "takes 12 bytes; got 13"),
        ("int8 without scale", packet({"dtype": "int8", "shape": [2, 6], "scale": None}, data), "list of 2"),
        (
            "int8, a scale too few",
            packet({"dtype": "int8", "shape": [2, 6], "scale": [1]}, data),
            "list of 2",
        ),
        (
            "int8, a scale is no number",
            packet({"dtype": "int8", "shape": [1, 12], "scale": ["1"]}, data),
            "list",
        ),
        ("int8, a scalar", packet({"dtype": "int8", "shape": [], "scale": [1]}, b"x"), "list of"),
    ]
    write(
        "packets.json",
        {"good": cases, "damaged": [{"name": n, "packet": p, "says": s} for n, p, s in damaged]},
    )


# A small trace and what can be asked of it


def inner(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def draw(rng: random.Random, rows: int, cols: int, size: float = 1.0) -> Matrix:
    """Random numbers that float16 holds exactly."""
    return [[round(rng.gauss(0, size) * 32) / 32 for _ in range(cols)] for _ in range(rows)]


def cosines(tokens: Matrix, index: int) -> Vector:
    result = []
    for row in tokens:
        lengths = math.sqrt(inner(row, row)) * math.sqrt(inner(tokens[index], tokens[index]))
        result.append(0.0 if lengths == 0 else inner(row, tokens[index]) / lengths)
    return result


def contrasts(values: Matrix, selected: list[int]) -> Vector:
    result = []
    for j in range(len(values[0])):
        numbers = [row[j] for row in values]
        mean = sum(numbers) / len(numbers)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in numbers) / len(numbers))
        chosen = sum(numbers[i] for i in selected) / len(selected)
        result.append(0.0 if deviation == 0 else (chosen - mean) / deviation)
    return result


class Trace:
    """Random activations, with what breaks naive code: a row of zeros, NaN, infinity, a large cls."""

    def __init__(self) -> None:
        rng = random.Random(7)
        self.tokens = [draw(rng, N, WIDTH) for _ in range(LAYERS + 1)]
        self.tokens[0] = [[abs(v) + 0.5 for v in row] for row in self.tokens[0]]
        self.tokens[1][0] = [100 * v for v in self.tokens[1][0]]
        self.tokens[2][5] = [0.0] * WIDTH
        self.tokens[2][7][3] = math.nan
        self.tokens[2][9][6] = math.inf
        self.q = {layer: [draw(rng, N, HEAD_DIM) for _ in range(HEADS)] for layer in (1, 2)}
        self.k = {layer: [draw(rng, N, HEAD_DIM) for _ in range(HEADS)] for layer in (1, 2)}
        self.mlp = {layer: draw(rng, N, HIDDEN) for layer in (1, 2)}
        for row in self.mlp[2]:
            row[3], row[4] = 0.0, 1.6875
        self.lse: dict[int, Matrix] = {}
        self.attention: dict[int, list[Matrix]] = {}
        self.rollout = [[[1.0 if i == j else 0.0 for j in range(N)] for i in range(N)]]
        for layer in (1, 2):
            self.lse[layer] = []
            self.attention[layer] = []
            for h in range(HEADS):
                scores = [[inner(q, k) for k in self.k[layer][h]] for q in self.q[layer][h]]
                totals = [sum(math.exp(s) for s in row) for row in scores]
                self.lse[layer].append([math.log(t) for t in totals])
                self.attention[layer].append(
                    [[math.exp(s) / t for s in row] for row, t in zip(scores, totals, strict=True)]
                )
            mixed = []
            for i in range(N):
                row = [self.mean(layer, i, j) + (1.0 if i == j else 0.0) for j in range(N)]
                mixed.append([v / sum(row) for v in row])
            before = self.rollout[-1]
            self.rollout.append(
                [[sum(mixed[i][m] * before[m][j] for m in range(N)) for j in range(N)] for i in range(N)]
            )

    def mean(self, layer: int, i: int, j: int) -> float:
        return sum(head[i][j] for head in self.attention[layer]) / HEADS


def name(index: int) -> str:
    if index < len(PREFIX):
        return PREFIX[index]
    patch = index - len(PREFIX)
    return f"patch {patch} (row {patch // COLS}, column {patch % COLS})"


def scale(values: Vector, kind: str, skip: int | None = None) -> dict[str, object]:
    patches = [v for i, v in enumerate(values) if i >= len(PREFIX) and i != skip and math.isfinite(v)]
    if kind == "span" and max(patches) - min(patches) > 1e-4 * max(abs(v) for v in patches):
        return {"low": min(patches), "high": max(patches), "diverging": False}
    largest = max(abs(v) for v in patches) or 1.0
    return {
        "low": -largest if kind == "symmetric" else 0.0,
        "high": largest,
        "diverging": kind == "symmetric",
    }


def spec(overlay: str, layer: int, **rest: object) -> dict[str, object]:
    blank = {"token": None, "head": None, "neuron": 0, "space": "residual"}
    return {"overlay": overlay, "layer": layer, **blank, **rest}


def overlays() -> None:
    trace = Trace()
    cases: list[dict[str, object]] = []

    def shown(
        what: dict[str, object], values: Vector, kind: str, title: str, unit: str, skip: int | None = None
    ) -> None:
        field = {"values": values, **scale(values, kind, skip), "title": title, "unit": unit}
        cases.append({"spec": what, "field": field})

    def missing(what: dict[str, object], reason: str) -> None:
        cases.append({"spec": what, "missing": reason})

    for layer in range(LAYERS + 1):
        for token in (0, 1, 5, 6, 13):
            values = cosines(trace.tokens[layer], token)
            what = spec("similarity", layer, token=token)
            shown(what, values, "span", f"similarity to {name(token)}", "cosine", token)
            what = spec("rollout", layer, token=token)
            shown(what, trace.rollout[layer][token], "positive", f"rollout from {name(token)}", "rollout")
            if layer == 0:
                for overlay in ("attention_from", "attention_to"):
                    missing(spec(overlay, 0, token=token), "layer 0 is the input: no attention yet")
                continue
            for head in (None, 0, 1):
                chosen = [
                    [
                        trace.mean(layer, i, j) if head is None else trace.attention[layer][head][i][j]
                        for j in range(N)
                    ]
                    for i in range(N)
                ]
                which = "head mean" if head is None else f"head {head}"
                what = spec("attention_from", layer, token=token, head=head)
                title = f"attention from {name(token)} · {which}"
                shown(what, chosen[token], "positive", title, "attention")
                what = spec("attention_to", layer, token=token, head=head)
                title = f"attention to {name(token)} · {which}"
                shown(what, [row[token] for row in chosen], "positive", title, "attention")
        for neuron in (0, 3, 6, 7):
            values = [row[neuron] for row in trace.tokens[layer]]
            shown(spec("neuron", layer, neuron=neuron), values, "symmetric", f"neuron {neuron}", "activation")
        for neuron in (1, 3, 4):
            what = spec("neuron", layer, neuron=neuron, space="mlp")
            if layer == 0:
                missing(what, "layer 0 is the input: no MLP yet")
            else:
                values = [row[neuron] for row in trace.mlp[layer]]
                shown(what, values, "symmetric", f"MLP neuron {neuron}", "activation")
    missing(spec("none", 1, token=3), "")
    for overlay in ("similarity", "attention_from", "attention_to", "rollout"):
        missing(spec(overlay, 1), "pin a token to see this")
    missing(spec("attention_to", 0), "layer 0 is the input: no attention yet")
    missing(spec("similarity", 3, token=0), "there is no layer 3: layers are 0..2")
    missing(spec("similarity", -1, token=0), "there is no layer -1: layers are 0..2")
    missing(spec("rollout", 1, token=14), "there is no token 14: tokens are 0..13")
    missing(spec("rollout", 1, token=-1), "there is no token -1: tokens are 0..13")
    missing(spec("attention_from", 1, token=0, head=2), "there is no head 2: heads are 0..1")
    missing(spec("neuron", 1, neuron=8), "there is no neuron 8: neurons are 0..7")
    missing(spec("neuron", 1, neuron=6, space="mlp"), "there is no MLP neuron 6: neurons are 0..5")
    contrast = []
    for space, layer, selected in [
        ("mlp", 2, [3, 4, 9]),
        ("mlp", 1, [13]),
        ("tokens", 1, [2, 0]),
        ("tokens", 2, [3]),
    ]:
        values = trace.mlp[layer] if space == "mlp" else trace.tokens[layer]
        result = contrasts(values, selected)
        order = sorted(
            (j for j in range(len(result)) if not math.isnan(result[j])), key=lambda j: (-abs(result[j]), j)
        )
        contrast.append(
            {"space": space, "layer": layer, "selected": selected, "values": result, "strongest": order}
        )
    sizes = {
        "rows": ROWS, "cols": COLS, "prefix": PREFIX, "width": WIDTH, "heads": HEADS, "headDim": HEAD_DIM,
        "hidden": HIDDEN, "layers": LAYERS,
    }  # fmt: skip
    by_layer: list[dict[str, object]] = []
    for layer in range(LAYERS + 1):
        arrays: dict[str, object] = {"tokens": trace.tokens[layer], "rollout": trace.rollout[layer]}
        if layer:
            arrays |= {
                "q": trace.q[layer],
                "k": trace.k[layer],
                "lse": trace.lse[layer],
                "attention": trace.attention[layer],
                "mlp": trace.mlp[layer],
            }
        by_layer.append(arrays)
    write("overlay.json", {"sizes": sizes, "trace": by_layer, "cases": cases, "contrast": contrast})


# Where the patches are


def frames() -> None:
    left, top, right, bottom = box = (100.5, -20.0, 580.5, 340.0)
    wide, high = (right - left) / COLS, (bottom - top) / ROWS
    boxes = [
        [left + col * wide, top + row * high, left + (col + 1) * wide, top + (row + 1) * high]
        for row in range(ROWS)
        for col in range(COLS)
    ]
    points: list[dict[str, object]] = []
    for x, y in [
        (100.5, -20),
        (100.4, 0),
        (220.4, 99.9),
        (220.6, 100.1),
        (580.4, 339.9),
        (580.5, 0),
        (300, 340),
        (0, 0),
    ]:
        inside = [p for p, (a, b, c, d) in enumerate(boxes) if a <= x < c and b <= y < d]
        points.append({"x": x, "y": y, "patch": inside[0] if inside else None})
    rects: list[dict[str, object]] = []
    for a, b, c, d in [
        (230, 110, 240, 120),  # inside one
        (230, 110, 230, 110),  # a click
        (-500, -500, 900, 900),  # everything
        (215, 90, 225, 105),  # four corners meet
        (350, 230, 130, 0),  # drawn from bottom right to top left
        (220.5, 0, 340.5, 99),  # exactly one column: its borders touch no neighbour
        (0, 0, 90, 90),  # beside the picture
        (590, 0, 700, 90),
    ]:
        l_, r_, t_, b_ = min(a, c), max(a, c), min(b, d), max(b, d)
        touched = [
            p
            for p, (x0, y0, x1, y1) in enumerate(boxes)
            if ((l_ < x1 and r_ > x0) or (l_ == r_ and x0 <= l_ < x1))
            and ((t_ < y1 and b_ > y0) or (t_ == b_ and y0 <= t_ < y1))
        ]
        rects.append({"rect": [a, b, c, d], "patches": touched})
    frame = {"original": [640, 300], "input": [36, 48], "box": box}
    names = [name(i) for i in range(N)]
    sizes = {"rows": ROWS, "cols": COLS, "prefix": PREFIX}
    write(
        "frame.json",
        {**sizes, "frame": frame, "boxes": boxes, "points": points, "rects": rects, "names": names},
    )


# Colours

SEQUENTIAL = [
    (0.23, 0.025, -0.115),
    (0.40, -0.015, -0.110),
    (0.57, -0.070, -0.035),
    (0.74, -0.080, 0.075),
    (0.91, -0.012, 0.140),
]
BLUE = [(0.94, 0.0, 0.002), (0.80, -0.034, -0.058), (0.66, -0.047, -0.115), (0.52, -0.035, -0.165)]
ORANGE = [(0.94, 0.0, 0.002), (0.80, 0.050, 0.062), (0.66, 0.105, 0.108), (0.52, 0.130, 0.102)]
NON_FINITE = [214, 51, 132]


def spline(points: list[tuple[float, float, float]], where: float) -> Vector:
    """Cubic Hermite spline; slopes from the neighbours on both sides, at an end from the one there is."""
    last = len(points) - 1
    at = min(int(where * last), last - 1)
    t = where * last - at
    result = []
    for axis in range(3):
        p = [point[axis] for point in points]
        slopes = [p[1] - p[0], *((p[i + 1] - p[i - 1]) / 2 for i in range(1, last)), p[last] - p[last - 1]]
        h = (2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3, t**3 - t**2)
        result.append(h[0] * p[at] + h[1] * slopes[at] + h[2] * p[at + 1] + h[3] * slopes[at + 1])
    return result


def colour(lab: Vector) -> list[int]:
    lightness, a, b = lab
    l_ = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m_ = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s_ = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    result = []
    for row in (
        (4.0767416621, -3.3077115913, 0.2309699292),
        (-1.2684380046, 2.6097574011, -0.3413193965),
        (-0.0041960863, -0.7034186147, 1.7076147010),
    ):
        linear = min(max(row[0] * l_ + row[1] * m_ + row[2] * s_, 0), 1)
        encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
        result.append(math.floor(255 * encoded + 0.5))
    return result


def colours() -> None:
    sequential = [colour(spline(SEQUENTIAL, i / 255)) for i in range(256)]
    diverging = [
        colour(spline(BLUE, (127.5 - i) / 127.5) if i < 127.5 else spline(ORANGE, (i - 127.5) / 127.5))
        for i in range(256)
    ]
    cases = []
    for map_, low, high in [("sequential", 0.25, 2.0), ("diverging", -0.5, 0.5)]:
        values = [
            low,
            high,
            low - 9,
            high + 9,
            (low + high) / 2 + 0.01,
            low + 0.1,
            math.nan,
            math.inf,
            -math.inf,
        ]
        seen = []
        for v in values:
            if not math.isfinite(v):
                seen.append(NON_FINITE)
                continue
            part = min(max((v - low) / (high - low), 0), 1)
            seen.append((sequential if map_ == "sequential" else diverging)[math.floor(part * 255 + 0.5)])
        cases.append({"map": map_, "low": low, "high": high, "values": values, "colours": seen})
    write("colormap.json", {"sequential": sequential, "diverging": diverging, "colorize": cases})


if __name__ == "__main__":
    packets()
    overlays()
    frames()
    colours()
