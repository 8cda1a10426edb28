"""The public interface, as a snapshot: whoever changes it changes this file, and says so in the changelog."""

from __future__ import annotations

import inspect

import diffea
import diffea.statistics

NAMES = [
    "Analysis", "Composite", "Constraint", "DifferentiableProcessor", "Fill", "HistFactory", "Pretraining", "Ragged", "Split", "Template",
    "TemplateSet", "Variant", "anneal", "distribute", "errors", "evaluate", "exchange", "histogram", "learning", "objectives", "optimise", "soft",
]  # fmt: skip
STATISTICS = """
BoundLikelihood BoundModel Discovery Estimates Fit GoodnessOfFit HistFactory HypoTest Interval Likelihood Limit
LimitScan Nuisances Prediction Ranking Scan Solver ToyTest Yields discovery effective_events estimates
fisher_condition fit goodness_of_fit hypotest interval likelihood_ratio limit_scan nuisances plot_correlations
plot_likelihood_scan plot_limit_scan plot_postfit plot_prefit plot_pulls plot_ranking postfit prefit ranking scan
upper_limit warnings
"""
PARAMETERS = {
    "Fill": "channel observable weight sample variation bandwidth kernel",
    "HistFactory": "spec poi_name modifier_settings",
    "Split": "train validation seed part folds fold",
    "distribute": "processor fileset client schemaclass chunksize split precision on_bad_file memory gradient identify observed timeout uproot_options",
    "evaluate": "processor fileset params model client schemaclass chunksize split on_bad_file memory replicas observed uproot_options",
    "histogram": "x edges weights bandwidth kernel flow reflect",
    "optimise": "loss params optimizer steps bounds widths schedules batches constraint checkpoint resume progress validate validate_every patience",
}


def test_names() -> None:
    assert sorted(diffea.__all__) == NAMES
    assert dir(diffea) == sorted(diffea.__all__)


def test_names_of_the_statistics() -> None:
    assert diffea.statistics.__all__ == STATISTICS.split()
    assert all(hasattr(diffea.statistics, name) for name in diffea.statistics.__all__)


def test_parameters() -> None:
    found = {name: list(inspect.signature(getattr(diffea, name)).parameters) for name in PARAMETERS}
    assert {name: " ".join(p for p in names if p != "_") for name, names in found.items()} == PARAMETERS


def test_every_error_is_named_and_says_when_it_is_raised() -> None:
    classes = [cls for cls in vars(diffea.errors).values() if inspect.isclass(cls)]
    assert all(issubclass(cls, diffea.errors.DiffeaError | Warning) for cls in classes)
    assert all((cls.__doc__ or "").startswith(("Raised when", "Base of", "Warned")) for cls in classes)
