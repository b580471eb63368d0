"""A page in a real JupyterLab and Chromium for a benchmark, and numbers put into a table."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from browser.conftest import FLAGS, chromium
from browser.lab import Lab
from browser.server import serve
from playwright.sync_api import sync_playwright

RESULTS = Path(__file__).with_name("results")


@contextmanager
def open_lab(**size: int) -> Iterator[Lab]:
    """Open a page for as long as a ``with`` block lasts."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder)) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        lab = Lab(browser, server, **size)
        try:
            yield lab
        finally:
            lab.close()
            browser.close()


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(part * len(ordered) + 0.499999) - 1))]


def save(name: str, result: Any) -> None:
    """Keep a result as ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2))
