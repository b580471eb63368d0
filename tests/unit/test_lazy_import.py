"""``import vitwidgets`` is quick, and every public name is there when asked for."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import vitwidgets

HEAVY = ("torch", "torchvision", "timm", "anywidget", "ipywidgets", "PIL", "numpy", "bqplot")


def modules_after(code: str) -> list[str]:
    """What is loaded in a process of its own that imported vitwidgets and ran `code`."""
    code = f"import json, sys, vitwidgets; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_import_loads_nothing_heavy() -> None:
    loaded = modules_after("dir(vitwidgets)")
    assert "vitwidgets" in loaded
    assert [name for name in HEAVY if name in loaded] == []


@pytest.mark.parametrize("name", ["demo", "Cursor", "PatchGrid"])
def test_what_needs_no_model_loads_neither_torch_nor_timm(name: str) -> None:
    loaded = modules_after(f"vitwidgets.{name}")
    assert [heavy for heavy in ("torch", "timm") if heavy in loaded] == []


def test_a_scene_needs_neither_torch_nor_timm() -> None:
    loaded = modules_after("vitwidgets.demo.scene(1, size=32)")
    assert [heavy for heavy in ("torch", "timm") if heavy in loaded] == []


@pytest.mark.parametrize("name", vitwidgets.__all__)
def test_every_public_name_resolves(name: str) -> None:
    thing = getattr(vitwidgets, name)
    assert thing.__doc__
    assert thing is getattr(vitwidgets, name)
    if isinstance(thing, type):
        assert thing.__name__ == name


def test_dir_lists_the_public_names() -> None:
    assert set(dir(vitwidgets)) == {*vitwidgets.__all__, "__version__"}
    assert vitwidgets.__all__ == sorted(vitwidgets.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Explorator'"):
        vitwidgets.Explorator  # noqa: B018
    with pytest.raises(ImportError):
        from vitwidgets import Explorator  # noqa: F401
