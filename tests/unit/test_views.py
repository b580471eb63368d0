from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vitwidgets.analysis.views import cut, display, global_view, join, limit_of, local_view, peak_of, view
from vitwidgets.colormap import NON_FINITE

RANDOM = np.random.default_rng(4)
ROWS, COLS, P, Q, C = 3, 5, 4, 6, 3
PIXELS = RANDOM.normal(size=(ROWS * P, COLS * Q, C)).astype(np.float32)
FILTERS = RANDOM.normal(size=(7, P, Q, C)).astype(np.float32)
SHARES = RANDOM.random(ROWS * COLS).astype(np.float32)


def by_loops(kernel: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The paper's formula, pixel by pixel."""
    seen = np.zeros(PIXELS.shape)
    for y in range(PIXELS.shape[0]):
        for x in range(PIXELS.shape[1]):
            for channel in range(C):
                patch = y // P * COLS + x // Q
                seen[y, x, channel] = shares[patch] * kernel[y % P, x % Q, channel] * PIXELS[y, x, channel]
    return seen


def test_patches_are_cut_row_by_row() -> None:
    patches = cut(PIXELS, (P, Q))
    assert patches.shape == (ROWS * COLS, P, Q, C)
    for patch in range(ROWS * COLS):
        y, x = patch // COLS * P, patch % COLS * Q
        np.testing.assert_array_equal(patches[patch], PIXELS[y : y + P, x : x + Q])


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool])
def test_join_undoes_cut(dtype: Any) -> None:
    picture = (PIXELS * 50).astype(dtype)
    again = join(cut(picture, (P, Q)), (ROWS, COLS))
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, picture)


def test_one_number_means_square_patches() -> None:
    np.testing.assert_array_equal(cut(PIXELS, 6), cut(PIXELS, (6, 6)))


@pytest.mark.parametrize("neuron", [0, 6])
def test_local_view_is_filter_times_patch(neuron: int) -> None:
    for patch in range(ROWS * COLS):
        seen = local_view(PIXELS, FILTERS, patch, neuron)
        assert seen.dtype == np.float32
        np.testing.assert_array_equal(seen, FILTERS[neuron] * cut(PIXELS, (P, Q))[patch])
    np.testing.assert_array_equal(
        local_view(PIXELS, FILTERS, (2, 1), neuron), local_view(PIXELS, FILTERS, 11, neuron)
    )


def test_a_local_view_sums_up_to_the_patch_embedding() -> None:
    picture = torch.from_numpy(PIXELS).permute(2, 0, 1)[None]
    weight, bias = torch.from_numpy(FILTERS).permute(0, 3, 1, 2), torch.randn(7)
    embedded = torch.nn.functional.conv2d(picture, weight, bias, stride=(P, Q))[0].flatten(1).numpy()
    for neuron in range(7):
        for patch in range(ROWS * COLS):
            total = local_view(PIXELS, FILTERS, patch, neuron).sum() + bias[neuron].item()
            assert total == pytest.approx(embedded[neuron, patch], abs=1e-4)


def test_global_view_against_plain_loops() -> None:
    for kernel in FILTERS[:2]:
        seen = global_view(PIXELS, kernel)
        assert seen.dtype == np.float32
        np.testing.assert_allclose(seen, by_loops(kernel, np.ones(ROWS * COLS)), rtol=1e-6)


def test_view_against_plain_loops() -> None:
    seen = view(PIXELS, FILTERS[3], SHARES)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, by_loops(FILTERS[3], SHARES), rtol=1e-6)


def test_view_at_layer_0_is_the_patch_alone() -> None:
    seen = cut(view(PIXELS, FILTERS[3], np.eye(ROWS * COLS)[8]), (P, Q))
    np.testing.assert_array_equal(seen[8], local_view(PIXELS, FILTERS, 8, 3))
    assert not np.delete(seen, 8, axis=0).any()


def test_inputs_are_left_as_they_are() -> None:
    before = PIXELS.copy(), FILTERS.copy()
    view(PIXELS, FILTERS[0], SHARES)
    display(PIXELS, "positive")
    np.testing.assert_array_equal(PIXELS, before[0])
    np.testing.assert_array_equal(FILTERS, before[1])


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"5 x 6 pixels do not tile a picture of 12 x 30"):
        cut(PIXELS, (5, 6))
    with pytest.raises(ValueError, match="0 x 6 pixels do not tile"):
        cut(PIXELS, (0, 6))
    with pytest.raises(ValueError, match=r"\(H, W, C\)"):
        cut(PIXELS[..., 0], 6)
    with pytest.raises(ValueError, match=r"3 x 5 takes patches of shape \(15, p, q, C\), got \(14"):
        join(cut(PIXELS, (P, Q))[1:], (ROWS, COLS))
    with pytest.raises(ValueError, match="3 channels, the filter 1"):
        global_view(PIXELS, FILTERS[0][..., :1])
    with pytest.raises(ValueError, match=r"\(p, q, C\), got"):
        global_view(PIXELS, FILTERS)
    with pytest.raises(ValueError, match=r"\(D, p, q, C\)"):
        local_view(PIXELS, FILTERS[0], 0, 0)
    with pytest.raises(ValueError, match=r"shape \(15,\).*none for prefix tokens, got \(17,\)"):
        view(PIXELS, FILTERS[0], np.ones(17))


@pytest.mark.parametrize("patch", [15, -1, (3, 0), (0, 5)])
def test_patch_out_of_range(patch: Any) -> None:
    with pytest.raises(IndexError, match=r"out of range.*0\.\.14"):
        local_view(PIXELS, FILTERS, patch, 0)


@pytest.mark.parametrize("neuron", [7, -1])
def test_neuron_out_of_range(neuron: int) -> None:
    with pytest.raises(IndexError, match=r"neuron -?\d is out of range; there are filters 0\.\.6"):
        local_view(PIXELS, FILTERS, 0, neuron)


# ---------------------------------------------------------------------------- display


def shown(values: list[float], *args: Any, **options: Any) -> list[int]:
    """Grey levels of a picture of one row."""
    picture = display(np.array(values).reshape(1, -1, 1), *args, **options)
    assert picture.dtype == np.uint8
    assert picture.shape == (1, len(values), 3)
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
    return [int(level) for level in picture[0, :, 0]]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("signed", [1, 65, 128, 192, 255]),
        ("positive", [0, 0, 0, 128, 255]),
        ("magnitude", [255, 128, 0, 128, 255]),
    ],
)
def test_levels(mode: Any, expected: list[int]) -> None:
    assert shown([-2, -1, 0, 1, 2], mode) == expected
    assert shown([-2, -1, 0, 1, 2, 9], mode, limit=2)[:5] == expected
    assert shown([-2, -1, 0, 1, 9], mode, limit=2) == [*expected[:4], 255]


def test_each_picture_has_a_scale_of_its_own_unless_they_share_one() -> None:
    views = np.stack([PIXELS, PIXELS / 100])
    np.testing.assert_array_equal(display(views)[0], display(views)[1])
    np.testing.assert_array_equal(display(PIXELS), display(PIXELS, limit=limit_of(PIXELS)))
    shared = display(views, limit=limit_of(*views))
    np.testing.assert_array_equal(shared[0], display(PIXELS))
    assert np.ptp(shared[1].astype(int)) <= 4


def test_a_few_strong_pixels_leave_the_others_their_colours() -> None:
    """Views are products, so that few of their numbers are far larger than the others."""
    seen = RANDOM.laplace(size=(60, 80, 3))
    clipped = (np.abs(seen) > limit_of(seen)).mean()
    assert 0.01 < clipped < 0.03
    assert limit_of(seen) < 0.6 * peak_of(seen)
    assert (
        np.abs(display(seen).astype(int) - 128).mean()
        > 1.6 * np.abs(display(seen, limit=peak_of(seen)).astype(int) - 128).mean()
    )


def test_zeros_do_not_count() -> None:
    """At layer 0 a view is one patch: it has the scale of that patch alone."""
    kernel, alone = FILTERS[3], np.eye(ROWS * COLS)[8]
    assert limit_of(view(PIXELS, kernel, alone)) == pytest.approx(
        limit_of(local_view(PIXELS, FILTERS, 8, 3)), rel=1e-6
    )


def test_faint_patches_do_not_drown_the_strong_one() -> None:
    """Near layer 0 nearly all of a token is its own patch: most of that patch is within the scale."""
    kernel, shares = FILTERS[3], np.full(ROWS * COLS, 1e-4)
    shares[8] = 1
    seen = view(PIXELS, kernel, shares)
    assert (np.abs(cut(seen, (P, Q))[8]) > limit_of(seen)).mean() < 0.1


@pytest.mark.parametrize("value", [0.3, -7.0])
def test_what_has_one_size_is_not_clipped(value: float) -> None:
    flat = np.full((4, 5, 3), value)
    assert limit_of(flat) == peak_of(flat) == abs(value)
    assert set(display(flat).ravel()) == {255 if value > 0 else 1}


def test_a_given_limit_is_exact() -> None:
    assert shown([0, 1, 2, 4], limit=4) == [128, 160, 192, 255]
    assert shown([0, 1, 2, 4], limit=2) == [128, 192, 255, 255]


def test_channels_are_colours() -> None:
    picture = display(np.array([1.0, 0.0, -1.0]).reshape(1, 1, 3))
    assert picture.tolist() == [[[255, 128, 1]]]


def test_nothing_but_zeros() -> None:
    assert shown([0, 0]) == [128, 128]
    assert shown([0, 0], "positive") == [0, 0]
    assert shown([0, 0], "magnitude") == [0, 0]


@pytest.mark.parametrize("mode", ["signed", "positive", "magnitude"])
def test_what_is_not_finite_is_seen_and_spoils_nothing_else(mode: Any) -> None:
    values = PIXELS.copy()
    values[0, 0, 1], values[5, 7, 2], values[6, 6, 0] = np.nan, np.inf, -np.inf
    holes = ~np.isfinite(values).all(axis=-1)
    picture = display(values, mode, limit=1.5)
    np.testing.assert_array_equal(picture[holes], np.tile(NON_FINITE, (3, 1)))
    np.testing.assert_array_equal(picture[~holes], display(PIXELS, mode, limit=1.5)[~holes])
    assert limit_of(values) == limit_of(np.nan_to_num(values, posinf=0, neginf=0))
    np.testing.assert_array_equal(display(np.full((2, 2, 3), np.nan), mode), np.tile(NON_FINITE, (2, 2, 1)))


@pytest.mark.parametrize("size", [5e-324, 1e-40, 1e300])
def test_any_size(size: float) -> None:
    assert shown([-size, 0, size]) == [1, 128, 255]
    assert shown([-1, 0, 1e300], limit=1e-300) == [1, 128, 255]


def test_shared_limit() -> None:
    assert limit_of(np.array([3.0, -3.0]), np.array([[2.0]])) == 3
    assert limit_of(np.zeros(3), np.array([np.nan, np.inf])) == 1
    assert limit_of() == 1
    assert peak_of(np.array([1.0, -3.0, np.nan, np.inf])) == 3


def test_display_of_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"1 or 3 channels, got \(12, 30, 2\)"):
        display(PIXELS[..., :2])
    with pytest.raises(ValueError, match=r"1 or 3 channels, got \(12, 3\)"):
        display(PIXELS[:, 0])
    with pytest.raises(ValueError, match="one of signed, positive, magnitude; got 'absolute'"):
        display(PIXELS, "absolute")  # type: ignore[arg-type]
    for limit in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="limit must be positive and finite"):
            display(PIXELS, limit=limit)
