"""Every notebook runs from top to bottom, without a network."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from jupyter_env import NOTEBOOKS, isolated
from nbclient import NotebookClient

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


def test_the_tour_is_there() -> None:
    assert "tour.ipynb" in [path.name for path in PATHS]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_runs_from_top_to_bottom(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in isolated(tmp_path / "jupyter").items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    assert code
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_no_photo_is_kept(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if "photo" in cell.metadata.get("tags", []):
            assert not any("image/png" in output.get("data", {}) for output in cell.outputs)
