"""What tracing an image costs beside the model's plain forward pass.

One thread, processor time, plain and traced pass taking turns, random weights. The ratio is the median over
the rounds of each round's own ratio, so a slow spell of the machine hits both sides. Kept traces stay alive,
so each needs fresh memory; the others reuse the memory of the trace before, as in a loop over images.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import process_time

import timm
import torch
from PIL import Image

from vitwidgets import Inspector

RESULTS = Path(__file__).with_name("results")
TARGETS = {"vit_base_patch16_224": 1.05, "vit_tiny_patch16_224": 1.10}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor time of one call, averaged over a few."""
    start = process_time()
    for _ in range(repeats):
        work()
    return (process_time() - start) / repeats


def measure(name: str, rounds: int, repeats: int) -> list[dict[str, float | str]]:
    """Compare tracing a ready tensor, and a picture of 224 px, with the model's own pass on the same."""
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    inspector = Inspector(model)
    picture = Image.effect_noise((224, 224), 64).convert("RGB")
    x = inspector.preprocessing(picture)

    @torch.no_grad()
    def plain_tensor() -> torch.Tensor:
        return model(x)

    @torch.no_grad()
    def plain_picture() -> torch.Tensor:
        return model(inspector.preprocessing(picture))

    kept: list[object] = []
    pairs = {
        "tensor": (plain_tensor, lambda: inspector.trace(x)),
        "picture": (plain_picture, lambda: inspector.trace(picture)),
        "tensor, kept": (plain_tensor, lambda: kept.append(inspector.trace(x))),
    }
    rows: list[dict[str, float | str]] = []
    for given, (plain, traced) in pairs.items():
        kept.clear()
        plain(), traced()
        base, full = [], []
        for number in range(rounds if "kept" not in given else min(rounds, 9)):
            first, second = (plain, traced) if number % 2 else (traced, plain)
            times = seconds(first, repeats), seconds(second, repeats)
            base.append(times[0] if number % 2 else times[1])
            full.append(times[1] if number % 2 else times[0])
        rows.append(
            {
                "model": name,
                "input": given,
                "plain_ms": 1e3 * statistics.median(base),
                "trace_ms": 1e3 * statistics.median(full),
                "ratio": statistics.median(b / a for a, b in zip(base, full, strict=True)),
                "target": TARGETS[name],
            }
        )
    return rows


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rows = [
        row
        for name in TARGETS
        for row in measure(name, rounds, repeats=1 if name.startswith("vit_base") else 5)
    ]
    print(f"{'model':24}{'input':14}{'plain ms':>10}{'trace ms':>10}{'ratio':>8}{'target':>8}")
    for row in rows:
        print(
            f"{row['model']:24}{row['input']:14}{row['plain_ms']:10.1f}{row['trace_ms']:10.1f}"
            f"{row['ratio']:8.3f}{row['target']:8.2f}"
        )
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "trace_overhead.json").write_text(
        json.dumps({"torch": torch.__version__, "rows": rows}, indent=2)
    )


if __name__ == "__main__":
    main()
