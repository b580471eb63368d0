"""The paper's figure: what neurons see from several tokens, layer after layer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, cast, get_args

import numpy as np
import numpy.typing as npt
import traitlets as t
from PIL import Image, ImageDraw

from vitwidgets.analysis import filters, views
from vitwidgets.analysis.views import Mode
from vitwidgets.lettering import fitted, font, length, magnitude
from vitwidgets.widgets.base import Index, built
from vitwidgets.widgets.codec import encode
from vitwidgets.widgets.cursor import Cursor
from vitwidgets.widgets.panel import Panel

if TYPE_CHECKING:
    from vitwidgets.geometry import Token
    from vitwidgets.trace import Trace

Attention = Literal["mean", "head"]
CHOICES = ("tokens", "neurons", "layers")
LARGEST = 1000  # views in one grid
COLUMNS = 6  # layers, where nobody says which

INK, FAINT, LINE = "#1f2328", "#5f6670", "#d8dce0"
MARGIN, GAP, GROUP, TITLE, TEXT, SMALL = 16, 4, 10, 18, 16, 14  # of the still picture, in pixels


class ViewGrid(Panel):
    """Views of neurons, token by token and layer by layer: the figure of arXiv 2210.07646.

    Each cell shows filter `j` times the whole picture, patch `k` scaled by ``R_l[i, k]``, its share of token
    `i` at layer `l` by attention rollout. Rows are tokens, and within a token neurons; columns are layers.
    Drawn by the page, with or without a kernel. Click sets the cursor's layer, token and neuron. The buttons
    copy the figure, or save it as PNG or SVG.

    Parameters
    ----------
    trace : Trace
        Of a model with filters (`Trace.filters`) and a rollout.
    tokens : sequence of int, (int, int) or str, optional
        Patch indices, (row, column) pairs, or prefix tokens' names. Default: the class token, the cursor's
        token, and the patch with the strongest contrast.
    neurons : sequence of int, optional
        ``0..D-1``. Default: the cursor's.
    layers : sequence of int, optional
        ``0..L``. Default: six from first to last, evenly spaced.
    mode, attention, shared_scale
        The traits below.
    cursor : Cursor, optional
        Share one to choose what other panels show.
    **kwargs
        Where the cursor starts, as for every panel.

    Raises
    ------
    TypeError
        If `trace` is not a Trace, `cursor` not a Cursor, or a keyword is unknown.
    ValueError
        If there are no views, with the reason.
    traitlets.TraitError
        If the trace does not have a token, neuron or layer, or there are more than 1,000 views.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> trace = vw.Inspector("demo").trace(vw.demo.scene(7).image)
    >>> grid = vw.ViewGrid(trace, ["cls", (4, 5)], [3, 10], [0, 4, 8])
    >>> grid.picture(cell=64).size[0] > 4 * 64
    True
    """

    _esm = built("view_grid.js")
    _from_page = ("mode", "shared_scale")

    tokens: Any = t.List(t.Any())
    """The tokens: patch indices (pairs are read back as such) and prefix tokens' names."""

    neurons = t.List(Index())
    """The neurons, coordinates of the residual stream."""

    layers = t.List(Index())
    """The layers, 0..L."""

    attention = t.Enum(get_args(Attention), "mean")
    """Whose rollout: of the mean of all heads, or of the head that owns the neuron."""

    mode = t.Enum(get_args(Mode), "signed").tag(sync=True)
    """``"signed"``: zero is mid-grey; ``"positive"``: what is negative is black, as in the paper;
    ``"magnitude"``: the absolute value."""

    shared_scale = t.Bool(False).tag(sync=True)
    """Whether all pictures share one scale; otherwise each has its own."""

    plan: Any = t.Dict(read_only=True).tag(sync=True)
    """Rows and columns for the page: `tokens`, `names`, `neurons`, `layers` and what the views are of."""

    kernels = t.Bytes(read_only=True).tag(sync=True)
    """The neurons' filters, (neurons, p, q, C), as a packet of float16."""

    shares = t.Bytes(read_only=True).tag(sync=True)
    """Shares of the patches, (tokens, 1 or neurons, layers, patches), as a packet of float16."""

    def __init__(
        self,
        trace: Trace,
        tokens: Sequence[Token] | None = None,
        neurons: Sequence[SupportsIndex] | None = None,
        layers: Sequence[SupportsIndex] | None = None,
        *,
        mode: Mode = "signed",
        attention: Attention = "mean",
        shared_scale: bool = False,
        cursor: Cursor | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            trace, cursor=cursor, mode=mode, attention=attention, shared_scale=shared_scale, **kwargs
        )
        with ExitStack() as failing:
            failing.callback(self.close)
            bank = self._drawable()
            self.tokens = self._some_tokens() if tokens is None else list(tokens)
            self.neurons = [self._some_neuron(bank)] if neurons is None else list(neurons)
            self.layers = _spread(trace.layers) if layers is None else list(layers)
            self._plan()
            self.observe(self._plan, names=[*CHOICES, "attention"])
            # Sent along: the grid is then whole in a saved notebook that no page was open on.
            self.store.send(["pixels"])
            failing.pop_all()

    def _send_all(self) -> None:
        """Nothing more than is sent anyway."""

    # ------------------------------------------------------------------ what is chosen

    def _drawable(self) -> npt.NDArray[np.float32]:
        """The filters, or a ValueError that says why there are no views."""
        bank = self.trace.filters()
        if bank.shape[-1] not in (1, 3):
            raise ValueError(
                f"{self.trace.model_name} has filters of {bank.shape[-1]} channels; a picture has 1 or 3"
            )
        self.trace.rollout()
        return bank

    def _some_tokens(self) -> list[int | str]:
        """The class token, the cursor's, and the patch whose pixels vary most."""
        p, q = self.trace.filters().shape[1:3]
        spread = views.cut(self.trace.pixels, (p, q)).std(axis=(1, 2)).mean(axis=-1)
        first: list[int | str] = ["cls"] if "cls" in self.trace.prefix else []
        wanted = [*first, *([] if self.token is None else [self.token]), int(np.nan_to_num(spread).argmax())]
        return list(dict.fromkeys(wanted))

    def _some_neuron(self, bank: npt.NDArray[np.float32]) -> int:
        """The cursor's; where that is an MLP neuron, the one whose filter carries most variance."""
        if self.neuron_space == "residual":
            return int(self.neuron)
        return int(np.nan_to_num(filters.variance_share(bank)).argmax())

    @t.validate("tokens")
    def _known_tokens(self, proposal: Any) -> Any:
        grid = self.trace.patch_grid
        try:
            tokens = [
                grid.token(grid.index(tuple(one) if isinstance(one, list) else one))
                for one in proposal["value"]
            ]
        except (ValueError, IndexError, TypeError) as error:
            raise t.TraitError(f"tokens: {error}") from error
        return self._fitting("tokens", tokens)

    @t.validate("neurons", "layers")
    def _known_numbers(self, proposal: Any) -> Any:
        name, numbers = proposal["trait"].name, proposal["value"]
        last = (self.trace.width if name == "neurons" else self.trace.layers + 1) - 1
        for number in numbers:
            if not 0 <= number <= last:
                raise t.TraitError(f"{name}: there is no {number}; {self.trace.model_name} has 0..{last}")
        return self._fitting(name, numbers)

    def _fitting(self, name: str, values: list[Any]) -> list[Any]:
        """`values` without repetition, if there are neither none nor too many."""
        values = list(dict.fromkeys(values))
        if not values:
            raise t.TraitError(f"{name} is empty; give at least one")
        counts = {other: len(getattr(self, other)) or 1 for other in CHOICES} | {name: len(values)}
        total = int(np.prod(list(counts.values())))
        if total > LARGEST:
            each = ", ".join(f"{count} {what}" for what, count in counts.items())
            raise t.TraitError(f"{each} make {total} views; a grid shows at most {LARGEST}")
        return values

    def _plan(self, _: Any = None) -> None:
        """Tell the page what to draw."""
        trace = self.trace
        of = "head mean" if self.attention == "mean" else "the neuron's own head"
        with self.hold_sync():
            for name, value in {
                "kernels": encode(trace.filters()[self.neurons]),
                "shares": encode(self._shares()),
                "plan": {
                    "tokens": self.tokens,
                    "names": [trace.patch_grid.name(trace.patch_grid.index(token)) for token in self.tokens],
                    "neurons": self.neurons,
                    "layers": self.layers,
                    "rollout": f"rollout of {of}",
                },
            }.items():
                self.set_trait(name, value)

    def _shares(self) -> npt.NDArray[np.float32]:
        """Shares of the patches, (tokens, 1 or neurons, layers, patches)."""
        trace = self.trace
        places = [trace.patch_grid.index(token) for token in self.tokens]
        heads = [None] if self.attention == "mean" else [trace.head_of(neuron) for neuron in self.neurons]
        chosen = [
            trace.rollout(head)[np.ix_(self.layers, places)].swapaxes(0, 1)[..., len(trace.prefix) :]
            for head in heads
        ]
        return np.stack(chosen, axis=1)

    def __repr__(self) -> str:
        what = ", ".join(f"{name}={getattr(self, name)!r}" for name in (*CHOICES, "attention", "mode"))
        return f"ViewGrid({self.trace.model_name}, {what})"

    # ------------------------------------------------------------------ still picture

    def picture(self, *, cell: int = 160) -> Image.Image:
        """Draw the figure without a browser.

        Parameters
        ----------
        cell : int
            Longer side of a view in pixels, at least 8.

        Returns
        -------
        PIL.Image.Image
            RGB, on white.

        Raises
        ------
        ValueError
            If `cell` is under 8.
        """
        if cell < 8:
            raise ValueError(f"cell is {cell}; a view needs at least 8 pixels")
        trace, shares = self.trace, self._shares()
        height, width = trace.pixels.shape[:2]
        size = (max(1, cell * width // max(height, width)), max(1, cell * height // max(height, width)))
        rows = [(token, neuron) for token in range(len(self.tokens)) for neuron in range(len(self.neurons))]
        limit = self._limit(shares) if self.shared_scale else None
        margin = self._label_width()
        wide = 2 * MARGIN + margin + (len(self.layers) + 1) * (size[0] + GAP) - GAP
        head = MARGIN + 2 * 28
        high = head + len(rows) * (size[1] + GAP) + (len(self.tokens) - 1) * GROUP + MARGIN - GAP
        out = Image.new("RGB", (wide, high), "white")
        draw = ImageDraw.Draw(out)
        draw.text((MARGIN, MARGIN), fitted(self._title(), TITLE, wide - 2 * MARGIN), INK, font(TITLE))
        left = MARGIN + margin
        for column, text in enumerate(["image", *(f"layer {layer}" for layer in self.layers)]):
            x = left + column * (size[0] + GAP) + size[0] / 2
            label = text if length(text, SMALL) <= size[0] else text.removeprefix("layer ")
            draw.text((x, head - 24), fitted(label, SMALL, size[0] + GAP), FAINT, font(SMALL), "ma")
        photo = _seen(trace, size)
        for row, (token, neuron) in enumerate(rows):
            y = head + row * (size[1] + GAP) + token * GROUP
            if neuron == 0:
                draw.text((MARGIN, y), self._name(token), INK, font(TEXT))
                out.paste(self._pinned(photo, token), (left, y))
            if len(self.neurons) > 1:
                below = 24 if neuron == 0 else 0
                draw.text((MARGIN, y + below), f"neuron {self.neurons[neuron]}", FAINT, font(SMALL))
            for column in range(len(self.layers)):
                x = left + (column + 1) * (size[0] + GAP)
                own = shares[token, min(neuron, shares.shape[1] - 1), column]
                seen = views.view(trace.pixels, trace.filters()[self.neurons[neuron]], own)
                shown = Image.fromarray(views.display(seen, cast("Mode", self.mode), limit=limit))
                out.paste(shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=3), (x, y))
        return out

    def _drawn(self, width: int) -> Image.Image:
        columns = len(self.layers) + 1
        room = (width - 2 * MARGIN - self._label_width() + GAP) // columns - GAP
        height, across = self.trace.pixels.shape[:2]
        picture = self.picture(cell=max(8, room * max(height, across) // across))
        scale = width / picture.width
        return picture.resize((width, max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)

    def _limit(self, shares: npt.NDArray[np.float32]) -> float:
        """Where the scale ends that all views share: at the greatest of their own."""
        pixels, bank, last = self.trace.pixels, self.trace.filters(), shares.shape[1] - 1
        ends = [
            views.limits(pixels, bank[number], shares[:, min(neuron, last)]).max()
            for neuron, number in enumerate(self.neurons)
        ]
        return float(max(ends)) or 1.0

    def _title(self) -> str:
        of = "head mean" if self.attention == "mean" else "the neuron's own head"
        neuron = f"neuron {self.neurons[0]}" if len(self.neurons) == 1 else f"{len(self.neurons)} neurons"
        scale = f"{self.mode}, each on its own scale, ends clipped"
        if self.shared_scale:
            scale = f"{self.mode}, one scale, clipped beyond {magnitude(self._limit(self._shares()))}"
        return f"{self.trace.model_name} · view of {neuron} · rollout of {of} · {scale}"

    def _name(self, token: int) -> str:
        name = self.tokens[token]
        return name if isinstance(name, str) else f"patch {name}"

    def _label_width(self) -> int:
        texts = [length(self._name(token), TEXT) for token in range(len(self.tokens))]
        if len(self.neurons) > 1:
            texts += [length(f"neuron {neuron}", SMALL) for neuron in self.neurons]
        return round(max(texts)) + 12

    def _pinned(self, photo: Image.Image, token: int) -> Image.Image:
        """The photo with the token's patch outlined."""
        patch = self.tokens[token]
        if isinstance(patch, str):
            return photo
        out = photo.copy()
        rows, cols = self.trace.grid
        row, col = divmod(patch, cols)
        wide, high = photo.width / cols, photo.height / rows
        box = [round(col * wide), round(row * high), round((col + 1) * wide), round((row + 1) * high)]
        draw = ImageDraw.Draw(out)
        for colour, off in (("#111111", 2), ("white", 1)):
            draw.rectangle(
                (box[0] - off, box[1] - off, box[2] + off - 1, box[3] + off - 1), outline=colour, width=1
            )
        return out


def _spread(last: int) -> list[int]:
    """At most six layers from 0 to `last`, evenly spaced."""
    return sorted({round(float(layer)) for layer in np.linspace(0, last, min(COLUMNS, last + 1))})


def _seen(trace: Trace, size: tuple[int, int]) -> Image.Image:
    """What the model saw of the picture; white where it saw nothing."""
    left, top, right, bottom = (round(edge) for edge in trace.frame.box)
    part = Image.new("RGB", (max(1, right - left), max(1, bottom - top)), "white")
    part.paste(trace.image, (-left, -top))
    return part.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
