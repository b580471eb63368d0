"""Trace each plain-column vision transformer of the installed timm, with random weights; judge the traces.

    python -m tests.sweep [--names "eva*"] [--out FILE.md]

Large models are cut to a few blocks. Biases, relative positions, layer scales, gates and all else that starts
at nothing is shaken, so that no error can hide behind it. A name passes if, in float32,

- every block of the model has a layer, bit-equal to what the block put out;
- every attention is reproduced: put back in the place of the model's own weights, those of the trace give the
  same output within `BOUND` of its scale;
- prefix tokens and patch grid are right: as many as the model declares and as really pass, and when pixels
  change in one patch, the token that changes most is the one that the trace says lies there;
- the hidden units of each MLP are those that its last linear layer takes;
- the logits are bit-equal to those of a plain forward pass.
"""

from __future__ import annotations

import argparse
import fnmatch
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vitwidgets.inspector import Inspector
from vitwidgets.trace import Trace

FAMILIES = {
    "vision_transformer": "VisionTransformer",
    "vision_transformer_hybrid": "ViT with a CNN stem",
    "deit": "DeiT, DeiT-3",
    "vision_transformer_relpos": "ViT with relative positions",
    "beit": "BEiT",
    "eva": "EVA and the RoPE ViTs",
    "naflexvit": "NaFlexViT",
    "vitamin": "ViTamin",
    "qwen3_vit": "Qwen3 tower",
    "gemma4_vit": "Gemma4 tower",
    "deepseek_vit": "DeepSeek tower",
    "cait": "CaiT",
    "convit": "ConViT",
    "vision_transformer_sam": "SAM encoder",
}
"""timm's files, and what the table calls them."""

BOUND = 1e-5
"""Largest error of an attention's output, relative to its scale."""

LARGE = 30e6
"""From so many parameters on, a model is cut to `CUT` blocks."""
CUT = 3

_PATCH = {"vitamin": 16, "qwen3": 16, "gemma4": 16, "deepseek": 14, "cait": 16, "convit": 16, "test_vit": 16}
_PATCH |= {"flexivit": 16, "vit_base_mci": 16, "vit_base_resnet": 32, "vit_small_resnet26d": 32}
_PATCH |= {"vit_tiny_r_s16_p8": 32}  # its stem, cut after the first stage, halves twice


ASPECTS = "blocks", "attention", "prefix and grid", "MLP", "logits"
_LAST_LINEAR = re.compile(r"^((ffns\.\d+\.)?mlp\.(fc2|w2|w3|down_proj\.linear)|mlp_out_proj|out_proj)$")


@dataclass
class Result:
    """What was found about one name: it passes if nothing is in `problems`, which has a list per aspect."""

    name: str
    family: str
    blocks: int = 0
    prefix: tuple[str, ...] = ()
    error: float = float("nan")
    seconds: float = 0.0
    problems: dict[str, list[str]] = field(default_factory=dict)

    def expect(self, aspect: str, holds: bool, problem: str) -> None:
        """Note a problem with an aspect unless something holds."""
        if not holds:
            self.problems.setdefault(aspect, []).append(problem)

    @property
    def reason(self) -> str:
        """All problems in one line."""
        return "; ".join(f"{aspect}: {', '.join(found[:3])}" for aspect, found in self.problems.items())


# ---------------------------------------------------------------------- building


def names(pattern: str = "*") -> list[tuple[str, str]]:
    """Names of the plain columns with timm's file of each; files that this timm lacks have none."""
    found = []
    for file in FAMILIES:
        with suppress(KeyError):
            found += [
                (name, file) for name in timm.list_models(module=file) if fnmatch.fnmatch(name, pattern)
            ]
    return found


def patch_of(name: str) -> int:
    """Side of a patch in pixels as the name tells it, without asking the model."""
    known = (size for start, size in _PATCH.items() if name.startswith(start))
    told = re.search(r"patch(\d+)", name) or re.search(r"_s(\d+)_", name)
    return next(known, int(told[1]) if told else 0)


def grid_of(name: str) -> tuple[int, int]:
    """Rows and columns to trace, few and different where the model takes that."""
    if name.startswith("samvit"):
        return 16, 30  # two rows of three windows of 14 patches, with padding
    if name.startswith("convit"):
        return 5, 5  # its positions are those of a square
    return (3, 6) if name.startswith("gemma4") else (4, 6)


def build(name: str, **options: Any) -> nn.Module:
    """Build a name with random weights that hide nothing, cut if it is large."""
    torch.manual_seed(0)
    rows, cols = grid_of(name)
    side = patch_of(name)
    options = {"img_size": (rows * side, cols * side), **_cut(name), **options}
    try:
        model = timm.create_model(name, **options)
    except TypeError:  # made for no size
        del options["img_size"]
        model = timm.create_model(name, **options)
    shake(model)
    return model.eval()


def _cut(name: str) -> dict[str, Any]:
    with torch.device("meta"):
        whole = timm.create_model(name)
    if sum(p.numel() for p in whole.parameters()) < LARGE:
        return {}
    cut: dict[str, Any] = {"depth": CUT}
    if "sapiens2" in name:  # it groups the queries of its middle blocks
        groups = [block.attn.num_kv_heads for block in column(whole)]
        cut["num_kv_heads"] = (groups[0], groups[len(groups) // 2], groups[-1])
    if name.startswith("samvit"):
        cut["global_attn_indexes"] = (1,)
    if name.startswith("convit"):
        cut["local_up_to_layer"] = CUT - 1
    return cut


@torch.no_grad()
def shake(model: nn.Module) -> None:
    """Move all that starts at 0, 1 or nearly so, and let attention prefer some tokens to others."""
    for name, parameter in model.named_parameters():
        if re.search(r"\.(qkv|qk|q_proj|k_proj|in_proj)(\.linear)?\.weight$", name):
            parameter.normal_(std=1.5 / parameter.shape[1] ** 0.5)
        elif parameter.ndim < 2 or re.search(r"rel|bias|token|pos|table|gamma|lambda", name):
            parameter.add_(torch.randn_like(parameter) * 0.3)


def column(model: Any) -> nn.Module:
    """Blocks of a model, where timm keeps them."""
    return getattr(model, "encoder", model).blocks


def pixels(model: Any, name: str) -> Tensor:
    """Random input; taller than wide, unlike what the model was built for, where it takes other sizes."""
    rows, cols = grid_of(name)
    embed = getattr(getattr(model, "encoder", model), "patch_embed", None)
    if not getattr(embed, "strict_img_size", False):
        rows, cols = cols, rows
    side = patch_of(name)
    return torch.rand(1, 3, rows * side, cols * side, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------- judging


def judge(model: nn.Module, x: Tensor, name: str, family: str) -> Result:
    """Trace a model and compare with what really happens in a plain pass."""
    inspector = Inspector(model)
    trace = inspector.trace(x, precision="float32")
    plain = _Plain(model, x)
    side = patch_of(name)
    grid = int(x.shape[2]) // side, int(x.shape[3]) // side
    result = Result(name, family, trace.layers, trace.prefix)
    result.expect("blocks", trace.layers == len(column(model)), f"{trace.layers} of {len(column(model))}")
    _judge_tokens(model, trace, plain, grid, result)
    _judge_places(inspector, x, side, grid, result)
    _judge_units(trace, plain, result)
    proof = trace.check()
    result.error = max(proof.worst, _core_error(trace, plain))
    result.expect(
        "attention", len(proof.attention) == trace.layers, f"in {len(proof.attention)} blocks alone"
    )
    result.expect("attention", result.error <= BOUND, f"off by {result.error:.1e}")
    same = np.array_equal(trace.logits, _features(plain.output, trace.prefix))
    result.expect("logits", same and proof.logits == 0, "not those of a plain pass")
    return result


def _judge_tokens(model: Any, trace: Trace, plain: _Plain, grid: tuple[int, int], result: Result) -> None:
    """Prefix, grid and layers against what the model declares, what it was given, and what really passed."""
    declared = 0 if result.family == "cait" else getattr(model, "num_prefix_tokens", 0)  # CaiT's: later
    late = model.local_up_to_layer if result.family == "convit" else -1
    result.expect("prefix and grid", len(trace.prefix) == declared, f"{trace.prefix} for {declared} tokens")
    for number, real in enumerate(plain.layers):
        rows = real.reshape(-1, real.shape[-1])
        if number <= late:  # ConViT's class token has not joined yet
            rows = torch.cat((model.cls_token[0].detach(), rows))
        of = trace.grid_of(number)
        right = (of.rows, of.cols) == grid and len(rows) == declared + grid[0] * grid[1]
        result.expect(
            "prefix and grid", right, f"layer {number}: {of.rows} x {of.cols} of {len(rows)} tokens"
        )
        result.expect("blocks", np.array_equal(trace.layer(number), rows), f"layer {number} is another")


def _judge_places(inspector: Inspector, x: Tensor, side: int, grid: tuple[int, int], result: Result) -> None:
    """Change the pixels of some patches: the token that changes most should be the one at that place."""

    def first_layer(pixels: Tensor) -> np.ndarray:
        trace = inspector.trace(pixels, precision="float32", keep=("tokens",), layers=(0,))
        return trace.layer(0)[len(trace.prefix) :]

    rows, cols = grid
    has_stem = hasattr(getattr(inspector.model, "patch_embed", None), "backbone")
    before = first_layer(x)
    for row, col in ((0, cols - 1), (rows - 1, 0), (rows // 2, cols // 2)):
        other = x.clone()
        patch = other[:, :, row * side : (row + 1) * side, col * side : (col + 1) * side]
        patch.copy_(torch.rand(patch.shape, generator=torch.Generator().manual_seed(2)))
        place = divmod(int(np.abs(first_layer(other) - before).sum(axis=1).argmax()), cols)
        distance = max(abs(place[0] - row), abs(place[1] - col))
        result.expect("prefix and grid", distance <= has_stem, f"patch {row, col} is shown at {place}")


def _judge_units(trace: Trace, plain: _Plain, result: Result) -> None:
    """Hidden units of each MLP against what enters the last linear layer of its block's MLPs."""
    for number, linear in enumerate(plain.linear[: trace.layers], start=1):
        units = trace.mlp(number)
        real = torch.cat([value.reshape(-1, value.shape[-1]) for value in linear], dim=1).numpy()
        real = real[:, -units.shape[1] :]  # attention may enter the same layer, before
        size = len(trace.layer(number)), trace.hidden_of(number)
        result.expect("MLP", units.shape == size, f"block {number}: {units.shape} units, not {size}")
        shown = units[-len(real) :]
        same = shown.shape == real.shape and np.abs(shown - real).max() <= 1e-5 * np.abs(real).max()
        result.expect("MLP", bool(same), f"block {number}: other units")


def _core_error(trace: Trace, plain: _Plain) -> float:
    """Weights of the trace times the model's own values, against what the fused attention really gave.

    Closer than `Trace.check`, which sees what a module puts out, for attentions that are one fused call.
    """
    worst = 0.0
    for number, calls in enumerate(plain.fused[: trace.layers], start=1):
        if not calls:
            continue
        values, outputs = (torch.cat(parts, dim=1)[0] for parts in zip(*calls, strict=True))
        weights = torch.from_numpy(trace.attention(number))
        if (
            values.ndim == 3 and values.shape[:2] == weights.shape[:2]
        ):  # else windows, or maps that are combined
            worst = max(worst, float((weights @ values - outputs).abs().max() / outputs.abs().max()))
    return worst


def _features(output: Tensor, prefix: tuple[str, ...]) -> Tensor:
    """Logits; of a model that gives tokens, the class token or the mean of the others."""
    if output.ndim == 2:
        return output[0]
    tokens = output[0].flatten(0, -2)
    return tokens[0] if "cls" in prefix else tokens[len(prefix) :].mean(dim=0)


class _Plain(TorchFunctionMode):
    """What a plain pass does, seen by hooks and a mode of its own.

    `layers` enter the column and leave its blocks; in each block `linear` are the inputs of the last linear
    layer of its MLPs, and `fused` what enters each fused attention as values and comes out.
    """

    def __init__(self, model: Any, x: Tensor) -> None:
        super().__init__()
        self.layers: list[Tensor] = []
        self.linear: list[list[Tensor]] = []
        self.fused: list[list[tuple[Tensor, Tensor]]] = []
        handles = []
        for number, block in enumerate(column(model)):
            if number == 0:
                handles.append(block.register_forward_pre_hook(lambda _, args: self._layer(args[0])))
            handles.append(block.register_forward_hook(lambda _, __, value: self._layer(value)))
            for name, module in block.named_modules():
                if _LAST_LINEAR.search(name):
                    handles.append(module.register_forward_pre_hook(lambda _, args: self._linear(args[0])))
        with torch.no_grad(), self:
            self.output = model(x)
        for handle in handles:
            handle.remove()

    def _layer(self, value: Tensor) -> None:
        self.layers.append(value.clone())
        self.linear.append([])
        self.fused.append([])

    def _linear(self, value: Tensor) -> None:
        self.linear[-1].append(value.clone())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention and self.fused:
            self.fused[-1].append((args[2], result))
        return result


# ---------------------------------------------------------------------- reporting


def run(name: str, family: str) -> Result:
    """Build and judge one name; a failure of either is a result too."""
    start = time.perf_counter()
    try:
        model = build(name)
        result = judge(model, pixels(model, name), name, family)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"
        result = Result(name, family, problems={aspect: [reason] for aspect in ASPECTS})
    result.seconds = time.perf_counter() - start
    return result


def table(results: list[Result]) -> str:
    """Markdown: counts by family, then each exception with its reason."""
    versions = f"timm {timm.__version__}, torch {torch.__version__.split('+')[0]}"
    lines = [
        f"{versions}, float32, random weights; cut to {CUT} blocks above {LARGE / 1e6:.0f} M parameters.",
        "",
        f"| family | names | pass | {' | '.join(ASPECTS)} | attention reproduced to | prefix tokens |",
        f"| --- | ---: | ---: |{' ---: |' * len(ASPECTS)} ---: | --- |",
    ]
    for file, label in FAMILIES.items():
        found = [result for result in results if result.family == file]
        lines += [_row(label, found)] if found else []
    failed = [f"- `{result.name}`: {result.reason}" for result in results if result.problems]
    lines += [_row("all", results), "", "Exceptions:" if failed else "No exceptions.", *failed]
    return "\n".join(lines) + "\n"


def _row(label: str, results: list[Result]) -> str:
    good = [result for result in results if not result.problems]
    counts = [sum(aspect not in result.problems for result in results) for aspect in ASPECTS]
    worst = max((result.error for result in good), default=float("nan"))
    prefixes = ", ".join(str(count) for count in sorted({len(result.prefix) for result in good}))
    cells = [label, len(results), len(good), *counts, f"{worst:.0e}", prefixes]
    return f"| {' | '.join(map(str, cells))} |"


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def main() -> None:
    """Run the sweep; exit with 1 if a name fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweep", description=__doc__.splitlines()[0])
    parser.add_argument("--names", default="*", help="pattern of names, like 'eva*'")
    parser.add_argument("--out", type=Path, help="write the table there too")
    options = parser.parse_args()
    results = []
    with _one_thread():
        for name, family in names(options.names):
            results.append(result := run(name, family))
            verdict = result.reason or f"ok, {result.blocks} blocks, {result.error:.0e}"
            print(f"{name}: {verdict} ({result.seconds:.1f} s)", flush=True)
    text = table(results)
    print(f"\n{text}")
    if options.out:
        options.out.write_text(text)
    raise SystemExit(any(result.problems for result in results))


if __name__ == "__main__":
    main()
