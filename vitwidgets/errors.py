"""What can go wrong with the things a user hands over."""

from __future__ import annotations


class ImageError(ValueError):
    """A picture that cannot be read, or is not one picture."""


class ModelError(ValueError):
    """A model that is unknown, or is not built like a vision transformer."""


class WeightsError(ModelError):
    """Weights that cannot be had, cannot be read or do not fit their model."""


class TraceError(ValueError):
    """A file that holds no trace, or one that cannot be read."""


class InterventionError(ValueError):
    """An ablation or a transplant that a model has no place for."""


class Cancelled(Exception):  # noqa: N818 (nothing went wrong)
    """Work that was asked to stop, and did."""
