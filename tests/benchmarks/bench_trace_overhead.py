"""What tracing an image costs beside the model's plain forward pass, and what other ways cost.

One thread, processor time, random weights. Plain pass, trace and the other ways take turns; a ratio is the
median over the rounds of each round's own ratio to the plain pass, so that a slow spell hits all.
"on demand" is the attention of one layer, asked of a fresh trace, against the forward pass of one block.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time

import rivals
import timm
import torch
from PIL import Image

from vitwidgets import Inspector

RESULTS = Path(__file__).with_name("results")
MODELS = {
    # name: (target, rounds, calls a round)
    "vit_tiny_patch16_224": (1.10, 31, 5),
    "vit_small_patch16_224": (1.05, 21, 2),
    "vit_base_patch16_224": (1.05, 15, 1),
    "vit_base_patch16_384": (1.05, 9, 1),
    "vit_base_patch14_dinov2": (1.05, 5, 1),
    "vit_large_patch14_clip_336": (1.05, 5, 1),
}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor time of one call, averaged over a few."""
    start = process_time()
    for _ in range(repeats):
        work()
    return (process_time() - start) / repeats


def measure(name: str, rounds: int, repeats: int) -> dict[str, float | str]:
    """Ratios to the plain pass of a tensor."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    inspector = Inspector(model)
    picture = Image.effect_noise((224, 224), 64).convert("RGB")
    x = inspector.preprocessing(picture)
    extract = rivals.attention_extract(rivals.unfused(name))
    hooked = rivals.hooks(rivals.unfused(name))

    @torch.no_grad()
    def plain() -> object:
        return model(x)

    @torch.no_grad()
    def plain_picture() -> object:
        return model(inspector.preprocessing(picture))

    ways: dict[str, Callable[[], object]] = {
        "plain": plain,
        "trace": lambda: inspector.trace(x),
        "float32": lambda: inspector.trace(x, precision="float32"),
        "plain picture": plain_picture,
        "picture": lambda: inspector.trace(picture),
        "extract": lambda: extract(x),
        "hooks": lambda: hooked(x),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    order = list(ways)
    for number in range(rounds):
        for way in order if number % 2 else reversed(order):
            times[way].append(seconds(ways[way], repeats))

    def ratio(way: str, to: str = "plain") -> float:
        return statistics.median(b / a for a, b in zip(times[to], times[way], strict=True))

    trace, block = inspector.trace(x), model.blocks[-1]
    layer = torch.from_numpy(trace.layer(trace.layers - 1).copy())[None]

    @torch.no_grad()
    def one_block() -> object:
        return block(layer)

    demand = []
    for _ in range(rounds):
        fresh = inspector.trace(x)  # one that was not asked before
        asked = seconds(lambda fresh=fresh: fresh.attention(fresh.layers), 1)  # type: ignore[misc]
        demand.append(asked / seconds(one_block, repeats))
    return {
        "model": name,
        "tokens": trace.patch_grid.tokens,
        "plain_ms": 1e3 * statistics.median(times["plain"]),
        "trace": ratio("trace"),
        "float32": ratio("float32"),
        "picture": ratio("picture", "plain picture"),
        "extract": ratio("extract"),
        "hooks": ratio("hooks"),
        "on demand": statistics.median(demand),
    }


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="instead of those of each model")
    parser.add_argument("--model", choices=MODELS, action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("trace", "float32", "picture", "extract", "hooks", "on demand")
    print(f"{'model':28}{'tokens':>7}{'plain ms':>10}{'target':>8}" + "".join(f"{c:>11}" for c in columns))
    rows = []
    for name in arguments.model or MODELS:
        target, rounds, repeats = MODELS[name]
        row = {**measure(name, arguments.rounds or rounds, repeats), "target": target}
        rows.append(row)
        print(
            f"{name:28}{row['tokens']:7}{row['plain_ms']:10.1f}{target:8.2f}"
            + "".join(f"{row[column]:11.3f}" for column in columns),
            flush=True,
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "trace_overhead.json").write_text(
        json.dumps({"torch": torch.__version__, "rows": rows}, indent=2)
    )


if __name__ == "__main__":
    main()
