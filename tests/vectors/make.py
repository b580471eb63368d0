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
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).parent
Vector = list[float]
Matrix = list[Vector]

ROWS, COLS, PREFIX = 3, 4, ("cls", "reg1")
N = len(PREFIX) + ROWS * COLS
WIDTH, HEADS, HEAD_DIM, HIDDEN, LAYERS = 8, 2, 4, 6, 2
PATCH, CLASSES, EPS = (2, 3), ("fir", "oak, or a beech", "<b>ash</b>"), 1e-5


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
    grey = [0, 255, 128, 1, 254, 77]
    cases.append(
        {
            "name": "uint8",
            "dtype": "uint8",
            "shape": [2, 3],
            "input": grey,
            "values": grey,
            "packet": packet({"dtype": "uint8", "shape": [2, 3], "scale": None}, bytes(grey)),
        }
    )
    few = [0.0, 0.25, 0.0, -0.0, -3.5, nan, 0.0, 2**-30, inf] + [0.0] * 9 + [1.0]
    few_kept = [struct.unpack("<e", half(v))[0] + 0.0 for v in few]
    header = {"dtype": "sparse", "shape": [19], "scale": None}
    bits = sum(1 << i for i, v in enumerate(few_kept) if v != 0).to_bytes(4, "little")
    others = b"".join(half(v) for v in few_kept if v != 0)
    cases.append(
        {
            "name": "sparse",
            "dtype": "sparse",
            "shape": [19],
            "input": few,
            "values": few_kept,
            "packet": packet(header, bits + others),
        }
    )
    for name, shape in [("sparse, nothing", [0]), ("sparse, zeros alone", [2, 3])]:
        empty = {"dtype": "sparse", "shape": shape, "scale": None}
        zeros = [0.0] * math.prod(shape)
        payload = bytes(2) if zeros else b""
        cases.append(
            {
                "name": name,
                "dtype": "sparse",
                "shape": shape,
                "input": zeros,
                "values": zeros,
                "packet": packet(empty, payload),
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
        ("sparse, a number too few", packet(header, bits + others[:-2]), "takes 14 bytes; got 12"),
        ("sparse, a number too many", packet(header, bits + others + b"xx"), "takes 14 bytes; got 16"),
        ("sparse, cut inside the bits", packet(header, bits[:2]), "got 2"),
        ("sparse, nothing there", packet(header, b""), "takes 4 bytes; got 0"),
        ("uint8, a byte short", packet({"dtype": "uint8", "shape": [13], "scale": None}, data), "got 12"),
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
        rng = random.Random(19)  # of its own, so that what was drawn before stays as it is
        p, q = PATCH
        self.pixels = [draw(rng, COLS * q, 3) for _ in range(ROWS * p)]
        self.filters = [[draw(rng, q, 3) for _ in range(p)] for _ in range(WIDTH)]
        self.readout = draw(rng, len(CLASSES), WIDTH + 1)
        self.colours = [
            [[rng.randrange(256) for _ in range(3)] for _ in range(ROWS * COLS)] for _ in range(LAYERS + 1)
        ]
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


def scale(values: Vector, kind: str, skip: int | None = None, prefix: int = len(PREFIX)) -> dict[str, object]:
    patches = [v for i, v in enumerate(values) if i >= prefix and i != skip and math.isfinite(v)]
    if kind == "weights" and min(patches) < 0:
        kind = "symmetric"
    if kind == "span" and max(patches) - min(patches) > 1e-4 * max(abs(v) for v in patches):
        return {"low": min(patches), "high": max(patches), "diverging": False}
    if kind == "span" and max(patches) < 0:
        return {"low": min(patches), "high": 0.0, "diverging": False}
    largest = max(abs(v) for v in patches) or 1.0
    return {
        "low": -largest if kind == "symmetric" else 0.0,
        "high": largest,
        "diverging": kind == "symmetric",
    }


def spec(overlay: str, layer: int, **rest: object) -> dict[str, object]:
    blank = {"token": None, "head": None, "neuron": 0, "space": "residual", "target": None}
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
            shown(what, trace.rollout[layer][token], "weights", f"rollout from {name(token)}", "rollout")
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
                shown(what, chosen[token], "weights", title, "attention")
                what = spec("attention_to", layer, token=token, head=head)
                title = f"attention to {name(token)} · {which}"
                shown(what, [row[token] for row in chosen], "weights", title, "attention")
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
    missing(spec("attention_from", 1, token=0, head=2), "layer 1 has no head 2: its heads are 0..1")
    missing(spec("neuron", 1, neuron=8), "layer 1 has no neuron 8: its neurons are 0..7")
    missing(spec("neuron", 1, neuron=6, space="mlp"), "layer 1 has no MLP neuron 6: its neurons are 0..5")
    neurons_see(trace, shown, missing, cases)
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
        "rows": ROWS, "cols": COLS, "prefix": PREFIX, "layers": LAYERS,
        "grids": [[ROWS, COLS]] * (LAYERS + 1), "widths": [WIDTH] * (LAYERS + 1),
        "heads": [0] + [HEADS] * LAYERS, "hidden": [0] + [HIDDEN] * LAYERS, "missing": {},
        "patch": PATCH, "input": [ROWS * PATCH[0], COLS * PATCH[1]], "classes": CLASSES, "leading": [2, 0, 1],
        "eps": EPS,
    }  # fmt: skip
    by_layer: list[dict[str, object]] = []
    for layer in range(LAYERS + 1):
        arrays: dict[str, object] = {
            "tokens": trace.tokens[layer],
            "rollout": trace.rollout[layer],
            "colours": trace.colours[layer],
        }
        if layer:
            arrays |= {
                "q": trace.q[layer],
                "k": trace.k[layer],
                "lse": trace.lse[layer],
                "attention": trace.attention[layer],
                "mlp": trace.mlp[layer],
            }
        by_layer.append(arrays)
    whole = {"pixels": trace.pixels, "filters": trace.filters, "readout": trace.readout}
    content = {"sizes": sizes, "trace": by_layer, "whole": whole, "cases": cases, "contrast": contrast}
    write("overlay.json", {**content, "high_norm": high_norms()})


def neurons_see(
    trace: Trace,
    shown: Callable[..., None],
    missing: Callable[[dict[str, object], str], None],
    cases: list[dict[str, object]],
) -> None:
    """Views, evidence, norms and colours."""
    p, q = PATCH
    prefix = len(PREFIX)

    def view(what: dict[str, object], neuron: int, shares: Vector, title: str) -> None:
        picture, sums = [], [0.0] * (ROWS * COLS)
        for y, line in enumerate(trace.pixels):
            for x, pixel in enumerate(line):
                patch = y // p * COLS + x // q
                for c, value in enumerate(pixel):
                    seen = value * trace.filters[neuron][y % p][x % q][c] * shares[patch]
                    picture.append(seen)
                    sums[patch] += seen
        peak, total = max(abs(v) for v in picture), sum(abs(v) for v in picture)
        limit = min(peak, 2 * sum(v * v for v in picture) / total) if total else 1.0
        scale = {"limit": limit, "peak": peak}
        field = {"view": picture, "values": [0.0] * prefix + sums, **scale, "title": title}
        cases.append({"spec": what, "view": {**field, "unit": "sum over the patch"}})

    for layer in range(LAYERS + 1):
        for token in (0, 1, 5, 13):
            what = spec("view", layer, token=token, neuron=3)
            if layer == 0 and token < prefix:
                missing(what, f"at layer 0 {PREFIX[token]} holds nothing of the picture yet")
                continue
            shares = trace.rollout[layer][token][prefix:]
            view(what, 3, shares, f"view of neuron 3 from {name(token)}")
        view(spec("view", layer, neuron=7), 7, [1.0] * (ROWS * COLS), "view of neuron 7")
        for target in (None, 0, 1):
            values = []
            for row in trace.tokens[layer]:
                mean = sum(row) / WIDTH
                deviation = math.sqrt(sum((v - mean) ** 2 for v in row) / WIDTH + EPS)
                *weights, bias = trace.readout[2 if target is None else target]
                values.append(
                    sum(w * (v - mean) / deviation for w, v in zip(weights, row, strict=True)) + bias
                )
            title = f"evidence for {CLASSES[2 if target is None else target]}"
            shown(spec("evidence", layer, target=target), values, "symmetric", title, "logit")
        values = [math.sqrt(inner(row, row)) for row in trace.tokens[layer]]
        shown(spec("norm", layer), values, "span", "token norm", "norm")
        cases.append(
            {
                "spec": spec("colours", layer),
                "colours": {"rgb": trace.colours[layer], "title": "principal components"},
            }
        )
    missing(
        spec("view", 1, token=3, space="mlp"),
        "an MLP neuron has no filter: choose a residual neuron to see its view",
    )
    missing(spec("view", 1, token=3, neuron=8), "layer 0 has no neuron 8: its neurons are 0..7")
    missing(spec("view", 1, token=14), "there is no token 14: tokens are 0..13")
    missing(spec("view", 3, token=0), "there is no layer 3: layers are 0..2")
    missing(spec("evidence", 1, target=3), "there is no class 3: classes are 0..2")
    missing(spec("evidence", 1, target=-1), "there is no class -1: classes are 0..2")


def high_norms() -> list[dict[str, object]]:
    """Which norms are far above the others: by the median of a sorted list."""
    rng = random.Random(23)

    def median(values: Vector) -> float:
        ordered, middle = sorted(values), len(values) // 2
        return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    cases: list[dict[str, object]] = []
    for count, prefix, large in [(21, 2, [5, 20]), (20, 0, [0]), (12, 1, []), (5, 0, [1, 2, 3]), (1, 0, [])]:
        values = [10 + rng.gauss(0, 0.7) for _ in range(prefix + count)]
        for i in large:
            values[i] = 17.4 + 3 * rng.random()
        for i in range(prefix):
            values[i] = 90.0
        cases.append({"norms": values, "prefix": prefix})
    cases.append({"norms": [4.0] * 9, "prefix": 0})
    cases.append({"norms": [1.0, 1.0, 1.0, math.nan, 1.0, math.inf, 1.75, 1.76], "prefix": 0})
    cases.append({"norms": [math.nan, math.inf], "prefix": 0})
    cases.append({"norms": [7.0], "prefix": 1})
    for case in cases:
        patches = [v for v in case["norms"][case["prefix"] :] if math.isfinite(v)]  # type: ignore[index]
        case["marked"] = []
        if patches:
            middle = median(patches)
            spread = 1.4826 * median([abs(v - middle) for v in patches])
            limit = max(middle + 6 * spread, 1.75 * middle)
            numbered = list(enumerate(case["norms"]))  # type: ignore[call-overload]
            case["marked"] = [
                i for i, v in numbered if i >= case["prefix"] and math.isfinite(v) and v > limit
            ]
    return cases


# A trace whose grid gets ever coarser, with weights that are no softmax and layers that lack something

STAGES = [(4, 6), (4, 6), (2, 3), (1, 2)]
STAGE_WIDTHS, STAGE_HEADS, STAGE_HIDDEN = [4, 4, 6, 8], [0, 2, 3, 0], [0, 0, 5, 7]
CHAIN = "the patch grid changes between the layers"
LACKS = {
    "attention": {"3": "it pools"},
    "mlp": {"1": "it has none"},
    "rollout": {"1": CHAIN, "2": CHAIN, "3": CHAIN},
    "view": {"0": "its stem is no one convolution", "1": CHAIN, "2": CHAIN, "3": CHAIN},
    "evidence": {str(layer): "its head reads the mean of all tokens" for layer in range(4)},
    "colours": {"3": "it has 2 patches"},
}


def cell_of(patch: int, start: tuple[int, int], to: tuple[int, int]) -> int:
    """Which cell of `to` holds the centre of a cell of `start`, looked for among all, in exact fractions."""
    y = Fraction(2 * (patch // start[1]) + 1, 2 * start[0])
    x = Fraction(2 * (patch % start[1]) + 1, 2 * start[1])
    rows, cols = to
    held = [
        cell
        for cell in range(rows * cols)
        if Fraction(cell // cols, rows) <= y < Fraction(cell // cols + 1, rows)
        and Fraction(cell % cols, cols) <= x < Fraction(cell % cols + 1, cols)
    ]
    assert len(held) == 1
    return held[0]


def stages() -> None:
    rng = random.Random(11)
    cases: list[dict[str, object]] = []
    by_layer: list[dict[str, object]] = []

    def place(layer: int, token: int) -> tuple[int, str]:
        """Row and name of what stands for a token: one prefix token, then patches of the finest grid."""
        if token == 0:
            return 0, "cls"
        cell = cell_of(token - 1, STAGES[0], STAGES[layer])
        kind = "patch" if STAGES[layer] == STAGES[0] else "cell"
        cols = STAGES[layer][1]
        return 1 + cell, f"{kind} {cell} (row {cell // cols}, column {cell % cols})"

    def shown(
        what: dict[str, object], values: Vector, kind: str, title: str, unit: str, skip: int | None = None
    ) -> None:
        field = {"values": values, **scale(values, kind, skip, 1), "title": title, "unit": unit}
        cases.append({"spec": what, "field": field})

    for layer, (rows, cols) in enumerate(STAGES):
        count = 1 + rows * cols
        tokens = draw(rng, count, STAGE_WIDTHS[layer])
        mlp = draw(rng, count, STAGE_HIDDEN[layer])
        weights = [draw(rng, count, count, 0.1) for _ in range(STAGE_HEADS[layer])]
        if layer == 1:
            weights = [[[abs(v) for v in row] for row in head] for head in weights]
        arrays: dict[str, object] = {"tokens": tokens}
        arrays |= {"attention": weights} if weights else {}
        arrays |= {"mlp": mlp} if STAGE_HIDDEN[layer] else {}
        if layer == 0:
            arrays["rollout"] = [[float(i == j) for j in range(count)] for i in range(count)]
        by_layer.append(arrays)

        for token in (0, 1, 8, 11, 24):
            row, called = place(layer, token)
            shown(
                spec("similarity", layer, token=token),
                cosines(tokens, row), "span", f"similarity to {called}", "cosine", row,
            )  # fmt: skip
            if layer > 0:
                cases.append(
                    {
                        "spec": spec("rollout", layer, token=token),
                        "missing": f"no rollout at layer {layer}: {CHAIN}",
                    }
                )
            for head in (None, *range(STAGE_HEADS[layer])):
                if not weights:
                    continue
                heads = weights if head is None else [weights[head]]
                one = [
                    [sum(each[i][j] for each in heads) / len(heads) for j in range(count)]
                    for i in range(count)
                ]
                which = "head mean" if head is None else f"head {head}"
                for overlay, values in (("from", one[row]), ("to", [line[row] for line in one])):
                    what = spec(f"attention_{overlay}", layer, token=token, head=head)
                    title = f"attention {overlay} {called} · {which}"
                    shown(what, values, "weights", title, "attention")
        last = STAGE_WIDTHS[layer] - 1
        shown(
            spec("neuron", layer, neuron=last),
            [line[last] for line in tokens], "symmetric", f"neuron {last}", "activation",
        )  # fmt: skip
        cases.append(
            {
                "spec": spec("neuron", layer, neuron=last + 1),
                "missing": f"layer {layer} has no neuron {last + 1}: its neurons are 0..{last}",
            }
        )
        if STAGE_HIDDEN[layer]:
            what = spec("neuron", layer, neuron=1, space="mlp")
            shown(what, [line[1] for line in mlp], "symmetric", "MLP neuron 1", "activation")
        shown(
            spec("norm", layer),
            [math.sqrt(inner(line, line)) for line in tokens],
            "span",
            "token norm",
            "norm",
        )
    for what, reason in [
        (spec("view", 2, token=1), f"no view at layer 2: {CHAIN}"),
        (spec("view", 0, token=1), "no view at layer 0: its stem is no one convolution"),
        (spec("view", 2), "no view at layer 2: its stem is no one convolution"),
        (spec("evidence", 1), "no evidence at layer 1: its head reads the mean of all tokens"),
        (spec("colours", 3), "no principal components at layer 3: it has 2 patches"),
        (spec("neuron", 1, space="mlp"), "no MLP neurons at layer 1: it has none"),
        (spec("attention_from", 3, token=2), "no attention at layer 3: it pools"),
        (spec("attention_to", 3), "no attention at layer 3: it pools"),
        (spec("attention_to", 1, token=2, head=2), "layer 1 has no head 2: its heads are 0..1"),
        (spec("similarity", 3, token=25), "there is no token 25: tokens are 0..24"),
    ]:
        cases.append({"spec": what, "missing": reason})
    sizes = {
        "rows": STAGES[0][0], "cols": STAGES[0][1], "prefix": ["cls"], "layers": len(STAGES) - 1,
        "grids": STAGES, "widths": STAGE_WIDTHS, "heads": STAGE_HEADS, "hidden": STAGE_HIDDEN,
        "missing": LACKS, "patch": [2, 2], "input": [8, 12], "classes": [], "leading": [], "eps": 0,
    }  # fmt: skip
    write("stages.json", {"sizes": sizes, "trace": by_layer, "cases": cases})


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
    grids = [(1, 1), (2, 2), (3, 4), (5, 4), (4, 6), (8, 12), (7, 7)]
    cells = [
        {"from": start, "to": to, "cells": [cell_of(cell, start, to) for cell in range(start[0] * start[1])]}
        for start in grids
        for to in grids
    ]
    frame = {"original": [640, 300], "input": [36, 48], "box": box}
    names = [name(i) for i in range(N)]
    sizes = {"rows": ROWS, "cols": COLS, "prefix": PREFIX}
    write(
        "frame.json",
        {
            **sizes,
            "frame": frame,
            "boxes": boxes,
            "points": points,
            "rects": rects,
            "names": names,
            "cells": cells,
        },
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
    stages()
    frames()
    colours()
