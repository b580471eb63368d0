"""Hide patches of a model input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from vitwidgets.geometry import Patches
from vitwidgets.model_input import ModelInput
from vitwidgets.perturb.patches import Indices, check_input, listed, on_grid, patch_indices

if TYPE_CHECKING:
    from torch import Tensor

Fill = Literal["black", "mean", "blur"]

FILLS: tuple[Fill, ...] = get_args(Fill)

_SIGMA = 0.5  # of the blur, in patches: what is within a patch is gone, what is around it still shows
_REACH = 3.0  # where the blur's kernel ends, in sigmas


def occlude(image: ModelInput, patches: Patches, *, fill: Fill = "black") -> ModelInput:
    """Hide patches of a model input.

    Parameters
    ----------
    image : ModelInput
        Of ``Inspector.input(image)``.
    patches
        Which, as `patch_indices` takes them. Choosing a patch twice hides it once; choosing none changes
        nothing.
    fill : {"black", "mean", "blur"}
        What takes their place. ``"black"``: the value that a black picture has; where the normalisation is
        not known, each channel's smallest value in this input. ``"mean"``: each channel's mean over the whole
        input. ``"blur"``: the input after a Gaussian blur (reflected at the edges) whose standard deviation
        is half a patch, down by its height and across by its width; the kernel ends at three of them, or
        where the input is smaller, at its size.

    Returns
    -------
    ModelInput
        Pixels outside the patches are bit-equal to those of `image`, also those that belong to no patch
        because the model cuts them off.

    Raises
    ------
    IndexError
        If a patch lies outside the grid.
    ValueError
        If `fill` is unknown, or a boolean array has another shape than the grid.
    TypeError
        If `image` is no `ModelInput`, or `patches` holds something that is no patch.
    """
    check_input(image, "occlude")
    if fill not in FILLS:
        raise ValueError(f"fill must be one of {listed(FILLS)}, got {fill!r}")
    chosen = patch_indices(image, patches)
    if not len(chosen):
        return image
    import torch

    hidden = torch.from_numpy(_pixels_of(image, chosen)).to(image.pixels.device)
    pixels = torch.where(hidden, _FILLED[fill](image), image.pixels)
    return image.changed(pixels, f"{len(chosen)} of {image.patch_grid.patches} patches occluded ({fill})")


def _pixels_of(image: ModelInput, chosen: Indices) -> npt.NDArray[np.bool_]:
    """Which pixels of the input belong to the chosen patches, (H, W)."""
    (high, wide), (height, width), grid = image.patch_size, image.size, image.patch_grid
    cells = np.zeros((-(-height // high), -(-width // wide)), dtype=bool)
    cells[: grid.rows, : grid.cols] = on_grid(grid, chosen)
    return cells.repeat(high, axis=0).repeat(wide, axis=1)[:height, :width]


def _black(image: ModelInput) -> Tensor:
    if image.mean is None or image.std is None:
        return image.pixels.amin(dim=(1, 2))[:, None, None]
    mean, std = (image.pixels.new_tensor(part)[:, None, None] for part in (image.mean, image.std))
    return -mean / std


def _mean(image: ModelInput) -> Tensor:
    return image.pixels.double().mean(dim=(1, 2), keepdim=True).to(image.pixels.dtype)


def _blurred(image: ModelInput) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    down, across = (_SIGMA * side for side in image.patch_size)
    # Reflection at the edges needs a kernel that reaches less far than the input.
    reach = [
        2 * min(int(_REACH * sigma + 0.5), side - 1) + 1
        for sigma, side in zip((down, across), image.size, strict=True)
    ]
    # One pass each way is the same blur, and ten times as fast.
    once: Tensor = gaussian_blur(image.pixels.float(), [1, reach[0]], [across, down])
    twice: Tensor = gaussian_blur(once, [reach[1], 1], [across, down])
    return twice.to(image.pixels.dtype)


_FILLED: dict[Fill, Callable[[ModelInput], Tensor]] = {"black": _black, "mean": _mean, "blur": _blurred}
