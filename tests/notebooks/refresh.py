"""Run the notebooks and keep their outputs, for readers who have no kernel: ``make refresh``.

A live view is replaced by the still picture that comes with it, since a view without its
kernel shows nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"


def still_only(output: dict[str, Any]) -> bool:
    """Take the live view out of `output`; False where nothing worth keeping is left."""
    data = output.get("data", {})
    if data.pop(VIEW, None) is None:
        return True
    return "image/png" in data


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name="python3", record_timing=False, store_widget_state=False).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if still_only(output)]
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        refresh(notebook)
