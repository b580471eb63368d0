"""What one forward pass left behind; everything derived is computed when asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from vitwidgets.analysis.attention import rollout
from vitwidgets.capture import Record
from vitwidgets.geometry import Frame, PatchGrid
from vitwidgets.preprocess import Preprocessing

Array: TypeAlias = npt.NDArray[np.float32]


class Trace:
    """One image's way through one model. Made by `Inspector.trace`.

    Layers are numbered ``0..L``: 0 is what enters the first block, `l` what block `l` puts out. Tokens are in
    sequence order, prefix tokens first. All arrays are numpy float32; those that are kept for the next call
    are read-only. Two traces are equal only if they are the same object.

    Parameters
    ----------
    record : Record
        The pass.
    pixels : Tensor, shape (C, H, W)
        The model input; `H` and `W` are covered by the patch grid.
    patch_grid : PatchGrid
        Tokens and patches.
    frame : Frame
        Where the model input lies in the original picture.
    preprocessing : Preprocessing
        How `pixels` were made.
    image : PIL.Image.Image or None
        The original picture, RGB; None if only `pixels` are known.
    model_name : str
        The model's name.
    class_names : tuple of str
        One name per logit; empty if the model has no classifier.
    notes : list of str
        What a reader should know about this trace.
    """

    def __init__(
        self,
        record: Record,
        *,
        pixels: Tensor,
        patch_grid: PatchGrid,
        frame: Frame,
        preprocessing: Preprocessing,
        image: Image.Image | None,
        model_name: str,
        class_names: tuple[str, ...],
        notes: list[str],
    ) -> None:
        self._record = record
        self._pixels = pixels
        self._preprocessing = preprocessing
        self._image = image
        self._said = notes
        self.patch_grid = patch_grid
        self.frame = frame
        self.model_name = model_name
        self.class_names = class_names

    # ------------------------------------------------------------------ shape

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
        return len(self._record.scores)

    @property
    def width(self) -> int:
        """Width of the residual stream, `D`."""
        return self._record.layers[0].shape[-1]

    @property
    def heads(self) -> int:
        """Attention heads of each block."""
        return self._record.scores[0].q.shape[1]

    @property
    def hidden(self) -> int:
        """Hidden units of each block's MLP."""
        return self._record.hidden[0].shape[-1]

    # ------------------------------------------------------------------ picture

    @cached_property
    def image(self) -> Image.Image:
        """The original picture, RGB. Of a preprocessed tensor: the input with its normalisation undone."""
        return self._image if self._image is not None else self._preprocessing.picture(self.pixels)

    @cached_property
    def pixels(self) -> Array:
        """What the model saw, (H, W, C), normalised. `frame` says where it lies in `image`."""
        return _read_only(self._pixels.permute(1, 2, 0))

    # ------------------------------------------------------------------ activations

    @cached_property
    def tokens(self) -> Array:
        """The residual stream, (L + 1, N, D). Read-only."""
        stack = torch.cat([layer.float() for layer in self._record.layers])
        self._record.layers[:] = stack.split(1)  # the stack replaces the pass's tensors: one copy, not two
        return _read_only(stack)

    def attention(self, layer: int) -> Array:
        """Attention of block `layer`.

        Parameters
        ----------
        layer : int
            ``1..L``.

        Returns
        -------
        ndarray, shape (heads, N, N)
            Row `i` of a head is what token `i` attends to: at least 0, sums to 1.

        Raises
        ------
        IndexError
            If `layer` is out of range; layer 0 is the input and has no attention.
        """
        return self._scores(layer).softmax(dim=-1).numpy()

    def mlp(self, layer: int) -> Array:
        """Hidden units of the MLP of block `layer`, after the activation.

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
        """
        return _read_only(self._record.hidden[self._block(layer)][0])

    def rollout(self) -> Array:
        """Attention rollout of all layers: see `vitwidgets.analysis.rollout`. Kept for the next call.

        Returns
        -------
        ndarray, shape (L + 1, N, N)
            Element ``[l, i, j]``: the share of input token `j` in token `i` of layer `l`. Read-only.
        """
        return self._rollout

    # ------------------------------------------------------------------ predictions

    @cached_property
    def logits(self) -> Array:
        """What the model put out: (classes,), or its features where it has no classifier."""
        return _read_only(self._record.output[0])

    @property
    def has_predictions(self) -> bool:
        """Whether the output is one logit per class."""
        return self._record.output.shape == (1, len(self.class_names)) != (1, 0)

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
        return _read_only(self._record.output[0].double().softmax(dim=-1))

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

    def queries(self, layer: int) -> Array:
        """Give the queries of block `layer` (``1..L``), (heads, N, head_dim), times the scale."""
        scores = self._record.scores[self._block(layer)]
        return (scores.q[0].float() * scores.scale).numpy()

    def keys(self, layer: int) -> Array:
        """Give the keys of block `layer` (``1..L``), (heads, N, head_dim). Read-only."""
        return _read_only(self._record.scores[self._block(layer)].k[0])

    def bias(self, layer: int) -> Array | None:
        """Give what block `layer` (``1..L``) adds to its scores, (heads, N, N), or None. Read-only."""
        bias = self._record.scores[self._block(layer)].bias
        return None if bias is None else _read_only(bias.expand(1, self.heads, *bias.shape[-2:])[0])

    def log_normalizer(self, layer: int) -> Array:
        """Log-sum-exp of each row of scores of block `layer` (``1..L``), (heads, N).

        ``attention[h, i, j] = exp(queries[h, i] @ keys[h, j] + bias[h, i, j] - log_normalizer[h, i])``.
        """
        return self._scores(layer).logsumexp(dim=-1).numpy()

    # ------------------------------------------------------------------ notes

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know: a model switched to eval mode, values that are not finite..."""
        return [*self._said, *self._not_finite()]

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

    def _block(self, layer: int) -> int:
        if not 1 <= layer <= self.layers:
            why = " (layer 0 is the input: no attention and no MLP yet)" if layer == 0 else ""
            raise IndexError(f"layer {layer} is out of range 1..{self.layers}{why}")
        return layer - 1

    def _scores(self, layer: int) -> Tensor:
        scores = self._record.scores[self._block(layer)]
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            product = (scores.q.float() * scores.scale) @ scores.k.float().transpose(-2, -1)
            return (product if scores.bias is None else product + scores.bias.float())[0]

    @cached_property
    def _rollout(self) -> Array:
        means = np.stack([self.attention(layer).mean(axis=0) for layer in range(1, self.layers + 1)])
        return _locked(rollout(means))

    def _not_finite(self) -> list[str]:
        notes = []
        kinds = (("layer", self._record.layers, 0), ("the MLP of block", self._record.hidden, 1))
        for name, stages, first in kinds:
            bad = {number: count for number, stage in enumerate(stages, first) if (count := _bad_rows(stage))}
            if bad:
                start = min(bad)
                notes.append(
                    f"NaN or infinite activations from {name} {start} on, in {len(bad)} of {len(stages)} "
                    f"({bad[start]} of {self.patch_grid.tokens} tokens at {name} {start})"
                )
        if not bool(torch.isfinite(self._record.output).all()):
            notes.append("the model's output is not finite: its predictions mean nothing")
        return notes


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
