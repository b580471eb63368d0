"""Pure functions, arrays in, arrays out: one file per question."""

from vitwidgets.analysis.attention import rollout
from vitwidgets.analysis.neurons import contrast
from vitwidgets.analysis.similarity import cosine

__all__ = ["contrast", "cosine", "rollout"]
