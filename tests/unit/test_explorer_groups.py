from __future__ import annotations

import numpy as np
import pytest
from small_traces import small_trace

from vitwidgets import Explorer, Groups, PatchView, TokenMap


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
