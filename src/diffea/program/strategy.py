"""Strategy: which of the three ways to the gradient takes the least time, by a model of a step.

The model knows the analysis and its data, not the cluster, so that the choice, and with it the last bit, is the same on any of them.
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
PER_PARAMETER = 0.35  # a tangent in forward mode
PER_BIN = 1.5  # two cotangents in reverse mode, one for the sum of weights and one for that of their squares
REVERSE = 2.0  # the second pass of the vector–Jacobian product, in which templates are filled again

OPERATION = 0.2e-9  # seconds for one of the operations that XLA counts in a fill
EXCHANGE = 15e-3  # seconds that a pass takes beside computing
A_THREAD = 250_000  # events, if there are more


def check(gradient: str) -> None:
    """See that there is such a way to the gradient.

    Raises:
        StrategyError: if there is not.
    """
    if gradient not in ("auto", *STRATEGIES):
        msg = f"gradient is one of 'auto', {', '.join(map(repr, STRATEGIES))}, got {gradient!r}"
        raise StrategyError(msg)


def fills(mode: str, parameters: int, bins: int) -> float:
    """What a pass at one point computes, in units of the time in which templates are filled once.

    Args:
        mode: of ``Program.run``, or ``hard``.
        parameters, bins: see ``cheapest``.
    """
    return {
        "jacobian": 1.0 + PER_PARAMETER * parameters,
        "vjp": REVERSE,
        "by-bin": 1.0 + PER_BIN * bins,
    }.get(mode, 1.0)


def exchange(events: int, operations: float) -> float:
    """What a pass costs beside computing, in units of the time in which templates are filled once.

    Args:
        events: in all.
        operations: of a fill, for each event.
    """
    return EXCHANGE / (min(max(events, 1), A_THREAD) * operations * OPERATION)


def cheapest(parameters: int, bins: int, exchange: float, among: Sequence[Strategy] = STRATEGIES) -> Strategy:
    """The strategy of the least cost.

    Args:
        parameters: how many numbers.
        bins: that one event may be in, those of all templates of a dataset, flow bins included.
        exchange: what a pass costs beside computing.
        among: the strategies to choose from.
    """
    costs: dict[Strategy, float] = {
        "jacobian": fills("jacobian", parameters, bins) + exchange,
        "vjp": fills("values", parameters, bins) + fills("vjp", parameters, bins) + 2.0 * exchange,
        "by-bin": fills("by-bin", parameters, bins) + exchange,
    }
    return min(among, key=costs.__getitem__)
