"""What one forward pass left behind of one image, as arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vitwidgets.ends import Ends
from vitwidgets.geometry import Frame, PatchGrid
from vitwidgets.preprocess import Preprocessing
from vitwidgets.record import Record
from vitwidgets.watch import Scores

if TYPE_CHECKING:
    from vitwidgets.check import Check

Array: TypeAlias = npt.NDArray[np.float32]

_NO_ENDS = Ends("the trace does not hold them", "the trace does not hold it")
_NAMES = {"tokens": "tokens", "attention": "attention", "mlp": "MLP units"}


class Activations:
    """What a pass kept of one image; `vitwidgets.trace.Trace` adds what is derived of it.

    Parameters
    ----------
    record : Record
        The pass.
    pixels : Tensor, shape (C, H, W)
        The model input; `H` and `W` are covered by the patch grid.
    prefix : tuple of str
        Names of the prefix tokens.
    frame : Frame
        Where the model input lies in the original picture.
    preprocessing : Preprocessing or None
        How `pixels` were made; not needed where `image` is given.
    image : PIL.Image.Image or None
        The original picture, RGB; None if only `pixels` are known.
    model_name : str
        The model's name.
    class_names : tuple of str
        One name per logit; empty if the model has no classifier.
    notes : list of str
        What a reader should know about this trace.
    given : Tensor or None
        What the model was given, (1, C, H, W), for `check`; None if the model is not at hand.
    ends : callable, optional
        Gives the filters and the readout of the model; fails if they have changed since.
    """

    def __init__(
        self,
        record: Record,
        *,
        pixels: Tensor,
        prefix: tuple[str, ...],
        frame: Frame,
        preprocessing: Preprocessing | None,
        image: Image.Image | None,
        model_name: str,
        class_names: tuple[str, ...],
        notes: list[str],
        given: Tensor | None = None,
        ends: Callable[[], Ends] | None = None,
    ) -> None:
        self._record = record
        self._pixels = pixels
        self._preprocessing = preprocessing
        self._image = image
        self._said = notes
        self._given = given
        self._ends = ends or (lambda: _NO_ENDS)
        self._check: Check | None = None
        self._rollouts: dict[int | None, Array] = {}
        self._grids = [PatchGrid(*grid, prefix) for grid in record.grids]
        self.frame = frame
        self.model_name = model_name
        self.class_names = class_names

    # ------------------------------------------------------------------ shape

    @property
    def patch_grid(self) -> PatchGrid:
        """The patch grid of layer 0, which is the finest; `grid_of` gives that of any layer."""
        return self._grids[0]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patch grid."""
        return self.patch_grid.rows, self.patch_grid.cols

    @property
    def prefix(self) -> tuple[str, ...]:
        """Names of the prefix tokens, in sequence order."""
        return self.patch_grid.prefix

    @property
    def layers(self) -> int:
        """Number of blocks, `L`."""
        return self._record.depth

    @property
    def width(self) -> int:
        """Width of the residual stream, `D`; where it grows from stage to stage, of the last layer."""
        return self._record.widths[-1]

    @property
    def heads(self) -> int:
        """Attention heads of a block; where they differ, the most."""
        return max(self._record.heads)

    @property
    def hidden(self) -> int:
        """Hidden units of a block's MLP; where they differ, the most."""
        return max(self._record.hidden)

    def grid_of(self, layer: int) -> PatchGrid:
        """Tokens and patches of `layer` (``0..L``)."""
        return self._grids[self._layer(layer)]

    def width_of(self, layer: int) -> int:
        """Neurons of `layer` (``0..L``)."""
        return self._record.widths[self._layer(layer)]

    def heads_of(self, layer: int) -> int:
        """Attention heads of block `layer`; 0 for layer 0 and where there is no attention map."""
        return self._record.heads[self._layer(layer)]

    def hidden_of(self, layer: int) -> int:
        """Hidden units of the MLP of block `layer`; 0 for layer 0 and where there is none."""
        return self._record.hidden[self._layer(layer)]

    def why_not(self, field: str, layer: int) -> str:
        """Say why something is not there, as a clause for a reader; empty if it is there.

        Parameters
        ----------
        field : {"tokens", "attention", "mlp"}
            What.
        layer : int
            ``0..L``.
        """
        return self._record.missing.get(field, {}).get(self._layer(layer), "")

    @property
    def nbytes(self) -> int:
        """Bytes that the kept tensors take in memory, pixels and original picture not counted.

        Queries and keys of a block are kept from when they are first asked for; the hidden units never.
        """
        return self._record.nbytes

    # ------------------------------------------------------------------ picture

    @cached_property
    def image(self) -> Image.Image:
        """The original picture, RGB. Of a preprocessed tensor: the input with its normalisation undone."""
        if self._image is not None:
            return self._image
        assert self._preprocessing is not None
        return self._preprocessing.picture(self.pixels)

    @cached_property
    def pixels(self) -> Array:
        """What the model saw, (H, W, C), normalised. `frame` says where it lies in `image`."""
        return _read_only(self._pixels.permute(1, 2, 0))

    # ------------------------------------------------------------------ activations

    def layer(self, layer: int) -> Array:
        """Give the residual stream at one layer.

        Parameters
        ----------
        layer : int
            ``0..L``.

        Returns
        -------
        ndarray, shape (N, D)
            Read-only.

        Raises
        ------
        IndexError
            If `layer` is out of range.
        ValueError
            If the trace does not hold it; says why.
        """
        self._there("tokens", self._layer(layer))
        return _read_only(self._record.layers[layer])

    @property
    def tokens(self) -> Array:
        """The residual stream, (L + 1, N, D).

        Raises
        ------
        ValueError
            If some layer was not kept, or the layers differ in shape: then `layer` gives them one by one.
        """
        for layer in range(self.layers + 1):
            self._there("tokens", layer)
        if not self.is_column:
            raise ValueError(
                f"the layers of {self.model_name} differ in shape, so they make no one array; "
                "trace.layer(l) gives them one by one, trace.grid_of(l) their patch grids"
            )
        return np.stack([self.layer(layer) for layer in range(self.layers + 1)])

    @property
    def is_column(self) -> bool:
        """Whether all layers have one patch grid and one width."""
        return len(set(self._record.grids)) == 1 and len(set(self._record.widths)) == 1

    def attention(self, layer: int) -> Array:
        """Attention of block `layer`: the weights that its values got.

        Parameters
        ----------
        layer : int
            ``1..L``.

        Returns
        -------
        ndarray, shape (heads, N, N)
            Row `i` of a head is what token `i` attends to. Of softmax attention it is at least 0 and sums to
            1; where heads are mixed or subtracted after the softmax these are the effective weights.

        Raises
        ------
        IndexError
            If `layer` is out of range; layer 0 is the input and has no attention.
        ValueError
            If the trace does not hold it; says why.
        RuntimeError
            If it is computed from the model, and the model has changed since.
        """
        self._there("attention", self._block(layer))
        return self._record.weights(layer).numpy()

    def mlp(self, layer: int) -> Array:
        """Hidden units of the MLP of block `layer`, after the activation.

        Computed by the block itself from what it was given in the pass.

        Parameters
        ----------
        layer : int
            ``1..L``.

        Returns
        -------
        ndarray, shape (N, hidden)
            Read-only.

        Raises
        ------
        IndexError
            If `layer` is out of range; layer 0 is the input and has no MLP.
        ValueError
            If the trace does not hold it; says why.
        RuntimeError
            If the model has changed since.
        """
        self._there("mlp", self._block(layer))
        return _read_only(self._record.hidden_units(layer))

    # ------------------------------------------------------------------ predictions

    @cached_property
    def logits(self) -> Array:
        """What the model put out: (classes,), or its features where it has no classifier."""
        return _read_only(self._record.output)

    @property
    def has_predictions(self) -> bool:
        """Whether the output is one logit per class."""
        return self._record.output.shape == (len(self.class_names),) != (0,)

    @cached_property
    def probabilities(self) -> Array:
        """Softmax of the logits, (classes,).

        Raises
        ------
        ValueError
            If the model has no classifier.
        """
        if not self.has_predictions:
            raise ValueError(
                f"{self.model_name} has no classifier (it puts out shape {self.logits.shape}), so there are "
                "no predictions; build it with num_classes="
            )
        return _read_only(self._record.output.double().softmax(dim=-1))

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Name the most probable classes, most probable first.

        Parameters
        ----------
        k : int
            How many, at least 1; fewer if the model has fewer classes.

        Returns
        -------
        list of (str, float)
            Class name and probability.

        Raises
        ------
        ValueError
            If `k` is less than 1, or the model has no classifier.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]

    # ------------------------------------------------------------------ for the browser

    def has_queries(self, layer: int) -> bool:
        """Whether the attention of block `layer` (``1..L``) is the softmax of queries times keys alone."""
        self._there("attention", self._block(layer))
        return self._record.is_plain(layer)

    def queries(self, layer: int) -> Array | None:
        """Give the queries of block `layer` (``1..L``), (heads, N, head_dim), times the scale.

        None where its attention is not the softmax of queries times keys alone.
        """
        parts = self._plain(layer)
        if parts is None:
            return None
        return torch.cat([part.q[0].float() * part.scale for part in parts]).numpy()

    def keys(self, layer: int) -> Array | None:
        """Give the keys of block `layer` (``1..L``), (heads, N, head_dim); None as for `queries`."""
        parts = self._plain(layer)
        return None if parts is None else torch.cat([part.k[0].float() for part in parts]).numpy()

    def log_normalizer(self, layer: int) -> Array | None:
        """Log-sum-exp of each row of scores of block `layer` (``1..L``), (heads, N); None as for `queries`.

        ``attention[h, i, j] = exp(queries[h, i] @ keys[h, j] - log_normalizer[h, i])``.
        """
        parts = self._plain(layer)
        if parts is None:
            return None
        return torch.cat([part.logits()[0].logsumexp(dim=-1) for part in parts]).numpy()

    # ------------------------------------------------------------------ notes

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know: a model switched to eval mode, values that are not finite..."""
        return [*self._said, *self._uneven(), *self._not_finite()]

    def _uneven(self) -> list[str]:
        fine = self.grid
        coarse = [grid for grid in self._record.grids if fine[0] % grid[0] or fine[1] % grid[1]]
        if not coarse:
            return []
        named = ", ".join(f"{rows} x {cols}" for rows, cols in dict.fromkeys(coarse))
        reach = "their last row and column reach beyond the picture: cells are drawn up to half a cell off"
        return [f"grids of {named} do not divide {fine[0]} x {fine[1]}; {reach}"]

    def _not_finite(self) -> list[str]:
        notes = []
        layers = self._record.layers
        bad = {layer: count for layer, tokens in layers.items() if (count := _bad_rows(tokens))}
        if bad:
            start = min(bad)
            notes.append(
                f"NaN or infinite activations from layer {start} on, in {len(bad)} of {len(layers)} "
                f"({bad[start]} of {self.patch_grid.tokens} tokens at layer {start})"
            )
        if not bool(torch.isfinite(self._record.output).all()):
            notes.append("the model's output is not finite: its predictions mean nothing")
        return notes

    # ------------------------------------------------------------------ inside

    def _layer(self, layer: int) -> int:
        layer = whole("layer", layer)
        if not 0 <= layer <= self.layers:
            raise IndexError(f"layer {layer} is out of range 0..{self.layers}")
        return layer

    def _block(self, layer: int) -> int:
        layer = whole("layer", layer)
        if not 1 <= layer <= self.layers:
            why = " (layer 0 is the input: no attention and no MLP yet)" if layer == 0 else ""
            raise IndexError(f"layer {layer} is out of range 1..{self.layers}{why}")
        return layer

    def _there(self, field: str, layer: int) -> None:
        reason = self.why_not(field, layer)
        if reason:
            raise ValueError(f"layer {layer} has no {_NAMES[field]}: {reason}")

    def _plain(self, layer: int) -> list[Scores] | None:
        """Queries and keys of the block, if its attention is the softmax of their product alone."""
        return self._record.scores(layer) if self.has_queries(layer) else None


def _bad_rows(values: Tensor) -> int:
    """Count the rows that hold a value that is not finite."""
    if bool(torch.isfinite(values.sum(dtype=torch.float64))):  # NaN and infinity cannot hide in a sum
        return 0
    return int((~torch.isfinite(values)).any(dim=-1).sum())


def whole(what: str, number: int) -> int:
    """Refuse by name what is no whole number."""
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, got {number!r}") from None


def _read_only(values: Tensor) -> Array:
    return locked(values.detach().float().numpy())


def locked(array: npt.NDArray[Any]) -> Array:
    """Give a view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
