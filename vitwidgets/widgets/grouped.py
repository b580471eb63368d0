"""A panel that draws groups of patches on the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vitwidgets.widgets.groups import Groups, check_given
from vitwidgets.widgets.look import Look
from vitwidgets.widgets.panel import _kept

if TYPE_CHECKING:
    from vitwidgets.analysis.objects import Labels, Masks
    from vitwidgets.groups import Group
    from vitwidgets.stills.view import View
    from vitwidgets.trace import Trace


class Grouped(Look):
    """A panel that draws groups of patches on the image.

    Parameters
    ----------
    trace : Trace
        What `Inspector.trace` returned.
    masks : array_like, sequence of array_like, PIL image or path, optional
        Objects in the original picture, each of which becomes a group: see `Groups.add_masks`.
    labels : mapping of int to str, or sequence of str, optional
        Class name of each mask value.
    groups : Groups, optional
        Share one to make panels show the same groups; without it the panel has its own.
    cursor, opacity, smooth, layer, token, ...
        As for every panel.

    Raises
    ------
    TypeError
        If `groups` is of another type, or a keyword is unknown.
    ValueError
        If the masks do not fit the picture.
    """

    _own: Groups | None = None  # made here, and closed here

    groups = _kept()
    """The `Groups` that are outlined on the image; panels may share it."""

    def __init__(
        self,
        trace: Trace,
        *,
        masks: Masks | None = None,
        labels: Labels | None = None,
        groups: Groups | None = None,
        **kwargs: Any,
    ) -> None:
        check_given(groups, masks, labels)
        if groups is None:
            groups = self._own = Groups()
        self.set_trait("groups", groups)
        try:
            super().__init__(trace, **kwargs)
            groups.bind(trace)
            if masks is not None:
                groups.add_masks(masks, trace, labels=labels)
        except BaseException:
            self.close()
            raise

    def _view(self) -> View:
        clusters = self._clusters()
        return replace(super()._view(), groups=clusters or tuple(self.groups.all), tinted=bool(clusters))

    def _clusters(self) -> tuple[Group, ...]:
        """The clusters that the token map on the same cursor and trace shows of the present layer."""
        token_map = self.cursor.token_map
        if token_map is None or token_map.trace is not self.trace or token_map.color_by != "cluster":
            return ()
        groups: tuple[Group, ...] = token_map.cluster_groups()
        return groups

    def close(self) -> None:
        """Close the panel, and its cursor and groups if it made them itself."""
        super().close()
        if self._own is not None:
            self._own.close()
