"""The perturbation bench: hide, shuffle, ablate, and see beside the original what the model makes of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import traitlets as t

from vitwidgets import perturb
from vitwidgets.interventions import Ablation, Intervention, Transplant
from vitwidgets.model_input import ModelInput
from vitwidgets.runs import LatestRun, Run
from vitwidgets.widgets.base import Index, built
from vitwidgets.widgets.pair import Pair
from vitwidgets.widgets.store import needed_first, packet

if TYPE_CHECKING:
    import pandas as pd

    from vitwidgets.inspector import Inspector, Traceable
    from vitwidgets.trace import Trace
    from vitwidgets.widgets.cursor import Cursor

Choice = Literal["painted", "random", "salient", "non_salient"]
Hidden: TypeAlias = "tuple[int, ...]"

CHOICES: tuple[Choice, ...] = get_args(Choice)
LARGEST_GRID = 32  # tiles each way; beyond it no slider is worth having
LISTED = 5  # classes that the page compares


@dataclass(frozen=True)
class Recipe:
    """All that is done to the original: what makes two runs the same.

    Attributes
    ----------
    patches : tuple of int
        What is painted; empty for another mode.
    mode, fill, rate, seed, grid, interventions
        As the traits of `PerturbLab`; the rate is 0 where it has no say.
    """

    patches: Hidden
    mode: Choice
    fill: perturb.Fill
    rate: float
    seed: int
    grid: int
    interventions: tuple[Intervention, ...]

    @property
    def changes_nothing(self) -> bool:
        """Whether the perturbed pass would be the original one."""
        hides = bool(self.patches) if self.mode == "painted" else self.rate > 0
        return not hides and self.grid == 1 and not self.interventions


class PerturbLab(Pair):
    """Original and perturbed input side by side under one cursor, with both predictions.

    Patches are hidden, then the picture is cut into tiles and shuffled, then the interventions act within the
    model. Whatever changes, the model runs again in a thread of its own: the last state wins, the kernel
    stays free, and the model itself is never modified. Both sides show the model input, as the perturbation
    acts on that.

    In the page, dragging over the left picture paints patches away; with Alt or the right button it brings
    them back. What is painted is the cursor's selection: a lasso on a `TokenMap` with the same cursor hides
    patches too.

    Parameters
    ----------
    inspector : Inspector
        The model.
    image : path, PIL image, ndarray, Tensor or ModelInput
        As for `Inspector.trace`.
    cursor : Cursor, optional
        Share one to move together with other panels on this model.
    donor : the same as `image`, or a Trace of the same model, optional
        Another image; then its activations can be put in the place of this one's.
    salience : array_like of float, shape (rows, cols), optional
        What the modes "salient" and "non_salient" go by; by default `vitwidgets.perturb.rollout_salience`.
    **kwargs
        Traits: those below, and the cursor's.

    Attributes
    ----------
    before : Trace
        Of the original.
    input : ModelInput
        The original.

    Raises
    ------
    TypeError
        If a keyword is unknown, or `cursor` no Cursor.
    traitlets.TraitError
        If a trait does not take its value.
    ValueError
        If `salience` has another shape than the patch grid, or the donor another than the image.

    Examples
    --------
    >>> import vitwidgets as vw
    >>> inspector = vw.Inspector("demo")
    >>> lab = vw.PerturbLab(inspector, vw.demo.scene(7).image, mode="random", rate=0.5)
    >>> lab.wait()
    >>> lab.after.notes
    ['32 of 64 patches occluded (black)']
    """

    _esm = built("perturb_lab.js")
    _regions = ("image", "predictions")
    _recipe = ("patches", "mode", "fill", "rate", "seed", "grid", "interventions")
    _from_page = (*Pair._from_page, "mode", "fill", "rate", "seed", "grid", "interventions")

    patches = t.List(Index())
    """What is painted away: patch indices, the cursor's selection."""

    mode = t.Enum(CHOICES, "painted").tag(sync=True)
    """Which patches are hidden: the painted ones, or a share of all: ``"random"``, the most ``"salient"`` or
    the least (``"non_salient"``)."""

    fill = t.Enum(perturb.FILLS, "black").tag(sync=True)
    """What takes their place; `vitwidgets.perturb.occlude` describes each."""

    rate = t.Float(0.5, min=0, max=1).tag(sync=True)
    """Share of the patches to hide, 0..1; has no say where the mode is ``"painted"``."""

    seed = Index(0, min=0).tag(sync=True)
    """Of the random choice of patches and of the shuffling, at least 0."""

    grid = Index(1).tag(sync=True)
    """Tiles each way to cut the picture into and to shuffle, one of `grids`; 1 shuffles nothing."""

    interventions: Any = t.List().tag(
        sync=True,
        to_json=lambda value, lab: [lab._as_json(one) for one in value],
        from_json=lambda value, lab: lab._from_json(value),
    )
    """`Ablation` and `Transplant`, acting in this order."""

    grids = t.List(Index(), read_only=True).tag(sync=True)
    """What `grid` may be: what divides the input, up to 32."""

    progress = t.Float(None, allow_none=True, read_only=True).tag(sync=True)
    """How much of the run under way is done, 0..1; None where none is."""

    problem = t.Unicode(read_only=True).tag(sync=True)
    """Why the last run failed; empty where it did not."""

    comparison: Any = t.List(read_only=True).tag(sync=True)
    """The most probable classes before and after, for the page: name, both probabilities, both logits."""

    has_donor = t.Bool(read_only=True).tag(sync=True)
    """Whether there is another image to take activations from."""

    after: Any = t.Any(read_only=True)
    """The `Trace` of the perturbed input; observable. Where nothing is perturbed, `before` itself."""

    def __init__(
        self,
        inspector: Inspector,
        image: Traceable,
        *,
        cursor: Cursor | None = None,
        donor: Traceable | Trace | None = None,
        salience: npt.ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        self._runs = LatestRun["Trace"](done=self._arrived, failed=self._failed, progress=self._progressed)
        self.inspector = inspector
        self.input: ModelInput = inspector.input(image)
        self.before = before = inspector.trace(self.input)
        self._salience = None if salience is None else _checked(salience, before)
        self._sources = [] if donor is None else [_donor(inspector, donor, before)]
        self._asked: Recipe | None = None  # of the last run, whatever came of it
        self._error: Exception | None = None
        self.set_trait("after", before)
        self.set_trait("has_donor", donor is not None)
        grids = [grid for grid in perturb.shuffle_grids(self.input) if grid <= LARGEST_GRID]
        self.set_trait("grids", grids)
        self.set_trait("comparison", _compared(before, before))
        super().__init__(before, before, cursor=cursor, titles=("original", "perturbed"), **kwargs)
        self.observe(self._ask, names=list(self._recipe))
        self._ask()

    # ------------------------------------------------------------ what to do

    @t.validate("rate")
    def _share(self, proposal: Any) -> Any:
        if isnan(proposal["value"]):
            raise t.TraitError("rate is NaN; expected a number in 0..1")
        return proposal["value"]

    @t.validate("grid")
    def _tiles(self, proposal: Any) -> Any:
        if proposal["value"] not in self.grids:
            high, wide = self.input.size
            raise t.TraitError(
                f"grid is {proposal['value']}; an input of {high} x {wide} pixels can be cut into "
                f"{', '.join(map(str, self.grids))} tiles each way"
            )
        return proposal["value"]

    @t.validate("interventions")
    def _possible(self, proposal: Any) -> Any:
        for one in proposal["value"]:
            problem = _problem(self.before, one)
            if problem:
                raise t.TraitError(problem)
        return proposal["value"]

    def _as_json(self, one: Intervention) -> dict[str, Any]:
        """What the page keeps of an intervention: its fields that say something, and it in words."""
        told = {field.name: getattr(one, field.name) for field in fields(one)}
        if isinstance(one, Transplant):
            told["source"] = self._source(one.source)
        return {"text": str(one), **{name: value for name, value in told.items() if value is not None}}

    def _source(self, trace: Trace) -> int:
        """The number under which the page knows the trace that activations are taken from."""
        for number, known in enumerate(self._sources):
            if known is trace:
                return number
        self._sources.append(trace)
        return len(self._sources) - 1

    def _from_json(self, value: Any) -> list[Intervention]:
        """Interventions as the page names them, or a TraitError."""
        try:
            return [self._read(dict(told)) for told in value]
        except (TypeError, ValueError, IndexError) as error:
            raise t.TraitError(f"interventions {value!r} are not understood: {error}") from error

    def _read(self, told: dict[str, Any]) -> Intervention:
        told.pop("text", None)
        if told.get("tokens") is not None:
            told["tokens"] = [_token(token) for token in told["tokens"]]
        if "source" in told:
            return Transplant(self._sources[told.pop("source")], **told)
        return Ablation(**{**told, "token": _token(told.get("token"))})

    def _now(self) -> Recipe:
        painted = self.mode == "painted"
        return Recipe(
            tuple(self.patches) if painted else (),
            self.mode,
            self.fill,
            0.0 if painted else self.rate,
            self.seed,
            self.grid,
            tuple(self.interventions),
        )

    # ------------------------------------------------------------ doing it

    def _ask(self, _change: Any = None) -> None:
        recipe = self._now()
        if recipe == self._asked:
            return
        self._asked = recipe
        if recipe.changes_nothing:
            self._runs.cancel()
            self._arrived(self.before)
            return
        overlay, layer = self.overlay, self.layer
        self._runs.request(lambda run: self._made(recipe, run, overlay, layer))

    def _made(self, recipe: Recipe, run: Run, overlay: str, layer: int) -> Trace:
        """The perturbed trace. In the working thread."""
        steps = 0

        def cancelled() -> bool:
            nonlocal steps
            run.progress(steps / (self.before.layers + 1))
            steps += 1
            return run.cancelled()

        trace = self.inspector.trace(
            self._perturbed(recipe),
            ablate=[one for one in recipe.interventions if isinstance(one, Ablation)],
            patch_from=[one for one in recipe.interventions if isinstance(one, Transplant)],
            cancelled=cancelled,
        )
        for name in needed_first(self.before, overlay, layer):
            packet(trace, name)  # what has to be computed for the first picture is computed here
        return trace

    def _perturbed(self, recipe: Recipe) -> ModelInput:
        hidden: Any = recipe.patches
        if recipe.mode != "painted":
            salience = None if recipe.mode == "random" else self.salience
            hidden = perturb.select(self.input, recipe.mode, recipe.rate, salience=salience, seed=recipe.seed)
        image = perturb.occlude(self.input, hidden, fill=recipe.fill)
        return perturb.shuffle(image, grid=recipe.grid, seed=recipe.seed) if recipe.grid > 1 else image

    @property
    def salience(self) -> npt.NDArray[np.float32]:
        """What the modes "salient" and "non_salient" go by, (rows, cols).

        Raises
        ------
        ValueError
            If none was given and the model has no rollout; says why.
        """
        if self._salience is None:
            self._salience = perturb.rollout_salience(self.before)
        return self._salience

    # ------------------------------------------------------------ what came of it

    def _arrived(self, trace: Trace) -> None:
        with self.hold_sync():
            self._error = None
            self.set_trait("problem", "")
            self.set_trait("progress", None)
            self.set_trait("comparison", _compared(self.before, trace))
            self._show(trace, lean=trace is not self.before)
        self.set_trait("after", trace)

    def _failed(self, error: Exception) -> None:
        self._error = error
        self.set_trait("problem", str(error) or type(error).__name__)
        self.set_trait("progress", None)

    def _progressed(self, share: float) -> None:
        self.set_trait("progress", share)

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the model has run on the state as it is now.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default as long as it takes.

        Raises
        ------
        TimeoutError
            If it takes longer.
        Exception
            What made the run fail, where it did.
        """
        if not self._runs.wait(timeout):
            raise TimeoutError(f"the model has not run through within {timeout} s")
        if self._error is not None:
            raise self._error

    @property
    def result(self) -> pd.DataFrame:
        """The predictions before and after, all classes, the most probable of the original first.

        Columns ``before``, ``after`` and ``change`` are probabilities, ``logit_before``, ``logit_after`` and
        ``logit_change`` logits; the index is the class name. Empty for a model without a classifier.
        """
        import pandas as pd

        columns = dict.fromkeys(["before", "after", "change", "logit_before", "logit_after", "logit_change"])
        if not self.before.has_predictions:
            return pd.DataFrame(columns=list(columns))
        p, q, z, y = (
            self.before.probabilities, self.after.probabilities, self.before.logits, self.after.logits
        )  # fmt: skip
        names = pd.Index(self.before.class_names, name="class")
        table = pd.DataFrame(dict(zip(columns, [p, q, q - p, z, y, y - z], strict=True)), index=names)
        return table.iloc[np.argsort(-p, kind="stable")]

    def close(self) -> None:
        """Cancel what runs, and close the panel."""
        self._runs.close()
        super().close()


def _checked(salience: npt.ArrayLike, trace: Trace) -> npt.NDArray[np.float32]:
    perturb.select(trace, "salient", 0, salience=salience)  # says what is wrong with it
    return np.asarray(salience, np.float32)


def _donor(inspector: Inspector, donor: Any, before: Trace) -> Trace:
    from vitwidgets.trace import Trace

    trace = donor if isinstance(donor, Trace) else inspector.trace(donor)
    if trace.patch_grid != before.patch_grid:
        raise ValueError(
            f"the donor has {trace.grid[0]} x {trace.grid[1]} patches, the image {before.grid[0]} x "
            f"{before.grid[1]}; activations can be taken only from an input of the same size"
        )
    return trace


def _problem(trace: Trace, one: object) -> str:
    """Why an intervention is none that this model has a place for; empty where it may be."""
    if not isinstance(one, (Ablation, Transplant)):
        return f"interventions are vitwidgets.Ablation or vitwidgets.Transplant, got {one!r}"
    if not _within(one.layer, trace.layers + 1):
        return f"layer is {one.layer!r}; {trace.model_name} has layers 0..{trace.layers}"
    counts = {"neuron": trace.width_of, "unit": trace.hidden_of, "head": trace.heads_of}
    for name, count in counts.items():
        value = getattr(one, name, None)
        if value is not None and not _within(value, count(one.layer)):
            there = f"0..{count(one.layer) - 1}" if count(one.layer) else "none"
            what = "MLP neuron" if name == "unit" else name
            return f"{what} is {value!r}; layer {one.layer} of {trace.model_name} has {there}"
    tokens = [one.token] if isinstance(one, Ablation) else list(one.tokens or ())
    try:
        for token in tokens:
            if token is not None:
                trace.grid_of(one.layer).index(token)
    except (ValueError, IndexError, TypeError) as error:
        return str(error)
    return ""


def _token(told: Any) -> Any:
    """Read a token: JSON has no tuples."""
    return tuple(told) if isinstance(told, list) else told


def _within(value: object, count: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(0 <= value < count)


def _compared(before: Trace, after: Trace) -> list[list[str | float | None]]:
    """The classes that lead before or after: name, probability before and after, logit before and after."""
    if not before.has_predictions:
        return []
    p, q = before.probabilities, after.probabilities
    leading = [*np.argsort(-p, kind="stable")[:LISTED], *np.argsort(-q, kind="stable")[: LISTED - 2]]
    classes = [int(number) for number in dict.fromkeys(leading)]
    numbers = (p, q, before.logits, after.logits)
    return [
        [before.class_names[number], *(_finite(float(values[number])) for values in numbers)]
        for number in classes
    ]


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None  # JSON has no NaN
