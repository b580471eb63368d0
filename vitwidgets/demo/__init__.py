"""The embedded model, the scenes it was trained on, and the script that trained it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vitwidgets.demo.scenes import KINDS, Scene, scene

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

__all__ = ["KINDS", "WEIGHTS", "Scene", "load", "scene"]

WEIGHTS = Path(__file__).with_name("demo.safetensors")


def load() -> tuple[VisionTransformer, tuple[str, ...]]:
    """The embedded model in eval mode, with its preprocessing in ``pretrained_cfg``, and its class names.

    Returns
    -------
    model : timm.models.vision_transformer.VisionTransformer
        8 blocks, width 128, 4 heads, 12 x 12 patches of 8 x 8 pixels and a class token, float32.
    class_names : tuple of str
        `KINDS`, in the order of the logits.
    """
    from safetensors.torch import load_file

    from vitwidgets.demo.model import build

    model = build()
    model.load_state_dict({name: value.float() for name, value in load_file(str(WEIGHTS)).items()})
    return model.eval(), KINDS
