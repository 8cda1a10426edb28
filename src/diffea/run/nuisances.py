"""What a fit knows of each parameter, and how much each moves the parameter of interest."""

from __future__ import annotations

import numpy as np
from jax.typing import ArrayLike

from diffea import statistics
from diffea.run.numbers import numbers
from diffea.statistics.bound import BoundModel
from diffea.types import JSONDict

CORRELATED = 0.05  # what correlates less with all others is left out of the matrix


def fitted(bound: BoundModel, data: ArrayLike | None = None) -> JSONDict:
    """Pulls, constraints, ranking and correlations, from the likelihood's curvature at the best fit.

    Args:
        bound: the model.
        data: events of all bins and auxiliary data; by default the background-only Asimov data, whose best fit is known and whose pulls are 0.

    Returns:
        ``parameters``, largest impact first, each with ``name``, ``kind`` of its modifier, ``value``, ``uncertainty``, ``pull`` and ``constraint`` (in
        units of its prior; None without one), and ``impact``, how far the parameter of interest moves with it (None if there is none); and
        ``correlations``, ``parameters`` and ``matrix`` of those that correlate.

    Raises:
        FitError: if the fit does not converge.
    """
    config = bound.config
    known, found = statistics.nuisances(bound, data), statistics.estimates(bound, data)
    kinds = dict(config.modifiers)
    of = {
        name: kinds[group] for group in config.par_order for name in np.array(config.par_names)[config.par_slice(group)]
    }
    poi = config.poi_index
    impacts = np.zeros(config.npars) if poi is None else np.abs(np.asarray(known.impacts))
    rows = [
        {
            "name": known.parameters[place],
            "kind": of[known.parameters[place]],
            "value": numbers(known.values[place]),
            "uncertainty": numbers(known.uncertainties[place]),
            "pull": numbers(known.pulls[place]) if np.isfinite(known.constraints[place]) else None,
            "constraint": numbers(known.constraints[place]),
            "impact": None if poi is None else numbers(known.impacts[place]),
        }
        for place in np.argsort(-np.nan_to_num(impacts), kind="stable")
        if place != poi
    ]
    matrix = np.nan_to_num(np.asarray(found.correlation))
    kept = np.flatnonzero(np.abs(matrix - np.diag(np.diag(matrix))).max(axis=1, initial=0.0) >= CORRELATED)
    names = [found.parameters[place] for place in kept]
    return {"parameters": rows, "correlations": {"parameters": names, "matrix": matrix[np.ix_(kept, kept)].tolist()}}
