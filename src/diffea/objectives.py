"""What is minimised: plain functions of a bound model, differentiable in all of its numbers.

Without ``data`` every objective uses Asimov data: background only at the nuisance parameters' initial values
(`discovery`: signal plus background). Observed data enter only if they are given by name.
"""

from __future__ import annotations

from typing import Any

from jax import Array

from diffea.statistics import hypotests as _tests
from diffea.statistics import limits as _limits
from diffea.statistics.model import BoundModel
from diffea.statistics.ratios import Statistic
from diffea.statistics.solver import Solver


def cls(
    bound: BoundModel,
    poi_test: float | Array = 1.0,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""CLs of a value of the parameter of interest; by default the median expected one (neos, arXiv:2203.05570).

    $CL_s = \Phi(-(t + \sqrt{q_A})) / \Phi(-t)$ (arXiv:1007.1727); on background-only Asimov data $2\Phi(-\sqrt{q_A})$.

    Args:
        bound: the model.
        poi_test: tested value.
        data: events of all bins and auxiliary data, for the CLs of these; Asimov data by default.
        test_stat: ``"qtilde"`` or ``"q"``.
        solver: how to fit.

    Raises:
        FitError: if a fit does not converge.
    """
    return _tests.hypotest(bound, poi_test, data, test_stat=test_stat, solver=solver).cls


def upper_limit(
    bound: BoundModel,
    cl: float = 0.95,
    data: Any = None,
    *,
    test_stat: Statistic = "qtilde",
    solver: Solver | None = None,
) -> Array:
    r"""Upper limit on the parameter of interest from CLs; by default the median expected one.

    The μ at which $CL_s(\mu) = 1 - \mathrm{cl}$; expected: $\sqrt{q_A(\mu)} = \Phi^{-1}(1 - (1-\mathrm{cl})/2)$
    (arXiv:1007.1727, section 4.3, with CLs).

    Args:
        bound: the model.
        cl: confidence level.
        data: events of all bins and auxiliary data, for the limit of these; Asimov data by default.
        test_stat: ``"qtilde"`` or ``"q"``.
        solver: how to fit.

    Raises:
        FitError: if a fit does not converge, or no value is excluded.
    """
    limit = _limits.upper_limit(bound, cl, data, test_stat=test_stat, solver=solver)
    return limit.expected if limit.observed is None else limit.observed


def discovery(
    bound: BoundModel, data: Any = None, *, poi_true: float | Array = 1.0, solver: Solver | None = None
) -> Array:
    r"""p-value of the background-only hypothesis, $p_0 = \Phi(-\sqrt{q_0})$ (arXiv:1007.1727, eqs. 12 and 53).

    Args:
        bound: the model.
        data: events of all bins and auxiliary data; signal-plus-background Asimov data by default.
        poi_true: signal strength of those Asimov data.
        solver: how to fit.

    Raises:
        FitError: if a fit does not converge.
    """
    return _tests.discovery(bound, data, poi_true=poi_true, solver=solver).p_value
