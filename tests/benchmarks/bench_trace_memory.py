"""What a trace takes in memory, beside the usual hooks with fused attention off.

Each way runs in a process of its own: one warm pass, then the peak of the resident memory during one more
(``VmHWM`` of Linux, reset in between). A way's figure is its peak above that of the plain forward pass.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
MODELS = ("vit_base_patch16_224", "vit_base_patch14_dinov2")
WAYS = ("plain", "trace", "hooks")


def peak(work: Any) -> int:
    """Peak of the resident memory, in bytes above now, while `work` runs and its result is alive."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    result = work()
    high = _status("VmHWM")
    del result
    return high - before


def _status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def one(name: str, way: str) -> dict[str, int]:
    """Measure one way in this process."""
    import rivals
    import timm
    import torch

    from vitwidgets import Inspector

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = rivals.unfused(name) if way == "hooks" else timm.create_model(name).eval()
    size = model.patch_embed.img_size
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        model(x)
        nbytes = 0
        if way == "plain":
            work: Any = lambda: model(x)  # noqa: E731
        elif way == "hooks":
            hooked = rivals.hooks(model)
            work = lambda: hooked(x)  # noqa: E731
        else:
            inspector = Inspector(model)
            nbytes = inspector.trace(x).nbytes
            work = lambda: inspector.trace(x)  # noqa: E731
        return {"peak": peak(work), "nbytes": nbytes}


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("MODEL", "WAY"))
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
        return
    print(f"{'MB':26}{'nbytes':>9}{'trace':>9}{'/ nbytes':>10}{'hooks':>9}{'trace / hooks':>15}")
    rows = []
    for name in MODELS:
        found = {}
        for way in WAYS:
            done = subprocess.run(
                [sys.executable, __file__, "--one", name, way], capture_output=True, text=True, check=True
            )
            found[way] = json.loads(done.stdout)
        above = {way: (found[way]["peak"] - found["plain"]["peak"]) / 1e6 for way in WAYS}
        nbytes = found["trace"]["nbytes"] / 1e6
        row = {"model": name, "nbytes": nbytes, "trace": above["trace"], "hooks": above["hooks"]}
        rows.append(row)
        print(
            f"{name:26}{nbytes:9.1f}{above['trace']:9.1f}{above['trace'] / nbytes:10.2f}{above['hooks']:9.1f}"
            f"{above['trace'] / above['hooks']:15.2f}"
        )
    print("targets: trace at most 1.2 x nbytes, and 0.45 x hooks; nbytes of dinov2 at most 150 MB")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "trace_memory.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
