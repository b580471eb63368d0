"""Salience from masks, from patches and from the model; curves over rates."""

from __future__ import annotations

import numpy as np
import pytest
from small_inputs import COLS, GRID, HIGH, ROWS, SALIENCE, TIED, WIDE, make, patch_of
from small_traces import biased_trace, small_model, staged_trace, trace_of

from vitwidgets.perturb import (
    MODES,
    RatePoint,
    mask_salience,
    patch_salience,
    rate_plan,
    rollout_salience,
    salient,
    select,
)
from vitwidgets.trace import Trace


def test_mask_salience_is_the_covered_part(size: tuple[int, int]) -> None:
    image = make(size=size)
    mask = np.random.default_rng(1).random(size) < 0.3
    covered = np.zeros(15)
    for y in range(size[0]):
        for x in range(size[1]):
            patch = patch_of(y, x)
            if patch is not None:
                covered[patch] += mask[y, x] / (HIGH * WIDE)
    salience = mask_salience(image, mask)
    assert salience.dtype == np.float32
    assert salience.shape == (ROWS, COLS)
    np.testing.assert_allclose(salience.ravel(), covered, atol=1e-6)


def test_bad_masks() -> None:
    with pytest.raises(ValueError, match=r"\(12, 30\), got \(30, 12\)"):
        mask_salience(make(), np.ones((30, 12), bool))
    with pytest.raises(ValueError, match=r"\(12, 30\), got \(1, 12, 30\)"):
        mask_salience(make(), np.ones((1, 12, 30), bool))
    with pytest.raises(TypeError, match="labels == number"):
        mask_salience(make(), np.ones((12, 30), int))


def test_patch_salience() -> None:
    salience = patch_salience(make(), [(1, 2), 14])
    assert np.argwhere(salience == 1).tolist() == [[1, 2], [2, 4]]
    assert salience.sum() == 2
    assert set(salient(salience, 2 / 15).tolist()) == {7, 14}


def rolled(trace: Trace) -> np.ndarray:
    """Rollout of the last layer, by plain matrix products in double precision."""
    product = np.eye(trace.patch_grid.tokens)
    for layer in range(1, trace.layers + 1):
        mixed = trace.attention(layer).astype(np.float64).mean(axis=0) + np.eye(len(product))
        product = mixed / mixed.sum(axis=1, keepdims=True) @ product
    return product


def test_rollout_salience_with_a_class_token(trace: Trace) -> None:
    salience = rollout_salience(trace)
    assert salience.dtype == np.float32
    assert salience.shape == (ROWS, COLS)
    np.testing.assert_allclose(salience, rolled(trace)[0, 2:].reshape(ROWS, COLS), atol=1e-6)


def test_rollout_salience_without_a_class_token() -> None:
    trace = trace_of(small_model(class_token=False, registers=2))
    assert trace.prefix == ("reg1", "reg2")
    expected = sum(rolled(trace)[2 + patch, 2:] for patch in range(15)) / 15
    np.testing.assert_allclose(rollout_salience(trace).ravel(), expected, atol=1e-6)


def test_rollout_salience_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no rollout: the patch grid changes"):
        rollout_salience(staged_trace())
    assert np.isfinite(rollout_salience(biased_trace())).all()


def test_a_rate_plan_has_every_point_once() -> None:
    rates, seeds = [0, 0.2, 0.5, 1], [0, 1, 2, 3]
    plan = rate_plan(make(), rates=rates, seeds=seeds, salience=SALIENCE)
    points = [point for occlusion in plan for point in occlusion.points]
    assert len(points) == len(set(points)) == 3 * 4 * 4
    for occlusion in plan:
        for mode, rate, seed in occlusion.points:
            chosen = select(GRID, mode, rate, salience=SALIENCE, seed=seed)
            assert occlusion.patches.tolist() == sorted(chosen.tolist())
    sets = [tuple(occlusion.patches) for occlusion in plan]
    assert len(sets) == len(set(sets))
    # nothing, everything, four seeds of two rates at random, and two rates of either end
    assert len(plan) == 1 + 1 + 4 * 2 + 2 * 2


def test_a_rate_plan_draws_equal_salience_anew() -> None:
    plan = rate_plan(GRID, rates=[0.1], modes=["salient"], seeds=range(30), salience=TIED)
    assert 1 < len(plan) <= 30
    assert plan[0].points[0] == RatePoint("salient", 0.1, 0)
    inside = set(np.flatnonzero(TIED).tolist())
    assert all(set(occlusion.patches.tolist()) < inside for occlusion in plan)


def test_rate_plans_that_ask_twice_or_for_nothing() -> None:
    twice = rate_plan(GRID, rates=[0.2, 0.2], modes=["random"], seeds=[1, 1])
    assert [occlusion.points for occlusion in twice] == [(RatePoint("random", 0.2, 1),)]
    assert rate_plan(GRID, rates=[], modes=["random"]) == []
    with pytest.raises(ValueError, match="needs salience="):
        rate_plan(GRID, rates=[0.5])
    assert set(MODES) == {"random", "salient", "non_salient"}
