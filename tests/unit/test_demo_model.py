"""The embedded model: its architecture, how it was trained, and how well it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

import vitwidgets as vw
from vitwidgets import demo
from vitwidgets.demo import KINDS, WEIGHTS, load, scene
from vitwidgets.demo import model as architecture
from vitwidgets.demo import train as training
from vitwidgets.demo.model import GRID, PATCH, SIDE, build
from vitwidgets.demo.train import HELD_OUT, STAGES, Stage, accuracy, forward_window, targets

weights = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"{WEIGHTS.name} is not built into this checkout")


# ------------------------------------------------------------------ architecture


def test_architecture() -> None:
    model = build()
    assert type(model) is VisionTransformer
    assert len(model.blocks) in range(8, 13)
    inspector = vw.Inspector(model, class_names=KINDS)
    assert (inspector.grid, inspector.prefix, inspector.patch_size) == ((12, 12), ("cls",), (8, 8))
    trace = inspector.trace(scene(3, size=96).image)
    np.testing.assert_allclose(trace.pixels, scene(3, size=96).image / 127.5 - 1, atol=1e-6)
    assert trace.frame.box == (0, 0, 96, 96)


# ------------------------------------------------------------------ training


def test_targets_share_equally_among_the_kinds() -> None:
    out = targets((KINDS[3], KINDS[0], KINDS[3]))
    assert out.dtype == np.float32
    assert out[[0, 3]].tolist() == [0.5, 0.5]
    assert out.sum() == 1


def test_a_window_of_the_whole_grid_is_the_model_itself() -> None:
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        torch.testing.assert_close(forward_window(model, x, (0, 0)), model(x))


def test_a_window_sees_the_positions_that_it_covers() -> None:
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(1, 3, 2 * PATCH, 3 * PATCH)
    seen: list[torch.Tensor] = []
    model.blocks.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        forward_window(model, x, (4, 7))
        patches = model.patch_embed.proj(x).flatten(2).transpose(1, 2)
    places = [(4 + row) * GRID + 7 + col for row in range(2) for col in range(3)]
    torch.testing.assert_close(seen[0][0, 1:], patches[0] + model.pos_embed[0, [1 + p for p in places]])
    torch.testing.assert_close(seen[0][0, 0], (model.cls_token + model.pos_embed[:, :1])[0, 0])


def test_held_out_scenes_are_never_drawn_in_training() -> None:
    assert all(stage.pool <= 100_000 for stage in STAGES)
    assert len(STAGES) * 100_000 <= HELD_OUT


def test_the_rate_rises_stays_and_falls() -> None:
    steps = sum(stage.steps for stage in STAGES)
    rates = np.array([training.rate(step) for step in range(0, steps + 1, 50)])
    top = rates.argmax()
    assert rates[0] < 0.01 * training.PEAK_RATE
    assert (np.diff(rates[: top + 1]) >= 0).all()
    assert (np.diff(rates[top:]) <= 1e-6).all()
    assert rates[-1] < 0.01 * training.PEAK_RATE


class Oracle(torch.nn.Module):
    """Ranks the classes as it is told."""

    def __init__(self, ranking: list[list[int]]) -> None:
        super().__init__()
        self.logits = -torch.tensor(ranking).argsort(dim=1).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(x)]


def test_accuracy_counts_the_kinds_among_the_first() -> None:
    scenes = [scene(seed, size=SIDE, objects=(1, 4)) for seed in range(6)]
    present = [[KINDS.index(kind) for kind in dict.fromkeys(drawn.kinds)] for drawn in scenes]
    rest = [[k for k in range(len(KINDS)) if k not in kinds] for kinds in present]
    right = [kinds + others for kinds, others in zip(present, rest, strict=True)]
    wrong = [others + kinds for kinds, others in zip(present, rest, strict=True)]
    assert accuracy(Oracle(right), scenes) == 1  # type: ignore[arg-type]
    assert accuracy(Oracle(wrong), scenes) == 0  # type: ignore[arg-type]
    one_off = [right[0], *wrong[1:]]
    assert accuracy(Oracle(one_off), scenes) == len(present[0]) / sum(map(len, present))  # type: ignore[arg-type]


class Interruption:
    """Stands for `accuracy`, which is called after each checkpoint; stops the training at one of them."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, *_: object) -> float:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return 0.0


def test_training_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        monkeypatch.setattr(
            training,
            "STAGES",
            (
                Stage(steps=3, pool=6, objects=(1, 1), radius=(0.15, 0.24), window=6),
                Stage(steps=3, pool=6, objects=(1, 3), radius=(0.13, 0.24), window=GRID),
            ),
        )
        monkeypatch.setattr(architecture, "DEPTH", 2)
        monkeypatch.setattr(training, "BATCH", 2)
        monkeypatch.setattr(training, "CHECKED", 2)
        training.train(tmp_path / "whole.safetensors", every=2)

        stopped = tmp_path / "stopped.safetensors"
        for stop_at in (1, 2, 4):  # after so many checkpoints: within a stage, between two, within the next
            monkeypatch.setattr(training, "accuracy", Interruption(stop_at))
            try:
                training.train(stopped, every=2)
            except KeyboardInterrupt:
                assert not stopped.exists()
        whole, resumed = load_file(tmp_path / "whole.safetensors"), load_file(stopped)
    finally:
        torch.set_num_threads(threads)
    assert whole.keys() == resumed.keys() == build().state_dict().keys()
    assert all(value.dtype == torch.float16 for value in whole.values())
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
    torch.manual_seed(0)
    assert not torch.equal(whole["head.bias"], build().state_dict()["head.bias"].half())  # it did learn
    assert not list(tmp_path.glob("*.partial"))

    monkeypatch.setattr(demo, "WEIGHTS", stopped)  # what training writes is what load reads
    loaded, names = load()
    assert (loaded.training, names) == (False, KINDS)
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value.half(), whole[name])


# ------------------------------------------------------------------ the weights


@weights
def test_size() -> None:
    assert WEIGHTS.stat().st_size <= 6 * 2**20


@weights
def test_load() -> None:
    model, names = load()
    assert names == KINDS
    assert not model.training
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)


@weights
def test_top_names_the_objects_of_a_scene() -> None:
    inspector = vw.Inspector("demo")
    found = total = 0
    for seed in range(HELD_OUT + 10_000, HELD_OUT + 10_060):
        drawn = scene(seed)
        present = set(drawn.kinds)
        top = inspector.trace(drawn.image).top(len(present))
        assert all(name in KINDS and 0 <= probability <= 1 for name, probability in top)
        found += len(present & {name for name, _ in top})
        total += len(present)
    assert found / total >= 0.92


@weights
def test_accuracy_on_held_out_scenes() -> None:
    model, _ = load()
    scenes = [scene(HELD_OUT + 20_000 + seed, size=SIDE) for seed in range(300)]
    assert accuracy(model, scenes) >= 0.92
