"""How well the fit is expected to know each parameter, how much each moves the parameter of interest, and what is doubtful."""

from __future__ import annotations

import numpy as np

from diffea import statistics
from diffea.types import JSONDict, JSONMapping

__all__ = ["doubts", "nuisances"]


def nuisances(workspace: JSONMapping, modifier_settings: JSONMapping | None = None) -> list[JSONDict]:
    """Expected standard deviations before and after the fit, and the impact on the parameter of interest.

    `statistics.nuisances` at the background-only Asimov data, in rows.

    Args:
        workspace: a pyhf workspace.
        modifier_settings: its interpolation codes; pyhf's own by default.

    Returns:
        A row for each parameter but the one of interest, largest impact first: ``name``, ``kind`` (the modifier's type),
        ``prior`` (None without a constraint), ``posterior``, ``impact``, and ``share``, its per cent of the largest impact. None
        where there is no parameter of interest.
    """
    model = statistics.HistFactory.from_workspace(workspace, modifier_settings=modifier_settings)
    bound = model()
    config = bound.config
    if config.poi_index is None:
        return []
    found = statistics.nuisances(bound)
    prior, posterior, impact = map(np.asarray, (found.priors, found.uncertainties, found.impacts))
    kinds = dict(config.modifiers)
    rows: list[JSONDict] = [
        {
            "name": config.par_names[i],
            "kind": kinds[name],
            "prior": float(prior[i]) if np.isfinite(prior[i]) else None,
            "posterior": float(posterior[i]),
            "impact": float(impact[i]),
        }
        for name in config.par_order
        for i in range(config.npars)[config.par_slice(name)]
        if i != config.poi_index and 0 < posterior[i] < np.inf
    ]
    largest = max((abs(row["impact"]) for row in rows), default=0.0) or 1.0
    return sorted(({**row, "share": 100 * abs(row["impact"]) / largest} for row in rows), key=lambda row: -row["share"])


def doubts(workspace: JSONMapping, modifier_settings: JSONMapping | None = None) -> list[str]:
    """What `statistics.warnings` says of a workspace with a parameter of interest."""
    bound = statistics.HistFactory.from_workspace(workspace, modifier_settings=modifier_settings)()
    return [] if bound.config.poi_index is None else statistics.warnings(bound)
