"""A microscope for vision transformers that lives in a notebook.

The public names load on first use, so that ``import vitwidgets`` takes no time:
neither torch nor timm is imported before a model is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Inspector": "vitwidgets.inspector",
    "Trace": "vitwidgets.trace",
    "PatchGrid": "vitwidgets.geometry",
    "ModelInput": "vitwidgets.model_input",
    "Ablation": "vitwidgets.interventions",
    "Transplant": "vitwidgets.interventions",
    "Cancelled": "vitwidgets.errors",
    "occlude": "vitwidgets.perturb",
    "shuffle": "vitwidgets.perturb",
    "grouping": "vitwidgets.study",
    "Cursor": "vitwidgets.widgets.cursor",
    "TraceStore": "vitwidgets.widgets.store",
    "Explorer": "vitwidgets.widgets.explorer",
    "PatchView": "vitwidgets.widgets.patch_view",
    "LayerStrip": "vitwidgets.widgets.layer_strip",
    "HeadGrid": "vitwidgets.widgets.head_grid",
    "NeuronGallery": "vitwidgets.widgets.neuron_gallery",
    "Compare": "vitwidgets.widgets.compare",
    "Groups": "vitwidgets.widgets.groups",
    "TokenMap": "vitwidgets.widgets.token_map",
    "PerturbLab": "vitwidgets.widgets.perturb_lab",
    "ViewGrid": "vitwidgets.widgets.view_grid",
    "FilterGallery": "vitwidgets.widgets.filter_gallery",
}
_MODULES = ("analysis", "charts", "demo", "perturb", "study")

__all__ = [
    "Ablation",
    "Cancelled",
    "Compare",
    "Cursor",
    "Explorer",
    "FilterGallery",
    "Groups",
    "HeadGrid",
    "Inspector",
    "LayerStrip",
    "ModelInput",
    "NeuronGallery",
    "PatchGrid",
    "PatchView",
    "PerturbLab",
    "TokenMap",
    "Trace",
    "TraceStore",
    "Transplant",
    "ViewGrid",
    "analysis",
    "charts",
    "demo",
    "grouping",
    "occlude",
    "perturb",
    "shuffle",
    "study",
]

if TYPE_CHECKING:
    from vitwidgets import analysis as analysis
    from vitwidgets import charts as charts
    from vitwidgets import demo as demo
    from vitwidgets import perturb as perturb
    from vitwidgets import study as study
    from vitwidgets.errors import Cancelled as Cancelled
    from vitwidgets.geometry import PatchGrid as PatchGrid
    from vitwidgets.inspector import Inspector as Inspector
    from vitwidgets.interventions import Ablation as Ablation
    from vitwidgets.interventions import Transplant as Transplant
    from vitwidgets.model_input import ModelInput as ModelInput
    from vitwidgets.perturb import occlude as occlude
    from vitwidgets.perturb import shuffle as shuffle
    from vitwidgets.study import grouping as grouping
    from vitwidgets.trace import Trace as Trace
    from vitwidgets.widgets.compare import Compare as Compare
    from vitwidgets.widgets.cursor import Cursor as Cursor
    from vitwidgets.widgets.explorer import Explorer as Explorer
    from vitwidgets.widgets.filter_gallery import FilterGallery as FilterGallery
    from vitwidgets.widgets.groups import Groups as Groups
    from vitwidgets.widgets.head_grid import HeadGrid as HeadGrid
    from vitwidgets.widgets.layer_strip import LayerStrip as LayerStrip
    from vitwidgets.widgets.neuron_gallery import NeuronGallery as NeuronGallery
    from vitwidgets.widgets.patch_view import PatchView as PatchView
    from vitwidgets.widgets.perturb_lab import PerturbLab as PerturbLab
    from vitwidgets.widgets.store import TraceStore as TraceStore
    from vitwidgets.widgets.token_map import TokenMap as TokenMap
    from vitwidgets.widgets.view_grid import ViewGrid as ViewGrid


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"vitwidgets.{name}")
    raise AttributeError(f"module 'vitwidgets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
