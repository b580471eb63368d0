"""Any picture a user has, as an upright 8-bit RGB image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from vitwidgets.errors import ImageError

ImageSource: TypeAlias = "str | os.PathLike[str] | Image.Image | npt.NDArray[Any]"

_SIXTEEN_BIT = 257  # 65535 / 255


_FILE = "vitwidgets file"  # key of an image's `info`


def open_image(source: ImageSource) -> Image.Image:
    """Read a picture.

    Parameters
    ----------
    source : path, PIL image or ndarray
        A file; a PIL image; or an array of shape (H, W), (H, W, 3) or (H, W, 4): uint8 (0..255), uint16
        (0..65535), bool, or float (0..1). All modes that Pillow reads are taken: greyscale, palette, 16-bit,
        CMYK... EXIF orientation is applied, transparency is composited on white. Of a multi-picture JPEG the
        first picture is read.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, upright.

    Raises
    ------
    ImageError
        If the file is missing, empty, damaged, animated, no picture or too large, or the array has another
        shape, type or range.
    TypeError
        If `source` is none of these.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _named(_upright_rgb(source, "the image"), getattr(source, "filename", ""))
    if isinstance(source, (str, os.PathLike)):
        return _named(_from_file(Path(source)), source)
    raise TypeError(f"an image is a path, a PIL image, an array or a tensor, not {type(source).__name__}")


def file_name(image: Image.Image) -> str:
    """Name of the file that `open_image` read an image from; empty where it was none."""
    return str(image.info.get(_FILE, ""))


def _named(image: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    image.info[_FILE] = Path(path).name
    return image


def _from_file(path: Path) -> Image.Image:
    if not path.exists():
        hint = (
            "; download it first" if "//" in str(path) or ":/" in str(path) else f" (looked in {Path.cwd()})"
        )
        raise ImageError(f"there is no image {path}{hint}")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give one image file")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); save or download it again")
    try:
        with Image.open(path) as image:
            return _upright_rgb(image, str(path))
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} unpacks to more pixels than is safe ({error}); shrink it, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no picture that Pillow can read; convert it to PNG or JPEG") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: damaged or cut off? ({error})") from error


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    # Phones store a second picture (depth, gain map) behind the first: that is no animation.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise ImageError(f"{name} has {frames} frames; choose one: image.seek(0), then pass image.copy()")
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"{name} is damaged or cut off ({error}); save or download it again") from error
    if 0 in image.size:
        raise ImageError(f"{name} has no pixels ({image.width} x {image.height})")
    return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_array(_deep_grey(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def _deep_grey(image: Image.Image) -> npt.NDArray[Any]:
    """Values of a 16-bit, 32-bit or float greyscale image, as uint16 or float32."""
    values = np.asarray(image)
    if image.mode == "F":
        return values
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise ImageError(
            f"greyscale values must lie in 0..65535, got {values.min()}..{values.max()}; "
            "scale them and pass a float array in 0..1"
        )
    return values.astype(np.uint16)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        swap = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        hint = "; move the channels last: array.transpose(1, 2, 0)" if swap else ""
        raise ImageError(f"an image array has shape (H, W), (H, W, 3) or (H, W, 4), got {array.shape}{hint}")
    if array.size == 0:
        raise ImageError(f"the image array has no pixels (shape {array.shape})")
    pixels = _to_uint8(array)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return _rgb(Image.fromarray(np.ascontiguousarray(pixels)))


def _to_uint8(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return cast("npt.NDArray[np.uint8]", array)
    if array.dtype == np.uint16:
        return cast("npt.NDArray[np.uint8]", np.rint(array / _SIXTEEN_BIT).astype(np.uint8))
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"an image array is uint8, uint16, bool or float, got {array.dtype}; try .astype('uint8')"
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # written so that NaN is refused too
        raise ImageError(
            f"a float image holds values in 0..1, got {low:g}..{high:g}; divide it by its full scale"
        )
    return cast("npt.NDArray[np.uint8]", np.rint(array * 255).astype(np.uint8))
