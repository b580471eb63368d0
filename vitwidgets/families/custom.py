"""A vision transformer of one's own: the user says which modules are its blocks, the rest is found.

Which token belongs to which patch is seen, not assumed: in a pass that ends at the first block some patches
of a picture are changed, and the tokens that change are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Block, Grid, Point, Units, plain
from vitwidgets.errors import ModelError
from vitwidgets.families.parts import attention_in, attention_of, features, one_by_one, turned, units_in
from vitwidgets.hooks import at, eval_mode

Size: TypeAlias = tuple[int, int]

_SIZES = "img_size", "image_size", "input_size"
_HEADS = "head", "heads", "classifier", "mlp_head", "fc"
_PROBES = 4  # pictures: one as it is, one each with its first, second and last patch changed


def find(model: nn.Module, blocks: Sequence[nn.Module] | str) -> Anatomy:
    """Find the parts of a vision transformer whose blocks are given.

    Parameters
    ----------
    model : nn.Module
        Takes a batch of pictures (B, C, H, W).
    blocks : sequence of nn.Module or str
        Its blocks in order, or the path of the list that holds them: ``"encoder.layers"``.

    Returns
    -------
    Anatomy

    Raises
    ------
    ModelError
        If `blocks` names no blocks of the model, or a part is not found; says which, and what was expected.
    """
    column = _column(model, blocks)
    patches = _patch_embedding(model, column)
    high, wide = patches.stride[0], patches.stride[1]

    def grid(height: int, width: int) -> Grid:
        return height // high, width // wide

    entrance = _Entrance(model, column[0], patches)
    size, layout = _first_that_fits(entrance, list(_sizes(model, patches)))
    before, after = _names(model, layout)
    larger = size[0] + high, size[1] + 2 * wide
    return Anatomy(
        model=model,
        family=type(model).__name__,
        blocks=tuple(_block(number, block, layout) for number, block in enumerate(column, start=1)),
        prefix=(*before, *after),
        channels=patches.in_channels,
        classes=_classes(model),
        patch_size=(high, wide),
        input_size=size,
        fixed_size=not entrance.takes(larger, layout),
        pads=False,
        grid=grid,
        read=turned if layout.sequence_first else plain,
        order=_order(len(before), len(after)) if after else None,
        call=one_by_one if layout.sequence_first else None,
        output=partial(features, prefix=before),
    )


# ---------------------------------------------------------------- blocks


def _column(model: nn.Module, blocks: Sequence[nn.Module] | str) -> list[nn.Module]:
    """Take the blocks that are meant."""
    column: list[Any] = list(_at_path(model, blocks) if isinstance(blocks, str) else blocks)
    own = set(model.modules())
    if not column:
        raise ModelError("blocks= is empty: there is nothing to trace")
    for number, block in enumerate(column, start=1):
        if not isinstance(block, nn.Module) or block not in own:
            raise ModelError(
                f"blocks=: number {number} ({type(block).__name__}) is no module of the model; give the "
                "blocks that it runs itself, in order"
            )
        if isinstance(block, (nn.ModuleList, nn.ModuleDict)):
            raise ModelError(
                f"blocks=: number {number} is a {type(block).__name__}, which is never called itself, so "
                "what passes it cannot be seen; give modules whose forward() is a whole block"
            )
    if len(set(column)) != len(column):
        raise ModelError("blocks= holds a module twice; a trace needs blocks that run once each")
    return column


def _at_path(model: nn.Module, path: str) -> Sequence[nn.Module]:
    found: Any = model
    for name in path.split("."):
        found = getattr(found, name, None)
    if isinstance(found, nn.TransformerEncoder):
        found = found.layers
    if isinstance(found, (nn.ModuleList, nn.Sequential, list, tuple)):
        return list(found)
    lists = [
        name
        for name, module in model.named_modules()
        if name and isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1
        if len({type(child) for child in module}) == 1
    ]
    known = (
        f"lists of like modules are at {', '.join(map(repr, lists[:5]))}" if lists else "it has no such list"
    )
    what = "nothing" if found is None else f"a {type(found).__name__}"
    raise ModelError(
        f"blocks={path!r}: {type(model).__name__} has {what} there; a list of blocks was expected; {known}"
    )


def _block(number: int, block: nn.Module, layout: _Layout) -> Block:
    attention = block.self_attn if isinstance(block, nn.TransformerEncoderLayer) else attention_in(block)
    if attention is None:
        raise ModelError(
            f"block {number} ({type(block).__name__}) cannot be traced: it has no attention. Expected an "
            "nn.MultiheadAttention, or a module named like attn or attention with num_heads, n_heads or heads"
        )
    found = units_in(block, layout.width)
    if isinstance(block, nn.TransformerEncoderLayer):
        found = Units(Point(block.linear2, "input"), block.linear2.in_features)
    if found is not None and layout.sequence_first:
        found = replace(found, read=turned)
    why = "has no MLP that is known by its name (mlp, ffn, feed_forward) and its linear layers"
    return Block(block, (attention_of(attention),), found, no_units="" if found else why)


# ---------------------------------------------------------------- patches and tokens


def _patch_embedding(model: nn.Module, column: Sequence[nn.Module]) -> nn.Conv2d:
    inside = {part for block in column for part in block.modules()}
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module in inside:
            continue
        if tuple(module.kernel_size) == tuple(module.stride) and max(module.stride) > 1:
            return module
    raise ModelError(
        f"{type(model).__name__} cannot be traced: it has no patch embedding. Expected an nn.Conv2d whose "
        "kernel size is its stride; patches that are embedded in another way are not known"
    )


def _sizes(model: nn.Module, patches: nn.Conv2d) -> Iterator[Size]:
    """Give the input sizes that the model may be built for: what it says, what its positions tell, 224."""
    high, wide = patches.stride[0], patches.stride[1]
    for module in model.modules():
        for name in _SIZES:
            value = getattr(module, name, None)
            pair = (value, value) if isinstance(value, int) else value
            if isinstance(pair, (tuple, list)) and len(pair) >= 2 and all(isinstance(n, int) for n in pair):
                yield pair[-2], pair[-1]
    for name, parameter in model.named_parameters():
        if "pos" in name.lower() and parameter.ndim >= 2:
            for extra in range(min(6, parameter.shape[-2])):
                side = isqrt(parameter.shape[-2] - extra)
                if side > 1 and side * side == parameter.shape[-2] - extra:
                    yield side * high, side * wide
    yield max(224 // high, 1) * high, max(224 // wide, 1) * wide


def _first_that_fits(
    entrance: _Entrance, sizes: Sequence[tuple[int, int]]
) -> tuple[tuple[int, int], _Layout]:
    problem: ModelError | None = None
    for size in dict.fromkeys(sizes):
        try:
            return size, entrance.look(size)
        except ModelError as error:
            problem = problem or error
    assert problem is not None
    raise problem


@dataclass(frozen=True)
class _Layout:
    """How tokens enter the first block.

    Parameters
    ----------
    before, patches, after : int
        Number of tokens before the patches, of patches, and after them.
    width : int
        Width `D`.
    sequence_first : bool
        Whether they pass as (N, B, D).
    """

    before: int
    patches: int
    after: int
    width: int
    sequence_first: bool


class _Arrived(Exception):  # noqa: N818 (no error: it ends a pass early)
    """The first block is reached: the rest of the pass is not needed."""


class _Entrance:
    """Passes that end at the first block."""

    def __init__(self, model: nn.Module, block: nn.Module, patches: nn.Conv2d) -> None:
        self.model, self.block, self.patches = model, block, patches

    def look(self, size: Size) -> _Layout:
        """See what enters the first block, of an input of some size.

        Raises
        ------
        ModelError
            If the model takes no such input, or its first block gets no tokens of patches row by row.
        """
        high, wide = self.patches.stride[0], self.patches.stride[1]
        rows, cols = size[0] // high, size[1] // wide
        if rows * cols < 1:
            raise ModelError(f"an input of {size[0]} x {size[1]} pixels has no patch of {high} x {wide}")
        probed = 0, min(1, rows * cols - 1), rows * cols - 1
        arrived = self._arrives(self._probes(size, [divmod(patch, cols) for patch in probed]))
        shape = tuple(arrived.shape)
        if arrived.ndim == 4 and shape[:3] == (_PROBES, rows, cols):
            arrived = arrived.flatten(1, 2)
        sequence_first = shape[0] != _PROBES or (shape[1] == _PROBES and _batch_second(self.block))
        tokens = arrived.transpose(0, 1) if sequence_first and arrived.ndim == 3 else arrived
        if tokens.ndim != 3 or len(tokens) != _PROBES:
            raise ModelError(
                f"the first block ({type(self.block).__name__}) gets a tensor of shape {shape} for {_PROBES} "
                "pictures; tokens (B, N, D) were expected"
            )
        places = _places(tokens)
        if places is None or [place - places[0] for place in places] != list(probed):
            raise ModelError(
                f"the first block ({type(self.block).__name__}) gets no tokens that stand for the patches of "
                f"{high} x {wide} pixels row by row: a change of one patch does not change its one token"
            )
        count = rows * cols
        return _Layout(places[0], count, tokens.shape[1] - places[0] - count, tokens.shape[2], sequence_first)

    def takes(self, size: Size, before: _Layout) -> bool:
        """Whether an input of another size is taken, and has the same tokens beside its patches."""
        try:
            found = self.look(size)
        except ModelError:
            return False
        return (found.before, found.after) == (before.before, before.after)

    def _probes(self, size: Size, patches: Sequence[tuple[int, int]]) -> Tensor:
        """Make noise as a picture, and copies with other noise in one patch each."""
        weight, (high, wide) = self.patches.weight, self.patches.stride
        if weight.device.type == "meta":
            raise ModelError(
                "the model is on the meta device: it has no weights; give it some before you pass it"
            )
        noise = torch.rand(2, self.patches.in_channels, *size, generator=torch.Generator().manual_seed(0))
        x = noise[:1].repeat(_PROBES, 1, 1, 1)
        for picture, (row, col) in zip(x[1:], patches, strict=True):
            where = slice(row * high, (row + 1) * high), slice(col * wide, (col + 1) * wide)
            picture[:, where[0], where[1]] = noise[1, :, where[0], where[1]]
        return x.to(weight.device, weight.dtype)

    def _arrives(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def take(value: Any) -> None:
            seen.append(plain(value).detach())
            raise _Arrived

        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(eval_mode(self.model))
            stack.callback(at(Point(self.block, "input"), take).remove)
            try:
                self.model(x)
            except _Arrived:
                return seen[0]
            except Exception as error:
                words = (str(error).strip().splitlines() or [""])[0]
                raise ModelError(
                    f"{type(self.model).__name__} takes no pictures of shape {tuple(x.shape)} "
                    f"({type(error).__name__}: {words}); an attribute img_size would say what it takes"
                ) from error
        raise ModelError(
            f"the first block ({type(self.block).__name__}) was not called in a forward pass; give blocks= "
            "the modules that the model runs"
        )


def _places(tokens: Tensor) -> list[int] | None:
    """Find the token of each changed patch; one that all changes reach is nobody's. None if not one each."""
    changed = (tokens[1:] != tokens[:1]).any(dim=-1)
    own = changed & ~changed.all(dim=0) if bool((changed != changed[0]).any()) else changed
    return [int(row.nonzero()) for row in own] if bool((own.sum(dim=1) == 1).all()) else None


def _batch_second(block: nn.Module) -> bool:
    return any(isinstance(part, nn.MultiheadAttention) and not part.batch_first for part in block.modules())


def _order(before: int, after: int) -> Callable[[int, int], Tensor]:
    def order(rows: int, cols: int) -> Tensor:
        index = torch.arange(before + rows * cols + after)
        return torch.cat(
            [index[:before], index[before + rows * cols :], index[before : before + rows * cols]]
        )

    return order


def _names(model: nn.Module, layout: _Layout) -> tuple[list[str], list[str]]:
    """Name the tokens before and after the patches by the model's parameters: class token, registers."""
    found = {"cls": 0, "dist": 0, "reg": 0}
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2].lower()
        kind = next((kind for kind in found if kind in last), "cls" if "class" in last else "")
        if kind and parameter.shape[-1:] == (layout.width,):
            found[kind] += parameter.numel() // layout.width
    leading = ["cls"] * (found["cls"] == 1) + ["dist"] * (found["dist"] == 1)
    registers = [f"reg{number}" for number in range(1, found["reg"] + 1)]
    for before, after in ((leading, []), (leading + registers, []), (leading, registers), ([], leading)):
        if (len(before), len(after)) == (layout.before, layout.after):
            return before, after
    names = [f"prefix{number}" for number in range(1, layout.before + layout.after + 1)]
    return names[: layout.before], names[layout.before :]


def _classes(model: Any) -> int:
    if isinstance(getattr(model, "num_classes", None), int):
        return int(model.num_classes)
    for name in _HEADS:
        head = getattr(model, name, None)
        if isinstance(head, nn.Module):
            linears = [part for part in head.modules() if isinstance(part, nn.Linear)]
            if linears:
                return linears[-1].out_features
    return 0
