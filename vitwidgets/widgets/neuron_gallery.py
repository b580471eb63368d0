"""The neurons that set a token apart."""

from __future__ import annotations

from vitwidgets.widgets.base import built
from vitwidgets.widgets.panel import Panel


class NeuronGallery(Panel):
    """The neurons that set the pinned token, or the selected patches, apart most at this layer.

    Each with its map, its number, and how many standard deviations it lies from the
    mean of all tokens. Click shows one; the box jumps to a number.
    """

    _esm = built("neuron_gallery.js")
    _regions = ("neurons",)
