"""What a measure must beat to mean anything."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from vitwidgets.inspector import Inspector

_STD = 0.02  # of tokens and position embeddings, as vision transformers start


def random_weights(inspector: Inspector, *, seed: int = 0) -> Inspector:
    """Make an inspector of the same architecture that has learned nothing.

    Every layer starts as it does before training, by its own ``reset_parameters``; linear layers as vision
    transformers start them (normal, standard deviation 0.02, no bias), tokens and position embeddings too.

    Parameters
    ----------
    inspector : Inspector
        Whose architecture, preprocessing and class names are taken; its model is copied, not changed.
    seed : int
        Of the weights. The global random state is left as it was.

    Returns
    -------
    Inspector
    """
    from vitwidgets.inspector import Inspector

    model = copy.deepcopy(inspector.model)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            _start(module)
    names = {part: name for name, part in inspector.model.named_modules()}
    blocks = [model.get_submodule(names[block.module]) for block in inspector.anatomy.blocks]
    other = Inspector(
        model,
        class_names=inspector.class_names or None,
        blocks=blocks if inspector.own_blocks else None,
    )
    other.name, other.preprocessing = f"{inspector.name} (random weights)", inspector.preprocessing
    return other


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        return
    reset = getattr(module, "reset_parameters", None)
    if callable(reset) and any(True for _ in module.parameters(recurse=False)):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=_STD)
