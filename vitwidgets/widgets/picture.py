"""A still picture beside a live view: what a page shows where no widget runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from logging import Logger
from typing import Any

from PIL import Image

Bundle = tuple[dict[str, Any], dict[str, Any]]


def beside(bundle: Bundle | None, draw: Callable[[], Image.Image], width: int, log: Logger) -> Bundle | None:
    """Add a still picture to a widget's mime bundle.

    Parameters
    ----------
    bundle : (data, metadata), or None
        What the widget has to show itself; None stays None.
    draw : callable
        Draws the picture. If it fails, the bundle stays as it is and `log` has a warning: the live view must
        not be lost with its still picture.
    width : int
        Width at which a page shows the picture, in CSS pixels.
    log : logging.Logger
        The widget's.

    Returns
    -------
    (data, metadata), or None
    """
    if bundle is None:
        return None
    data, metadata = bundle
    try:
        picture = draw()
    except Exception as error:
        log.warning("no still picture: %s", error)
        return bundle
    png = BytesIO()
    picture.save(png, "PNG", optimize=True)
    data["image/png"] = b64encode(png.getvalue()).decode("ascii")
    metadata["image/png"] = {"width": width, "height": round(picture.height * width / picture.width)}
    return data, metadata
