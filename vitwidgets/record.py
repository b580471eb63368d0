"""What one forward pass leaves behind of one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vitwidgets.anatomy import Anatomy, Grid
from vitwidgets.edits import UNCHANGED, Edits
from vitwidgets.replay import FromScores, Kept, Replay, Weights
from vitwidgets.shelf import Precision, Shelf
from vitwidgets.watch import Scores


@dataclass(eq=False)
class Record:
    """What one pass leaves behind of one image: tensors on the CPU.

    Layers are numbered ``0..L``; what was not asked for is absent.

    Parameters
    ----------
    depth : int
        Number of blocks, `L`.
    layers : dict of int to Tensor
        The residual stream, (N, D) each, in the order of the patch grid.
    grids : list of (int, int)
        Rows and columns of the patch grid at each layer.
    widths : list of int
        Width of each layer.
    attention : dict of int to sequence of Weights
        Of each block; several side by side share its heads.
    units : dict of int to Weights
        Of each block's MLP.
    heads, hidden : list of int
        Of each block, with a 0 for layer 0 and where there is none.
    output : Tensor, shape (classes,)
        Logits, or features where there is no classifier.
    missing : dict
        ``missing[field][layer]``: why something is absent, as a clause for a reader.
    was_training : bool
        Whether some part of the model was in train mode and had to be switched.
    overflowed : bool
        Whether something that is kept in float16 is not finite.
    precision : {"float16", "float32"}
        How it is kept.
    anatomy : Anatomy or None
        Of the model; None if the record comes from a file.
    order : Tensor or None
        Sequence index of each token of the patch grid, where the model has them in another order.
    prefix : int
        Number of prefix tokens.
    images : int
        How many images the pass saw.
    edits : Edits
        What was changed in the pass.
    """

    depth: int
    grids: list[Grid]
    widths: list[int]
    heads: list[int]
    hidden: list[int]
    output: Tensor
    layers: dict[int, Tensor] = field(default_factory=dict)
    attention: dict[int, tuple[Weights, ...]] = field(default_factory=dict)
    units: dict[int, Weights] = field(default_factory=dict)
    missing: dict[str, dict[int, str]] = field(default_factory=dict)
    was_training: bool = False
    overflowed: bool = False
    precision: Precision = "float32"
    anatomy: Anatomy | None = None
    order: Tensor | None = None
    prefix: int = 0
    images: int = 1
    edits: Edits = UNCHANGED

    def weights(self, layer: int) -> Tensor:
        """Attention of block `layer`, (heads, N, N), float32, in the order of the patch grid."""
        parts = self.anatomy.blocks[layer - 1].attentions if self.anatomy else ()
        maps = []
        for number, weights in enumerate(self.attention[layer]):
            raw = weights.raw()
            arrange = parts[number].arrange if parts and not isinstance(weights, Kept) else None
            found = raw.reshape(-1, *raw.shape[-2:]) if arrange is None else arrange(raw, self.grids[layer])
            maps.append(
                found
                if self.order is None or isinstance(weights, Kept)
                else found[:, self.order][:, :, self.order]
            )
        return maps[0] if len(maps) == 1 else torch.cat(maps)

    def scores(self, layer: int) -> list[Scores] | None:
        """Queries and keys of block `layer`, in the order of the patch grid; None where they do not say all.

        One for each of the attentions side by side.
        """
        found = []
        for weights in self.attention[layer]:
            scores = weights.scores if isinstance(weights, (FromScores, Replay)) else None
            if scores is None:
                return None
            found.append(scores if self.order is None else scores.reordered(self.order))
        return found

    def is_plain(self, layer: int) -> bool:
        """Whether the attention of block `layer` is the softmax of queries times keys, and nothing else."""
        known = [part.plain if isinstance(part, Replay) else None for part in self.attention[layer]]
        if None not in known:
            return all(known)
        scores = self.scores(layer)
        return scores is not None and all(one.bias is None for one in scores)

    def hidden_units(self, layer: int) -> Tensor:
        """Hidden units of block `layer`, (N, hidden), float32, in the order of the patch grid."""
        units = self.units[layer]
        found = units.raw()
        found = found.reshape(-1, found.shape[-1])
        absent = self.prefix + self.grids[layer][0] * self.grids[layer][1] - len(found)
        if absent > 0:  # prefix tokens that join in a later block
            found = torch.cat([found.new_zeros(absent, found.shape[1]), found])
        return found if self.order is None or isinstance(units, Kept) else found[self.order]

    def detached(self) -> Record:
        """Compute what still needs the model, compact: a record that is whole without it.

        Raises
        ------
        RuntimeError
            If the model has changed since the pass.
        """
        shelf = Shelf(self.precision)
        attention: dict[int, tuple[Weights, ...]] = {}
        for layer in self.attention:
            scores = self.scores(layer)
            attention[layer] = (
                (Kept(shelf.copy(self.weights(layer))),) if scores is None else tuple(map(FromScores, scores))
            )
        units: dict[int, Weights] = {
            layer: Kept(shelf.copy(self.hidden_units(layer))) for layer in self.units
        }
        return replace(self, attention=attention, units=units, anatomy=None, order=None, edits=UNCHANGED)

    def tensors(self) -> Iterator[Tensor]:
        """All that is kept in memory."""
        yield from self.layers.values()
        for parts in self.attention.values():
            for weights in parts:
                yield from weights.tensors()
        for units in self.units.values():
            yield from units.tensors()
        yield self.output

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors take, each counted once."""
        return sum({tensor.data_ptr(): tensor.nbytes for tensor in self.tensors()}.values())
