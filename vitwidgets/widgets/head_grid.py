"""One small map per attention head."""

from __future__ import annotations

from vitwidgets.widgets.base import built
from vitwidgets.widgets.panel import Panel


class HeadGrid(Panel):
    """At the present layer, the attention of the pinned token, one small map per head.

    The first map is the mean of all heads. Click picks one.
    """

    _esm = built("head_grid.js")
    _regions = ("heads",)
