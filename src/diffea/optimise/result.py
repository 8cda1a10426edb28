"""What an optimisation tells while it runs, and what it leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from diffea.notebook import pictures, tables
from diffea.types import Params

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(frozen=True)
class Step:
    """One evaluation of the loss and its gradient.

    Attributes:
        step: counted from 1.
        steps: how many there will be at most.
        loss: at the parameters of this step; the lowest, if there are several.
        gradient_norm: Euclidean, in the units of steps (see ``Box``), there; None with exact cuts, which have no gradient.
        seconds: that the step took.
        validation: the loss on events kept for it, where it was evaluated.
        phase: of the search that it is a part of, if it is one.
        points: at how many parameter points the pass was made.
        widths: by what the widths of soft cuts were multiplied, if at all.
        fills: what it computed, in fills of all templates at one point, where that is known.
        params: where the loss is taken, by name as ``mt`` or ``edges[2]``; of many numbers the norm of each array, as ``|weights|``
            (each of them is in ``params.npy`` among the checkpoints).
    """

    step: int
    steps: int
    loss: float
    gradient_norm: float | None
    seconds: float
    validation: float | None = None
    phase: str = ""
    points: int = 1
    widths: float | None = None
    fills: float | None = None
    params: Mapping[str, float] | None = None

    def _repr_html_(self) -> str:
        return tables.of_step(self)


At = Literal["minimum", "lower bound", "upper bound", "flat", "higher than beside it"]
"""Where the best parameters lie along one of them: at a minimum of the hard loss, at one of its bounds (and no lower within), where
nothing scanned changes the loss, or where a pass was not left to move on to what is lower."""


@dataclasses.dataclass(frozen=True)
class Scan:
    """The hard loss along one parameter, the others held, around what was the best point before the scan.

    Attributes:
        values: of the parameter, ascending, in its own unit; that of the point is among them.
        losses: with exact cuts; infinite where the statistics fail.
        at: what the scan says of the point.
    """

    values: tuple[float, ...]
    losses: tuple[float, ...]
    at: At


@dataclasses.dataclass(frozen=True)
class Result:
    """The end of an optimisation.

    Attributes:
        params: of the lowest validation loss where there is one, the last ones where widths were annealed or steps had mini-batches,
            and of the lowest loss otherwise; of the lowest hard loss seen with ``"auto"``, ``"cma"`` and ``"tpe"``.
        history: of all steps, also those before a resumption.
        message: why it ended.
        hard: the loss with exact cuts at ``params``, where the optimizer looks at it.
        scans: the hard loss along each scanned parameter, by its name, at the end of ``"auto"``.
        constraints: the quantity of each constraint at ``params``, with soft cuts; the losses of ``history`` then have the constraints' terms in them.
    """

    params: Params
    history: tuple[Step, ...]
    message: str
    hard: float | None = None
    scans: Mapping[str, Scan] = dataclasses.field(default_factory=dict)
    constraints: tuple[float, ...] = ()

    def plot(self, axes: tuple[Axes, Axes] | None = None) -> tuple[Axes, Axes]:
        """The loss and the parameters against the step; see ``diffea.notebook.pictures``."""
        return pictures.plot_path(self, axes)

    def _repr_html_(self) -> str:
        return tables.of_result(self)

    @property
    def passes(self) -> int:
        """How many steps, each at one or many points."""
        return len(self.history)

    @property
    def fills(self) -> float | None:
        """What all steps computed, in fills of all templates at one point; None where it was not counted."""
        counted = [step.fills for step in self.history if step.fills is not None]
        return sum(counted) if len(counted) == len(self.history) else None
