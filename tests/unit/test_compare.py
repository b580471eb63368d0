"""Two traces side by side, without a page: one cursor within both, matches, shared colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traitlets as t
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity
from small_traces import broken_trace, photo, small_model, staged_trace, trace_of

from vitwidgets.analysis.projection import colours
from vitwidgets.inspector import Inspector
from vitwidgets.trace import Trace
from vitwidgets.widgets.codec import decode
from vitwidgets.widgets.compare import Compare
from vitwidgets.widgets.cursor import Cursor


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    inspector = Inspector(small_model())
    return [inspector.trace(photo(seed=seed)) for seed in (1, 2)]


def test_the_cursor_moves_both_and_stays_within_both(traces: list[Trace]) -> None:
    shallow = trace_of(small_model(depth=2, size=(32, 48)))
    cursor = Cursor(layer=1, token=2)
    compare = Compare(traces[0], shallow, cursor=cursor)
    with pytest.raises(t.TraitError, match=r"layers 0\.\.2"):
        compare.layer = 3
    with pytest.raises(t.TraitError, match=r"patches 0\.\.5"):
        cursor.token = 6
    compare.token = 5
    assert cursor.token == 5
    assert compare.store.trace is traces[0]
    assert compare.other.trace is shallow


def test_a_cursor_that_the_second_does_not_have_is_refused_and_nothing_stays_open(
    traces: list[Trace],
) -> None:
    with pytest.raises(t.TraitError, match=r"layers 0\.\.1"):
        Compare(traces[0], trace_of(small_model(depth=1)), layer=3)
    other = Compare(traces[0], traces[1], layer=3)
    assert other.store.comm is not None


def test_offline_sends_both_sides() -> None:
    inspector = Inspector(small_model())
    compare = Compare(*(inspector.trace(photo(seed=seed)) for seed in (1, 2)), offline=True)
    for store in (compare.store, compare.other):
        names = [*store.facts["packets"], *store.facts["on_demand"]]
        assert [name for name in names if not getattr(store, name)] == []


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("token", [7, "reg1", "cls"])
def test_matches_are_the_greatest_cosines_in_the_other_picture(
    traces: list[Trace], side: str, token: Any
) -> None:
    compare = Compare(*traces, layer=2, token=token, side=side)
    here, there = traces if side == "left" else traces[::-1]
    pinned = here.layer(2)[here.patch_grid.index(token)].astype(float)
    cosines = {}
    for patch in range(15):
        other = there.layer(2)[there.patch_grid.index(patch)].astype(float)
        cosines[patch] = pinned @ other / np.sqrt((pinned @ pinned) * (other @ other))
    expected = sorted(cosines, key=lambda patch: -cosines[patch])[:4]
    found = compare.matches(4)
    assert [match.patch for match in found] == expected
    np.testing.assert_allclose([match.cosine for match in found], [cosines[p] for p in expected], atol=1e-5)


def test_a_picture_matches_itself(traces: list[Trace]) -> None:
    compare = Compare(traces[0], traces[0], layer=3, token=4)
    (best,) = compare.matches(1)
    assert best.patch == 4
    assert best.cosine == pytest.approx(1, abs=1e-5)


def test_why_there_are_no_matches(traces: list[Trace]) -> None:
    wide = trace_of(small_model(width=48, heads=3))
    compare = Compare(traces[0], wide, token=3, layer=2)
    with pytest.raises(ValueError, match="32 numbers on the left and 48 on the right"):
        compare.matches()
    with pytest.raises(t.TraitError, match="32 numbers"):
        compare.shared_colours = True
    unpinned = Compare(*traces, token=None)
    unpinned.token = None
    with pytest.raises(ValueError, match="no token is pinned"):
        unpinned.matches()


def test_tokens_that_are_not_finite_match_nothing(traces: list[Trace]) -> None:
    compare = Compare(traces[0], broken_trace(), layer=3, token=4)
    assert compare.matches() == []


def test_layers_with_grids_of_their_own() -> None:
    staged = staged_trace()
    compare = Compare(staged, staged, layer=3, token=59)
    assert compare.matches(1)[0].patch == 14  # the cell of 3 x 5 that holds the last of 6 x 10 patches


def test_shared_colours_are_those_of_both_together(traces: list[Trace]) -> None:
    compare = Compare(*traces, layer=2)
    assert compare.palette == (b"", b"")
    compare.shared_colours = True
    left, right = (decode(packet).reshape(4, 15, 3) for packet in compare.palette)
    for layer in range(4):
        expected = colours([trace.layer(layer)[2:] for trace in traces], over="images")
        np.testing.assert_array_equal(left[layer], expected[0])
        np.testing.assert_array_equal(right[layer], expected[1])


def test_the_page_chooses_the_side_and_sets_no_palette(traces: list[Trace]) -> None:
    compare = Compare(*traces)
    compare.set_state({"side": "right", "palette": [b"x", b"y"]})
    assert compare.side == "right"
    assert compare.palette == (b"", b"")
    compare.set_state({"side": "above"})
    assert compare.side == "right"


def test_what_is_no_trace_is_refused(traces: list[Trace]) -> None:
    with pytest.raises(TypeError, match="the second is str"):
        Compare(traces[0], "photo.jpg")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the first is NoneType"):
        Compare(None, traces[0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'overlap'"):
        Compare(*traces, overlap="rollout")


def test_closing_closes_both_stores(traces: list[Trace]) -> None:
    compare = Compare(*traces)
    stores = compare.store, compare.other
    compare.close()
    assert [store.comm for store in stores] == [None, None]


def test_the_sides_are_named_after_what_differs(traces: list[Trace]) -> None:
    assert Compare(*traces).titles == ("left", "right")
    assert Compare(*traces, titles=("sharp", "blurred")).titles == ("sharp", "blurred")
    assert Compare(traces[0], staged_trace()).titles == ("VisionTransformer", "staged")
    again = Inspector(small_model()).trace(photo(seed=1))
    assert Compare(traces[0], again).titles == ("before", "after")


def test_the_sides_are_named_after_their_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("dog.png", "cat.png")]
    for seed, path in enumerate(paths):
        Image.fromarray(np.asarray(photo(seed=seed))).save(path)
    inspector = Inspector(small_model())
    dog, cat = inspector.trace(paths)
    assert Compare(dog, cat).titles == ("dog.png", "cat.png")
    with Image.open(paths[0]) as opened:
        assert Compare(inspector.trace(opened), cat).titles == ("dog.png", "cat.png")
    assert Compare(dog, inspector.trace(paths[0])).titles == ("before", "after")


def test_the_still_picture_has_both(traces: list[Trace]) -> None:
    compare = Compare(*traces, overlay="none", opacity=0.0)
    picture = np.asarray(compare.still(width=1000)).astype(int)
    assert picture[:, :488].std() > 20
    assert picture[:, 512:].std() > 20
    assert np.abs(picture[:, :488] - picture[:, 512:]).mean() > 10


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_still_shows_the_other_side_by_likeness_to_the_pinned_token(
    traces: list[Trace], side: str
) -> None:
    a, b = traces
    compare = Compare(a, b, layer=2, token=3, overlay="similarity", side=side)
    here, there = (a, b) if side == "left" else (b, a)
    view = compare._other_view() if side == "left" else compare._view()
    own = compare._view() if side == "left" else compare._other_view()
    prefix = len(here.prefix)
    expected = cosine_similarity(here.layer(2)[prefix + 3][None], there.layer(2))[0]
    field = view.field()
    np.testing.assert_allclose(field.values, expected, atol=1e-5)
    assert view.spec.token == prefix + int(expected[prefix:].argmax())
    assert "similarity to patch 3" in field.title
    assert own.across is None
    assert compare.still().size[0] == 1200
    compare.overlay = "norm"
    assert compare._other_view().across is None
