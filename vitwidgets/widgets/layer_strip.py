"""One small map per layer: the layer scrubber."""

from __future__ import annotations

from vitwidgets.widgets.base import built
from vitwidgets.widgets.panel import Panel


class LayerStrip(Panel):
    """One small map per layer of the present overlay; it is the layer scrubber.

    Click, drag, turn the wheel, use the arrow keys, or play.
    """

    _esm = built("layer_strip.js")
    _regions = ("layers",)
