"""The whole workbench: image, layers, heads, neurons, predictions and the token map under one cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets as t

from vitwidgets.widgets.base import built
from vitwidgets.widgets.grouped import Grouped
from vitwidgets.widgets.panel import _kept
from vitwidgets.widgets.token_map import TokenMap

if TYPE_CHECKING:
    from vitwidgets.trace import Trace


class Explorer(Grouped):
    """The whole workbench on one trace: image, layers, heads, neurons, predictions and the token map.

    Everything follows one cursor. What the reader clicks is readable and settable in
    Python: ``explorer.layer``, ``.token``, ``.head``, ``.neuron``, ``.patches``, ``.overlay``, ``.target``.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> trace = vw.Inspector("demo").trace(vw.demo.scene(7).image)
    >>> explorer = vw.Explorer(trace, layer=6, token=(4, 5))
    >>> explorer.token
    53
    """

    _esm = built("explorer.js")
    _regions = ("image", "layers", "heads", "neurons", "predictions")
    _from_page = (*Grouped._from_page, "show_map")

    show_map = t.Bool(False).tag(sync=True)
    """Whether the token map is open. Its layouts are computed when it opens for the first time."""

    token_map = _kept()
    """The `TokenMap` of the region, once it was opened; it shows the same cursor and groups."""

    def __init__(self, trace: Trace, **kwargs: Any) -> None:
        super().__init__(trace, **kwargs)
        self._open_map()

    @t.observe("show_map")
    def _open_map(self, _: Any = None) -> None:
        if self.show_map and self.token_map is None and self.groups is not None:
            self.set_trait("token_map", TokenMap(self.trace, cursor=self.cursor, groups=self.groups))

    def close(self) -> None:
        """Close the panel with its token map, and its cursor and groups if it made them itself."""
        if self.token_map is not None:
            self.token_map.close()
        super().close()
