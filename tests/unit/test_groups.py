"""Groups: selections with a name and a colour, from Python, from masks and from the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import traitlets as t
from small_traces import small_model, trace_of

from vitwidgets.geometry import PatchGrid
from vitwidgets.groups import PALETTE, next_colour
from vitwidgets.trace import Trace
from vitwidgets.widgets.groups import Groups

GRID = PatchGrid(3, 5, ("cls", "reg1"))


@pytest.fixture
def groups(trace: Trace) -> Groups:
    """Groups on 3 x 5 patches."""
    groups = Groups()
    groups.bind(trace)
    return groups


def test_patches_may_be_indices_pairs_or_a_boolean_array() -> None:
    mask = np.zeros((3, 5), bool)
    mask[0, 1] = mask[2, 4] = True
    assert GRID.choose(mask).tolist() == [1, 14]
    assert GRID.choose([14, 1, 1]).tolist() == [1, 14]
    assert GRID.choose([(2, 4), (0, 1)]).tolist() == [1, 14]
    assert GRID.choose(np.array([14, 1])).tolist() == [1, 14]
    assert GRID.choose(np.array([[2, 4], [0, 1]])).tolist() == [1, 14]
    assert GRID.choose([]).tolist() == []


@pytest.mark.parametrize(
    ("patches", "error", "text"),
    [
        ([15], IndexError, "patch 15 is out of range"),
        ([(3, 0)], IndexError, "row 3"),
        (["cls"], TypeError, "'cls'"),
        ("cls", TypeError, "a list of patches, got 'cls'"),
        ([1.5], TypeError, "1.5"),
        (np.zeros((5, 3), bool), ValueError, r"\(3, 5\), got \(5, 3\)"),
    ],
)
def test_what_is_no_patch_is_refused(patches: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        GRID.choose(patches)  # type: ignore[arg-type]


def test_a_group_of_nothing_is_refused(groups: Groups) -> None:
    before = groups.all
    with pytest.raises(ValueError, match="'sky' would be empty; choose at least one patch"):
        groups.add("sky", [])
    assert groups.all == before


def test_groups_are_kept_renewed_and_removed(groups: Groups) -> None:
    groups.add("dog", [(0, 0), (0, 1)])
    groups.add("cat", [14, 7], colour="#ABCDEF")
    assert groups.names == ["dog", "cat"]
    assert groups["cat"] == [7, 14]
    assert [entry["colour"] for entry in groups.entries] == [PALETTE[0], "#abcdef"]
    groups.add("dog", [3])
    assert groups.names == ["dog", "cat"]
    assert groups.entries[0] == {"name": "dog", "colour": PALETTE[0], "patches": [3]}
    groups.remove("dog")
    assert groups.names == ["cat"]
    with pytest.raises(KeyError, match="there are 'cat'"):
        groups.remove("dog")
    groups.clear()
    assert groups.entries == []


def test_groups_are_read_back_as_arrays(groups: Groups) -> None:
    groups.add("a", [0, 1, 6])
    groups.add("b", [6, 14])
    expected = [[0, 0, -1, -1, -1], [-1, 1, -1, -1, -1], [-1, -1, -1, -1, 1]]
    assert groups.as_array().tolist() == expected  # where they overlap the last one holds
    masks = groups.masks()
    assert masks.shape == (2, 3, 5)
    assert [np.flatnonzero(mask).tolist() for mask in masks] == [[0, 1, 6], [6, 14]]
    assert Groups().masks((2, 4)).shape == (0, 2, 4)
    assert (Groups().as_array((2, 4)) == -1).all()
    with pytest.raises(ValueError, match=r"grid=\(rows, cols\)"):
        Groups().as_array()
    with pytest.raises(ValueError, match=r"patch 14, but there are the patches 0\.\.7"):
        groups.as_array((2, 4))


def test_colours_differ_as_long_as_there_are_some() -> None:
    taken: list[str] = []
    for _ in range(2 * len(PALETTE)):
        taken.append(next_colour(taken))
    assert taken == [*PALETTE, *PALETTE]
    assert len(set(PALETTE)) == len(PALETTE)


def test_the_page_has_the_same_colours() -> None:
    source = Path(__file__).parents[2] / "js" / "src" / "math" / "palette.ts"
    assert tuple(re.findall(r'"(#[0-9a-f]{6})"', source.read_text(encoding="utf-8"))) == PALETTE


def test_masks_become_groups_named_after_their_classes(trace: Trace) -> None:
    width, height = trace.frame.original
    image = np.zeros((height, width), np.uint8)
    image[:, : width // 3] = 1
    image[:, 2 * width // 3 :] = 2
    image[: height // 3, width // 3 : 2 * width // 3] = 3
    image[0, width // 2] = 9
    groups = Groups()
    lost = groups.add_masks(image, trace, labels={1: "magpie", 2: "magpie", 3: "fox", 9: "fly"})
    assert groups.names == ["magpie", "magpie 2", "fox"]
    numbers = groups.as_array((3, 5))
    assert (numbers[:, 0] == 0).all()
    assert (numbers[:, -1] == 1).all()
    assert numbers[0, 2] == 2
    assert len(lost) == 1
    assert "object 9" in lost[0]
    groups.add_masks(image, trace, labels=["magpie", "magpie", "fox", *"456789"])
    assert groups.names == ["magpie", "magpie 2", "fox"]  # the same objects again are the same groups
    with pytest.raises(ValueError, match="the masks are"):
        groups.add_masks(image[1:], trace)


def test_masks_without_an_object_say_so(trace: Trace) -> None:
    width, height = trace.frame.original
    assert (
        Groups().add_masks(np.zeros((height, width), bool), trace)[-1].startswith("the masks hold no object")
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "", "colour": "#000000", "patches": []},
        {"name": "a", "colour": "red", "patches": []},
        {"name": "a", "colour": "#00000g", "patches": []},
        {"name": "a", "colour": "#000000", "patches": [-1]},
        {"name": "a", "colour": "#000000", "patches": [15]},
        {"name": "a", "colour": "#000000", "patches": ["1"]},
        {"name": "a", "colour": "#000000"},
        {},
    ],
)
def test_what_the_page_may_not_send_changes_nothing(groups: Groups, entry: dict[str, object]) -> None:
    groups.add("dog", [1])
    before = list(groups.entries)
    with pytest.raises(t.TraitError):
        groups.entries = [entry]
    groups.set_state({"entries": [entry]})
    assert groups.entries == before


def test_what_the_page_keeps_python_reads(groups: Groups) -> None:
    groups.set_state({"entries": [{"name": "wing", "colour": "#0072B2", "patches": [4, 2, 2]}]})
    assert groups["wing"] == [2, 4]
    with pytest.raises(t.TraitError, match="different names"):
        groups.entries = [*groups.entries, *groups.entries]


def test_groups_belong_to_one_grid(groups: Groups) -> None:
    other = trace_of(small_model(size=(32, 32)))
    with pytest.raises(ValueError, match=r"3 x 5 patches, but .* has 2 x 2"):
        groups.bind(other)
    early = Groups()
    early.add("far", [9])
    with pytest.raises(ValueError, match="patch 9"):
        early.bind(other)


def test_unknown_keywords_raise() -> None:
    with pytest.raises(TypeError, match="did you mean 'entries'"):
        Groups(entrys=[])
