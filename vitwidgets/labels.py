"""What the classes of a model are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import nn


def timm_config(model: nn.Module) -> dict[str, Any]:
    """Give the timm ``pretrained_cfg`` of a model, or of the one that it wraps; empty if it has none."""
    return dict(getattr(getattr(model, "timm_model", model), "pretrained_cfg", None) or {})


def label_config(model: nn.Module) -> dict[str, Any]:
    """Say what a model itself knows of its classes, in the words of timm's ``pretrained_cfg``.

    Parameters
    ----------
    model : nn.Module
        Of timm; or of transformers, whose config has ``id2label``.
    """
    labels = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(labels, Mapping) or set(labels) != set(range(len(labels))):
        return timm_config(model)
    names = [str(labels[index]) for index in range(len(labels))]
    if all(name == f"LABEL_{index}" for index, name in enumerate(names)):  # nobody gave any
        return timm_config(model)
    return {"num_classes": len(names), "label_names": names}


def class_names(count: int, config: Mapping[str, Any], given: Sequence[str] | None = None) -> tuple[str, ...]:
    """Readable names of a model's classes.

    Parameters
    ----------
    count : int
        Number of classes; 0 for a model without a classifier.
    config : mapping
        What `label_config` says of the model, or its timm ``pretrained_cfg``; empty if there is nothing.
    given : sequence of str, optional
        Names that the user gives; they win.

    Returns
    -------
    tuple of str
        The given names; else the label set that the config implies (its own names, or the ImageNet subset of
        this size); else ``"class 0"``, ``"class 1"``...

    Raises
    ------
    ValueError
        If `given` has another length than `count`.
    TypeError
        If `given` is one string.
    """
    if isinstance(given, str):
        raise TypeError(f"class_names= takes a sequence of {count} names, got the string {given!r}")
    if given is not None:
        if len(given) != count:
            raise ValueError(f"class_names= has {len(given)} names, but the model has {count} classes")
        return tuple(str(name) for name in given)
    if config.get("num_classes") == count:
        own = config.get("label_names")
        if own and len(own) == count:
            described = config.get("label_descriptions") or {}
            return _short([str(described.get(name, name)) for name in own])
        subset = infer_imagenet_subset(dict(config))
        if subset:
            return _short(list(ImageNetInfo(subset).label_descriptions()))
    return tuple(f"class {index}" for index in range(count))


def _short(descriptions: Sequence[str]) -> tuple[str, ...]:
    """First synonym of each description; the whole of it where several share the first."""
    firsts = [description.split(",")[0].strip() for description in descriptions]
    uses = Counter(firsts)
    return tuple(
        first if uses[first] == 1 else whole for first, whole in zip(firsts, descriptions, strict=True)
    )
