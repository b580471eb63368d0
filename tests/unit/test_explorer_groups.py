from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from small_traces import small_model, small_trace, staged_trace, trace_of
from traitlets import TraitError

from vitwidgets import Cursor, Explorer, Groups, PatchView, TokenMap
from vitwidgets.groups import Group
from vitwidgets.stills.groups import outline
from vitwidgets.trace import Trace


def test_panels_share_groups_and_close_only_their_own() -> None:
    trace = small_trace()
    explorer = Explorer(trace)
    explorer.groups.add("corner", [(0, 0), (0, 1)])
    view = PatchView(trace, groups=explorer.groups)
    view.groups.add("other", [7])
    assert explorer.groups.names == ["corner", "other"]
    view.close()
    assert explorer.groups.comm is not None
    groups = explorer.groups
    explorer.close()
    assert groups.comm is None


def test_masks_become_groups() -> None:
    trace = small_trace()
    width, height = trace.frame.original
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2] = 1
    mask[height // 2 :] = 2
    explorer = Explorer(trace, masks=mask, labels=["sky", "ground"])
    assert explorer.groups.names == ["sky", "ground"]
    array = explorer.groups.as_array()
    assert array.shape == trace.grid
    assert (array[0] == 0).all()
    assert (array[-1] == 1).all()
    explorer.close()


def test_the_token_map_is_made_when_it_is_opened() -> None:
    explorer = Explorer(small_trace())
    assert explorer.token_map is None
    explorer.set_state({"show_map": True})
    token_map = explorer.token_map
    assert isinstance(token_map, TokenMap)
    assert token_map.cursor is explorer.cursor
    assert token_map.groups is explorer.groups
    explorer.show_map = False
    explorer.show_map = True
    assert explorer.token_map is token_map
    explorer.close()
    assert token_map.comm is None


def test_bad_groups_leave_nothing_open() -> None:
    with pytest.raises(TypeError, match=r"must be a vitwidgets\.Groups"):
        Explorer(small_trace(), groups=["corner"])
    with pytest.raises(ValueError, match="there is no masks="):
        Explorer(small_trace(), labels=["sky"])
    trace = small_trace()
    with pytest.raises(ValueError, match="pixels"):
        PatchView(trace, masks=np.ones((3, 4), int))
    groups = Groups()
    with pytest.raises(TypeError, match="colour_of"):
        Explorer(trace, groups=groups, colour_of=3)
    assert groups.comm is not None


def colours_of(picture: Image.Image) -> set[str]:
    counted = picture.getcolors(1 << 24) or []
    return {"#{:02x}{:02x}{:02x}".format(*colour) for _, colour in counted}


@pytest.mark.parametrize("panel", [Explorer, PatchView])
def test_a_still_outlines_the_groups_and_names_them(
    trace: Trace, panel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = panel(trace, overlay="none", token=None)
    before = colours_of(shown.still())
    shown.groups.add("wing", [0, 1, 5], colour="#12ab34")
    shown.groups.add("tail", [6, 7], colour="#ab1234")  # touches the other
    assert {"#12ab34", "#ab1234"} <= colours_of(shown.still()) - before
    assert {"#12ab34", "#ab1234"} <= colours_of(shown.still(width=300))
    written: list[str] = []
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, at, what, *a, **k: written.append(what) or text(pen, at, what, *a, **k),
    )
    shown.still()
    assert {"wing", "3", "tail", "2"} <= set(written)


def test_groups_that_touch_each_keep_their_border() -> None:
    picture = Image.new("RGB", (120, 80), "#777777")
    lines = [0, 40, 80, 120], [0, 40, 80]
    one, other = Group("a", "#ff0000", (0, 3)), Group("b", "#0000ff", (1,))
    for group in (one, other):
        outline(picture, group, *lines)
    pixels = np.asarray(picture)
    assert pixels[20, 38].tolist() == [255, 0, 0]
    assert pixels[20, 41].tolist() == [0, 0, 255]
    assert pixels[40, 20].tolist() == [0x77] * 3  # no line within a group
    assert pixels[20, 20].tolist() == [0x77] * 3
    outline(picture, other, *lines, tint=True)
    assert np.abs(pixels[20, 20].astype(int) - np.asarray(picture)[20, 20]).max() == 0
    assert np.asarray(picture)[20, 60].tolist() == [71, 71, 173]


def test_an_image_shows_the_clusters_of_the_map_on_its_cursor(trace: Trace) -> None:
    cursor = Cursor(layer=2, overlay="none")
    image = PatchView(trace, cursor=cursor)
    image.groups.add("wing", [0, 1, 5], colour="#12ab34")
    token_map = TokenMap(trace, cursor=cursor, color_by="cluster", cluster_count=3)
    token_map.wait(60)
    assert cursor.token_map is token_map
    groups = token_map.cluster_groups()
    assert token_map.clusters is not None
    for number, group in zip(sorted(set(token_map.clusters[2].tolist())), groups, strict=True):
        assert group.patches == tuple(np.flatnonzero(token_map.clusters[2] == number).tolist())
        assert group.name == f"cluster {number + 1}"
    shown = colours_of(image.still())
    assert {group.colour for group in groups} <= shown
    assert "#12ab34" not in shown
    token_map.color_by = "norm"
    assert "#12ab34" in colours_of(image.still())
    other = PatchView(trace_of(small_model()), cursor=cursor)
    without = other.still()
    token_map.color_by = "cluster"
    assert other.still() == without
    token_map.close()
    assert cursor.token_map is None
    assert "#12ab34" in colours_of(image.still())


def test_of_two_maps_on_a_cursor_the_last_that_is_coloured_by_clusters_holds(trace: Trace) -> None:
    cursor = Cursor()
    one, other = (TokenMap(trace, cursor=cursor) for _ in range(2))
    assert cursor.token_map is other
    one.color_by = "cluster"
    assert cursor.token_map is one
    other.close()
    assert cursor.token_map is one
    with pytest.raises(TraitError, match="read-only"):
        cursor.token_map = None


def test_clusters_of_a_coarser_layer_cover_the_patches_of_the_finest() -> None:
    trace = staged_trace()
    token_map = TokenMap(trace, color_by="cluster", cluster_count=2)
    token_map.wait(60)
    for layer in range(trace.layers + 1):
        patches = [patch for group in token_map.cluster_groups(layer) for patch in group.patches]
        whole = list(range(trace.patch_grid.patches)) if not trace.why_not("tokens", layer) else []
        assert sorted(patches) == whole
