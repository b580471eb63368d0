"""Run the notebooks and keep their outputs, for readers who have no kernel: ``make refresh``.

A live view is replaced by the still picture that comes with it, since a view without its
kernel shows nothing. Of cells with the tag ``photo`` no picture is kept: photos are not the
project's to give away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
VIEW = "application/vnd.jupyter.widget-view+json"
PNG = "image/png"
PHOTO = "photo"


def still_only(output: dict[str, Any], *, photo: bool) -> bool:
    """Take the live view out of `output`, and its picture if it is a photo; False where nothing is left."""
    data = output.get("data", {})
    live = data.pop(VIEW, None) is not None
    drawn = PNG in data
    if photo and drawn:
        del data[PNG]
    return (drawn and not photo) if live else bool(data) or "data" not in output


def refresh(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(
        notebook, kernel_name="python3", record_timing=False, store_widget_state=False, resources=where
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            photo = PHOTO in cell.metadata.get("tags", [])
            cell.outputs = [output for output in cell.outputs if still_only(output, photo=photo)]
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        refresh(notebook)
