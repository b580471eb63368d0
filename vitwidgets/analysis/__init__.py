"""Pure functions, arrays in, arrays out: one file per question."""

from vitwidgets.analysis import (
    attention,
    filters,
    neurons,
    norms,
    overlay,
    projection,
    similarity,
    views,
)
from vitwidgets.analysis.attention import rollout
from vitwidgets.analysis.neurons import contrast
from vitwidgets.analysis.similarity import cosine

__all__ = [
    "attention",
    "contrast",
    "cosine",
    "filters",
    "neurons",
    "norms",
    "overlay",
    "projection",
    "rollout",
    "similarity",
    "views",
]
