"""A class's probability against the share of patches that are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import ipywidgets
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from vitwidgets import perturb
from vitwidgets.charts.chart import Chart
from vitwidgets.inspector import Inspector, Traceable
from vitwidgets.model_input import ModelInput
from vitwidgets.plot import MARKERS, NEUTRAL, PALETTE, Axis, Band, Curve, Mark, Plot, ticks
from vitwidgets.runs import LatestRun, Run
from vitwidgets.stills import chart as stills
from vitwidgets.widgets.perturb_lab import PerturbLab

COLOURS = {"random": NEUTRAL, "salient": PALETTE[1], "non_salient": PALETTE[0]}
SHAPES = dict(zip(perturb.MODES, MARKERS, strict=False))
COLUMNS = ("mode", "rate", "seed", "hidden", "probability")


class RateCurve(Chart):
    """The top class's probability against the share of patches that are hidden.

    One curve for each way of choosing them, the mean over seeds, with a band from the least to the greatest.
    Sets of patches that several points share go through the model once. The passes run in batches in a thread
    of their own; what is done is shown, and can be cancelled.

    Parameters
    ----------
    source : Inspector or PerturbLab
        The model; of a lab, also its image, its salience and its `fill`.
    image : path, PIL image, ndarray, Tensor or ModelInput, optional
        For an Inspector; as for `Inspector.trace`.
    rates : sequence of float
        Shares of the patches, each 0..1.
    modes : sequence of {"random", "salient", "non_salient"}
        Which curves.
    seeds : int or sequence of int
        How many seeds, from 0 on, or which.
    fill : {"black", "mean", "blur"}, optional
        As in `vitwidgets.perturb.occlude`; by default the lab's, or black.
    target : int, optional
        Which class; by default the most probable one of the original.
    salience : array_like of float, shape (rows, cols), optional
        What "salient" goes by; by default `vitwidgets.perturb.rollout_salience`.
    batch : int
        How many inputs go through the model at once.

    Attributes
    ----------
    data : pandas.DataFrame
        A row for each point: ``mode``, ``rate``, ``seed``, ``hidden`` (number of patches) and
        ``probability``. Empty until the run is done.
    problem : str
        Why the run failed; empty where it did not.

    Raises
    ------
    TypeError
        If `source` is neither, or `image` is missing or too much.
    ValueError
        If the model has no classes, or `rates`, `modes`, `seeds` or `target` are not as above.
    """

    def __init__(
        self,
        source: Inspector | PerturbLab,
        image: Traceable | None = None,
        *,
        rates: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
        modes: Sequence[perturb.Mode] = perturb.MODES,
        seeds: int | Sequence[int] = 4,
        fill: perturb.Fill | None = None,
        target: int | None = None,
        salience: npt.ArrayLike | None = None,
        batch: int = 8,
    ) -> None:
        self._runs = LatestRun[tuple[int, pd.DataFrame]](
            done=self._arrived, failed=self._failed, progress=self._progressed, delay=0
        )
        lab = source if isinstance(source, PerturbLab) else None
        self.inspector = _inspector(source, image)
        self.input: ModelInput = lab.input if lab is not None else self.inspector.input(cast(Any, image))
        self.rates, self.modes = list(rates), list(modes)
        self.seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
        self.fill: perturb.Fill = fill or (cast(Any, lab.fill) if lab is not None else "black")
        self.batch, self.problem = batch, ""
        self._error: Exception | None = None
        self._salience = salience if salience is not None or lab is None else lab.salience
        self._before = None if lab is None else lab.before
        self._target = target
        self._check()
        self._bar = ipywidgets.FloatProgress(min=0, max=1, layout=ipywidgets.Layout(width="200px"))
        self._button = ipywidgets.Button(description="Cancel", layout=ipywidgets.Layout(width="90px"))
        self._button.on_click(lambda _: self.cancel())
        self._words = ipywidgets.Label("the model is running…")
        self._state = ipywidgets.HBox([self._bar, self._button, self._words])
        across = Axis("share of patches hidden", 0, 1, np.linspace(0, 1, 5))
        up = Axis("probability", 0, 1, ticks(0, 1))
        super().__init__(
            Plot("", across, up, keyed=True), pd.DataFrame(columns=list(COLUMNS)), below=[self._state]
        )
        self.run()

    def run(self) -> None:
        """Run the passes, anew where they ran before."""
        self.problem, self._error = "", None
        self._state.layout.display, self._button.layout.display = "", ""
        self._words.value = "the model is running…"
        self._runs.request(self._measure)

    def cancel(self) -> None:
        """Stop; what was drawn before stays."""
        self._runs.cancel()
        self._button.layout.display = "none"
        self._words.value = "cancelled"

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all passes are done, or cancelled.

        Parameters
        ----------
        timeout : float, optional
            Seconds; by default as long as it takes.

        Raises
        ------
        TimeoutError
            If it takes longer.
        Exception
            What made it fail, where it did.
        """
        if not self._runs.wait(timeout):
            raise TimeoutError(f"the passes are not done within {timeout} s")
        if self._error is not None:
            raise self._error

    def _drawn(self, width: int) -> Image.Image:
        words = "the model had not run through yet" if self._runs.busy else self._words.value
        known = self.plot if self.plot.marks else replace(self.plot, note=words)
        return stills.draw(known, width=width)

    def close(self) -> None:
        """Cancel what runs, and close the chart."""
        self._runs.close()
        super().close()

    def _check(self) -> None:
        if not self.inspector.class_names:
            raise ValueError(f"{self.inspector.name} has no classes, so there is no probability to follow")
        if not (self.rates and self.modes and self.seeds):
            raise ValueError("rates, modes and seeds must each name at least one")
        flat = np.zeros((self.input.patch_grid.rows, self.input.patch_grid.cols))
        salience = flat if self._salience is None else self._salience
        perturb.rate_plan(  # says what is wrong with them
            self.input, rates=self.rates, modes=self.modes, seeds=self.seeds, salience=salience
        )
        perturb.occlude(self.input, [], fill=self.fill)
        classes = len(self.inspector.class_names)
        if self._target is not None and not 0 <= self._target < classes:
            raise ValueError(f"target is {self._target}; classes are 0..{classes - 1}")

    def _measure(self, run: Run) -> tuple[int, pd.DataFrame]:
        """Number of the class, and the points. In the working thread."""
        before, salience, target = self._before, self._salience, self._target
        if salience is None and set(self.modes) != {"random"}:
            if before is None:
                before = self.inspector.trace(
                    self.input, keep=("tokens", "attention"), cancelled=run.cancelled
                )
            salience = perturb.rollout_salience(before)
        plan = perturb.rate_plan(
            self.input, rates=self.rates, modes=self.modes, seeds=self.seeds, salience=salience
        )
        hidden = [tuple(one.patches.tolist()) for one in plan]
        logits = {} if before is None else {(): before.logits}  # nothing hidden: the pass is done
        needed = dict.fromkeys(hidden if target is not None else [*hidden, ()])
        left = [patches for patches in needed if patches not in logits]
        if left:
            rows = self.inspector.logits(
                (perturb.occlude(self.input, patches, fill=self.fill) for patches in left), batch=self.batch,
                progress=lambda done: run.progress(done / len(left)), cancelled=run.cancelled,
            )  # fmt: skip
            logits.update(zip(left, rows, strict=True))
        if target is None:
            target = int(np.argmax(logits[()]))
        points = [
            (point.mode, point.rate, point.seed, len(patches), _share(logits[patches], target))
            for one, patches in zip(plan, hidden, strict=True)
            for point in one.points
        ]
        return target, pd.DataFrame(points, columns=list(COLUMNS))

    def _arrived(self, made: tuple[int, pd.DataFrame]) -> None:
        target, data = made
        order = {mode: number for number, mode in enumerate(self.modes)}
        self.data = data.sort_values(
            ["mode", "rate", "seed"], key=lambda part: part.map(order) if part.name == "mode" else part
        ).reset_index(drop=True)
        self._state.layout.display = "none"
        self._draw(f"probability of {self.inspector.class_names[target]}", self._marks())

    def _marks(self) -> list[Mark]:
        marks: list[Mark] = []
        several = len(set(self.seeds)) > 1
        rates = np.array(sorted(set(self.rates)), np.float64)
        for mode in dict.fromkeys(self.modes):
            over_seeds = self.data[self.data["mode"] == mode].groupby("rate")["probability"]
            low, mean, high = over_seeds.agg(["min", "mean", "max"]).to_numpy(np.float64).T
            colour, spread = COLOURS[mode], "least to greatest over seeds" if several else ""
            marks.append(Band(spread, rates, low, high, colour))
            marks.append(Curve(mode.replace("_", "-"), rates, mean, colour, marker=SHAPES[mode]))
        return marks

    def _failed(self, error: Exception) -> None:
        self._error, self.problem = error, str(error) or type(error).__name__
        self._button.layout.display = "none"
        self._words.value = self.problem

    def _progressed(self, share: float) -> None:
        self._bar.value = share


def _inspector(source: object, image: object) -> Inspector:
    if isinstance(source, PerturbLab):
        if image is not None:
            raise TypeError("a PerturbLab has its own image: leave image out")
        return source.inspector
    if not isinstance(source, Inspector):
        raise TypeError(f"source must be an Inspector or a PerturbLab, got {type(source).__name__}")
    if image is None:
        raise TypeError("an Inspector needs an image: RateCurve(inspector, image)")
    return source


def _share(logits: npt.NDArray[np.float32], target: int) -> float:
    """Probability of a class."""
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    return float(shifted[target] / shifted.sum())
