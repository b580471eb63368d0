"""One image's way through one model; what is derived of its pass is computed when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from vitwidgets.activations import Activations, Array, locked, whole
from vitwidgets.analysis import norms, projection, views
from vitwidgets.analysis.attention import rollout
from vitwidgets.ends import Readout

if TYPE_CHECKING:
    from vitwidgets.check import Check

_LENS_TOLERANCE = 0.02  # of the largest logit: layers are kept in float16, and models may run in it


class Trace(Activations):
    """One image's way through one model. Made by `Inspector.trace`, or by `Trace.load`.

    Layers are numbered ``0..L``: 0 is what enters the first block, `l` what block `l` puts out. Tokens are in
    sequence order, prefix tokens first. All arrays are numpy float32; those that are kept for the next call
    are read-only. Two traces are equal only if they are the same object.
    """

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
        return super().why_not("tokens" if field == "colours" else field, layer)

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
            self._rollouts[head] = locked(rollout(np.stack(chosen)))
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
        neuron = whole("neuron", neuron)
        if not 0 <= neuron < self.width_of(0):
            raise IndexError(f"neuron {neuron} is out of range 0..{self.width_of(0) - 1}")
        return neuron
