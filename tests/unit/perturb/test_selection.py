"""Which patches are chosen: by rate, seed and salience."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from small_inputs import GRID, SALIENCE, TIED, make

from vitwidgets.geometry import PatchGrid
from vitwidgets.perturb import (
    non_salient,
    random,
    rate_plan,
    salient,
    select,
)


@pytest.mark.parametrize(
    "choose",
    [
        lambda rate, seed: random(GRID, rate, seed=seed),
        lambda rate, seed: salient(SALIENCE, rate, seed=seed),
        lambda rate, seed: non_salient(SALIENCE, rate, seed=seed),
        lambda rate, seed: salient(TIED, rate, seed=seed),
        lambda rate, seed: non_salient(TIED, rate, seed=seed),
    ],
)
def test_a_smaller_rate_is_the_beginning_of_a_larger_one(choose: Callable[[float, int], Any]) -> None:
    for seed in range(5):
        everything = choose(1.0, seed)
        assert sorted(everything.tolist()) == list(range(15))
        for rate in np.linspace(0, 1, 41):
            chosen = choose(rate, seed)
            assert chosen.dtype == np.int64
            assert chosen.tolist() == everything[: round(rate * 15)].tolist()


def test_random_draws_all_patches_alike() -> None:
    draws = [random(GRID, 0.4, seed=seed) for seed in range(2000)]
    share = np.bincount(np.concatenate(draws), minlength=15) / len(draws)
    np.testing.assert_allclose(share, 0.4, atol=0.05)
    assert draws[3].tolist() == random(make(), 0.4, seed=3).tolist()


def test_halves_go_to_the_even_number() -> None:
    assert [len(random(PatchGrid(1, 5), rate)) for rate in (0.1, 0.3, 0.5, 0.7)] == [0, 2, 2, 4]


def test_salient_and_non_salient_are_the_two_ends() -> None:
    order = sorted(range(15), key=lambda patch: -SALIENCE.flat[patch])
    for seed in (0, 1):  # without equal ones the seed changes nothing
        assert salient(SALIENCE, 0.4, seed=seed).tolist() == order[:6]
        assert non_salient(SALIENCE, 0.4, seed=seed).tolist() == order[::-1][:6]


def test_equal_salience_is_drawn_by_the_seed() -> None:
    inside = set(np.flatnonzero(TIED).tolist())
    chosen = [salient(TIED, len(inside) / 15, seed=seed).tolist() for seed in range(20)]
    assert {frozenset(patches) for patches in chosen} == {frozenset(inside)}
    assert len({tuple(patches) for patches in chosen}) > 10
    for seed in range(20):
        ends = [*salient(TIED, 0.4, seed=seed), *non_salient(TIED, 0.6, seed=seed)]
        assert sorted(ends) == list(range(15))


@pytest.mark.parametrize("rate", [-0.01, 1.01, 50, np.nan, np.inf])
def test_rates_outside_0_to_1(rate: float) -> None:
    choices: list[Callable[[], object]] = [
        lambda: random(GRID, rate),
        lambda: salient(SALIENCE, rate),
        lambda: non_salient(SALIENCE, rate),
        lambda: rate_plan(GRID, rates=[0.5, rate], modes=["random"]),
    ]
    for choose in choices:
        with pytest.raises(ValueError, match=r"0\.\.1, got"):
            choose()


@pytest.mark.parametrize("rate", ["0.5", True, None])
def test_rates_that_are_no_numbers(rate: Any) -> None:
    for choose in (lambda: random(GRID, rate), lambda: salient(SALIENCE, rate)):
        with pytest.raises(TypeError, match=r"number in 0\.\.1"):
            choose()


def test_bad_salience() -> None:
    unknown = SALIENCE.copy()
    unknown[1, 2] = np.nan
    for choose in (salient, non_salient):
        with pytest.raises(ValueError, match="NaN, and it is for 1 of 15 patches"):
            choose(unknown, 0.5)
        with pytest.raises(ValueError, match=r"\(rows, cols\)"):
            choose(SALIENCE.ravel(), 0.5)
        with pytest.raises(TypeError, match="mask_salience"):
            choose(np.ones((12, 30), bool), 0.5)


def test_select_by_name() -> None:
    image = make()
    assert select(image, "random", 0.6, seed=2).tolist() == random(image, 0.6, seed=2).tolist()
    for mode, choose in (("salient", salient), ("non_salient", non_salient)):
        chosen = select(image, mode, 0.6, salience=TIED, seed=2)  # type: ignore[arg-type]
        assert chosen.tolist() == choose(TIED, 0.6, seed=2).tolist()
    with pytest.raises(ValueError, match="'random', 'salient', 'non_salient', got 'foreground'"):
        select(image, "foreground", 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs salience="):
        select(image, "salient", 0.5)
    with pytest.raises(ValueError, match=r"\(3, 5\), got \(5, 3\)"):
        select(image, "salient", 0.5, salience=SALIENCE.T)
    with pytest.raises(TypeError, match="PatchGrid is needed"):
        select((3, 5), "random", 0.5)  # type: ignore[arg-type]
