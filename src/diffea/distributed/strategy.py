"""Strategy: which of the three ways to the gradient takes the least time, by a model of a step.

The model knows the numbers of parameters and of bins alone, so that the choice, and with it the last bit, is the same on any cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from diffea.errors import StrategyError

Strategy = Literal["jacobian", "vjp", "by-bin"]
Gradient = Literal["auto"] | Strategy
STRATEGIES: tuple[Strategy, ...] = ("jacobian", "vjp", "by-bin")
ONE_PASS: tuple[Strategy, ...] = ("jacobian", "by-bin")  # those that give the whole Jacobian

# Each in units of the time in which a worker fills the templates of its events; see benchmarks/strategies.py.
PER_PARAMETER = 0.6  # a tangent in forward mode
PER_BIN = 4.0  # two cotangents in reverse mode, one for the sum of weights and one for that of their squares
REVERSE = 2.0  # the second pass of the vector–Jacobian product, in which templates are filled again
EXCHANGE = (
    3.0  # what a pass costs beside computing: 15 ms of messages, beside the 5 ms of 250 000 events with eight cuts
)


def check(gradient: str) -> None:
    """See that there is such a way to the gradient.

    Raises:
        StrategyError: if there is not.
    """
    if gradient not in ("auto", *STRATEGIES):
        msg = f"gradient is one of 'auto', {', '.join(map(repr, STRATEGIES))}, got {gradient!r}"
        raise StrategyError(msg)


def cost(strategy: Strategy, parameters: int, bins: int) -> float:
    """The time of a step, in units of the time in which templates are filled once.

    Args:
        strategy: ``jacobian`` (one pass, forward mode), ``vjp`` (two passes) or ``by-bin`` (one pass, reverse mode).
        parameters: how many numbers.
        bins: that one event may be in, those of all templates of a dataset, flow bins included.
    """
    if strategy == "vjp":
        return 1.0 + REVERSE + 2.0 * EXCHANGE
    derivatives = PER_PARAMETER * parameters if strategy == "jacobian" else PER_BIN * bins
    return 1.0 + derivatives + EXCHANGE


def cheapest(parameters: int, bins: int, among: Sequence[Strategy] = STRATEGIES) -> Strategy:
    """The strategy of the least cost.

    Args:
        parameters: how many numbers.
        bins: as for ``cost``.
        among: the strategies to choose from.
    """
    return min(among, key=lambda strategy: cost(strategy, parameters, bins))
