"""How an overlay is laid over the image: shared by the panels that show the image."""

from __future__ import annotations

from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import traitlets as t

from vitwidgets.analysis.views import Mode
from vitwidgets.widgets.panel import Panel

if TYPE_CHECKING:
    from vitwidgets.stills.view import View


class Look(Panel):
    """A panel with an image under an overlay."""

    _from_page: ClassVar[tuple[str, ...]] = ("opacity", "smooth", "view_mode")

    opacity = t.Float(0.65, min=0, max=1).tag(sync=True)
    """How opaque the overlay is, 0 (only the photo) to 1 (only the overlay)."""

    smooth = t.Bool(False).tag(sync=True)
    """Blend between patches instead of showing each as one square."""

    view_mode = t.Enum(get_args(Mode), "signed").tag(sync=True)
    """How a neuron's view is drawn: ``"signed"`` (zero is grey), ``"positive"`` (what is negative is black,
    as in the paper) or ``"magnitude"``."""

    @t.validate("opacity")
    def _number(self, proposal: Any) -> Any:
        if isnan(proposal["value"]):
            raise t.TraitError("opacity is NaN; expected a number in 0..1")
        return proposal["value"]

    def _view(self) -> View:
        return replace(super()._view(), opacity=self.opacity, smooth=self.smooth, mode=self.view_mode)
