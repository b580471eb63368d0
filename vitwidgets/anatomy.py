"""Where a model keeps what a trace shows: all that the rest of the package knows of a model's family.

`vitwidgets.families` fills these in, one file per library and kind of model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

Grid: TypeAlias = tuple[int, int]
"""Rows and columns of patches."""

Reader: TypeAlias = Callable[[Any], Tensor]
"""From what passes a point to a tensor (B, N, D) or, where tokens lie on a map, (B, rows, cols, D)."""

Combine: TypeAlias = Callable[[nn.Module, list[Tensor]], Tensor]
"""From the softmax maps of an attention that computes several, in order, to the weights its values get."""

Arrange: TypeAlias = Callable[[Tensor, Grid], Tensor]
"""From one image's weights as they were computed (windows, heads, n, n), and the grid, to (heads, N, N)."""


@dataclass(frozen=True, eq=False)
class Point:
    """A place that values pass during a forward pass: what enters a module, or what leaves it.

    Parameters
    ----------
    module : nn.Module
        The module.
    side : {"input", "output"}
        Its first argument, or what it returns.
    """

    module: nn.Module
    side: Literal["input", "output"]


@dataclass(frozen=True, eq=False)
class Attention:
    """Where one attention of a block is computed.

    Parameters
    ----------
    module : nn.Module
        What is called.
    heads : int
        Number of heads.
    span : (Point, Point)
        Between these, and as little else as possible, queries meet keys: its own input and output, or points
        within. `check` compares what leaves the second.
    combine : callable, optional
        For an attention that computes several maps over the same values, like differential attention.
    arrange : callable, optional
        For weights that are not (1, heads, N, N) already: windows, a late class token.
    signed : bool
        Whether the weights that the values get may be negative: then there is no rollout of them.
    members : callable, optional
        Of attention in windows: from the grid to the tokens of each window in order, (windows, n);
        ``rows * cols`` stands for padding.
    split : callable, optional
        From what the heads give, as it is computed, to a view (..., heads, n, head_dim) with the windows of
        an image before them, where it is not that already.
    """

    module: nn.Module
    heads: int
    span: tuple[Point, Point]
    combine: Combine | None = None
    arrange: Arrange | None = None
    signed: bool = False
    members: Callable[[Grid], Tensor] | None = None
    split: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, module: nn.Module, heads: int, **kwargs: Any) -> Attention:
        """Watch the whole call of `module`."""
        return cls(module, heads, (Point(module, "input"), Point(module, "output")), **kwargs)


@dataclass(frozen=True, eq=False)
class Units:
    """Where the hidden units of one block's MLP pass, after their activation.

    Parameters
    ----------
    point : Point
        Where the units pass, (B, N, hidden) or (B, rows, cols, hidden).
    count : int
        Number of hidden units.
    also : tuple of Point, optional
        Where those of further MLPs pass, for MLPs side by side: they follow the first's, and count.
    read : callable, optional
        From what passes the points to one row per token of the block, where that is not the same already.
    """

    point: Point
    count: int
    also: tuple[Point, ...] = ()
    read: Reader | None = None


@dataclass(frozen=True, eq=False)
class Block:
    """Where to watch one block.

    Parameters
    ----------
    module : nn.Module
        What is called with the residual stream as its first argument, and gives it on; called again on the
        same tokens it gives the same again. Its attentions and its MLP are within.
    attentions : tuple of Attention
        Usually one; several side by side count as one with the heads of all.
    units : Units or None
        Of its MLP.
    no_attention, no_units : str
        Where there is no attention map, or no MLP, to show: why, as a clause for a reader.
    read : callable, optional
        How tokens leave this block, where not as `Anatomy.read` says. (None of what enters the first block.)
    grid : callable, optional
        Rows and columns of the tokens that leave this block as (B, N, D), of an input of some height and
        width, where not as `Anatomy.grid` says.
    """

    module: nn.Module
    attentions: tuple[Attention, ...]
    units: Units | None
    no_attention: str = ""
    no_units: str = ""
    read: Reader | None = None
    grid: Callable[[int, int], Grid] | None = None


def plain(value: Any) -> Tensor:
    """Read tokens that pass as a tensor, or as the first of several things."""
    while isinstance(value, (tuple, list)):
        value = value[0]
    if not isinstance(value, Tensor):
        raise TypeError(f"expected a tensor of tokens, got {type(value).__name__}")
    return value


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one vision transformer.

    Parameters
    ----------
    model : nn.Module
        What is called with the picture.
    family : str
        What it is, for people: ``"VisionTransformer"``, ``"Swin (windows, four stages)"``.
    blocks : tuple of Block
        The `L` blocks, in order; each runs once in a pass.
    prefix : tuple of str
        Names of the prefix tokens.
    channels, classes : int
        Of the input; of the output, 0 without a classifier.
    patch_size : (int, int)
        Height and width of a patch in pixels.
    input_size : (int, int) or None
        Height and width of the input that the model was built for, if for one.
    fixed_size, pads : bool
        Whether no other input is taken; whether an input is padded to whole patches.
    grid : callable
        Rows and columns of patches of an input of some height and width.
    read : callable
        How tokens pass between blocks. Of a map (B, rows, cols, D) the grid is read from the map itself, so
        it may change from block to block.
    order : callable, optional
        For a sequence that is not "prefix tokens, then patches row by row": from the grid to the sequence
        index of each token in that order, an int64 tensor (N,).
    call : callable, optional
        How the model is called with a batch of pictures; by default ``model(x)``.
    output : callable, optional
        From what the model returns to its logits or features, (B, classes); by default that itself.
    notes : tuple of str
        What a reader should know about this family's pictures.
    """

    model: nn.Module
    family: str
    blocks: tuple[Block, ...]
    prefix: tuple[str, ...]
    channels: int
    classes: int
    patch_size: tuple[int, int]
    input_size: tuple[int, int] | None
    fixed_size: bool
    pads: bool
    grid: Callable[[int, int], Grid]
    read: Reader = plain
    order: Callable[[int, int], Tensor] | None = None
    call: Callable[[nn.Module, Tensor], Any] | None = None
    output: Callable[[Any], Tensor] | None = None
    notes: tuple[str, ...] = field(default=())
