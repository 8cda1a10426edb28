"""What an optimisation tells while it runs, and what it leaves."""

from __future__ import annotations

import dataclasses

from diffea.types import Params


@dataclasses.dataclass(frozen=True)
class Step:
    """One evaluation of the loss and its gradient.

    Attributes:
        step: counted from 1.
        steps: how many there will be at most.
        loss: at the parameters of this step.
        gradient_norm: Euclidean, in the units of steps (see ``Box``).
        seconds: that the step took.
        validation: the loss on events kept for it, where it was evaluated.
    """

    step: int
    steps: int
    loss: float
    gradient_norm: float
    seconds: float
    validation: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """The end of an optimisation.

    Attributes:
        params: of the lowest validation loss where there is one, the last ones where widths were annealed, and of the
            lowest loss otherwise.
        history: of all steps, also those before a resumption.
        message: why it ended.
    """

    params: Params
    history: tuple[Step, ...]
    message: str
