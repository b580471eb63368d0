"""How long ``import vitwidgets`` takes beside ``import timm``, each in fresh processes that take turns.

Processor time of the import alone. Also says whether torch or timm came along.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
TARGET = 0.2
PROGRAM = """
import sys, time
start = time.process_time()
import {name}
print(time.process_time() - start, *(part for part in ("torch", "timm") if part in sys.modules))
"""


def fresh_import(name: str) -> tuple[float, list[str]]:
    """Import a package in a new process: processor seconds, and which of torch and timm it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name)], capture_output=True, text=True, check=True
    )
    seconds, *loaded = done.stdout.split()
    return float(seconds), loaded


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    runs: dict[str, list[tuple[float, list[str]]]] = {"timm": [], "vitwidgets": []}
    for name in runs:
        fresh_import(name)  # fills the file cache and writes the bytecode
    for _ in range(rounds):
        for name, times in runs.items():
            times.append(fresh_import(name))
    medians = {name: statistics.median(seconds for seconds, _ in times) for name, times in runs.items()}
    ratio = medians["vitwidgets"] / medians["timm"]
    loaded = runs["vitwidgets"][0][1]
    print(f"{'import':14}{'seconds':>10}")
    for name, seconds in medians.items():
        print(f"{name:14}{seconds:10.4f}")
    print(f"ratio {ratio:.4f} (target {TARGET}); torch or timm loaded by vitwidgets: {loaded or 'neither'}")
    RESULTS.mkdir(exist_ok=True)
    result = {"seconds": medians, "ratio": ratio, "target": TARGET, "loaded": loaded}
    (RESULTS / "import_time.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
