"""Groups of patches on a still picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from vitwidgets.groups import Group

_TINT = 102  # of 255, as on the live image


def outline(
    out: Image.Image, group: Group, xs: Sequence[int], ys: Sequence[int], *, tint: bool = False
) -> None:
    """Draw the border of a group into a picture, within its patches: groups that touch each keep their own.

    Parameters
    ----------
    out : PIL.Image.Image
        RGB; is changed.
    group : Group
        Patches of the grid that the lines make.
    xs, ys : sequence of int
        Pixels of the lines between columns, and between rows, of patches.
    tint : bool
        Lay the group's colour over its patches too.
    """
    cols = len(xs) - 1
    inside = Image.new("L", out.size, 0)
    pen = ImageDraw.Draw(inside)
    for row, col in (divmod(patch, cols) for patch in group.patches):
        pen.rectangle((xs[col], ys[row], xs[col + 1] - 1, ys[row + 1] - 1), 255)
    if tint:
        out.paste(group.colour, (0, 0), inside.point(lambda cover: cover * _TINT // 255))
    lined = out.copy()
    pen = ImageDraw.Draw(lined)
    wide = xs[1] - xs[0] >= 16
    for colour, reach in (("white", 5 if wide else 2), (group.colour, 3 if wide else 1)):
        for x1, y1, x2, y2 in border(group.patches, xs, ys):
            pen.rectangle((x1 - reach, y1 - reach, x2 + reach, y2 + reach), colour)
    out.paste(lined, (0, 0), inside)


def border(patches: Sequence[int], xs: Sequence[int], ys: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """The lines between patches that are selected and their neighbours that are not."""
    cols, inside = len(xs) - 1, {divmod(patch, len(xs) - 1) for patch in patches}
    lines = []
    for patch in patches:
        row, col = divmod(patch, cols)
        x1, y1, x2, y2 = xs[col], ys[row], xs[col + 1], ys[row + 1]
        sides = {
            (row - 1, col): (x1, y1, x2, y1),
            (row + 1, col): (x1, y2, x2, y2),
            (row, col - 1): (x1, y1, x1, y2),
            (row, col + 1): (x2, y1, x2, y2),
        }
        lines += [line for neighbour, line in sides.items() if neighbour not in inside]
    return lines
