"""The photo with its patch grid and one overlay."""

from __future__ import annotations

from vitwidgets.widgets.base import built
from vitwidgets.widgets.grouped import Grouped


class PatchView(Grouped):
    """The photo with its patch grid, the present overlay and its colour scale.

    Point at a patch to see its number and a preview; click to pin it; drag to select
    patches (shift adds, alt removes). With the keyboard: arrows move, Enter pins,
    Space selects, Escape clears. Groups of patches are outlined in their colours.
    """

    _esm = built("patch_view.js")
    _regions = ("image",)
