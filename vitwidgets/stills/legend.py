"""What the colours of an overlay mean, and the tokens without a place in the image."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from vitwidgets.analysis.overlay import Colours, Field, Missing, NeuronView
from vitwidgets.analysis.views import display
from vitwidgets.colormap import DIVERGING, SEQUENTIAL, colorize
from vitwidgets.lettering import figure, fitted, font, length, magnitude
from vitwidgets.stills.inks import ACCENT, EMPTY, FAINT, HIGH, INK, LINE, SELECT, SMALL, TEXT, TITLE
from vitwidgets.stills.page import canvas
from vitwidgets.stills.view import Outcome, View


def legend(view: View, outcome: Outcome, width: int) -> Image.Image:
    """What the colours mean, or why there are none."""
    if isinstance(outcome, Missing):
        out, draw = canvas(width, 26)
        draw.text((0, 0), fitted(outcome.reason, TITLE, width), FAINT, font(TITLE))
        return out
    out, draw = canvas(width, 58)
    size = "" if outcome.grid == view.trace.grid else " · {} x {}".format(*outcome.grid)
    draw.text(
        (0, 0), fitted(f"{outcome.title} · layer {view.spec.layer}{size}", TITLE, width), INK, font(TITLE)
    )
    if isinstance(outcome, Colours):
        draw.text((0, 32), fitted("like colours: like tokens, in all layers", TEXT, width), FAINT, font(TEXT))
        return out
    ends, ramp, unit = _scale(view, outcome)
    low, high = (figure(end) for end in ends)
    if isinstance(outcome, NeuronView):
        high = magnitude(outcome.limit)
        low = f"-{high}" if ends[0] < 0 else "0"
    start = round(length(low, TEXT)) + 10
    ramp = ramp.resize((min(280, width // 3), 18))
    draw.text((0, 32), low, INK, font(TEXT))
    out.paste(ramp, (start, 34))
    end = start + ramp.width + 10
    draw.text((end, 32), high, INK, font(TEXT))
    end += round(length(high, TEXT)) + 12
    draw.text((end, 32), unit, FAINT, font(TEXT))
    if isinstance(outcome, Field) and outcome.marked:
        end += round(length(unit, TEXT)) + 20
        mark(out, (end - 10, 33, end + 10, 53))
        count = len(outcome.marked)
        said = f"{count} high-norm {'token' if count == 1 else 'tokens'}"
        draw.text((end + 14, 32), fitted(said, TEXT, width - end - 14), INK, font(TEXT))
    return out


def _scale(view: View, outcome: Field | NeuronView) -> tuple[tuple[float, float], Image.Image, str]:
    """The ends of a colour scale, its colours and its unit."""
    if isinstance(outcome, Field):
        table = DIVERGING if outcome.diverging else SEQUENTIAL
        return (outcome.low, outcome.high), Image.fromarray(table[None]), outcome.unit
    low = -outcome.limit if view.mode == "signed" else 0.0
    values = np.linspace(low, outcome.limit, 256)[None, :, None]
    ramp = Image.fromarray(display(values, view.mode, limit=outcome.limit))
    clipped = f" · clipped, up to {magnitude(outcome.peak)}" if outcome.peak > outcome.limit else ""
    return (low, outcome.limit), ramp, f"filter x pixel{clipped}"


def chips(view: View, outcome: Outcome, width: int) -> Image.Image:
    """The tokens without a place in the image, with their values, the groups, and how many are selected."""
    chips: list[tuple[str, str, str, str]] = []  # (filling, name, value, frame)
    for index, name in enumerate(view.trace.prefix):
        frame = ACCENT if index == view.spec.token else LINE
        if not isinstance(outcome, Field):
            chips.append((EMPTY, name, "", frame))
            continue
        number = float(outcome.values[index])
        red, green, blue = colorize(number, outcome.low, outcome.high, outcome.diverging).tolist()
        chips.append((f"rgb({red},{green},{blue})", name, figure(number), frame))
    chips += [(group.colour, group.name, str(len(group.patches)), LINE) for group in view.groups]
    if view.patches:
        count = len(view.patches)
        chips.append(("white", f"{count} {'patch' if count == 1 else 'patches'} selected", "", SELECT))

    out, draw = canvas(width, 34 * len(chips))
    x, y = 0, 0
    for filling, name, value, frame in chips:
        label = fitted(name, SMALL, width - 140)
        middle = length(label, SMALL)
        wide = round(38 + middle + (length(value, SMALL) + 10 if value else 0))
        if x and x + wide > width:
            x, y = 0, y + 36
        draw.rounded_rectangle((x, y, x + wide, y + 27), 6, outline=frame, width=2 if frame == LINE else 3)
        draw.rectangle((x + 9, y + 8, x + 20, y + 19), filling, frame if filling == "white" else None)
        draw.text((x + 27, y + 4), label, INK, font(SMALL))
        draw.text((x + 37 + middle, y + 4), value, FAINT, font(SMALL))
        x += wide + 10
    return out.crop((0, 0, width, y + 29))


def mark(out: Image.Image, box: tuple[int, int, int, int]) -> None:
    """A ring in the middle of a patch."""
    draw = ImageDraw.Draw(out)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    radius = max(2.0, 0.22 * min(box[2] - box[0], box[3] - box[1]))
    for colour, off, line in (("white", 1, 4), (HIGH, 0, 2)):
        reach = radius + off
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=line)
