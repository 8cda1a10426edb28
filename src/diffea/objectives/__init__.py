"""What is minimised: plain functions of a bound model, differentiable in all of its numbers.

What they share is said here once. All of them take ``bound``, a bound model, first; `cls`, `log_cls`, `upper_limit`, `discovery`,
`discovery_significance`, `poi_uncertainty` and `generalised_variance` also a likelihood of one's own, bound to its templates
(``statistics.Likelihood``), whose ``data`` are templates with the data in them. Those that can look at data have

- ``data``: events of all bins and auxiliary data. Without them an objective takes Asimov data: background only at the
  nuisance parameters' initial values (`discovery`: signal plus background). Observed data enter only if given by name.
- ``solver``: how to fit, a ``diffea.statistics.Solver``.

They raise `FitError` if a fit does not converge, `DataError` if data are too few or too many, negative or NaN, and `ParameterError` if a signal
strength is not one finite number; `cls`, `log_cls`,
`upper_limit`, `discovery` and `discovery_significance` raise `YieldError` if a bin of their Asimov data has signal and no background.
"""

from diffea.objectives.counting import counting_significance
from diffea.objectives.entropies import binary_cross_entropy, cross_entropy, cross_entropy_with_variations
from diffea.objectives.hypotheses import cls, discovery, discovery_significance, log_cls, upper_limit
from diffea.objectives.uncertainties import (
    generalised_variance,
    mc_statistical_error,
    nuisance_penalty,
    poi_uncertainty,
)

__all__ = [
    "binary_cross_entropy",
    "cls",
    "counting_significance",
    "cross_entropy",
    "cross_entropy_with_variations",
    "discovery",
    "discovery_significance",
    "generalised_variance",
    "log_cls",
    "mc_statistical_error",
    "nuisance_penalty",
    "poi_uncertainty",
    "upper_limit",
]
