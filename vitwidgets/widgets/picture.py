"""A still picture beside a live view: what a page shows where no widget runs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from logging import Logger
from typing import Any, ClassVar

from PIL import Image

from vitwidgets.stills.size import check_width

Bundle = tuple[dict[str, Any], dict[str, Any]]

SHOWN = 560  # width of the picture in a page without widgets, in CSS pixels


class Pictured:
    """Gives a widget a still picture, which stands in its place where no widget runs."""

    _shown: ClassVar[int] = SHOWN
    log: Any  # the widget's

    def still(self, *, width: int = 1200) -> Image.Image:
        """What is shown now, as a still picture, drawn without a browser.

        Parameters
        ----------
        width : int
            Width of the picture in pixels, at least 300.

        Returns
        -------
        PIL.Image.Image
            RGB, on white.

        Raises
        ------
        ValueError
            If `width` is under 300.
        """
        check_width(width)
        return self._drawn(width)

    def _drawn(self, width: int) -> Image.Image:
        """The picture; each widget draws its own."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Bundle | None:
        widget: Any = super()
        bundle = widget._repr_mimebundle_(**kwargs)
        # ipywidgets gives the data alone; half as wide again: sharp on most screens, and not a megabyte
        given = (bundle, {}) if isinstance(bundle, dict) else bundle
        return beside(given, lambda: self.still(width=self._shown * 3 // 2), self._shown, self.log)


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
