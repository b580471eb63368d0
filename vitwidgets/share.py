"""Still pictures: what a panel shows, drawn without a browser, for pages where no widget runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from PIL import Image, ImageDraw

from vitwidgets.analysis.neurons import contrast
from vitwidgets.analysis.overlay import (
    Colours,
    Field,
    Missing,
    NeuronView,
    Overlay,
    Source,
    Spec,
    cell_at,
    overlay_field,
    row_of,
    token_name,
)
from vitwidgets.analysis.views import Mode, display
from vitwidgets.colormap import DIVERGING, SEQUENTIAL, colorize
from vitwidgets.groups import Group
from vitwidgets.lettering import figure, fitted, font, legible, length, magnitude
from vitwidgets.stills.groups import border, outline
from vitwidgets.stills.size import check_width

if TYPE_CHECKING:
    from vitwidgets.trace import Trace

INK, FAINT, LINE, EMPTY, ACCENT, SELECT = "#1f2328", "#5f6670", "#d8dce0", "#eceef0", "#1971c2", "#d6246e"
HIGH = "#c2185b"  # the mark of tokens of high norm
TITLE, TEXT, SMALL = 19, 18, 16  # sizes of letters in pixels
GAP = 16
NARROW = 700  # below this width the regions stand one under another
SHOWN_NEURONS = 12


Outcome: TypeAlias = Field | NeuronView | Colours | Missing


@dataclass(frozen=True)
class View:
    """What a still picture shows of a trace.

    Attributes
    ----------
    trace : Trace
        Whose activations.
    spec : Spec
        Overlay, layer, token, head and neuron.
    patches : tuple of int
        The selected patches.
    opacity : float
        Of the overlay, 0..1.
    smooth : bool
        Blend between patches.
    mode : str
        How a neuron's view is drawn: "signed", "positive" or "magnitude".
    groups : tuple of Group
        What is outlined on the image.
    tinted : bool
        Whether the patches of groups are tinted too, on the bare photo.
    across : Field or None
        What is shown in place of what `spec` asks for: similarity to a token of another trace.
    """

    trace: Trace
    spec: Spec
    patches: tuple[int, ...] = ()
    opacity: float = 0.65
    smooth: bool = False
    mode: Mode = "signed"
    across: Field | None = None
    groups: tuple[Group, ...] = ()
    tinted: bool = False

    @cached_property
    def source(self) -> Source:
        """The trace; what is computed from the model is kept for the next map of the same layer."""
        return cast("Source", _Remembering(self.trace))

    def field(self, **change: object) -> Outcome:
        """The overlay, with some of its specification changed."""
        if self.across is not None and not change:
            return self.across
        return overlay_field(replace(self.spec, **change), self.source)  # type: ignore[arg-type]


class _Remembering:
    """A trace that keeps the last attention and the last MLP that it was asked for, and its colours."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.attention = lru_cache(1)(trace.attention)
        self.mlp = lru_cache(1)(trace.mlp)
        self.colours = lru_cache(1)(trace.colours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trace, name)


def still(view: View, regions: Sequence[str], *, width: int = 1200) -> Image.Image:
    """Draw some regions of a view.

    Parameters
    ----------
    view : View
        What to show.
    regions : sequence of str
        Any of ``"image"``, ``"layers"``, ``"heads"``, ``"neurons"``, ``"predictions"``. Several
        stand in two columns, where the picture is wide enough, with the layers below.
    width : int
        Width of the picture in pixels, at least 300.

    Returns
    -------
    PIL.Image.Image
        RGB, on white.

    Raises
    ------
    ValueError
        If `width` is under 300 or a region is unknown.
    """
    check_width(width)
    unknown = set(regions) - set(_BLOCKS)
    if unknown:
        raise ValueError(f"unknown region {sorted(unknown)[0]!r}; there are {', '.join(_BLOCKS)}")
    inner = width - 2 * GAP
    if len(regions) == 1:
        return _page(_BLOCKS[regions[0]](view, inner))
    if width < NARROW:
        body = _column(view, [name for name in _BLOCKS if name in regions], inner)
    else:
        left = (inner - 2 * GAP) * 11 // 21
        body = _stack(
            [
                _row(
                    [
                        _column(view, [name for name in ("image", "predictions") if name in regions], left),
                        _column(
                            view,
                            [name for name in ("heads", "neurons") if name in regions],
                            inner - 2 * GAP - left,
                        ),
                    ]
                ),
                _column(view, [name for name in ("layers",) if name in regions], inner),
            ],
            inner,
        )
    return _page(_stack([_masthead(view.trace, inner), body], inner))


# -------------------------------------------------------------------- laying out


def _page(content: Image.Image) -> Image.Image:
    page = Image.new("RGB", (content.width + 2 * GAP, content.height + 2 * GAP), "white")
    page.paste(content, (GAP, GAP))
    return page


def _column(view: View, regions: Sequence[str], width: int) -> Image.Image:
    return _stack([_BLOCKS[name](view, width) for name in regions], width)


def _stack(parts: Sequence[Image.Image], width: int, gap: int = 2 * GAP) -> Image.Image:
    """Parts one under another."""
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    out, y = Image.new("RGB", (width, max(height, 1)), "white"), 0
    for part in parts:
        out.paste(part, (0, y))
        y += part.height + gap
    return out


def _row(parts: Sequence[Image.Image]) -> Image.Image:
    """Parts side by side."""
    width = sum(part.width for part in parts) + 2 * GAP * (len(parts) - 1)
    out, x = Image.new("RGB", (width, max(part.height for part in parts)), "white"), 0
    for part in parts:
        out.paste(part, (x, 0))
        x += part.width + 2 * GAP
    return out


def _canvas(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    out = Image.new("RGB", (width, max(height, 1)), "white")
    return out, ImageDraw.Draw(out)


def _heading(width: int, title: str, about: str) -> Image.Image:
    """A title with what it is about beside it, or below where that is too long."""
    start, about = length(title, TITLE) + 14, legible(about)
    beside = start + length(about, SMALL) <= width
    out, draw = _canvas(width, 30 if beside else 54)
    draw.text((0, 0), title, INK, font(TITLE))
    draw.text((start, 2) if beside else (0, 25), fitted(about, SMALL, width), FAINT, font(SMALL))
    return out


def _masthead(trace: Trace, width: int) -> Image.Image:
    name = fitted(trace.model_name, 21, width)
    facts = legible(_sizes(trace))
    start = length(name, 21) + 20
    beside = start + length(facts, TEXT) <= width
    lines = [*([] if beside else [facts]), *trace.notes]
    out, draw = _canvas(width, 33 + 26 * len(lines))
    draw.text((0, 0), name, INK, font(21))
    if beside:
        draw.text((start, 3), facts, FAINT, font(TEXT))
    for index, line in enumerate(lines):
        draw.text((0, 30 + 26 * index), fitted(line, TEXT, width), FAINT, font(TEXT))
    draw.line((0, out.height - 1, width, out.height - 1), LINE)
    return out


def _sizes(trace: Trace) -> str:
    """The trace's sizes; where they change from layer to layer, the first and the last."""

    def course(counts: Sequence[object]) -> str:
        some = [str(count) for count in counts if count]
        return some[0] if some[0] == some[-1] else f"{some[0]} to {some[-1]}"

    layers = range(trace.layers + 1)
    grids = course([f"{trace.grid_of(layer).rows} x {trace.grid_of(layer).cols}" for layer in layers])
    prefix = f" + {', '.join(trace.prefix)}" if trace.prefix else ""
    widths, heads = [trace.width_of(layer) for layer in layers], [trace.heads_of(layer) for layer in layers]
    attention = f" · {course(heads)} heads" if any(heads) else ""
    return f"{grids} patches{prefix} · {trace.layers} layers · width {course(widths)}{attention}"


# -------------------------------------------------------------------- maps


def _map(view: View, outcome: Field | NeuronView | Colours) -> Image.Image:
    """One pixel per patch, or the pixels of a view."""
    if isinstance(outcome, NeuronView):
        return Image.fromarray(display(outcome.view, view.mode, limit=outcome.limit))
    if isinstance(outcome, Colours):
        return Image.fromarray(outcome.rgb)
    return Image.fromarray(colorize(outcome.map, outcome.low, outcome.high, outcome.diverging))


def _small(view: View, outcome: Outcome, side: int, chosen: bool) -> Image.Image:
    """One map without a photo, `side` pixels on its longer side; framed where it is the chosen one."""
    rows, cols = view.trace.grid
    size = (max(1, round(side * min(1, cols / rows))), max(1, round(side * min(1, rows / cols))))
    ring = max(1, min(4, min(size) // 20)) if chosen and min(size) >= 8 else 0
    edge = ring + ring // 2  # the frame stands a little off the map
    out = Image.new("RGB", size, ACCENT)
    out.paste("white", (ring, ring, size[0] - ring, size[1] - ring))
    inner = (max(1, size[0] - 2 * edge), max(1, size[1] - 2 * edge))
    if isinstance(outcome, Missing):
        out.paste(EMPTY, (edge, edge, edge + inner[0], edge + inner[1]))
    else:
        how = Image.Resampling.BOX if isinstance(outcome, NeuronView) else Image.Resampling.NEAREST
        out.paste(_map(view, outcome).resize(inner, how), (edge, edge))
    return out


# -------------------------------------------------------------------- regions


def _image(view: View, width: int) -> Image.Image:
    outcome = view.field()
    parts = [_stage(view, outcome, width)]
    if view.spec.overlay != "none":
        parts.append(_legend(view, outcome, width))
    if view.trace.prefix or view.patches or view.groups:
        parts.append(_chips(view, outcome, width))
    return _stack(parts, width, GAP)


def _stage(view: View, outcome: Outcome, width: int) -> Image.Image:
    """The photo, what the model saw of it under the overlay, and the marks."""
    trace, frame = view.trace, view.trace.frame
    left, top, right, bottom = frame.box
    x0, y0 = min(0.0, left), min(0.0, top)
    wide, high = max(frame.original[0], right) - x0, max(frame.original[1], bottom) - y0
    scale = min(width / wide, 1.1 * width / high)
    out = Image.new("RGB", (max(1, round(wide * scale)), max(1, round(high * scale))), "white")
    size = (max(1, round(frame.original[0] * scale)), max(1, round(frame.original[1] * scale)))
    photo = trace.image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
    out.paste(photo, (round(-x0 * scale), round(-y0 * scale)))

    def lines(rows: int, cols: int) -> tuple[list[int], list[int]]:
        xs = np.rint((np.linspace(left, right, cols + 1) - x0) * scale).astype(int).tolist()
        ys = np.rint((np.linspace(top, bottom, rows + 1) - y0) * scale).astype(int).tolist()
        return xs, ys

    grid = trace.grid_of(view.spec.layer)
    xs, ys = lines(*trace.grid)
    seen = out.crop((xs[0], ys[0], max(xs[-1], xs[0] + 1), max(ys[-1], ys[0] + 1)))
    if not isinstance(outcome, Missing):
        how = Image.Resampling.BICUBIC if view.smooth else Image.Resampling.NEAREST
        seen = Image.blend(seen, _map(view, outcome).resize(seen.size, how), view.opacity)
    out = Image.blend(out, Image.new("RGB", out.size, "white"), 0.6)
    out.paste(seen, (xs[0], ys[0]))

    across, down = lines(grid.rows, grid.cols)
    _grid(out, across, down)
    for row in outcome.marked if isinstance(outcome, Field) else ():
        at_row, at_col = divmod(row - len(trace.prefix), grid.cols)
        _mark(out, (across[at_col], down[at_row], across[at_col + 1], down[at_row + 1]))
    for group in view.groups:
        outline(out, group, xs, ys, tint=view.tinted and view.spec.overlay == "none")
    _select(out, view.patches, xs, ys)
    patch = -1 if view.spec.token is None else view.spec.token - len(trace.prefix)
    if patch >= 0:
        row, col = divmod(cell_at(patch, trace.grid, (grid.rows, grid.cols)), grid.cols)
        _pin(out, (across[col], down[row], across[col + 1], down[row + 1]))
    return out


def _grid(out: Image.Image, xs: Sequence[int], ys: Sequence[int]) -> None:
    """Faint lines between patches."""
    if xs[1] - xs[0] < 14:
        return  # lines closer than that would hide the picture
    veil = Image.new("L", out.size, 0)
    draw = ImageDraw.Draw(veil)
    for x in xs:
        draw.line((x, ys[0], x, ys[-1]), 56)
    for y in ys:
        draw.line((xs[0], y, xs[-1], y), 56)
    out.paste("white", (0, 0), veil)


def _pin(out: Image.Image, box: tuple[int, int, int, int]) -> None:
    """A white frame in a dark one, which reads on every colour of both maps."""
    draw = ImageDraw.Draw(out)
    line = 3 if box[2] - box[0] >= 16 else 1
    for colour, off in (("#111111", 1), ("white", 0), ("#111111", -1)):
        far = max(off * line + line // 2, -(box[2] - box[0]) // 2, -(box[3] - box[1]) // 2)
        frame = (box[0] - far, box[1] - far, box[2] + far, box[3] + far)
        draw.rectangle(frame, outline=colour, width=line)


def _mark(out: Image.Image, box: tuple[int, int, int, int]) -> None:
    """A ring in the middle of a patch."""
    draw = ImageDraw.Draw(out)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    radius = max(2.0, 0.22 * min(box[2] - box[0], box[3] - box[1]))
    for colour, off, line in (("white", 1, 4), (HIGH, 0, 2)):
        reach = radius + off
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=line)


def _select(out: Image.Image, patches: Sequence[int], xs: Sequence[int], ys: Sequence[int]) -> None:
    """The outline of all selected patches together."""
    draw = ImageDraw.Draw(out)
    for colour, half in (("white", 3), (SELECT, 1)):
        reach = half if xs[1] - xs[0] >= 16 else half // 2
        for x1, y1, x2, y2 in border(patches, xs, ys):
            draw.rectangle((x1 - reach, y1 - reach, x2 + reach, y2 + reach), colour)


def _legend(view: View, outcome: Outcome, width: int) -> Image.Image:
    """What the colours mean, or why there are none."""
    if isinstance(outcome, Missing):
        out, draw = _canvas(width, 26)
        draw.text((0, 0), fitted(outcome.reason, TITLE, width), FAINT, font(TITLE))
        return out
    out, draw = _canvas(width, 58)
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
        _mark(out, (end - 10, 33, end + 10, 53))
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


def _chips(view: View, outcome: Outcome, width: int) -> Image.Image:
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

    out, draw = _canvas(width, 34 * len(chips))
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


def _layers(view: View, width: int) -> Image.Image:
    """The present overlay at every layer."""
    last = view.trace.layers
    pitch = min(156.0, (width + 6) / (last + 1))
    cell = max(1, int(pitch - min(6, pitch / 8)))
    chosen = view.spec.layer
    maps = [_small(view, view.field(layer=layer), cell, layer == chosen) for layer in range(last + 1)]
    out, draw = _canvas(width, maps[0].height + 26)
    every = -(-26 // int(max(1, pitch)))  # so that the numbers do not touch
    for layer, picture in enumerate(maps):
        x = round(layer * pitch)
        out.paste(picture, (x, 0))
        if layer % every == 0:
            colour = ACCENT if layer == chosen else FAINT
            draw.text((x + picture.width / 2, picture.height + 6), str(layer), colour, font(SMALL), "ma")
    return _stack([_heading(width, "Layers", f"{chosen} of {last}"), out], width, 0)


def _gallery(
    width: int,
    title: str,
    about: str,
    cells: Sequence[tuple[Callable[[int], Image.Image], str, str, bool]] = (),
) -> Image.Image:
    """Small maps with captions, in rows: (map of a given side, label, note, chosen)."""
    heading = _heading(width, title, about)
    if not cells:
        return heading
    columns = max(1, (width + GAP) // (100 + GAP))
    side = (width - GAP * (columns - 1)) // columns
    pictures = [draw_map(side) for draw_map, *_ in cells]
    tall = pictures[0].height + 34
    grid, draw = _canvas(width, tall * -(-len(cells) // columns) - 8)
    for index, (picture, (_, label, note, chosen)) in enumerate(zip(pictures, cells, strict=True)):
        x, y = index % columns * (side + GAP), index // columns * tall
        grid.paste(picture, (x, y))
        y += picture.height + 5
        draw.text((x, y), label, ACCENT if chosen else INK, font(SMALL))
        draw.text((x + side, y), note, FAINT, font(SMALL), anchor="ra")
    return _stack([heading, grid], width, 0)


def _heads(view: View, width: int) -> Image.Image:
    """The attention of the pinned token at this layer, head by head."""
    overlay: Overlay = "attention_to" if view.spec.overlay == "attention_to" else "attention_from"
    cells, about = [], ""
    for head in (None, *range(view.trace.heads_of(view.spec.layer))):
        outcome = view.field(overlay=overlay, head=head)
        if isinstance(outcome, Missing):
            return _gallery(width, "Heads", outcome.reason)
        assert isinstance(outcome, Field)
        about = outcome.title.split(" · ")[0] + ", max"
        chosen = view.spec.overlay == overlay and view.spec.head == head
        label = "mean" if head is None else str(head)
        cells.append((_drawer(view, outcome, chosen), label, figure(outcome.high), chosen))
    return _gallery(width, "Heads", about, cells)


def _neurons(view: View, width: int) -> Image.Image:
    """The neurons that set the selected patches, or the pinned token, apart most."""
    trace, spec = view.trace, view.spec
    mlp = spec.space == "mlp"
    title = "MLP neurons" if mlp else "Neurons"
    places = [len(trace.prefix) + patch for patch in view.patches]
    places = places or ([] if spec.token is None else [spec.token])
    missing = view.field(overlay="neuron", neuron=0)
    if isinstance(missing, Missing):
        return _gallery(width, title, missing.reason)
    if not places:
        return _gallery(width, title, "pin a token or select patches")
    rows = sorted({row_of(trace, spec.layer, place) for place in places})
    if view.patches:
        one, many = (
            ("patch", "patches") if trace.grid_of(spec.layer) == trace.patch_grid else ("cell", "cells")
        )
        what = f"the selected {one}" if len(rows) == 1 else f"{len(rows)} selected {many}"
    else:
        what = token_name(trace, spec.layer, places[0])
    scores = contrast(view.source.mlp(spec.layer) if mlp else trace.layer(spec.layer), rows)
    order = np.argsort(-np.abs(np.where(np.isfinite(scores), scores, 0)), kind="stable")[:SHOWN_NEURONS]
    cells = []
    for neuron in order.tolist():
        outcome = view.field(overlay="neuron", neuron=neuron)
        chosen = spec.overlay in ("neuron", "view") and spec.neuron == neuron
        score = f"{'+' if scores[neuron] > 0 else ''}{figure(float(scores[neuron]))}"
        cells.append((_drawer(view, outcome, chosen), f"#{neuron}", score, chosen))
    return _gallery(width, title, f"what sets {what} apart, in sd", cells)


def _drawer(view: View, outcome: Outcome, chosen: bool) -> Callable[[int], Image.Image]:
    return lambda side: _small(view, outcome, side, chosen)


def _predictions(view: View, width: int) -> Image.Image:
    """The five most probable classes; the one that is followed is marked."""
    if not view.trace.has_predictions:
        return _gallery(width, "Predictions", "this model has no classifier")
    top = view.trace.top(5)
    order = np.argsort(-view.trace.probabilities, kind="stable")[:5].tolist()
    target = order[0] if view.spec.target is None else view.spec.target
    followed = order.index(target) if view.spec.overlay == "evidence" and target in order else -1
    out, draw = _canvas(width, 27 * len(top))
    start, end = int(width * 0.46), width - 84
    for index, (label, probability) in enumerate(top):
        y = 27 * index
        ink = ACCENT if index == followed else INK
        draw.text((0, y), fitted(label, TEXT, start - 14), ink, font(TEXT))
        share = probability if np.isfinite(probability) else 0.0
        draw.rectangle((start, y + 4, end, y + 17), fill=EMPTY)
        if share > 0:
            draw.rectangle((start, y + 4, start + (end - start) * share, y + 17), fill=ACCENT)
        number = f"{probability * 100:.1f} %" if np.isfinite(probability) else "NaN"
        draw.text((width, y), number, INK, font(TEXT), anchor="ra")
    return _stack([_heading(width, "Predictions", ""), out], width, 0)


_BLOCKS: dict[str, Callable[[View, int], Image.Image]] = {
    "image": _image,
    "layers": _layers,
    "heads": _heads,
    "neurons": _neurons,
    "predictions": _predictions,
}
