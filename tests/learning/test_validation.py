"""A loss on a validation part is comparable with that on the training part: both know of the same number of simulated events."""

from __future__ import annotations

import functools

import hist
import numpy as np
import optax
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from diffea import Composite, DifferentiableProcessor, Fill, HistFactory, Split, distribute, objectives, optimise, soft

EVENTS = 20_000
TRAIN, VALIDATION = 0.6, 0.1
SEEDS = range(5)
BINOMIAL = 4 * (1 / (VALIDATION * EVENTS) + 1 / (TRAIN * EVENTS)) ** 0.5  # of the parts' sizes: four sigma


class OneCut(DifferentiableProcessor):
    """One cut, four bins: too few parameters to learn any event by heart."""

    channels = {"sr": hist.axis.Regular(4, 0, 1, name="x")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "y": events.y, "weight": events.weight}

    def fill(self, params, columns):
        yield Fill("sr", columns["x"], columns["weight"] * soft.above(columns["y"], params["cut"], width=0.1))


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """For each seed the templates of training and validation part; the background's weights make MC statistics the largest error."""
    folder, random, fileset = tmp_path_factory.mktemp("data"), np.random.default_rng(0), {}
    for run, (sample, weight) in enumerate((("signal", 0.01), ("background", 5.0))):
        columns = {
            "run": np.full(EVENTS, run),  # these three identify events: parts are the same in every folder
            "luminosityBlock": np.ones(EVENTS, int),
            "event": np.arange(EVENTS),
            "x": random.beta(2 if sample == "signal" else 1, 1, EVENTS),
            "y": random.normal(sample == "signal", 1.0, EVENTS),
            "weight": np.full(EVENTS, weight),
        }
        with uproot.recreate(folder / f"{sample}.root") as file:
            file.mktree("Events", {name: column.dtype for name, column in columns.items()})
            file["Events"].extend(columns)
        fileset[sample] = {"files": {str(folder / f"{sample}.root"): "Events"}}
    read = functools.partial(distribute, OneCut(), fileset, schemaclass=BaseSchema)
    splits = [Split(train=TRAIN, validation=VALIDATION, seed=seed) for seed in SEEDS]
    return [(read(split=split), read(split=split.of("validation"))) for split in splits]


@pytest.fixture(scope="module")
def limit():
    mu = {"name": "mu", "type": "normfactor", "data": None}
    statistics = {"name": "mc", "type": "staterror", "data": "background"}
    samples = [
        {"name": "signal", "data": "signal", "modifiers": [mu]},
        {"name": "background", "data": "background", "modifiers": [statistics]},
    ]
    model = HistFactory(
        {
            "channels": [{"name": "sr", "samples": samples}],
            "parameters": [{"name": "mu", "bounds": [[0, 1e4]], "inits": [1.0]}],
        }
    )
    return lambda templates: objectives.upper_limit(model(templates))


def test_limits_of_both_parts_agree_once_they_have_the_same_statistics(parts, limit):
    at = {"cut": 0.3}
    plain, comparable = [], []
    for train, validation in parts:
        of_train = float(limit(train(at)))
        plain.append(float(limit(validation(at))) / of_train)
        comparable.append(float(limit(validation.with_statistics_of(train)(at))) / of_train)
    error = np.std(comparable, ddof=1) / np.sqrt(len(comparable))
    assert np.mean(plain) > 1.4  # nobody tuned anything: this is not overtraining
    assert abs(np.mean(comparable) - 1.0) < max(3 * error, 0.03) < 0.1


def test_values_stay_and_variances_are_those_of_as_many_events(parts):
    train, validation = parts[0]
    before, after = validation({"cut": -9.0}), validation.with_statistics_of(train)({"cut": -9.0})
    values, variances, as_if = (
        float(part.sum())
        for part in (
            before["sr", "background"].values,
            before["sr", "background"].variances,
            after["sr", "background"].variances,
        )
    )
    assert float(after["sr", "background"].values.sum()) == values
    of_train = float(train({"cut": -9.0})["sr", "background"].variances.sum())
    assert as_if == pytest.approx(of_train, rel=BINOMIAL)
    assert variances == pytest.approx(of_train * TRAIN / VALIDATION, rel=BINOMIAL)


def test_validation_of_an_untuned_analysis_is_as_good_as_training(parts, limit):
    train, validation = parts[0]
    comparable = validation.with_statistics_of(train)
    found = optimise(
        Composite(train, limit),
        {"cut": 0.0},
        optimizer=optax.sgd(0.0),
        steps=1,
        validate=lambda p: limit(comparable(p)),
    )
    assert found.history[0].validation == pytest.approx(found.history[0].loss, rel=0.15)
