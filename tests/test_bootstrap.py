"""The bootstrap's errors against independent samples, which NumPy makes."""

from __future__ import annotations

import hist
import numpy as np
import pytest

from diffea import bootstrap, errors
from diffea.templates import Layout, TemplateSet

BIN = Layout({"c": (hist.axis.Regular(1, 0, 1),)}, (("c", "s", "nominal"),))


def count(number: np.ndarray) -> TemplateSet:
    """Templates of so many events of weight 1, all in one bin."""
    sums = np.asarray(number, float)[..., None] * np.array([0.0, 1.0, 0.0])
    return TemplateSet(BIN, sums, sums)


def bent(templates: TemplateSet) -> float:
    """Steepest where 30 events are expected: samples that scatter have a smaller slope on average."""
    return float(np.tanh((templates.values_flat[1] - 30.0) / 10.0))


def measured(number: int, rng: np.random.Generator, replicas: int = 100) -> tuple[bootstrap.Measured, np.ndarray]:
    found = bootstrap.each(count(number), count(rng.poisson(number, replicas)), bent)
    return bootstrap.Measured.of(bent(count(number)), bent(count(number)), found), found


def test_the_error_of_a_bent_result_is_what_independent_samples_scatter_by() -> None:
    """In closed form: they scatter by 0.444, the linear part by 1.02 of that, whole replicas by 0.89 of it."""
    rng = np.random.default_rng(5)
    toys = [measured(number, rng) for number in rng.poisson(30, 600)]
    scatter = np.std([one.value for one, _ in toys], ddof=1)
    assert scatter == pytest.approx(0.444, rel=0.06)
    assert np.sqrt(np.mean([one.error**2 for one, _ in toys])) == pytest.approx(1.02 * 0.444, rel=0.03)
    whole = np.sqrt(np.mean([np.var(found[:, 0], ddof=1) for _, found in toys]))
    assert whole == pytest.approx(0.89 * 0.444, rel=0.03)


def test_the_error_is_that_of_the_linear_part() -> None:
    one, found = measured(33, np.random.default_rng(6), replicas=5_000)
    slope = (1.0 - np.tanh(0.3) ** 2) / 10.0
    assert one.error == pytest.approx(np.sqrt(33) * slope, rel=0.03)
    assert one.bias == pytest.approx(np.mean(found[:, 0]) - one.value)
    assert (one.value, one.replicas) == (pytest.approx(np.tanh(0.3)), 5_000)


def test_a_replica_without_a_finite_number_counts_as_failed() -> None:
    found = bootstrap.each(count(np.array(3)), count(np.array([0, 2, 4])), lambda t: 1.0 / t.values_flat[1])
    assert np.isnan(found[0, 0])
    with pytest.raises(errors.ReplicaError, match="1 of 3 replicas have no such number"):
        bootstrap.Measured.of(1 / 3, 1 / 3, found)


def test_a_replica_that_fails_has_no_part_in_the_error() -> None:
    def fails(templates: TemplateSet) -> float:
        if templates.values_flat[1] > 48:
            msg = "too many"
            raise errors.FitError(msg)
        return bent(templates)

    numbers = np.array([20, 25, 30, 35, 40] * 8 + [50])
    found = bootstrap.each(count(np.array(30)), count(numbers), fails)
    assert np.isnan(found[-1]).any()
    assert np.isfinite(found[:-1]).all()
    one = bootstrap.Measured.of(0.0, 0.0, found)
    assert one.replicas == 40
    assert one.error == pytest.approx(np.std(np.tanh((numbers[:-1] - 30) / 100), ddof=1) / 0.1)
    with pytest.raises(errors.ReplicaError, match="1 of 4 replicas"):
        bootstrap.Measured.of(0.0, 0.0, found[-4:])
