"""How well the fit is expected to know each parameter, and how much each moves the parameter of interest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyhf

from diffea.types import JSONDict, JSONMapping

__all__ = ["nuisances"]

STEP = 1e-3


def nuisances(workspace: JSONMapping, modifier_settings: JSONMapping | None = None) -> list[JSONDict]:
    """Expected standard deviations before and after the fit, and the impact on the parameter of interest.

    At the background-only Asimov data the curvature of the likelihood is the Fisher information,
    ``F = Jᵀ diag(1/λ) J + C`` with λ the expected yields, J their derivative and C the curvature of the constraints;
    its inverse is the covariance V. The impact of θ on μ is ``V_μθ / √V_θθ`` (Cowan, Cranmer, Gross, Vitells,
    arXiv:1007.1727, section 3.2, for the Asimov data).

    Args:
        workspace: a pyhf workspace.
        modifier_settings: its interpolation codes; pyhf's own by default.

    Returns:
        A row for each parameter but the one of interest, largest impact first: ``name``, ``kind`` (the modifier's type),
        ``prior`` (None without a constraint), ``posterior``, ``impact``, and ``share``, its per cent of the largest impact. None
        where there is no parameter of interest.
    """
    model = pyhf.Workspace(workspace).model(
        modifier_settings=modifier_settings
        or {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    )
    config = model.config
    if config.poi_index is None:
        return []
    point = np.array(config.suggested_init(), float)
    point[config.poi_index] = 0.0
    expected = np.asarray(model.expected_actualdata(point), float)
    filled = expected > 0
    jacobian = np.stack([_slope(model.expected_actualdata, point, i) for i in range(len(point))])[:, filled]
    constraint = np.zeros(len(point))
    if config.nauxdata:
        auxiliary = model.expected_auxdata(point)
        for i in range(len(point)):
            constraint[i] = _curvature(lambda p: model.constraint_logpdf(auxiliary, p), point, i)
    free = ~np.asarray(config.suggested_fixed(), bool)
    information = (jacobian / expected[filled]) @ jacobian.T + np.diag(constraint)
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = np.linalg.pinv(information[np.ix_(free, free)], hermitian=True)
    kinds = dict(config.modifiers)
    rows = []
    for name in config.par_order:
        where = config.par_slice(name)
        for index in range(where.start, where.stop):
            variance = covariance[index, index]
            if index == config.poi_index or variance <= 0:
                continue
            rows.append(
                {
                    "name": name if where.stop - where.start == 1 else f"{name}[{index - where.start}]",
                    "kind": kinds[name],
                    "prior": constraint[index] ** -0.5 if constraint[index] > 1e-9 else None,
                    "posterior": float(np.sqrt(variance)),
                    "impact": float(covariance[config.poi_index, index] / np.sqrt(variance)),
                }
            )
    largest = max((abs(row["impact"]) for row in rows), default=0.0) or 1.0
    return sorted(({**row, "share": 100 * abs(row["impact"]) / largest} for row in rows), key=lambda row: -row["share"])


def _slope(function: Callable[[np.ndarray], np.ndarray], point: np.ndarray, index: int) -> np.ndarray:
    """Central difference of a vector function in one parameter."""
    up, down = _moved(point, index)
    return (np.asarray(function(up), float) - np.asarray(function(down), float)) / (2 * STEP)


def _curvature(function: Callable[[np.ndarray], np.ndarray], point: np.ndarray, index: int) -> float:
    """Minus the second difference of a scalar function in one parameter."""
    up, down = _moved(point, index)
    values = [np.asarray(function(p), float).item() for p in (up, point, down)]
    return -(values[0] - 2 * values[1] + values[2]) / STEP**2


def _moved(point: np.ndarray, index: int) -> tuple[np.ndarray, np.ndarray]:
    step = np.zeros_like(point)
    step[index] = STEP
    return point + step, point - step
