"""The most probable classes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vitwidgets.lettering import fitted, font
from vitwidgets.stills.inks import ACCENT, EMPTY, INK, TEXT
from vitwidgets.stills.maps import gallery
from vitwidgets.stills.page import canvas, heading, stack
from vitwidgets.stills.view import View


def predictions(view: View, width: int) -> Image.Image:
    """The five most probable classes; the one that is followed is marked."""
    if not view.trace.has_predictions:
        return gallery(width, "Predictions", "this model has no classifier")
    top = view.trace.top(5)
    order = np.argsort(-view.trace.probabilities, kind="stable")[:5].tolist()
    target = order[0] if view.spec.target is None else view.spec.target
    followed = order.index(target) if view.spec.overlay == "evidence" and target in order else -1
    out, draw = canvas(width, 27 * len(top))
    start, end = int(width * 0.46), width - 84
    for index, (label, probability) in enumerate(top):
        y = 27 * index
        ink = ACCENT if index == followed else INK
        draw.text((0, y), fitted(label, TEXT, start - 14), ink, font(TEXT))
        share = probability if np.isfinite(probability) else 0.0
        draw.rectangle((start, y + 4, end, y + 17), fill=EMPTY)
        if share > 0:
            draw.rectangle((start, y + 4, start + (end - start) * share, y + 17), fill=ACCENT)
        number = f"{probability * 100:.1f} %" if np.isfinite(probability) else "NaN"
        draw.text((width, y), number, INK, font(TEXT), anchor="ra")
    return stack([heading(width, "Predictions", ""), out], width, 0)
