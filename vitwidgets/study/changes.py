"""Changes of an image, with its masks, after which a measure is taken again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitwidgets import perturb
from vitwidgets.analysis.objects import VOID, Masks, as_label_image
from vitwidgets.perturb import Fill

if TYPE_CHECKING:
    from vitwidgets.geometry import Frame
    from vitwidgets.model_input import ModelInput

LabelImage: TypeAlias = npt.NDArray[np.integer[Any]]

Change: TypeAlias = "Callable[[ModelInput, LabelImage], tuple[ModelInput, LabelImage]]"
"""From a model input and its label image, in pixels of the input, to both after the change."""


@dataclass(frozen=True)
class Shuffled:
    """Cut the input into tiles and shuffle them, masks along: see `vitwidgets.perturb.shuffle`.

    Parameters
    ----------
    grid : int
        Tiles each way.
    seed : int
        Of the order.
    """

    grid: int
    seed: int = 0

    def __call__(self, given: ModelInput, labels: LabelImage) -> tuple[ModelInput, LabelImage]:
        """Change an input and its label image."""
        return perturb.shuffle(given, grid=self.grid, seed=self.seed, masks=labels)


@dataclass(frozen=True)
class Occluded:
    """Occlude patches: see `vitwidgets.perturb.occlude`. The masks stay as they are.

    Parameters
    ----------
    rate : float
        Share of the patches, 0..1.
    fill : {"black", "mean", "blur"}
        With what.
    salient : bool, optional
        Those of the objects first, or last; by default at random.
    seed : int
        Of the choice.
    """

    rate: float
    fill: Fill = "black"
    salient: bool | None = None
    seed: int = 0

    def __call__(self, given: ModelInput, labels: LabelImage) -> tuple[ModelInput, LabelImage]:
        """Change an input; give its label image back."""
        if self.salient is None:
            patches = perturb.random(given, self.rate, seed=self.seed)
        else:
            choose = perturb.salient if self.salient else perturb.non_salient
            objects = (labels > 0) & (labels != VOID)
            patches = choose(perturb.mask_salience(given, objects), self.rate, seed=self.seed)
        return perturb.occlude(given, patches, fill=self.fill), labels


def label_image(masks: Masks, frame: Frame) -> LabelImage:
    """Bring masks from the original picture to the model input, nearest pixel by nearest pixel.

    Parameters
    ----------
    masks
        In pixels of the original picture, as `vitwidgets.analysis.objects.find_objects` takes them.
    frame : Frame
        Which rectangle of it the model input shows: `Trace.frame`.

    Returns
    -------
    ndarray, shape (input height, input width), integer
        0 where the model input shows nothing of the picture.

    Raises
    ------
    ValueError
        If the masks have another size than the picture, or are of another shape or type.
    """
    values = as_label_image(masks)
    if values.shape != frame.original[::-1]:
        found, expected = (" x ".join(map(str, size)) for size in (values.shape, frame.original[::-1]))
        raise ValueError(
            f"the masks are {found} pixels, but the picture is {expected}; give masks in pixels of the "
            "original picture"
        )
    height, width = frame.input
    across = np.floor([frame.to_original(x + 0.5, 0)[0] for x in range(width)]).astype(int)
    down = np.floor([frame.to_original(0, y + 0.5)[1] for y in range(height)]).astype(int)
    inside = np.zeros((height, width), bool)
    inside[:] = ((down >= 0) & (down < values.shape[0]))[:, None] & (across >= 0) & (across < values.shape[1])
    found = values[down.clip(0, values.shape[0] - 1)][:, across.clip(0, values.shape[1] - 1)]
    return np.where(inside, found, 0)
