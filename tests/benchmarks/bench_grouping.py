"""What the grouping curves of an image cost beside the straightforward loop over layers with scikit-learn.

One thread, processor time, 12 layers of 14 x 14 patch tokens in the widths of DeiT-Tiny and ViT-B: noise that
is drawn towards a centre for each object, the more the higher the layer. Both take turns; a ratio is the
median over the rounds of each round's own ratio. The loop computes the paper's six measures, `curves` those
and four more. Costs grow with the tokens of objects: half of the multi-object photos at hand have fewer than
60, one in ten more than 130; in the last scene objects fill the picture.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import sklearn
from sklearn.cluster import DBSCAN
from sklearn.metrics import silhouette_score
from sklearn.metrics.pairwise import cosine_similarity

from vitwidgets.analysis.agreement import largest_by_chance
from vitwidgets.analysis.grouping import curves
from vitwidgets.analysis.objects import Objects

RESULTS = Path(__file__).with_name("results")
TARGET = 10
WIDTHS = {"DeiT-Tiny": 192, "ViT-B": 768}
LAYERS = 12
SIDE = 14
# top, left, bottom, right of each object in patches
SCENES = (
    ((1, 1, 7, 6), (2, 8, 7, 13)),
    ((1, 1, 7, 6), (2, 8, 7, 13), (8, 7, 13, 12)),
    ((1, 1, 7, 6), (2, 8, 7, 13), (8, 7, 13, 12), (9, 1, 13, 6)),
    ((0, 0, 7, 7), (0, 7, 7, 14), (7, 0, 14, 7), (7, 7, 14, 14)),
)


def by_scikit_learn(layers: Sequence[np.ndarray], objects: Objects) -> np.ndarray:
    """The paper's measures as one would write them down, (L, 6), in the order of the columns of `curves`."""
    owner = objects.of_patch[objects.of_patch >= 0]
    number = len(objects.values)
    names, classes = np.array(objects.labels), list(dict.fromkeys(objects.labels))
    rows = []
    for layer in layers:
        tokens = layer[objects.of_patch >= 0]
        eps = np.mean(
            [np.linalg.norm(np.diff(tokens[owner == k], axis=0), axis=1).mean() for k in range(number)]
        )
        labels = DBSCAN(eps=eps, min_samples=3).fit_predict(tokens)
        clusters = [labels == c for c in range(labels.max() + 1)]
        clustered = labels >= 0
        if len(clusters) > 1:
            silhouette = silhouette_score(tokens[clustered], labels[clustered], metric="cosine")
        else:
            silhouette = len(clusters) - 1
        purity = sum(np.bincount(owner[members]).max() for members in clusters) / len(tokens)
        in_clusters = [mean_cosine(tokens[members]) for members in clusters if members.sum() > 1]
        in_objects = [mean_cosine(tokens[owner == k]) for k in range(number)]
        dominant = set()
        for members in clusters:
            counts = [(names[owner[members]] == name).sum() for name in classes]
            dominant.add(int(np.argmax(counts)))
        rows.append(
            (
                silhouette,
                purity,
                np.mean(in_clusters) if in_clusters else np.nan,
                np.mean(in_objects),
                len(dominant) / len(classes),
                len(clusters) / number,
            )
        )
    return np.array(rows)


def mean_cosine(tokens: np.ndarray) -> float:
    """Mean cosine of all pairs."""
    return float(cosine_similarity(tokens)[np.triu_indices(len(tokens), 1)].mean())


def scene(boxes: Sequence[tuple[int, int, int, int]]) -> Objects:
    """Rectangular objects."""
    of_patch = np.full((SIDE, SIDE), -1)
    for k, (top, left, bottom, right) in enumerate(boxes):
        of_patch[top:bottom, left:right] = k
    values = tuple(range(1, len(boxes) + 1))
    return Objects(SIDE, SIDE, of_patch.ravel(), values, tuple(f"class {k}" for k in values), {})


def gathering(objects: Objects, width: int, seed: int) -> list[np.ndarray]:
    """Tokens of each layer, float32, that gather by object as layers go up."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(objects.values) + 1, width))[objects.of_patch]
    spread = random.uniform(0.4, 1.4, (len(centres), 1))
    return [
        (random.normal(size=centres.shape) * spread + centres * layer / 8).astype(np.float32)
        for layer in range(1, LAYERS + 1)
    ]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one call, and what it gives."""
    start = process_time()
    result = work()
    return process_time() - start, result


def measure(width: int, objects: Objects, rounds: int) -> dict[str, float]:
    """Median processor time of both, their ratio, and the greatest difference of what they find."""
    times: dict[str, list[float]] = {"loop": [], "ours": []}
    difference = 0.0
    for number in range(-1, rounds):  # the first round is not counted
        layers = gathering(objects, width, seed=number + 1)
        ways = {
            "loop": lambda layers=layers: by_scikit_learn(layers, objects),
            "ours": lambda layers=layers: curves(layers, objects).iloc[:, :6].to_numpy(float),
        }
        largest_by_chance.cache_clear()  # as for a new image
        found = {}
        for way in ways if number % 2 else reversed(ways):
            seconds, found[way] = timed(ways[way])
            if number >= 0:
                times[way].append(seconds)
        difference = max(difference, float(np.nanmax(np.abs(found["loop"] - found["ours"]))))
    return {
        "tokens": int((objects.of_patch >= 0).sum()),
        "scikit_learn_ms": 1e3 * statistics.median(times["loop"]),
        "curves_ms": 1e3 * statistics.median(times["ours"]),
        "ratio": statistics.median(a / b for a, b in zip(*times.values(), strict=True)),
        "difference": difference,
    }


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    print(
        f"{'width':12}{'objects':>8}{'tokens':>8}{'loop ms':>10}{'ours ms':>10}{'ratio':>8}{'difference':>12}"
    )
    rows = []
    for name, width in WIDTHS.items():
        for boxes in SCENES:
            row = {"model": name, "objects": len(boxes), **measure(width, scene(boxes), rounds)}
            rows.append(row)
            print(
                f"{name:12}{len(boxes):8}{row['tokens']:8}{row['scikit_learn_ms']:10.1f}{row['curves_ms']:10.2f}"
                f"{row['ratio']:8.1f}{row['difference']:12.1e}",
                flush=True,
            )
    print(f"target: ratio at least {TARGET}, difference at most 1e-6")
    RESULTS.mkdir(exist_ok=True)
    result = {"scikit_learn": sklearn.__version__, "target": TARGET, "rows": rows}
    (RESULTS / "grouping.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
