"""timm's plain columns: one sequence of tokens, prefix tokens first, through one column of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from vitwidgets.anatomy import Anatomy, Grid, plain
from vitwidgets.errors import ModelError
from vitwidgets.families import timm_blocks

# By name: not each timm release has each of them.
_PLAIN = frozenset({
    "VisionTransformer",
    "VisionTransformerRelPos",
    "Beit",
    "Eva",
    "NaFlexVit",
    "Qwen3VitEncoder",
    "Gemma4VitEncoder",
    "DeepseekVitEncoder",
})  # fmt: skip
_CLASSIFIERS = frozenset({"Qwen3VitClassifier", "Gemma4VitClassifier", "DeepseekVitClassifier"})


def find(model: nn.Module) -> Anatomy | None:
    """Find the parts of a timm vision transformer whose patches stay one sequence from block to block.

    Parameters
    ----------
    model : nn.Module
        Of timm: ViT, DeiT, BEiT, EVA, RoPE ViTs, NaFlexViT, hybrids, ViTamin, and the vision towers of
        multimodal models.

    Returns
    -------
    Anatomy or None
        None if it is none of these.

    Raises
    ------
    ModelError
        If its blocks or its prefix tokens are not understood.
    """
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if not kinds & (_PLAIN | _CLASSIFIERS):
        return None
    tower: Any = model.encoder if kinds & _CLASSIFIERS else model
    blocks = timm_blocks.column(tower.blocks)
    embed = tower.embeds if hasattr(tower, "embeds") else tower.patch_embed
    stem = getattr(embed, "backbone", None)
    prefix = _prefix(tower, embed)
    return Anatomy(
        model=model,
        family=type(model).__name__ + ("" if stem is None else f" with a CNN stem ({type(stem).__name__})"),
        blocks=blocks,
        prefix=prefix,
        channels=channels(tower, embed),
        classes=getattr(model, "num_classes", 0),
        patch_size=patch_size(embed),
        input_size=input_size(embed),
        fixed_size=getattr(embed, "strict_img_size", False),
        pads=getattr(embed, "dynamic_img_pad", False),
        grid=lambda height, width: grid(embed, height, width),
        output=features(prefix),
        notes=tuple(_notes(model, tower, stem)),
    )


def patch_size(embed: Any) -> Grid:
    """Height and width of a patch in pixels; of a CNN stem: how far apart its outputs are."""
    size = embed.feat_ratio(as_scalar=False) if hasattr(embed, "feat_ratio") else embed.patch_size
    return int(size[0]), int(size[1])


def input_size(embed: Any) -> Grid | None:
    """Height and width that a patch embedding was built for, None if for none."""
    size = getattr(embed, "img_size", None) or getattr(embed, "default_img_size", None)
    if size is None and getattr(embed, "pos_embed_grid_size", None) is not None:
        rows, cols = embed.pos_embed_grid_size
        size = rows * embed.patch_size[0], cols * embed.patch_size[1]
    return None if size is None else (int(size[0]), int(size[1]))


def grid(embed: Any, height: int, width: int) -> Grid:
    """Rows and columns of patches; computed from the input, as `grid_size` may be stale."""
    if hasattr(embed, "dynamic_feat_size"):
        rows, cols = embed.dynamic_feat_size((height, width))
    else:
        rows, cols = height // embed.patch_size[0], width // embed.patch_size[1]
    return int(rows), int(cols)


def channels(model: Any, embed: Any) -> int:
    """Colour channels of the input; some releases of timm write them down, others do not."""
    if hasattr(model, "in_chans"):
        return int(model.in_chans)
    return next(module.in_channels for module in embed.modules() if isinstance(module, nn.Conv2d))


def features(prefix: tuple[str, ...]) -> Callable[[Any], Tensor]:
    """Read logits or features; of a model that gives tokens: the class token, or the mean of the others."""

    def read(value: Any) -> Tensor:
        output = plain(value)
        if output.ndim == 2:
            return output
        tokens = output.flatten(1, -2)
        return tokens[:, 0] if "cls" in prefix else tokens[:, len(prefix) :].mean(dim=1)

    return read


def _prefix(tower: Any, embed: Any) -> tuple[str, ...]:
    def tokens(name: str) -> int:
        holder = tower if hasattr(tower, name) else embed
        token = getattr(holder, name, None)
        return 0 if token is None else int(token.shape[1])

    names = ["cls"] * tokens("cls_token") + ["dist"] * tokens("dist_token")
    names += [f"reg{number}" for number in range(1, tokens("reg_token") + 1)]
    if len(names) != tower.num_prefix_tokens:
        raise ModelError(
            f"{type(tower).__name__} puts {tower.num_prefix_tokens} tokens before the patches, but only "
            f"these are known: {names}"
        )
    return tuple(names)


def _notes(model: Any, tower: Any, stem: nn.Module | None) -> list[str]:
    notes = []
    if stem is not None:
        notes.append(
            "a CNN stem reads the pixels: there are no patch filters, and a token sees more than its patch"
        )
    if any(hasattr(module, "lambda_init") for module in tower.blocks.modules()):
        notes.append(
            "differential attention: a map is the difference of two, so weights may be negative and "
            "a row does not sum to 1"
        )
    if "radio" in str((getattr(model, "pretrained_cfg", None) or {}).get("architecture")):
        notes.append("some of the tokens called registers are class tokens for other teachers")
    return notes
