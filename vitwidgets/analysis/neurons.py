"""Which neurons set some tokens apart from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from vitwidgets.analysis.overlay import cell_at

if TYPE_CHECKING:
    from vitwidgets.geometry import Patches
    from vitwidgets.trace import Trace

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Space = Literal["residual", "mlp"]

_SHOWN = 10  # rows of a ranking's repr


def contrast(values: npt.ArrayLike, selected: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """How far each neuron's mean over the selected tokens lies from its mean over all tokens.

    Parameters
    ----------
    values : array_like, shape (N, F)
        Activation of each of `F` neurons for each token, real.
    selected : array_like of int, shape (K,)
        Rows of the selected tokens, each in ``0..N-1``, at least one.

    Returns
    -------
    ndarray, shape (F,), float32
        ``(mean(selected) - mean(all)) / std(all)`` in population standard deviations; 0 where the neuron
        does not vary, NaN where an activation is not finite.

    Raises
    ------
    ValueError
        If `values` is not two-dimensional or nothing is selected.
    TypeError
        If `selected` does not hold whole numbers.
    IndexError
        If a selected row lies outside ``0..N-1``.
    """
    table = _table(values)
    rows = np.atleast_1d(np.asarray(selected))
    if rows.size == 0:
        raise ValueError("select at least one token")
    if not np.issubdtype(rows.dtype, np.integer):
        raise TypeError(f"selected must hold row numbers, got {rows.dtype}")
    if rows.min() < 0 or rows.max() >= len(table):
        raise IndexError(f"selected rows must lie in 0..{len(table) - 1}, got {rows.min()}..{rows.max()}")
    with np.errstate(invalid="ignore", over="ignore"):
        contrasts: npt.NDArray[np.float32] = _deviations(table, table[rows].mean(axis=0)).astype(np.float32)
    return contrasts


def strongest_contrast(values: npt.ArrayLike) -> Floats:
    """Find the contrast of the one token that each neuron sets apart most.

    Parameters
    ----------
    values : array_like, shape (N, F)
        Activation of each of `F` neurons for each token, real, at least one token.

    Returns
    -------
    ndarray, shape (F,), float64
        Of the `contrast` of each token alone, the one with the largest absolute value, with its sign; 0 where
        the neuron does not vary, NaN where an activation is not finite.

    Raises
    ------
    ValueError
        If `values` is not two-dimensional or has no rows.
    """
    table = _table(values)
    if not len(table):
        raise ValueError("there is no token to set apart")
    with np.errstate(invalid="ignore", over="ignore"):
        high, low = _deviations(table, table.max(axis=0)), _deviations(table, table.min(axis=0))
    return np.where(high >= -low, high, low)


def auc(values: npt.ArrayLike, chosen: npt.ArrayLike) -> Floats:
    """How well each neuron alone tells the chosen tokens from the rest: area under its ROC curve.

    That is the probability that a chosen token has the larger activation of the two, where one chosen token
    and one of the rest are drawn at random; equal activations count half (Mann-Whitney U).

    Parameters
    ----------
    values : array_like, shape (N, F)
        Activation of each of `F` neurons for each token, real.
    chosen : array_like of bool, shape (N,)
        At least one token, and not all.

    Returns
    -------
    ndarray, shape (F,), float64
        1: every chosen token is above all others; 0: below; 0.5: they do not differ. NaN where an activation
        is NaN; infinity is just large.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or none or all are chosen.
    """
    table = _table(values)
    inside = np.asarray(chosen)
    if inside.dtype != np.bool_ or inside.shape != (len(table),):
        raise ValueError(
            f"chosen must be boolean with shape ({len(table)},), one per token; "
            f"got {inside.dtype} with shape {inside.shape}"
        )
    total, count = len(table), int(inside.sum())
    if not 0 < count < total:
        raise ValueError(f"choose at least one token and leave at least one; got {count} of {total}")
    columns = np.ascontiguousarray(table.T)
    order = np.argsort(columns, axis=1)
    ranks = _tied_ranks(np.take_along_axis(columns, order, axis=1))
    above = np.where(inside[order], ranks, 0.0).sum(axis=1) - count * (count + 1) / 2
    return np.where(np.isnan(columns).any(axis=1), np.nan, above / (count * (total - count)))


@dataclass(frozen=True, eq=False)
class Ranking:
    """Neurons, the most telling first. Made by `rank`.

    Attributes
    ----------
    neurons : (K,) intp
        Their numbers. Equal scores stand by number, NaN stands last.
    scores : (K,) float64
        By AUC: ``2 |auc - 0.5|``, in 0..1. By contrast: its absolute value, in standard deviations.
    auc : (K,) float64, or None
        Mean over the images of the AUC of chosen patches against the rest; None by contrast.
    sign : (K,) int8
        1: larger inside the choice; -1: smaller; 0: no difference. By contrast: the direction in which the
        most outstanding patch stands out.
    by_image : (images, K) float64
        AUC, or contrast, of each image alone: which neurons are good for which image.
    how : {"auc", "contrast"}
        What was measured.
    layer : int
        At which layer.
    space : {"residual", "mlp"}
        Whose neurons.
    width : int
        How many neurons were ranked, of which these `K` are the first.
    choice : str
        What was told from what, for people.
    """

    neurons: npt.NDArray[np.intp]
    scores: Floats
    auc: Floats | None
    sign: npt.NDArray[np.int8]
    by_image: Floats
    how: Literal["auc", "contrast"]
    layer: int
    space: Space
    width: int
    choice: str

    def by_number(self) -> Floats:
        """Scores in the order of the neurons' numbers, (width,); NaN for those that `top` left out."""
        scores = np.full(self.width, np.nan)
        scores[self.neurons] = self.scores
        return scores

    def frame(self) -> Any:
        """Make a pandas DataFrame: one row per neuron, best first.

        Returns
        -------
        pandas.DataFrame
            Columns ``neuron``, ``score``, ``auc`` (not by contrast), ``sign``, and where there are several
            images, one column ``image 0``, ``image 1``... for each.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            pandas: Any = import_module("pandas")
        except ImportError as error:
            raise ImportError("a DataFrame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self._columns())

    def __len__(self) -> int:
        return len(self.neurons)

    def __repr__(self) -> str:
        kind = "MLP neurons" if self.space == "mlp" else "neurons"
        title = f"Ranking by {'AUC' if self.how == 'auc' else 'contrast'}: {self.choice}, layer {self.layer}"
        columns = self._columns()
        columns["sign"] = np.array(["-", "0", "+"])[self.sign + 1]
        lines = [f"{title}, {len(self)} of {self.width} {kind}", "".join(f"{name:>9}" for name in columns)]
        for row in list(zip(*columns.values(), strict=True))[:_SHOWN]:
            lines.append("".join(f"{_brief(value):>9}" for value in row))
        if len(self) > _SHOWN:
            lines.append(f"{'...':>9}")
        return "\n".join(lines)

    def _columns(self) -> dict[str, npt.NDArray[Any]]:
        columns: dict[str, npt.NDArray[Any]] = {"neuron": self.neurons, "score": self.scores}
        if self.auc is not None:
            columns["auc"] = self.auc
        columns["sign"] = self.sign
        if len(self.by_image) > 1:
            columns |= {f"image {index}": values for index, values in enumerate(self.by_image)}
        return columns


def rank(
    traces: Trace | Sequence[Trace],
    patches: Patches | Sequence[Patches] | None = None,
    *,
    layer: int | None = None,
    space: Space = "residual",
    top: int | None = None,
) -> Ranking:
    """Rank neurons by how well they tell chosen patches from the rest.

    With a choice, by `auc`; over several images, by the distance of its mean from 0.5, so that a neuron that
    is large inside in one image and small in the next does not count as telling (`Ranking.by_image` still
    shows it). Without a choice, by `strongest_contrast`: how far out the patch lies that the neuron sets
    apart most; the mean of several images counts again. Only patch tokens take part.

    Parameters
    ----------
    traces : Trace or list of Trace
        One image, or several through the same model.
    patches : list, or boolean array of shape (rows, cols), optional
        Patch indices or (row, column) pairs on the grid of layer 0, or a mask of it. For a list of traces:
        a list with one choice for each. At a layer with a coarser grid, the cells that hold the centres of
        the chosen patches are chosen.
    layer : int, optional
        ``0..L``, or ``1..L`` for MLP neurons. Default: the last.
    space : {"residual", "mlp"}
        Neurons of the residual stream, or hidden units of the MLP.
    top : int, optional
        Keep only so many, at least 1.

    Returns
    -------
    Ranking

    Raises
    ------
    IndexError
        If a patch or the layer is out of range; layer 0 has no MLP.
    ValueError
        If nothing or everything is chosen, a mask has another shape, choices and traces differ in number,
        the traces differ in width, the trace does not hold the layer, or an option is unknown.
    TypeError
        If `patches` is no choice of patches.
    """
    if space not in get_args(Space):
        raise ValueError(f"space must be one of {', '.join(get_args(Space))}; got {space!r}")
    if top is not None and top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    images, choices = _pairs(traces, patches)
    layer = images[0].layers if layer is None else layer
    tables = [_activations(trace, layer, space) for trace in images]
    widths = sorted({table.shape[1] for table in tables})
    if len(widths) > 1:
        raise ValueError(f"the traces must come from one model; layer {layer} has {widths} neurons")

    if choices is None:
        by_image = np.stack([strongest_contrast(table) for table in tables])
        mean = by_image.mean(axis=0)
        distance, scores = mean, np.abs(mean)
        words = f"all {_counted(sum(map(len, tables)), images)}"
    else:
        masks = [_cells(trace, layer, choice) for trace, choice in zip(images, choices, strict=True)]
        by_image = np.stack([auc(table, mask) for table, mask in zip(tables, masks, strict=True)])
        mean = by_image.mean(axis=0)
        distance = mean - 0.5
        scores = 2 * np.abs(distance)
        chosen = sum(int(mask.sum()) for mask in masks)
        words = f"{chosen} of {_counted(sum(map(len, masks)), images)}"

    neurons = np.argsort(-scores, kind="stable")[:top]  # numpy puts NaN last
    return Ranking(
        neurons=neurons,
        scores=scores[neurons],
        auc=None if choices is None else mean[neurons],
        sign=np.sign(np.nan_to_num(distance[neurons])).astype(np.int8),
        by_image=by_image[:, neurons],
        how="contrast" if choices is None else "auc",
        layer=layer,
        space=space,
        width=widths[0],
        choice=words,
    )


def _table(values: npt.ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"values must have shape (N, F), got {table.shape}")
    return table


def _deviations(table: Floats, level: Floats) -> Floats:
    """Distance of a level of each neuron from its mean, in standard deviations; 0 if it does not vary."""
    std, distance = table.std(axis=0), level - table.mean(axis=0)
    # the mean of equal values is off by a rounding, and so is their deviation
    varies = (std != 0) & (np.ptp(table, axis=0) != 0)
    spread: Floats = np.divide(distance, std, out=np.zeros_like(distance), where=varies)
    return spread


def _tied_ranks(ordered: Floats) -> Floats:
    """Ranks 1..N along rows that are in rising order; equal values share the mean of their ranks."""
    places = np.arange(ordered.shape[1])
    fresh = np.ones(ordered.shape, np.bool_)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.roll(fresh, -1, axis=1)  # the first value is always fresh, so the last one ends its run
    first = np.maximum.accumulate(np.where(fresh, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, places[-1])[:, ::-1], axis=1)[:, ::-1]
    ranks: Floats = (first + last) / 2 + 1
    return ranks


def _pairs(traces: Any, patches: Any) -> tuple[list[Trace], list[Patches] | None]:
    """Traces, and the choice in each of them."""
    if not isinstance(traces, list | tuple):
        return [traces], None if patches is None else [patches]
    if not traces:
        raise ValueError("there is no trace to rank neurons of")
    if patches is None:
        return list(traces), None
    if not isinstance(patches, list | tuple) or len(patches) != len(traces):
        got = f"{len(patches)}" if isinstance(patches, list | tuple) else f"{type(patches).__name__}"
        raise ValueError(f"give a list of {len(traces)} choices of patches, one for each trace; got {got}")
    return list(traces), list(patches)


def _activations(trace: Trace, layer: int, space: Space) -> npt.NDArray[np.float32]:
    """Neurons of the patch tokens, (patches, neurons)."""
    values = trace.mlp(layer) if space == "mlp" else trace.layer(layer)
    return values[len(trace.prefix) :]


def _cells(trace: Trace, layer: int, patches: Patches) -> Mask:
    """The chosen cells of a layer, (cells,)."""
    finest, own = trace.grid_of(0), trace.grid_of(layer)
    chosen = finest.choose(patches)
    if not len(chosen):
        raise ValueError("choose at least one patch")
    cells = np.zeros(own.patches, np.bool_)
    cells[[cell_at(patch, (finest.rows, finest.cols), (own.rows, own.cols)) for patch in chosen]] = True
    if cells.all():
        cover = "are" if own.patches == finest.patches else f"at layer {layer} cover"
        raise ValueError(f"leave patches to tell the chosen ones from: these {cover} all {own.patches}")
    return cells


def _counted(patches: int, images: list[Trace]) -> str:
    return f"{patches} patches" + (f" in {len(images)} images" if len(images) > 1 else "")


def _brief(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
