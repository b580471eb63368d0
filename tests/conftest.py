"""The order of the tests: quick ones first, those that start Jupyter last."""

from __future__ import annotations

from pathlib import Path

import pytest

LAST = ("notebooks", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by folder; within a folder the order stays."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        return LAST.index(folder) + 1 if folder in LAST else 0

    items.sort(key=rank)
