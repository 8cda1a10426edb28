"""Folds side by side: the numbers of one after the other, where the workers have room, and one that fails ends the others."""

from __future__ import annotations

import logging
import threading

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

import diffea
from diffea.run import run_variant

SAMPLES = [
    {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    {"name": "bkg", "data": "bkg", "modifiers": []},
]
SPEC = {
    "channels": [{"name": "few", "samples": SAMPLES}],
    "measurements": [{"name": "search", "config": {"poi": "mu", "parameters": []}}],
}


def objective(bound):
    return jnp.sum(jnp.sqrt(50.0 + bound.expected_data(jnp.array([0.0])))) - 0.1 * jnp.sum(
        bound.expected_data(jnp.array([1.0]))
    )


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(fileset, tmp_path):
    def run(name, *, steps=3, memory="auto", folds=2, **options):
        variant = diffea.Variant(
            processor=Search(), spec=SPEC, params=PARAMS, objective=objective, optimizer=optax.adam(0.5), steps=steps, limit=False
        )  # fmt: skip
        analysis = diffea.Analysis(
            name="s", title="", fileset=lambda _: fileset, variants={"": variant}, schemaclass=QuietSchema, chunksize=700,
            split=diffea.Split(folds=folds), replicas=5, memory=memory,
        )  # fmt: skip
        return run_variant(analysis, "", data=tmp_path, out=tmp_path / name, **options)

    return run


def numbers(result):
    folds = [
        (fold["params"], [step["loss"] for step in fold["history"]], fold["passes_over_data"])
        for fold in result["folds"]
    ]
    return folds, *(result[name] for name in ("before", "after", "errors", "selection", "trust"))


def test_side_by_side_has_the_numbers_of_one_after_the_other(run, client, caplog):
    caplog.set_level(logging.INFO, "diffea.run")
    threads, told = {}, []

    def watch(step):
        threads.setdefault(step.fold, set()).add(threading.get_ident())
        told.append((step.fold, step.step))

    here = run("here", folds=3)
    there = run("there", folds=3, client=client, progress=watch)
    assert "training 3 folds side by side" in caplog.text
    assert sorted(told) == [(fold, step) for fold in range(3) for step in (1, 2, 3)]
    assert threading.get_ident() not in set().union(*threads.values())
    assert numbers(there) == numbers(here)
    assert len({tuple(fold["params"].values()) for fold in here["folds"]}) == 3


def test_without_room_for_all_columns_they_are_trained_one_after_the_other(run, client, caplog):
    caplog.set_level(logging.INFO, "diffea.run")
    steps = []
    there = run("there", client=client, memory=0, progress=steps.append)
    assert "training 2 folds one after the other" in caplog.text
    assert [step.fold for step in steps] == [0, 0, 0, 1, 1, 1]
    assert numbers(there) == numbers(run("here"))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_one_that_fails_ends_the_others_which_go_on_later(run, client, error):
    many, told = 5000, []

    def fail(step):
        told.append((step.fold, step.step))
        if step.fold == 1:
            msg = "the second of two"
            raise error(msg)

    with pytest.raises(error, match="the second of two"):
        run("out", steps=many, client=client, progress=fail)
    assert told[-1] == (1, 1)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("diffea-fold")]
    done = max((step for fold, step in told if fold == 0), default=0)
    later = []
    went_on = run("out", steps=done + 3, client=client, resume=True, progress=later.append)
    assert {step.step for step in later if step.fold == 0} <= set(range(done, done + 4))
    assert np.isfinite(went_on["after"]["hard_test"])
    assert numbers(went_on)[0][1][:2] == numbers(run("whole", steps=done + 3))[0][1][:2]
