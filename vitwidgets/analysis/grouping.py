"""How the tokens of one object come together, layer by layer.

The measures are those of Nguyen et al., arXiv 2210.07646, and four more that tell how much of them is chance.
Only the patch tokens of objects take part. A curve means something where it lies above the same curve of
tokens that have not learned anything: those of a model with random weights (give `curves` their layers), and
those that know nothing but their place (`position_tokens`, or the model's position embedding as one layer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from vitwidgets.analysis.agreement import adjusted_rand_of_tables, auc, largest_by_chance
from vitwidgets.analysis.objects import Objects

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]

MIN_SAMPLES = 3
MEASURES = (
    "silhouette", "purity", "cluster_cosine", "object_cosine", "label_ratio", "clusters_per_object",
    "auc", "ari", "purity_chance", "purity_corrected",
)  # fmt: skip

_ROUNDING = 1e-13  # of squared lengths and cosines in float64
_HELD = 2**18  # entries of Gram matrices held at once; more only where one layer alone has more


def curves(layers: Sequence[npt.ArrayLike], objects: Objects) -> pd.DataFrame:
    """Measure how the object tokens of each layer group.

    At each layer, `dbscan` clusters the object tokens in sequence order, with ``eps`` the mean over objects
    of the mean Euclidean distance between consecutive tokens of the object. Sums are in float64.

    Parameters
    ----------
    layers : sequence of array_like, each of shape (P, D)
        Patch tokens of the layers 1..L, row by row, without prefix tokens; widths may differ.
    objects : Objects
        Which patch belongs to which object.

    Returns
    -------
    pandas.DataFrame
        One row per layer, indexed 1..L as ``layer``:

        silhouette
            Mean cosine silhouette of the clustered tokens, -1..1; 0 for one cluster, -1 for none.
        purity
            Tokens of the object that is the most frequent in their cluster, over all object tokens, 0..1;
            noise counts against.
        cluster_cosine
            Mean over clusters of the mean cosine of two of its tokens; clusters of one token are left out,
            NaN for no cluster.
        object_cosine
            The same over objects.
        label_ratio
            Distinct class names that are the most frequent in a cluster, over distinct class names, 0..1. Of
            names that are as frequent, that of the first object counts.
        clusters_per_object
            Clusters over objects.
        auc
            Share of comparisons in which two tokens of one object have a greater cosine than two of different
            objects, 0..1, ties one half: 0.5 by chance. Needs no clusters.
        ari
            Adjusted Rand index of clusters and objects, noise as clusters of one: 0 by chance, at most 1.
        purity_chance
            Mean purity of clusters of the same sizes whose tokens are drawn at random.
        purity_corrected
            ``(purity - purity_chance) / (1 - purity_chance)``: 0 by chance, at most 1.
        why_not
            Why the row is NaN: the objects do not count, or object tokens are not finite; else empty.

    Raises
    ------
    ValueError
        If a layer is not two-dimensional or has another number of patches than `objects`.
    """
    tables = [_table(layer, number, objects) for number, layer in enumerate(layers, 1)]
    columns: dict[str, npt.NDArray[np.generic]] = {name: np.full(len(tables), np.nan) for name in MEASURES}
    columns["why_not"] = np.full(len(tables), objects.why_not, object)
    if objects.counts:
        crowd = _Crowd.of(objects)
        step = max(1, _HELD // len(crowd.patches) ** 2)
        for start in range(0, len(tables), step):
            some = slice(start, start + step)
            for name, values in _measure(_grams(tables[some], crowd.patches), crowd).items():
                columns[name][some] = values
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(tables) + 1, name="layer"))


def position_tokens(rows: int, cols: int) -> Floats:
    """Tokens that know nothing but their place: what grouping must beat.

    The centre of each patch as seen by an eye that looks straight at the picture's centre, from as far as the
    picture's longer side. Distances are those on the grid, in patches; the cosine of two tokens is that of
    the angle between them in the eye, so that it falls as patches lie further apart.

    Parameters
    ----------
    rows, cols : int
        Patches down and across.

    Returns
    -------
    ndarray, shape (rows * cols, 3), float64
        Down and right of the picture's centre, and the distance from the eye.
    """
    down, right = np.indices((rows, cols)).reshape(2, -1)
    far = np.full(rows * cols, max(rows, cols))
    return np.column_stack([down - (rows - 1) / 2, right - (cols - 1) / 2, far])


def neighbours(grams: Floats, eps: Floats) -> Bools:
    """Which tokens lie within a Euclidean distance of each other.

    A distance that differs from `eps` by rounding alone is within it.

    Parameters
    ----------
    grams : ndarray, shape (B, M, M), float64
        Inner products of the tokens of several layers.
    eps : ndarray, shape (B,), float64
        Greatest distance at each layer.

    Returns
    -------
    ndarray, shape (B, M, M), bool
        Symmetric; each token is its own neighbour.
    """
    # |x - y|² <= eps² is |x|²/2 + |y|²/2 - eps²/2 <= xy
    half = np.einsum("bii->bi", grams) * (0.5 - _ROUNDING)
    near = np.empty(grams.shape, np.bool_)
    for layer, gram in enumerate(grams):  # one at a time: what they are compared with is as large
        np.greater_equal(gram, np.add.outer(half[layer], half[layer] - eps[layer] ** 2 / 2), out=near[layer])
    return near


def dbscan(near: Bools, min_samples: int = MIN_SAMPLES) -> Ints:
    """DBSCAN (Ester et al., 1996) from known neighbourhoods, with the labels that scikit-learn gives.

    Parameters
    ----------
    near : ndarray, shape (B, M, M), bool
        Whether two tokens are neighbours, at each of several layers: symmetric, each token its own.
    min_samples : int
        Neighbours, itself included, that make a token a core token.

    Returns
    -------
    ndarray, shape (B, M), int64
        Clusters 0.. in the order of their first core token, -1 for noise. A token that is no core but a
        neighbour of several clusters belongs to the first of them.
    """
    count = near.shape[-1]
    small = np.min_scalar_type(count)  # memory is what this costs
    core = near.sum(axis=1, dtype=small) >= min_samples
    # 0 where a core token reaches a token, too much to be the least elsewhere
    barred = np.multiply(~(near & core[:, :, None]), count, dtype=small)
    token = np.arange(count)
    # first[b, i]: the first core token that core token i is known to be connected with; none for the others
    first = np.where(core, token, count)
    while True:
        least = np.where(core, _least(barred, first), 0)
        least = np.where(core, np.take_along_axis(least, least, axis=1), count)
        if (least == first).all():
            break
        first = least
    first = _least(barred, first)  # of tokens that are no core, too
    number = (core & (first == token)).cumsum(axis=1) - 1
    return np.where(first < count, np.take_along_axis(number, np.minimum(first, count - 1), axis=1), -1)


def _least(barred: npt.NDArray[np.unsignedinteger[Any]], first: Ints) -> Ints:
    """Least value of the core tokens that reach each token; the number of tokens where none does."""
    least: Ints = np.maximum(barred, first[:, :, None].astype(barred.dtype)).min(axis=1).astype(np.int64)
    return least


@dataclass(frozen=True)
class _Crowd:
    """The object tokens of one picture, as all layers need them."""

    patches: Ints
    """Patches of objects in sequence order, (M,)."""
    first: Ints
    """Tokens that have a next one in their object, (M - K,)."""
    second: Ints
    """That next token."""
    step_weights: Floats
    """Share of each such pair in the mean over objects of the mean over pairs."""
    member: Floats
    """1 where a token belongs to an object, (M, K)."""
    sizes: Ints
    """Tokens of each object, (K,)."""
    of_class: Floats
    """1 where an object is of a class, (K, Q)."""
    same: Ints
    """Pairs of two tokens of one object, each once, as places in a flat (M, M)."""
    different: Ints
    """Pairs of tokens of two objects, each once, as places in a flat (M, M)."""

    @classmethod
    def of(cls, objects: Objects) -> _Crowd:
        patches = np.flatnonzero(objects.of_patch >= 0)
        of_token, sizes = objects.of_patch[patches], objects.patches
        classes = list(dict.fromkeys(objects.labels))
        by_object = np.argsort(of_token, kind="stable")
        follows = np.flatnonzero(np.diff(of_token[by_object]) == 0)
        first, second = by_object[follows], by_object[follows + 1]
        alike = of_token[:, None] == of_token
        once = np.tri(len(patches), k=-1, dtype=np.bool_)
        return cls(
            patches=patches,
            first=first,
            second=second,
            step_weights=1 / (len(sizes) * (sizes[of_token[first]] - 1)),
            member=(of_token[:, None] == np.arange(len(sizes))).astype(np.float64),
            sizes=sizes,
            of_class=np.array([[label == name for name in classes] for label in objects.labels], np.float64),
            same=np.flatnonzero(alike & once),
            different=np.flatnonzero(~alike & once),
        )

    def mean_step(self, grams: Floats) -> Floats:
        """The paper's `eps` of each layer: mean over objects of the mean distance of consecutive tokens."""
        squares = np.einsum("bii->bi", grams)
        steps = squares[:, self.first] + squares[:, self.second] - 2 * grams[:, self.first, self.second]
        mean: Floats = np.sqrt(np.maximum(steps, 0)) @ self.step_weights
        return mean


def _table(layer: npt.ArrayLike, number: int, objects: Objects) -> npt.NDArray[np.generic]:
    table = np.asarray(layer)
    if table.ndim != 2 or len(table) != len(objects.of_patch):
        raise ValueError(
            f"layer {number} has shape {table.shape}; without its prefix tokens it has shape (P, D) with "
            f"P = {len(objects.of_patch)} patches, {objects.rows} x {objects.cols}"
        )
    return table


def _grams(tables: list[npt.NDArray[np.generic]], patches: Ints) -> Floats:
    """Inner products of the object tokens at each layer, (B, M, M)."""
    grams = np.empty((len(tables), len(patches), len(patches)))
    with np.errstate(invalid="ignore", over="ignore"):
        for table, gram in zip(tables, grams, strict=True):
            tokens = table[patches].astype(np.float64)
            np.matmul(tokens, tokens.T, out=gram)
    return grams


def _measure(grams: Floats, crowd: _Crowd) -> dict[str, npt.NDArray[np.generic]]:
    """Columns of `curves` for some layers; `grams` is overwritten."""
    finite = np.isfinite(np.einsum("bii->bi", grams)).all(axis=1)
    grams[~finite] = 0
    labels = dbscan(neighbours(grams, crowd.mean_step(grams)))
    cosines = _cosines(grams)
    count, objects = crowd.member.shape
    clusters = (labels[:, :, None] == np.arange(max(labels.max() + 1, 1))).astype(np.float64)
    sizes, found = clusters.sum(axis=1), labels.max(axis=1) + 1
    in_cluster, in_object = cosines @ clusters, cosines @ crowd.member
    tables = clusters.transpose(0, 2, 1) @ crowd.member

    dominant = (tables @ crowd.of_class).argmax(axis=2)
    named = (dominant[:, :, None] == np.arange(crowd.of_class.shape[1])) & (sizes > 0)[:, :, None]
    purity = tables.max(axis=2).sum(axis=1) / count
    chance = largest_by_chance(tuple(crowd.sizes.tolist()))[sizes.astype(np.int64)].sum(axis=1) / count
    columns: dict[str, npt.NDArray[np.generic]] = {
        "silhouette": _silhouette(in_cluster, labels, sizes),
        "purity": purity,
        "cluster_cosine": _mean_cosine(in_cluster, clusters),
        "object_cosine": _mean_cosine(in_object, np.broadcast_to(crowd.member, in_object.shape)),
        "label_ratio": named.any(axis=1).mean(axis=1),
        "clusters_per_object": found / objects,
        "auc": np.array(
            [
                auc(pairs[crowd.same], pairs[crowd.different], tolerance=_ROUNDING)
                for pairs in cosines.reshape(len(cosines), -1)
            ]
        ),
        "ari": adjusted_rand_of_tables(tables, crowd.sizes),
        "purity_chance": chance,
        "purity_corrected": (purity - chance) / (1 - chance),
    }
    columns = {name: np.where(finite, values, np.nan) for name, values in columns.items()}
    return {**columns, "why_not": np.where(finite, "", "object tokens are not finite").astype(object)}


def _cosines(grams: Floats) -> Floats:
    """Cosines in place of inner products; 0 for a token of length 0 and of a token with itself."""
    lengths = np.sqrt(np.einsum("bii->bi", grams))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    grams *= scale[:, :, None]
    grams *= scale[:, None, :]
    np.einsum("bii->bi", grams)[:] = 0
    return grams


def _mean_cosine(sums: Floats, members: Floats) -> Floats:
    """Mean over groups of the mean cosine of two members.

    Parameters
    ----------
    sums : ndarray, shape (B, M, G)
        Sum of each token's cosines with the other members of a group.
    members : ndarray, shape (B, M, G)
        1 where a token belongs to a group.
    """
    sizes = members.sum(axis=1)
    pairs = sizes * (sizes - 1)
    means = np.einsum("bmg,bmg->bg", sums, members) / np.maximum(pairs, 1)
    groups = (pairs > 0).sum(axis=1)
    over_groups = np.full(len(sums), np.nan)
    np.divide(means.sum(axis=1), groups, out=over_groups, where=groups > 0)
    return over_groups


def _silhouette(sums: Floats, labels: Ints, sizes: Floats) -> Floats:
    """Mean cosine silhouette (Rousseeuw, 1987) of the clustered tokens.

    Parameters
    ----------
    sums : ndarray, shape (B, M, C)
        Sum of each token's cosines with the other tokens of a cluster.
    labels : ndarray, shape (B, M)
        Cluster of each token, -1 for noise.
    sizes : ndarray, shape (B, C)
        Tokens of each cluster, 0 for clusters that a layer does not have.
    """
    own = np.maximum(labels, 0)
    others = np.take_along_axis(sizes, own, axis=1) - 1
    inside = (others - np.take_along_axis(sums, own[:, :, None], axis=2)[:, :, 0]) / np.maximum(others, 1)
    distances = 1 - sums / np.maximum(sizes, 1)[:, None, :]
    cluster = np.arange(sizes.shape[1])
    distances[(cluster == own[:, :, None]) | (sizes == 0)[:, None, :]] = np.inf
    outside = distances.min(axis=2)
    scale = np.maximum(inside, outside)
    # A cluster of one token counts 0, and so do tokens between which there is no distance but rounding
    worth = (labels >= 0) & (others > 0) & (scale > _ROUNDING) & np.isfinite(outside)
    each = np.divide(outside - inside, scale, out=np.zeros_like(scale), where=worth)
    mean = each.sum(axis=1) / np.maximum(sizes.sum(axis=1), 1)
    found = (sizes > 0).sum(axis=1)
    whole: Floats = np.where(found < 2, found - 1.0, mean)
    return whole
