"""The paper's curves of grouping, for one image or over many."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import pandas as pd
from scipy import stats

from vitwidgets.analysis.grouping import MEASURES, curves, position_tokens
from vitwidgets.analysis.objects import Labels, Masks, Objects, find_objects
from vitwidgets.study.baselines import random_weights
from vitwidgets.study.changes import Change, label_image
from vitwidgets.trace import Trace

if TYPE_CHECKING:
    from vitwidgets.inspector import Inspector, Traceable

Baseline: TypeAlias = Literal["position", "random"]

BASELINES: tuple[Baseline, ...] = ("position", "random")


@dataclass(frozen=True, eq=False)
class GroupingStudy:
    """Curves of grouping over many images.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per image, variant and layer, with the measures of `vitwidgets.analysis.grouping.curves`;
        `variant` is ``"model"``, ``"position"`` or ``"random"``.
    skipped : dict of str to str
        Images that do not count, and why.
    """

    rows: pd.DataFrame
    skipped: dict[str, str]

    @property
    def images(self) -> int:
        """How many images count."""
        return int(self.rows["image"].nunique())

    def summary(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Mean and confidence interval over the images, layer by layer.

        Parameters
        ----------
        confidence : float
            Of the interval, 0..1: Student's t over the images that have the measure.

        Returns
        -------
        pandas.DataFrame
            Indexed by variant and layer; for each measure the columns ``mean``, ``low``, ``high`` and
            ``images``. With one image the interval is NaN.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
        grouped = self.rows.groupby(["variant", "layer"], sort=False)[list(MEASURES)]
        mean, count, error = grouped.mean(), grouped.count(), grouped.sem()
        reach = error * stats.t.ppf((1 + confidence) / 2, (count - 1).clip(lower=1))
        parts = {"mean": mean, "low": mean - reach, "high": mean + reach, "images": count}
        return pd.concat(parts, axis=1).swaplevel(axis=1)[list(MEASURES)]

    def mean(self, variant: Literal["model", "position", "random"] = "model") -> pd.DataFrame:
        """Mean over the images of one variant: one row per layer, as `charts.GroupingChart` takes it.

        Raises
        ------
        KeyError
            If the study has no such variant.
        """
        rows = self.rows[self.rows["variant"] == variant]
        if rows.empty:
            raise KeyError(f"the study has no {variant!r}: it has {list(self.rows['variant'].unique())}")
        return rows.groupby("layer")[list(MEASURES)].mean()

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"GroupingStudy({self.images} images{skipped}; .rows, .summary(), .skipped)"


@overload
def grouping(subject: Trace, masks: Masks, /, *, labels: Labels | None = ...) -> pd.DataFrame: ...


@overload
def grouping(subject: Trace, *, masks: Masks, labels: Labels | None = ...) -> pd.DataFrame: ...


@overload
def grouping(
    subject: Inspector,
    images: Iterable[Traceable],
    masks: Iterable[Masks],
    *,
    labels: Labels | Sequence[Labels | None] | None = ...,
    names: Sequence[str] | None = ...,
    baselines: Sequence[Baseline] = ...,
    change: Change | None = ...,
    resume: str | os.PathLike[str] | None = ...,
    progress: bool = ...,
) -> GroupingStudy: ...


def grouping(
    subject: Trace | Inspector,
    images: Any = None,
    masks: Any = None,
    *,
    labels: Any = None,
    names: Sequence[str] | None = None,
    baselines: Sequence[Baseline] = BASELINES,
    change: Change | None = None,
    resume: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> pd.DataFrame | GroupingStudy:
    """Measure how tokens of one object come together, layer by layer (arXiv 2210.07646).

    ``grouping(trace, masks)`` measures one image; ``grouping(inspector, images, masks)`` many, each traced,
    measured and forgotten.

    Parameters
    ----------
    subject : Trace or Inspector
        What was traced, or what traces.
    images : iterable
        With an inspector: pictures, as `Inspector.trace` takes them. With a trace: the masks.
    masks : iterable
        With an inspector: the masks of each image, as `vitwidgets.analysis.objects.find_objects` takes them.
    labels : mapping of int to str, or a sequence of those
        Class name of each mask value; for many images one for all, or one for each.
    names : sequence of str, optional
        A name for each image, in the rows; by default its number.
    baselines : sequence of {"position", "random"}
        Beside the model: tokens that know nothing but their place, and the same architecture with random
        weights. Grouping must beat both to mean anything.
    change : callable, optional
        Changes each model input and its label image before it is traced: see `vitwidgets.study.Shuffled` and
        `vitwidgets.study.Occluded`.
    resume : path, optional
        A file of JSON lines to which each image is added when it is done; images that it holds already are
        not run again.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    pandas.DataFrame or GroupingStudy
        Of a trace: one row per layer ``1..L``, as `vitwidgets.analysis.grouping.curves` gives it. Of an
        inspector: rows, means and intervals.

    Raises
    ------
    ValueError
        If the masks do not fit the images, there are as many of them as images, or `resume` is of another
        model.
    TypeError
        If `subject` is neither.
    """
    if isinstance(subject, Trace):
        if (images is None) == (masks is None):
            raise TypeError("of a trace give its masks alone: grouping(trace, masks)")
        given = images if masks is None else masks
        return _curves(subject, find_objects(given, subject.patch_grid, frame=subject.frame, labels=labels))
    if not hasattr(subject, "trace"):
        raise TypeError(f"grouping takes a Trace or an Inspector, not {type(subject).__name__}")
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise ValueError(f"baselines must be some of {', '.join(BASELINES)}, got {unknown[0]!r}")
    if images is None:
        raise TypeError("of an inspector give images and their masks: grouping(inspector, images, masks)")
    pictures, given = list(images), list(masks) if masks is not None else []
    if len(pictures) != len(given):
        raise ValueError(f"{len(pictures)} images, but masks of {len(given)}: each image needs its own")
    keys = (
        [str(number) for number in range(len(pictures))] if names is None else [str(name) for name in names]
    )
    if len(set(keys)) != len(pictures):
        raise ValueError(f"names must be different, one for each of the {len(pictures)} images")
    each = labels if isinstance(labels, (list, tuple)) and not _is_names(labels) else [labels] * len(pictures)
    file = None if resume is None else _Progress(Path(resume), subject, baselines, change)
    known = {} if file is None else file.read()
    other = random_weights(subject) if "random" in baselines and set(keys) - set(known) else None
    for key, picture, mask, own in zip(_bar(keys, progress), pictures, given, each, strict=True):
        if key in known:
            continue
        known[key] = _one(subject, other, picture, mask, own, baselines, change)
        if file is not None:
            file.add(key, known[key])
    return _study({key: known[key] for key in keys})


_Result: TypeAlias = "tuple[str, list[dict[str, Any]]]"  # why it does not count, and its rows


def _one(
    inspector: Inspector,
    other: Inspector | None,
    picture: Traceable,
    masks: Masks,
    labels: Labels | None,
    baselines: Sequence[Baseline],
    change: Change | None,
) -> _Result:
    """Measure one image, its baselines beside it."""
    trace = inspector.trace(picture, keep=("tokens",))
    traced: Traceable = picture
    if change is None:
        objects = find_objects(masks, trace.patch_grid, frame=trace.frame, labels=labels)
    else:
        traced, changed = change(inspector.input(picture), label_image(masks, trace.frame))
        trace = inspector.trace(traced, keep=("tokens",))
        objects = find_objects(changed, trace.patch_grid, labels=labels)
    if not objects.counts:
        return objects.why_not, []
    tables = {"model": _curves(trace, objects)}
    if "position" in baselines:
        places = curves([position_tokens(*trace.grid)], objects)
        tables["position"] = pd.concat([places] * trace.layers, ignore_index=True)
        tables["position"].index = tables["model"].index
    if other is not None:
        tables["random"] = _curves(other.trace(traced, keep=("tokens",)), objects)
    rows = []
    for variant, table in tables.items():
        found = table[list(MEASURES)].reset_index().assign(variant=variant)
        rows += found.to_dict(orient="records")
    return "", rows


def _curves(trace: Trace, objects: Objects) -> pd.DataFrame:
    prefix = len(trace.prefix)
    layers = range(1, trace.layers + 1)
    if any(trace.grid_of(layer).patches != trace.patch_grid.patches for layer in layers):
        raise ValueError(
            f"the patch grid of {trace.model_name} changes between layers; objects are patches of one grid"
        )
    return curves([trace.layer(layer)[prefix:] for layer in layers], objects)


def _study(results: Mapping[str, _Result]) -> GroupingStudy:
    rows = [{"image": key, **row} for key, (_, found) in results.items() for row in found]
    columns = ["image", "variant", "layer", *MEASURES]
    return GroupingStudy(
        pd.DataFrame(rows, columns=columns), {key: why for key, (why, _) in results.items() if why}
    )


class _Progress:
    """A file of JSON lines: what is measured, then one line for each image."""

    def __init__(
        self, path: Path, inspector: Inspector, baselines: Sequence[str], change: Change | None
    ) -> None:
        self._path = path
        self._head = {
            "model": inspector.name,
            "baselines": sorted(baselines),
            "change": None if change is None else str(getattr(change, "__qualname__", change)),
        }

    def read(self) -> dict[str, _Result]:
        """Images that are done; a line that was cut off is left out."""
        if not self._path.exists():
            self._path.write_text(json.dumps(self._head) + "\n", encoding="utf-8")
            return {}
        head, *lines = self._path.read_text(encoding="utf-8").splitlines() or [""]
        if _loaded(head) != self._head:
            raise ValueError(f"{self._path} holds another study ({head[:200]}); give resume= another file")
        found = [one for line in lines if (one := _loaded(line)) is not None]
        return {one["image"]: (one["why_not"], one["rows"]) for one in found}

    def add(self, key: str, result: _Result) -> None:
        """Add an image."""
        line = {"image": key, "why_not": result[0], "rows": result[1]}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _loaded(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _bar(keys: list[str], shown: bool) -> Iterable[str]:
    from tqdm.auto import tqdm

    bar: Iterable[str] = tqdm(keys, desc="grouping", unit="image", disable=not shown)
    return bar


def _is_names(labels: Sequence[Any]) -> bool:
    return all(isinstance(one, str) for one in labels)
