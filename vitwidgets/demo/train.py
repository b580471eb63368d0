"""How the embedded model was trained: ``python -m vitwidgets.demo.train --out demo.safetensors``.

Classification only. The loss is the cross-entropy between the prediction and the
kinds of object in the scene, in equal parts; no mask is ever seen. Training runs
in four stages: one object through a window of 6 x 6 patches, one object on the whole
picture, one to four objects, and one to three somewhat larger ones. It resumes from
its checkpoint when started again.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitwidgets.demo.model import GRID, PATCH, SIDE, build
from vitwidgets.demo.scenes import KINDS, Scene, scene

HELD_OUT = 1_000_000  # first seed of the scenes that training never draws
CHECKED = 400  # how many of them are looked at while training


@dataclass(frozen=True)
class Stage:
    """A stretch of training: how long, on which scenes, through how large a window."""

    steps: int
    pool: int
    objects: tuple[int, int]
    radius: tuple[float, float]
    window: int


STAGES = (
    Stage(steps=2_500, pool=40_000, objects=(1, 1), radius=(0.15, 0.24), window=6),
    Stage(steps=300, pool=20_000, objects=(1, 1), radius=(0.15, 0.24), window=GRID),
    Stage(steps=1_200, pool=20_000, objects=(1, 4), radius=(0.13, 0.24), window=GRID),
    Stage(steps=1_200, pool=20_000, objects=(1, 3), radius=(0.15, 0.25), window=GRID),
)
BATCH = 64
PEAK_RATE = 1e-3
WARM_UP = 300


def targets(kinds: tuple[str, ...]) -> NDArray[np.float32]:
    """Equal probability for every kind in the scene, shape ``(len(KINDS),)``."""
    out = np.zeros(len(KINDS), dtype=np.float32)
    out[[KINDS.index(k) for k in set(kinds)]] = 1 / len(set(kinds))
    return out


class Pool:
    """Scenes drawn once and seen many times, each time mirrored and tinted anew."""

    def __init__(self, first_seed: int, stage: Stage) -> None:
        self.images = np.empty((stage.pool, SIDE, SIDE, 3), dtype=np.uint8)
        self.targets = np.empty((stage.pool, len(KINDS)), dtype=np.float32)
        self.boxes = np.empty((stage.pool, 2, 2), dtype=np.int16)
        for i in range(stage.pool):
            drawn = scene(first_seed + i, size=SIDE, objects=stage.objects, radius=stage.radius)
            self.images[i] = drawn.image
            self.targets[i] = targets(drawn.kinds)
            self.boxes[i] = _bounds(drawn)

    def batch(self, rng: np.random.Generator, side: int) -> tuple[Tensor, Tensor]:
        """`BATCH` pictures, ``(BATCH, 3, side, side)`` normalised, and their targets."""
        chosen = rng.integers(len(self.images), size=BATCH)
        out = np.empty((BATCH, side, side, 3), dtype=np.uint8)
        for n, i in enumerate(chosen):
            (top, left), (bottom, right) = self.boxes[i].tolist()
            y = int(rng.integers(max(0, bottom - side), min(top, SIDE - side) + 1)) if side < SIDE else 0
            x = int(rng.integers(max(0, right - side), min(left, SIDE - side) + 1)) if side < SIDE else 0
            picture = self.images[i, y : y + side, x : x + side]
            out[n] = picture[:, ::-1] if rng.integers(2) else picture
        pictures = torch.from_numpy(out).permute(0, 3, 1, 2).float() / 255
        gain = torch.from_numpy(rng.uniform(0.85, 1.15, size=(BATCH, 3, 1, 1)).astype(np.float32))
        return (pictures * gain).clamp(0, 1) * 2 - 1, torch.from_numpy(self.targets[chosen])


def _bounds(drawn: Scene) -> NDArray[np.int16]:
    rows, columns = np.nonzero(drawn.masks.any(axis=0))
    return np.array([[rows.min(), columns.min()], [rows.max() + 1, columns.max() + 1]], dtype=np.int16)


def forward_window(model: VisionTransformer, pictures: Tensor, corner: tuple[int, int]) -> Tensor:
    """Logits of pictures that fill a window of the patch grid whose top left patch is `corner`."""
    assert model.pos_embed is not None
    assert model.cls_token is not None
    x = model.patch_embed.proj(pictures)
    rows, columns = x.shape[-2:]
    grid = model.pos_embed[:, 1:].reshape(1, GRID, GRID, -1)
    place = grid[:, corner[0] : corner[0] + rows, corner[1] : corner[1] + columns].flatten(1, 2)
    x = x.flatten(2).transpose(1, 2) + place
    cls = (model.cls_token + model.pos_embed[:, :1]).expand(len(x), -1, -1)
    x = model.norm(model.blocks(torch.cat([cls, x], dim=1)))
    logits: Tensor = model.forward_head(x)
    return logits


def accuracy(model: VisionTransformer, scenes: list[Scene]) -> float:
    """Share of the kinds in the scenes that are among the model's first `k`, `k` kinds in a scene."""
    model.eval()
    pictures = np.stack([s.image for s in scenes])
    with torch.inference_mode():
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        order = torch.cat([model(part) for part in x.split(128)]).argsort(dim=1, descending=True)
    found = total = 0
    for ranked, drawn in zip(order.tolist(), scenes, strict=True):
        present = {KINDS.index(k) for k in drawn.kinds}
        found += len(present & set(ranked[: len(present)]))
        total += len(present)
    return found / total


def rate(step: int) -> float:
    """Learning rate: linear warm-up, flat, then a cosine down over the last stage."""
    last = STAGES[-1].steps
    done = step - (sum(s.steps for s in STAGES) - last)
    if done > 0:
        return PEAK_RATE * (0.5 + 0.5 * math.cos(math.pi * min(1, done / last))) + 1e-6
    return PEAK_RATE * min(1, (step + 1) / WARM_UP)


def train(out: Path, *, seed: int = 0, every: int = 250) -> None:
    """Train from the beginning, or from the checkpoint beside `out` if that is there.

    Parameters
    ----------
    out : Path
        The safetensors file to write, float16, when training is done; the checkpoint has its
        name with the suffix ``.checkpoint``.
    seed : int
        Seed of the weights and of the order of the scenes.
    every : int
        Steps between checkpoints; progress is printed at each.
    """
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = build()
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=PEAK_RATE,
        betas=(0.9, 0.98),
    )
    checkpoint = out.with_suffix(".checkpoint")
    step = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        step = saved["step"]
    end = 0
    for number, stage in enumerate(STAGES):
        end += stage.steps
        if step >= end:
            continue
        pool = Pool(number * 100_000, stage)
        held_out = [
            scene(HELD_OUT + i, size=SIDE, objects=stage.objects, radius=stage.radius) for i in range(CHECKED)
        ]
        began, losses = time.monotonic(), []
        while step < end:
            rng = np.random.default_rng([seed, step])
            pictures, wanted = pool.batch(rng, stage.window * PATCH)
            corner = tuple(rng.integers(GRID - stage.window + 1, size=2).tolist())
            for group in optimiser.param_groups:
                group["lr"] = rate(step)
            model.train()
            loss = F.cross_entropy(forward_window(model, pictures, corner), wanted)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            losses.append(loss.item())
            if step % every == 0 or step == end:
                state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
                torch.save(state, out.with_suffix(".partial"))
                out.with_suffix(".partial").replace(checkpoint)  # never half a checkpoint
                speed = len(losses) * BATCH / (time.monotonic() - began)
                print(
                    f"stage {number} step {step} loss {np.mean(losses):.3f} "
                    f"held out {accuracy(model, held_out):.3f}  {speed:.0f} pictures/s",
                    flush=True,
                )
                began, losses = time.monotonic(), []
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, str(out))


def main() -> None:
    """Command line of the training script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments.out, seed=arguments.seed)


if __name__ == "__main__":
    main()
