"""The whole workbench: image, layers, heads, neurons and predictions under one cursor."""

from __future__ import annotations

from vitwidgets.widgets.base import built
from vitwidgets.widgets.look import Look


class Explorer(Look):
    """The whole workbench on one trace: image, layers, heads, neurons and predictions.

    Everything follows one cursor. What the reader clicks is readable and settable in
    Python: ``explorer.layer``, ``.token``, ``.head``, ``.neuron``, ``.patches``, ``.overlay``.

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
