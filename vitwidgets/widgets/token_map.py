"""The tokens of a layer as points in the plane."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import traitlets as t
from PIL import Image

from vitwidgets.analysis.layout import pca_layouts
from vitwidgets.analysis.overlay import cell_at
from vitwidgets.analysis.tsne import say
from vitwidgets.groups import PALETTE, Group
from vitwidgets.runs import LatestRun
from vitwidgets.widgets.base import Index, built
from vitwidgets.widgets.codec import encode
from vitwidgets.widgets.groups import Groups, check_given
from vitwidgets.widgets.map_work import (
    ClusterMethod,
    Known,
    cluster_all,
    known_of,
    lay_out,
    over_stages,
    packed,
    receipts,
    share_of,
    stages_of,
)
from vitwidgets.widgets.panel import Panel, _kept

if TYPE_CHECKING:
    from vitwidgets.analysis.objects import Labels, Masks
    from vitwidgets.trace import Trace
    from vitwidgets.widgets.cursor import Cursor

Floats: TypeAlias = npt.NDArray[np.float32]
ColorBy = Literal["group", "cluster", "similarity", "attention", "norm", "image"]
Projection = Literal["tsne", "pca"]


class TokenMap(Panel):
    """The tokens of the cursor's layer as points: tokens that are alike lie close together.

    Laid out by PCA at once, and by t-SNE as soon as that is computed, beside the kernel's own work: the
    cursor's layer first, the others as they come. Changing the layer moves the points. Click pins a token,
    dragging selects patches with a lasso (shift adds, alt takes away), and selections can be kept as groups.

    Parameters
    ----------
    trace : Trace
        What `Inspector.trace` returned.
    cursor : Cursor, optional
        Share one to make panels move together; without it the panel has its own.
    masks : array_like, sequence of array_like, PIL image or path, optional
        Objects in the original picture, each of which becomes a group: a boolean array (K, H, W), a list of
        (H, W) ones, a label image, or a palette PNG.
    labels : mapping of int to str, or sequence of str, optional
        Class name of each mask value.
    groups : Groups, optional
        Share one to make panels show the same groups; without it the panel has its own.
    color_by, projection, tween, pixels, cluster_method, cluster_count, cluster_eps, computing
        The traits below.
    layer, token, head, neuron, neuron_space, patches, overlay
        Where to start: set on the cursor.

    Raises
    ------
    TypeError
        If `trace`, `cursor` or `groups` is of another type, or a keyword is unknown.
    ValueError
        If the masks do not fit the picture, or the groups are of another patch grid.
    traitlets.TraitError
        If a value is outside what the trace has; the message says the range.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> scene = vw.demo.scene(7)
    >>> trace = vw.Inspector("demo").trace(scene.image)
    >>> token_map = vw.TokenMap(trace, color_by="cluster", layer=4)
    >>> token_map.points("pca").shape
    (65, 2)
    """

    _esm = built("token_map.js")
    _ended = ExitStack()  # what close() lets go
    _from_page = (
        "color_by",
        "projection",
        "tween",
        "pixels",
        "cluster_method",
        "cluster_count",
        "cluster_eps",
        "computing",
    )

    groups = _kept()
    """The `Groups` that the panel shows; panels may share it."""

    color_by = t.Enum(get_args(ColorBy), "group").tag(sync=True)
    """What colours mean: ``"group"``, ``"cluster"``, ``"similarity"`` (to the pinned token), ``"attention"``
    (received, the mean of all heads and tokens), ``"norm"`` or ``"image"`` (the patch's own colour)."""

    projection = t.Enum(get_args(Projection), "tsne").tag(sync=True)
    """How points are laid out: ``"tsne"`` (``"pca"`` until it is ready) or ``"pca"``."""

    tween = t.Bool(True).tag(sync=True)
    """Whether points move to where they are in the next layer, instead of jumping there. Readers whose
    system asks for reduced motion see them jump."""

    pixels = t.Bool(False).tag(sync=True)
    """Draw each patch's pixels instead of a dot."""

    cluster_method = t.Enum(get_args(ClusterMethod), "kmeans").tag(sync=True)
    """How clusters are found: ``"kmeans"``, ``"agglomerative"`` (average linkage of cosines) or
    ``"dbscan"``."""

    cluster_count = Index(4, min=1, max=64).tag(sync=True)
    """How many clusters k-means and agglomerative clustering make, 1..64."""

    cluster_eps = t.Float(0.8, min=0.05, max=10).tag(sync=True)
    """DBSCAN's ``eps``, 0.05..10, in units of the mean distance of patches that are consecutive in the
    sequence."""

    pca = t.Bytes().tag(sync=True)
    """Packet (sum of tokens over layers, 2): the PCA layouts of all layers, one after the other."""

    tsne = t.Bytes().tag(sync=True)
    """Packet like `pca`: the t-SNE layouts; NaN in layers that have none yet, empty before the first."""

    computing = t.Bool(True).tag(sync=True)
    """Whether t-SNE is being computed. Set it to False to stop, which keeps the layers that are done, and to
    True to go on; it is False when all are done."""

    received = t.Bytes().tag(sync=True)
    """Packet (sum of tokens over layers,): attention that each token receives; empty until it is ready."""

    labels: t.List[Any] = t.List().tag(sync=True)
    """Cluster of each patch for each layer ``0..L``, -1 for none; empty until it is ready."""

    cluster_note = t.Unicode().tag(sync=True)
    """``"clustering…"`` while clusters are computed, or why there are none."""

    progress = t.Float(0).tag(sync=True)
    """How much of t-SNE is done, 0..1."""

    notes = t.List(t.Unicode()).tag(sync=True)
    """What a reader should know about layouts and groups."""

    def __init__(
        self,
        trace: Trace,
        *,
        cursor: Cursor | None = None,
        masks: Masks | None = None,
        labels: Labels | None = None,
        groups: Groups | None = None,
        **kwargs: Any,
    ) -> None:
        from vitwidgets.trace import Trace

        check_given(groups, masks, labels)
        self._opened = False
        self._receiving = 0
        self._clusters: list[npt.NDArray[np.int64]] | None = None
        self._said: list[str] = []  # notes that are not about layouts
        self._layouts: LatestRun[bool] = LatestRun(
            done=self._laid_out, failed=self._not_laid_out, progress=self._tell, delay=0
        )
        self._receipts: LatestRun[Floats] = LatestRun(done=self._received, failed=self._not_received, delay=0)
        self._clustering: LatestRun[list[npt.NDArray[np.int64]]] = LatestRun(
            done=self._clustered, failed=self._not_clustered
        )
        with ExitStack() as held:
            for runs in (self._layouts, self._receipts, self._clustering):
                held.callback(runs.close)
            if groups is None:
                groups = Groups()
                held.callback(groups.close)
            if isinstance(trace, Trace):  # the panel says what is wrong with anything else
                self._stages = stages_of(trace)
                self._open(trace, groups, masks, labels)
            self.set_trait("groups", groups)
            super().__init__(trace, cursor=cursor, **kwargs)
            self._ended = held.pop_all()
        self._opened = True
        self.cursor.set_trait("token_map", self)
        self._start()

    def _open(self, trace: Trace, groups: Groups, masks: Masks | None, labels: Labels | None) -> None:
        """Take what is there at once: PCA, groups, and what another map of the trace computed."""
        groups.bind(trace)
        notes = [] if masks is None else groups.add_masks(masks, trace, labels=labels)
        known = known_of.get(trace)
        if known is None:
            known = known_of[trace] = Known(packed(trace, over_stages(trace, self._stages, pca_layouts)))
        self.pca, self._said = known.pca, notes
        self._show_layouts(known, trace)

    def close(self) -> None:
        """Close the panel, end its computations, and close the groups and the cursor if it made them."""
        if self.cursor is not None and self.cursor.token_map is self:
            self.cursor.set_trait("token_map", None)
        super().close()
        self._ended.close()

    # ------------------------------------------------------------------ for scripts

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all layouts and clusters are computed.

        Parameters
        ----------
        timeout : float, optional
            Seconds for each of them; by default as long as it takes.

        Returns
        -------
        bool
            False if time ran out.
        """
        while busy := [runs for runs in (self._layouts, self._receipts, self._clustering) if runs.busy]:
            if not all(runs.wait(timeout) for runs in busy):
                return False
        return True

    def points(self, projection: Projection | None = None, layer: int | None = None) -> Floats:
        """Where the tokens of a layer lie.

        Parameters
        ----------
        projection : {"tsne", "pca"}, optional
            That of the panel if not given.
        layer : int, optional
            ``0..L``; the cursor's if not given.

        Returns
        -------
        ndarray, shape (N, 2), float32
            In sequence order, with an RMS radius of 1 about 0; NaN for a token that is not finite.

        Raises
        ------
        ValueError
            If t-SNE of the layer is not ready; `wait` waits for it.
        """
        from vitwidgets.widgets.codec import decode

        which = projection or self.projection
        if which not in get_args(Projection):
            raise ValueError(f"projection is one of {', '.join(get_args(Projection))}; got {which!r}")
        here = self.layer if layer is None else layer
        if which == "tsne" and not self._has_tsne(here):
            raise ValueError("t-SNE is not ready; call wait() first, or take the points of 'pca'")
        packet = self.tsne if which == "tsne" else self.pca
        counts = [self.trace.grid_of(other).tokens for other in range(self.trace.layers + 1)]
        return np.split(decode(packet), np.cumsum(counts)[:-1])[here]

    @property
    def clusters(self) -> list[npt.NDArray[np.int64]] | None:
        """Cluster of each patch, (rows * cols,) for each layer ``0..L``, -1 for none; None until computed."""
        return self._clusters

    def cluster_groups(self, layer: int | None = None) -> tuple[Group, ...]:
        """The clusters of a layer as groups of patches of the trace's grid, in the colours of the map.

        Parameters
        ----------
        layer : int, optional
            ``0..L``; the cursor's if not given.

        Returns
        -------
        tuple of Group
            In the order of their numbers; none where clusters are not computed.
        """
        if self._clusters is None:
            return ()
        here = self.layer if layer is None else layer
        own, finest = self.trace.grid_of(here), self.trace.patch_grid
        cells = [
            cell_at(patch, (finest.rows, finest.cols), (own.rows, own.cols))
            for patch in range(finest.patches)
        ]
        labels = self._clusters[here][cells]
        return tuple(
            Group(
                f"cluster {number + 1}",
                PALETTE[number % len(PALETTE)],
                tuple(np.flatnonzero(labels == number).tolist()),
            )
            for number in np.unique(labels[labels >= 0]).tolist()
        )

    def _drawn(self, width: int) -> Image.Image:
        from vitwidgets.stills.token_map import draw

        pca = self.projection == "pca" or not self._has_tsne(self.layer)
        points = self.points("pca" if pca else "tsne")
        clusters = None if self._clusters is None else self._clusters[self.layer]
        received = known_of[self.trace].received.get(self.layer)
        return draw(
            self._view(),
            points,
            self.color_by,
            self.groups.all,
            clusters=clusters,
            received=received,
            method="PCA" if pca else "t-SNE",
            width=width,
        )

    # ------------------------------------------------------------------ layouts

    def _start(self) -> None:
        if self.color_by == "cluster":
            self._cluster()
        self._lay_out()
        if not self._layouts.busy:
            self._go_on_with_the_rest()

    @t.observe("computing")
    def _stop_or_go_on(self, _change: Any) -> None:
        if self._opened and self.computing:
            self._lay_out()
        elif self._opened:
            self._go_on_with_the_rest()  # before this run ends: wait() is to see it
            self._layouts.cancel()

    def _lay_out(self) -> None:
        """Compute t-SNE of the cursor's layer, or of the nearest that has none; `_laid_out` goes on."""
        known, trace, stages, near = known_of[self.trace], self.trace, self._stages, self.layer
        if known.solvers and not any(solver.left for solver in known.solvers):
            self.computing = False
        if not self.computing:
            return
        tables = {} if known.solvers else {layer: trace.layer(layer) for stage in stages for layer in stage}
        self._layouts.request(lambda run: lay_out(known, stages, tables, near, run))

    def _tell(self, share: float) -> None:
        self.progress = max(self.progress, share)

    def _laid_out(self, more: bool) -> None:
        self._show_layouts(known_of[self.trace], self.trace)
        self._go_on_with_the_rest()
        if more:
            self._lay_out()
        else:
            self.computing = False

    def _show_layouts(self, known: Known, trace: Trace) -> None:
        """Send the layouts that there are, and what is to be said of them."""
        found: dict[int, Floats] = {}
        notes: dict[str, list[int]] = {}
        for stage, solver in zip(self._stages, known.solvers, strict=False):  # none before the first run
            found |= {stage[at]: layout.points for at, layout in list(solver.found.items())}
            for note, where in solver.notes.items():
                notes.setdefault(note, []).extend(stage[at] for at in where)
        with self.hold_sync():
            self.tsne = packed(trace, found) if found else b""
            self.notes = [*self._said, *say(notes, trace.layers + 1)]
            self.progress = share_of(known.solvers)

    def _has_tsne(self, layer: int) -> bool:
        for stage, solver in zip(self._stages, known_of[self.trace].solvers, strict=False):
            if layer in stage:
                return stage.index(layer) in solver.found
        return False

    def _not_laid_out(self, error: Exception) -> None:
        self._said.append(f"no t-SNE: {error}")
        with self.hold_sync():
            self.computing, self.progress, self.notes = False, 1.0, [*self.notes, self._said[-1]]

    # ------------------------------------------------------------------ attention received

    def _go_on_with_the_rest(self) -> None:
        """Compute what may wait for the first t-SNE layout: attention received, then clusters."""
        if not self._receiving:
            self._receive()

    def _receive(self) -> None:
        """Compute the next layer's; the model may be asked for it, so that is done here, layer by layer."""
        known = known_of[self.trace].received
        layer = next((layer for layer in range(1, self.trace.layers + 1) if layer not in known), None)
        if layer is None:
            self._show_received()
            return
        self._receiving = layer
        try:
            work = receipts(self.trace, layer)
        except (RuntimeError, MemoryError, ValueError) as error:
            self._not_received(error)
            return
        self._receipts.request(work)

    def _received(self, values: Floats) -> None:
        known_of[self.trace].received[self._receiving] = values
        self._receive()

    def _not_received(self, error: Exception) -> None:
        self.log.warning("no attention received at layer %d: %s", self._receiving, error)
        self._received(np.full(self.trace.grid_of(self._receiving).tokens, np.nan, np.float32))

    def _show_received(self) -> None:
        first = np.full(self.trace.grid_of(0).tokens, np.nan, np.float32)
        known = known_of[self.trace].received
        layers = [first, *(known[layer] for layer in range(1, self.trace.layers + 1))]
        self.received = encode(np.concatenate(layers), "float32")
        if self._clusters is None and not self._clustering.busy:
            self._cluster()

    # ------------------------------------------------------------------ clusters

    @t.observe("cluster_method", "cluster_count", "cluster_eps")
    def _cluster_again(self, _change: Any) -> None:
        if self._opened:
            self._cluster()

    @t.observe("color_by")
    def _cluster_now(self, _change: Any) -> None:
        """Do what comes last first, where it is what the reader wants to see; the images show it too."""
        if self._opened and self.color_by == "cluster":
            self.cursor.set_trait("token_map", self)
        wanted = self.color_by == "cluster" and self._clusters is None
        if self._opened and wanted and not self._clustering.busy:
            self._cluster()

    def _cluster(self) -> None:
        method, count, eps = self.cluster_method, self.cluster_count, self.cluster_eps
        trace, stages = self.trace, self._stages
        skip = len(trace.prefix)
        tables = {layer: trace.layer(layer)[skip:] for stage in stages for layer in stage}
        self.cluster_note = "clustering…"
        self._clustering.request(lambda run: cluster_all(trace, stages, tables, method, count, eps, run))

    def _clustered(self, labels: list[npt.NDArray[np.int64]]) -> None:
        self._clusters = labels
        with self.hold_sync():
            self.labels, self.cluster_note = [layer.tolist() for layer in labels], ""

    def _not_clustered(self, error: Exception) -> None:
        self.cluster_note = f"no clusters: {error}"
