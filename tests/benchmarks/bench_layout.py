"""What t-SNE layouts of all layers cost and are worth beside scikit-learn's t-SNE, layer by layer.

One thread, processor time, layers 0..12 of photos: DeiT-Tiny with its weights and ViT-B with random ones,
197 tokens. Each round takes another photo, and both take turns. scikit-learn has its default settings. The
Kullback-Leibler divergences of both are computed here, in double precision, of the same affinities, which are
searched for here as well. "moved" is the RMS way of a token from a layer to the next in pictures of an RMS
radius of 1, each turned onto the one before. With --large, also our own time at 1,370 and 4,097 tokens, which
takes minutes.

The photos and weights lie beside the repository, in ../shared/assets.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is loaded

import argparse
import json
import resource
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import sklearn
import timm
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import cdist
from sklearn.manifold import TSNE

from vitwidgets import Inspector
from vitwidgets.analysis.layout import pca_layouts
from vitwidgets.analysis.tsne import tsne_layouts

RESULTS = Path(__file__).with_name("results")
ASSETS = Path(__file__).resolve().parents[2] / "../shared/assets"
RATIO, DIVERGENCE, PCA_MS = 4, 1.05, 50
PERPLEXITY = 30  # scikit-learn's default and ours
LARGE = {592: "1,370 tokens", 1024: "4,097 tokens"}


def deit_tiny(side: int = 224) -> Inspector:
    """DeiT-Tiny with its weights, its position embedding stretched to `side` pixels."""
    weights = {
        "file": str(ASSETS / "weights/deit_tiny_patch16_224.safetensors"),
        "input_size": (3, side, side),
    }
    name = "deit_tiny_patch16_224"
    return Inspector(timm.create_model(name, pretrained=True, img_size=side, pretrained_cfg_overlay=weights))


def vit_base() -> Inspector:
    """ViT-B with random weights."""
    torch.manual_seed(0)
    return Inspector(timm.create_model("vit_base_patch16_224"))


def layers_of(inspector: Inspector, photo: Path) -> list[np.ndarray]:
    """Tokens of all layers, float32."""
    trace = inspector.trace(photo)
    return [trace.layer(layer).astype(np.float32) for layer in range(trace.layers + 1)]


def affinities(tokens: np.ndarray) -> np.ndarray:
    """Joint probabilities (N, N) of one layer, by bisection for the precision of each row."""
    squared = cdist(tokens, tokens, "sqeuclidean")
    np.fill_diagonal(squared, np.inf)
    squared -= squared.min(axis=1, keepdims=True)
    low, high = np.full((len(tokens), 1), -60.0), np.full((len(tokens), 1), 60.0)
    for _ in range(60):
        middle = (low + high) / 2
        p = np.exp(-squared * np.exp(middle))
        p /= p.sum(axis=1, keepdims=True)
        entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1, keepdims=True)
        many = entropy > np.log(PERPLEXITY)
        low, high = np.where(many, middle, low), np.where(many, high, middle)
    return (p + p.T) / (2 * len(tokens))


def divergence(p: np.ndarray, places: np.ndarray) -> float:
    """Kullback-Leibler divergence of t-SNE, in nats."""
    kernel = 1 / (1 + cdist(places, places, "sqeuclidean"))
    np.fill_diagonal(kernel, 0)
    q = kernel / kernel.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


def moved(layouts: Sequence[np.ndarray]) -> float:
    """Mean over neighbouring layers of how far points move."""
    units = [places - places.mean(axis=0) for places in layouts]
    units = [places / np.sqrt((places**2).sum(axis=1).mean()) for places in units]
    ways = []
    for before, after in pairwise(units):
        turned = after @ orthogonal_procrustes(after, before)[0]
        ways.append(np.sqrt(((turned - before) ** 2).sum(axis=1).mean()))
    return float(np.mean(ways))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor time of one call, and what it gives."""
    start = process_time()
    result = work()
    return process_time() - start, result


def measure(inspector: Inspector, photos: Sequence[Path]) -> dict[str, float]:
    """Medians over the photos of processor times, divergences and ways of both."""
    rounds: list[dict[str, float]] = []
    for number, photo in enumerate(photos):
        layers = layers_of(inspector, photo)
        tsne_layouts(layers[:2], iterations=2)
        ways: dict[str, Callable[[], Any]] = {
            "theirs": lambda layers=layers: [TSNE(random_state=0).fit_transform(x) for x in layers],
            "ours": partial(tsne_layouts, layers),
        }
        pca = partial(pca_layouts, layers)
        seconds, found = {}, {}
        for way in ways if number % 2 else reversed(ways):
            seconds[way], found[way] = timed(ways[way])
        ours = list(found["ours"].points * found["ours"].radius[:, None, None])
        p = [affinities(tokens) for tokens in layers]
        divergences = {
            way: statistics.mean(divergence(*each) for each in zip(p, places, strict=True))
            for way, places in (("theirs", found["theirs"]), ("ours", ours))
        }
        rounds.append(
            {
                "tokens": len(layers[0]),
                "scikit_learn_s": seconds["theirs"],
                "ours_s": seconds["ours"],
                "ratio": seconds["theirs"] / seconds["ours"],
                "scikit_learn_kl": divergences["theirs"],
                "ours_kl": divergences["ours"],
                "kl_ratio": divergences["ours"] / divergences["theirs"],
                "scikit_learn_moved": moved(found["theirs"]),
                "ours_moved": moved(ours),
                "pca_ms": 1e3 * statistics.median(timed(pca)[0] for _ in range(15)),
            }
        )
    return {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}


def measure_large(side: int, photo: Path) -> dict[str, float]:
    """Our own processor time, and the process's peak memory beyond what it was before."""
    layers = layers_of(deit_tiny(side), photo)
    pca = timed(partial(pca_layouts, layers))[0]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, result = timed(partial(tsne_layouts, layers))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "tokens": len(layers[0]),
        "ours_s": seconds,
        "ours_kl": float(result.divergence.mean()),
        "ours_moved": moved(list(result.points)),
        "pca_ms": 1e3 * pca,
        "peak_mib": (peak - before) / 1024,
    }


def main() -> None:
    """Measure, print a table, save it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=3, help="how many, a round each")
    parser.add_argument("--large", action="store_true", help="also 1,370 and 4,097 tokens")
    arguments = parser.parse_args()
    if not ASSETS.is_dir():
        parser.error("the photos and pretrained weights do not lie beside this clone (../shared/assets)")
    torch.set_num_threads(1)
    photos = sorted((ASSETS / "coco/images").glob("*.jpg"))[: arguments.photos]
    columns = (
        "scikit_learn_s", "ours_s", "ratio", "scikit_learn_kl", "ours_kl", "kl_ratio",
        "scikit_learn_moved", "ours_moved", "pca_ms",
    )  # fmt: skip
    print(f"{'model':14}{'tokens':>7}" + "".join(f"{column:>20}" for column in columns))
    rows: list[dict[str, Any]] = []
    for name, inspector in (("DeiT-Tiny", deit_tiny()), ("ViT-B", vit_base())):
        row = {"model": name, **measure(inspector, photos)}
        rows.append(row)
        numbers = "".join(f"{row[column]:20.3f}" for column in columns)
        print(f"{name:14}{row['tokens']:7}{numbers}", flush=True)
    print(f"targets: ratio at least {RATIO}, kl_ratio at most {DIVERGENCE}, pca_ms at most {PCA_MS}")
    if arguments.large:
        for side, name in LARGE.items():
            row = {"model": "DeiT-Tiny", **measure_large(side, photos[0])}
            rows.append(row)
            print(
                f"{name}: {row['ours_s']:.1f} s, divergence {row['ours_kl']:.3f}, "
                f"moved {row['ours_moved']:.3f}, PCA {row['pca_ms']:.0f} ms, {row['peak_mib']:.0f} MiB",
                flush=True,
            )
    RESULTS.mkdir(exist_ok=True)
    targets = {"ratio": RATIO, "kl_ratio": DIVERGENCE, "pca_ms": PCA_MS}
    versions = {"torch": torch.__version__, "scikit_learn": sklearn.__version__}
    (RESULTS / "layout.json").write_text(json.dumps({**versions, "targets": targets, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
