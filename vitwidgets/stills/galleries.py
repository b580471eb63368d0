"""Layers, heads and neurons, one small map each."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vitwidgets.analysis.neurons import contrast
from vitwidgets.analysis.overlay import Field, Missing, Overlay, row_of, token_name
from vitwidgets.lettering import figure, font
from vitwidgets.stills.inks import ACCENT, FAINT, SMALL
from vitwidgets.stills.maps import drawer, gallery, small_map
from vitwidgets.stills.page import canvas, heading, stack
from vitwidgets.stills.view import View

SHOWN_NEURONS = 12


def layers(view: View, width: int) -> Image.Image:
    """The present overlay at every layer."""
    last = view.trace.layers
    pitch = min(156.0, (width + 6) / (last + 1))
    cell = max(1, int(pitch - min(6, pitch / 8)))
    chosen = view.spec.layer
    maps = [small_map(view, view.field(layer=layer), cell, layer == chosen) for layer in range(last + 1)]
    out, draw = canvas(width, maps[0].height + 26)
    every = -(-26 // int(max(1, pitch)))  # so that the numbers do not touch
    for layer, picture in enumerate(maps):
        x = round(layer * pitch)
        out.paste(picture, (x, 0))
        if layer % every == 0:
            colour = ACCENT if layer == chosen else FAINT
            draw.text((x + picture.width / 2, picture.height + 6), str(layer), colour, font(SMALL), "ma")
    return stack([heading(width, "Layers", f"{chosen} of {last}"), out], width, 0)


def heads(view: View, width: int) -> Image.Image:
    """The attention of the pinned token at this layer, head by head."""
    overlay: Overlay = "attention_to" if view.spec.overlay == "attention_to" else "attention_from"
    cells, about = [], ""
    for head in (None, *range(view.trace.heads_of(view.spec.layer))):
        outcome = view.field(overlay=overlay, head=head)
        if isinstance(outcome, Missing):
            return gallery(width, "Heads", outcome.reason)
        assert isinstance(outcome, Field)
        about = outcome.title.split(" · ")[0] + ", max"
        chosen = view.spec.overlay == overlay and view.spec.head == head
        label = "mean" if head is None else str(head)
        cells.append((drawer(view, outcome, chosen), label, figure(outcome.high), chosen))
    return gallery(width, "Heads", about, cells)


def neurons(view: View, width: int) -> Image.Image:
    """The neurons that set the selected patches, or the pinned token, apart most."""
    trace, spec = view.trace, view.spec
    mlp = spec.space == "mlp"
    title = "MLP neurons" if mlp else "Neurons"
    places = [len(trace.prefix) + patch for patch in view.patches]
    places = places or ([] if spec.token is None else [spec.token])
    missing = view.field(overlay="neuron", neuron=0)
    if isinstance(missing, Missing):
        return gallery(width, title, missing.reason)
    if not places:
        return gallery(width, title, "pin a token or select patches")
    rows = sorted({row_of(trace, spec.layer, place) for place in places})
    if view.patches:
        one, many = (
            ("patch", "patches") if trace.grid_of(spec.layer) == trace.patch_grid else ("cell", "cells")
        )
        what = f"the selected {one}" if len(rows) == 1 else f"{len(rows)} selected {many}"
    else:
        what = token_name(trace, spec.layer, places[0])
    scores = contrast(view.source.mlp(spec.layer) if mlp else trace.layer(spec.layer), rows)
    order = np.argsort(-np.abs(np.where(np.isfinite(scores), scores, 0)), kind="stable")[:SHOWN_NEURONS]
    cells = []
    for neuron in order.tolist():
        outcome = view.field(overlay="neuron", neuron=neuron)
        chosen = spec.overlay in ("neuron", "view") and spec.neuron == neuron
        score = f"{'+' if scores[neuron] > 0 else ''}{figure(float(scores[neuron]))}"
        cells.append((drawer(view, outcome, chosen), f"#{neuron}", score, chosen))
    return gallery(width, title, f"what sets {what} apart, in sd", cells)
