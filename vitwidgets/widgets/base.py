"""What every model of this package does: strict keywords, and a front end that cannot break it."""

from __future__ import annotations

import difflib
import operator
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets as t

STATIC = Path(__file__).parents[1] / "static"


def built(name: str) -> Any:
    """Make the trait that carries a built front-end file.

    Its text, not its path: anywidget would watch a path, and hold every widget that uses it for ever.

    Parameters
    ----------
    name : str
        File name in ``vitwidgets/static``.

    Raises
    ------
    FileNotFoundError
        If the front end is not built.
    """
    path = STATIC / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the front end is not built: {path} is missing. In a checkout run 'make js'; "
            "otherwise reinstall vitwidgets."
        )
    return t.Unicode(path.read_text(encoding="utf-8")).tag(sync=True)


class Index(t.Int[Any, Any]):
    """A whole number; numpy's are taken too, True and False are not."""

    def validate(self, obj: Any, value: Any) -> Any:
        """`value` as an int, or a TraitError."""
        if isinstance(value, bool):
            self.error(obj, value)
        try:
            value = operator.index(value)
        except TypeError:
            self.error(obj, value)
        return super().validate(obj, value)


class Model(anywidget.AnyWidget):
    """An anywidget model that refuses unknown keywords and survives malformed messages."""

    _from_page: ClassVar[tuple[str, ...]] = ()
    """The traits that the page may set; all others are the kernel's own."""

    def __init__(self, **kwargs: Any) -> None:
        unknown = [name for name in kwargs if name not in self.trait_names()]
        if unknown:
            near = difflib.get_close_matches(unknown[0], self.trait_names(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(
                f"{type(self).__name__}() got an unexpected keyword argument {unknown[0]!r}{hint}"
            )
        self._own_layout = "layout" not in kwargs
        super().__init__(**kwargs)

    def close(self) -> None:
        """Close the model, here and in the page, with the layout that it made for itself."""
        layout = self.layout if self.comm is not None and self._own_layout else None
        super().close()
        if layout is not None:
            layout.close()

    def set_state(self, sync_data: Any) -> None:
        """Take over what the front end sent; what is not valid is sent back as it was.

        One refused value loses nothing else: the others of the same message are kept.
        """
        if not isinstance(sync_data, dict):
            return
        known = {name: value for name, value in sync_data.items() if name in self.keys}
        # Twice, because a value may be valid only together with another of the same message.
        refused = self._take(known)
        refused = self._take({name: known[name] for name in refused})
        for name, reason in refused.items():
            self.log.warning("%s: refused %s from the front end: %s", type(self).__name__, name, reason)
            self.send_state(name)

    def _take(self, state: dict[str, Any]) -> dict[str, str]:
        """Set each of `state` by itself; return the reasons of those that were refused."""
        refused = {}
        for name, value in state.items():
            if name not in self._from_page:
                refused[name] = "it is the kernel's own"
                continue
            before = getattr(self, name)
            try:
                super().set_state({name: value})
            except (t.TraitError, OverflowError) as error:  # a Float overflows on huge whole numbers
                if getattr(self, name) != before:
                    raise  # the value was taken; somebody's observer failed
                refused[name] = str(error)
        return refused
