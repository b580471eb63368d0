"""What one forward pass left behind; everything derived is computed when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vitwidgets.analysis import norms, projection, views
from vitwidgets.analysis.attention import rollout
from vitwidgets.ends import Ends, Readout
from vitwidgets.geometry import Frame, PatchGrid
from vitwidgets.preprocess import Preprocessing
from vitwidgets.record import Record
from vitwidgets.watch import Scores

if TYPE_CHECKING:
    from vitwidgets.check import Check

Array: TypeAlias = npt.NDArray[np.float32]


class Trace:
    """One image's way through one model. Made by `Inspector.trace`, or by `Trace.load`.

    Layers are numbered ``0..L``: 0 is what enters the first block, `l` what block `l` puts out. Tokens are in
    sequence order, prefix tokens first. All arrays are numpy float32; those that are kept for the next call
    are read-only. Two traces are equal only if they are the same object.

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
        field : {"tokens", "attention", "mlp", "rollout", "view", "evidence", "colours"}
            What: "view" as in `view`, "evidence" as in `lens`, "colours" as in `colours`.
        layer : int
            ``0..L``.
        """
        self._layer(layer)
        if field == "rollout":
            return self._no_rollout if layer else ""
        if field == "view":
            return self._no_view or (self._no_rollout if layer else "")
        if field == "evidence":
            return self._no_evidence(layer)
        if field == "colours":
            return self._record.missing.get("tokens", {}).get(layer, "")
        return self._record.missing.get(field, {}).get(layer, "")

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

    def rollout(self, head: int | None = None) -> Array:
        """Attention rollout of all layers: see `vitwidgets.analysis.rollout`. Kept for the next call.

        Parameters
        ----------
        head : int, optional
            Of the attention of this head alone, in each block; by default of the mean of all heads.

        Returns
        -------
        ndarray, shape (L + 1, N, N)
            Element ``[l, i, j]``: the share of input token `j` in token `i` of layer `l`. Read-only.

        Raises
        ------
        ValueError
            If some block has no attention map on the patch grid.
        IndexError
            If some block has no such head.
        """
        if self._no_rollout:
            raise ValueError(f"there is no rollout: {self._no_rollout}")
        if head is not None:
            fewest = min(self._record.heads[1:])
            if not 0 <= head < fewest:
                raise IndexError(f"head {head} is out of range 0..{fewest - 1}")
        if head not in self._rollouts:
            blocks = (self.attention(layer) for layer in range(1, self.layers + 1))
            chosen = [block.mean(axis=0) if head is None else block[head] for block in blocks]
            self._rollouts[head] = _locked(rollout(np.stack(chosen)))
        return self._rollouts[head]

    # ------------------------------------------------------------------ views

    def filters(self) -> Array:
        """Give the filters of the patch embedding: see `Inspector.filters`.

        Returns
        -------
        ndarray, shape (D, p, q, C)

        Raises
        ------
        ValueError
            If patches are not embedded by one convolution; says so.
        RuntimeError
            If the model has changed since.
        """
        if self._no_view:
            raise ValueError(f"{self.model_name} has no filters: {self._no_view}")
        found = self._ends().filters
        assert not isinstance(found, str)
        return found

    def local_view(self, patch: int | tuple[int, int], neuron: int) -> Array:
        """Give what a neuron sees in one patch: its filter times the patch, element by element.

        Parameters
        ----------
        patch : int or (int, int)
            Patch index, or row and column.
        neuron : int
            ``0..D-1``.

        Returns
        -------
        ndarray, shape (p, q, C)
            Summed, with the bias of the patch embedding, it is the neuron's value before position embedding.

        Raises
        ------
        IndexError
            If the patch or the neuron is out of range.
        ValueError
            If there are no filters; says why.
        """
        return views.local_view(self.pixels, self.filters(), patch, self._neuron(neuron))

    def view(
        self,
        neuron: int,
        layer: int = 0,
        token: int | str | tuple[int, int] | None = None,
        *,
        attention: Literal["mean", "head"] = "mean",
    ) -> Array:
        """Give what a neuron sees of the image: its filter times every patch, element by element.

        At layer `l`, each patch `k` is scaled by its share ``R_l[token, k]`` of the token (arXiv 2210.07646).

        Parameters
        ----------
        neuron : int
            ``0..D-1``.
        layer : int
            ``0..L``.
        token : int, str or (int, int), optional
            Patch index, row and column, or a prefix token's name. By default every patch counts whole: the
            global view, which is the same at all layers.
        attention : {"mean", "head"}
            Whose rollout: of the mean of all heads, or of the head that owns the neuron.

        Returns
        -------
        ndarray, shape (H, W, C)

        Raises
        ------
        IndexError
            If the neuron, the layer or the token is out of range.
        ValueError
            If there are no filters or no rollout; says why.
        """
        if attention not in ("mean", "head"):
            raise ValueError(f'attention must be "mean" or "head", got {attention!r}')
        kernel = self.filters()[self._neuron(neuron)]
        self._layer(layer)
        if token is None:
            return views.global_view(self.pixels, kernel)
        row, prefix = self.patch_grid.index(token), len(self.prefix)
        if layer == 0:
            shares = np.eye(1, self.patch_grid.tokens, row, np.float32)[0]
        else:
            head = None if attention == "mean" else self.head_of(neuron)
            shares = self.rollout(head)[layer, row]
        return views.view(self.pixels, kernel, shares[prefix:])

    def head_of(self, neuron: int) -> int:
        """Name the head that owns a neuron: outputs of heads lie side by side, `D` / heads neurons each."""
        return self._neuron(neuron) * self.heads_of(1) // self.width_of(0)

    # ------------------------------------------------------------------ lens

    @cached_property
    def readout(self) -> Readout | None:
        """What the head reads of one token; None where it reads none, as `why_not` says of "evidence"."""
        found = self._ends().readout
        return None if isinstance(found, str) or self._no_reading(found) else found

    def lens(self, layers: Sequence[int] | None = None) -> Array:
        """Read every token of every layer with the model's own head, as if it were the last ("logit lens").

        Parameters
        ----------
        layers : sequence of int, optional
            Of ``0..L``; by default all.

        Returns
        -------
        ndarray, shape (layers, N, classes)
            Logits. At the last layer, those of the class token are the model's own (up to the precision of
            the trace); of a model that pools its patches, they are its own only together.

        Raises
        ------
        ValueError
            If the head reads no single token; says why.
        IndexError
            If a layer is out of range.
        """
        chosen = range(self.layers + 1) if layers is None else [self._layer(layer) for layer in layers]
        for layer in chosen:
            reason = self._no_evidence(layer)
            if reason:
                raise ValueError(f"there is no reading of layer {layer}: {reason}")
        readout = self.readout
        assert readout is not None
        return np.stack([readout.read(self.layer(layer)) for layer in chosen])

    # ------------------------------------------------------------------ norms and components

    def norms(self) -> Array:
        """Give the length of each token, (L + 1, N): high ones are marked by `analysis.norms.artefacts`.

        Raises
        ------
        ValueError
            If some layer was not kept, or the layers differ in shape.
        """
        return norms.norms(self.tokens)

    def colours(self, background: int | None = None) -> list[npt.NDArray[np.uint8]]:
        """Colour the patches of each layer by their first three principal components.

        Components are joint over the layers, each centred and scaled first, so that a colour means the same
        in all of them; where layers differ in width, each has components of its own, turned to fit the ones
        before.

        Parameters
        ----------
        background : int, optional
            Grey level (0..255) of the patches on the lower side of the first component; by default they have
            colours too.

        Returns
        -------
        list of ndarray, shape (patches, 3), uint8
            One for each layer ``0..L``.

        Raises
        ------
        ValueError
            If some layer was not kept.
        """
        for layer in range(self.layers + 1):
            self._there("tokens", layer)
        prefix = len(self.prefix)
        tokens = [self.layer(layer)[prefix:] for layer in range(self.layers + 1)]
        if self.is_column:
            return projection.colours(tokens, over="layers", background=background)
        stages = [list(stage) for _, stage in groupby(tokens, key=len)]  # layers of the same patches
        painted = (projection.colours(stage, over="each", background=background) for stage in stages)
        return list(chain.from_iterable(painted))

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

    # ------------------------------------------------------------------ proof

    def check(self) -> Check:
        """Prove that what the trace shows is what the model computed: see `vitwidgets.check.check`.

        Runs the model twice as long as a pass; the result is kept in `checked`.

        Raises
        ------
        RuntimeError
            If the model is not at hand: the trace was detached, or comes from a file.
        """
        from vitwidgets.check import check

        if self._given is None:
            raise RuntimeError("the model is not at hand: this trace was detached, or loaded from a file")
        self._check = check(self._record, self._given)
        return self._check

    @property
    def checked(self) -> Check | None:
        """What `check` found, if it was run."""
        return self._check

    # ------------------------------------------------------------------ without the model

    def detach(self) -> Trace:
        """Compute all that the model is still needed for, and let go of the model.

        Attention and hidden units are computed by the model when they are asked for. A trace that is to
        outlive a change of the model's weights, like a step of training, is detached first.

        Returns
        -------
        Trace
            Itself.

        Raises
        ------
        RuntimeError
            If the model has changed already.
        """
        record, ends = self._record.detached(), self._ends()
        self._record, self._given, self._ends = record, None, lambda: ends
        return self

    # ------------------------------------------------------------------ files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to a safetensors file: see `vitwidgets.saved.save`."""
        from vitwidgets.saved import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace that `save` wrote: see `vitwidgets.saved.load`."""
        from vitwidgets.saved import load

        return load(path)

    # ------------------------------------------------------------------ notes

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know: a model switched to eval mode, values that are not finite..."""
        return [*self._said, *self._uneven(), *self._not_finite()]

    def __repr__(self) -> str:
        grid = self.patch_grid
        words = [
            self.model_name,
            f"{grid.rows} x {grid.cols} patches" + "".join(f" + {name}" for name in grid.prefix),
            f"{self.layers} layers x {self.width}",
        ]
        if self.has_predictions:
            (label, probability), *_ = self.top(1)
            words.append(f"{label} {probability:.2f}")
        return f"Trace({', '.join(words)})" + "".join(f"\n  note: {note}" for note in self.notes)

    # ------------------------------------------------------------------ inside

    def _layer(self, layer: int) -> int:
        if not 0 <= layer <= self.layers:
            raise IndexError(f"layer {layer} is out of range 0..{self.layers}")
        return layer

    def _block(self, layer: int) -> int:
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

    @cached_property
    def _no_rollout(self) -> str:
        """Why attention cannot be chained through all blocks; empty if it can."""
        if not self.is_column:
            return "the patch grid changes between the layers, so attention cannot be chained"
        for block in range(1, self.layers + 1):
            signed = self._record.missing.get("rollout", {}).get(block, "")
            reason = self.why_not("attention", block) or signed
            if reason:
                return f"it needs the attention of block {block}: {reason}"
        return ""

    @cached_property
    def _no_view(self) -> str:
        """Why neurons have no views; empty if they do."""
        found = self._ends().filters
        if isinstance(found, str):
            return found
        if len(found) != self.width_of(0):
            return f"there are {len(found)} filters for {self.width_of(0)} neurons, so none is a neuron's own"
        (high, wide), (height, width) = found.shape[1:3], self.pixels.shape[:2]
        rows, cols = self.grid
        return "" if (rows * high, cols * wide) == (height, width) else "its patches overlap"

    def _no_evidence(self, layer: int) -> str:
        """Why the head reads no token of a layer; empty if it does."""
        found = self._ends().readout
        if isinstance(found, str):
            return found
        missing = self._record.missing.get("tokens", {}).get(layer, "")
        if missing or self.readout is None:
            return missing or self._no_reading(found)
        if self.width_of(layer) != found.weight.shape[1]:
            return (
                f"the head reads {found.weight.shape[1]} neurons, and this layer has {self.width_of(layer)}"
            )
        return ""

    def _no_reading(self, readout: Readout) -> str:
        """Why a readout is not what makes the logits of the last layer; empty if it is."""
        missing = self._record.missing.get("tokens", {}).get(self.layers, "")
        if missing:
            return f"it is tested on the last layer: {missing}"
        tokens, prefix = self.layer(self.layers), len(self.prefix)
        if tokens.shape[1] != readout.weight.shape[1]:
            return f"the head reads {readout.weight.shape[1]} neurons, and a token has {tokens.shape[1]}"
        if len(readout.weight) != len(self.logits):
            return f"the head reads {len(readout.weight)} classes, and the model put out {len(self.logits)}"
        patches = tokens[prefix:]
        pooled = [patches.mean(axis=0), tokens.mean(axis=0), *tokens[: min(prefix, 1)]]
        each = readout.read(tokens)
        readings = [*readout.read(np.stack(pooled)), each[prefix:].mean(axis=0), each.mean(axis=0)]
        scale = float(np.abs(self.logits).max())
        with np.errstate(invalid="ignore"):  # logits may be infinite
            close = any(float(np.abs(one - self.logits).max()) <= _LENS_TOLERANCE * scale for one in readings)
        if close:
            return ""
        return "its head does more than to norm a token, or the mean of all, and read it by a linear layer"

    def _neuron(self, neuron: int) -> int:
        if not 0 <= neuron < self.width_of(0):
            raise IndexError(f"neuron {neuron} is out of range 0..{self.width_of(0) - 1}")
        return neuron

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


_NO_ENDS = Ends("the trace does not hold them", "the trace does not hold it")
_LENS_TOLERANCE = 0.02  # of the largest logit: layers are kept in float16, and models may run in it

_NAMES = {"tokens": "tokens", "attention": "attention", "mlp": "MLP units"}


def _bad_rows(values: Tensor) -> int:
    """Count the rows that hold a value that is not finite."""
    if bool(torch.isfinite(values.sum(dtype=torch.float64))):  # NaN and infinity cannot hide in a sum
        return 0
    return int((~torch.isfinite(values)).any(dim=-1).sum())


def _read_only(values: Tensor) -> Array:
    return _locked(values.detach().float().numpy())


def _locked(array: npt.NDArray[Any]) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
