"""Occlude and shuffle a model input, and choose the patches to occlude.

The selections and the shuffling are those of Naseer et al., "Intriguing Properties of Vision Transformers"
(2021, arXiv 2105.10497, sections 3.1 and 3.3). All of it acts on the model input, after resizing, cropping
and normalising: what is not touched reaches the model bit by bit as it was.
"""

from vitwidgets.perturb.occlusion import FILLS, Fill, occlude
from vitwidgets.perturb.patches import patch_indices
from vitwidgets.perturb.rates import Occlusion, RatePoint, rate_plan
from vitwidgets.perturb.salience import mask_salience, patch_salience, rollout_salience
from vitwidgets.perturb.selection import MODES, Mode, non_salient, random, salient, select
from vitwidgets.perturb.shuffling import shuffle, shuffle_grids

__all__ = [
    "FILLS",
    "MODES",
    "Fill",
    "Mode",
    "Occlusion",
    "RatePoint",
    "mask_salience",
    "non_salient",
    "occlude",
    "patch_indices",
    "patch_salience",
    "random",
    "rate_plan",
    "rollout_salience",
    "salient",
    "select",
    "shuffle",
    "shuffle_grids",
]
