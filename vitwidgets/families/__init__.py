"""What is known of each family of models: one file per library and kind, read when such a model is given."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from torch import nn

from vitwidgets.anatomy import Anatomy
from vitwidgets.errors import ModelError

# Files that know models of a library, in the order in which they are asked.
_FAMILIES = {
    "timm": ("timm_vit", "timm_late", "timm_sam", "timm_hierarchical"),
    "transformers": ("transformers_vit",),
    "torchvision": ("torchvision_vit",),
    "open_clip": ("open_clip_vit",),
}
_REFUSED = {
    "MlpMixer": "its tokens are mixed by MLPs: it has no attention between tokens",
    "Xcit": "its attention mixes channels (XCiT): there is no map from token to token",
    "CrossVit": "it runs two columns of tokens on two patch grids side by side (CrossViT); a trace needs one",
    "TNT": "it runs two columns, of patches and of the pixels within them (TNT); a trace needs one",
    "VOLO": "its first stage weighs neighbours without queries and keys (VOLO): it has no token-by-token map",
    "Visformer": "it goes from convolutions to attention on shrinking grids (Visformer), in no one column",
}


def anatomy(model: nn.Module, *, blocks: Sequence[nn.Module] | str | None = None) -> Anatomy:
    """Find the parts of a vision transformer.

    Parameters
    ----------
    model : nn.Module
        Of timm, transformers, torchvision or open_clip; or your own, with `blocks`.
    blocks : sequence of nn.Module or str, optional
        The blocks of a model of your own, or where they are: ``"encoder.layers"``.

    Returns
    -------
    Anatomy

    Raises
    ------
    ModelError
        If the model cannot be traced; names what is missing.
    """
    if blocks is not None:
        parts: Anatomy = _ask("custom", model, blocks)
        return parts
    library = _library(model)
    for family in _FAMILIES.get(library, ()):
        found: Anatomy | None = _ask(family, model)
        if found is not None:
            return found
    if library in _FAMILIES:
        hint = "timm.list_models('*vit*') lists candidates"
        if library != "timm":
            hint = (
                f"Of {library}, plain vision transformers alone are known; if it is one, say which modules "
                'are its blocks: Inspector(model, blocks="encoder.layers")'
            )
        raise ModelError(f"{type(model).__name__} cannot be traced: {_what_is_missing(model)}. {hint}")
    raise ModelError(
        f"{type(model).__name__} is of no library that is known here ({', '.join(_FAMILIES)}). If it is a "
        'vision transformer, say which modules are its blocks: Inspector(model, blocks="encoder.layers")'
    )


def _ask(family: str, *args: Any) -> Any:
    return import_module(f"vitwidgets.families.{family}").find(*args)


def _library(model: nn.Module) -> str:
    """Name the library that defines a model's class, or the class it derives from."""
    packages = (kind.__module__.partition(".")[0] for kind in type(model).__mro__)
    return next((package for package in packages if package in _FAMILIES), "")


def _what_is_missing(model: nn.Module) -> str:
    """Say what of a vision transformer this model lacks."""
    for kind in type(model).__mro__:
        if kind.__name__ in _REFUSED:
            return _REFUSED[kind.__name__]
    kinds = {type(module).__name__.lower() for module in model.modules()}
    missing = []
    if not hasattr(model, "patch_embed"):
        missing.append("a patch embedding (.patch_embed)")
    if not hasattr(model, "blocks"):
        missing.append("one column of blocks on one patch grid (.blocks)")
    if not any("attn" in kind or "attention" in kind for kind in kinds):
        missing.append("attention between tokens")
    if any("window" in kind for kind in kinds):
        missing.append("attention over the whole picture (it attends in windows)")
    if missing:
        return "it lacks " + " and ".join(missing)
    return "it has patches, blocks and attention, but is of a kind that is not known here"
