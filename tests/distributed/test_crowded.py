"""Crowded events: little more is held than there is, and every sum is that of one class, of plain NumPy, and of any order."""

from __future__ import annotations

import functools
import shutil
from types import SimpleNamespace

import awkward as ak
import coffea.processor
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from distributed import Client, LocalCluster

from diffea import errors, soft
from diffea.distributed import distribute as distribute_nano
from diffea.events import classes
from diffea.processor import DifferentiableProcessor, Fill

distribute = functools.partial(distribute_nano, schemaclass=BaseSchema)
PARAMS = {"pt": 30.0, "lepton": 20.0}


class Crowd(DifferentiableProcessor):
    """An observable of the event, and one of every object."""

    channels = {  # noqa: RUF012
        "x": hist.axis.Regular(5, 0, 100, name="x"),
        "pt": hist.axis.Regular(4, 0, 80, name="pt"),
    }

    def columns(self, events):
        return {"x": events.x, "w": events.w, "pt": events.pt, "lepton": events.lepton}

    def fill(self, params, columns):
        jets = soft.above(columns["pt"], params["pt"], width=4.0)
        leptons = soft.above(columns["lepton"], params["lepton"], width=3.0)
        yield Fill("x", columns["x"], columns["w"] * soft.at_least(2, jets) * soft.at_least(1, leptons))
        yield Fill("pt", columns["pt"], jets * columns["w"])


def events_of(number, seed=0):
    """Events of few objects, but for two that are crowded in unlike ways."""
    rng = np.random.default_rng(seed)
    jets, leptons = rng.integers(0, 4, number), rng.integers(0, 3, number)
    jets[7], leptons[number - 3] = 300, 80
    return {
        "x": rng.uniform(0, 100, number),
        "w": rng.uniform(0.5, 1.5, number),
        "pt": ak.unflatten(rng.exponential(40.0, jets.sum()), jets),
        "lepton": ak.unflatten(rng.exponential(25.0, leptons.sum()), leptons),
    }


def write(path, events):
    with uproot.recreate(path) as file:
        kinds = {key: value.type if isinstance(value, ak.Array) else value.dtype for key, value in events.items()}
        file.mktree("Events", kinds)
        file["Events"].extend(events)
    return {"d": [str(path)]}


@pytest.fixture(scope="module")
def events():
    return events_of(3000)


@pytest.fixture(scope="module")
def fileset(events, tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "crowded.root", events)


def loss(templates, params):
    found = templates(params)
    return sum(jnp.sum(jnp.sqrt(50.0 + t.values) + 1e-3 * t.variances) for t in found.values())


def numbers(templates):
    value, gradient = jax.value_and_grad(functools.partial(loss, templates))(PARAMS)
    found, hard = templates(PARAMS), templates.hard(PARAMS)
    sums = [found.values_flat, found.variances_flat, hard.values_flat, hard.variances_flat]
    return np.concatenate([[value], *map(np.atleast_1d, jax.tree.leaves(gradient)), *sums])


@pytest.fixture(scope="module")
def templates(fileset):
    with distribute(Crowd(), fileset, gradient="jacobian") as templates:
        assert len(templates.ledger.structures) == 2
        yield templates


@pytest.fixture(scope="module")
def expected(templates):
    return numbers(templates)


def test_the_bytes_held_are_at_most_three_times_those_of_the_numbers(events, templates) -> None:
    held = sum(templates.ledger.nbytes.values())
    assert held <= 3 * 8 * sum(ak.count(values) for values in events.values())


def test_sums_and_gradients_are_those_of_one_class(fileset, expected, monkeypatch) -> None:
    monkeypatch.setattr(classes, "MOST", 1)
    with distribute(Crowd(), fileset, gradient="jacobian") as templates:
        assert len(templates.ledger.structures) == 1
        np.testing.assert_allclose(numbers(templates), expected, rtol=1e-11)


def test_two_passes_give_the_same_gradient(fileset, expected) -> None:
    with distribute(Crowd(), fileset, gradient="vjp") as templates:
        value, found = jax.value_and_grad(functools.partial(loss, templates))(PARAMS)
    np.testing.assert_allclose([value, *jax.tree.leaves(found)], expected[:3], rtol=1e-12)


def test_the_gradient_is_that_of_finite_differences(templates) -> None:
    gradient = jax.grad(functools.partial(loss, templates))(PARAMS)
    for name, value in PARAMS.items():
        up, down = (loss(templates, {**PARAMS, name: value + step}) for step in (1e-4, -1e-4))
        assert float(gradient[name]) == pytest.approx(float((up - down) / 2e-4), rel=1e-6), name


def test_exact_cuts_are_those_of_awkward(events, templates) -> None:
    pt, lepton = events["pt"], events["lepton"]
    keep = ak.to_numpy((ak.sum(pt > 30, axis=1) >= 2) & (ak.sum(lepton > 20, axis=1) >= 1))
    chosen, weights = ak.flatten(pt[pt > 30]), ak.flatten(ak.broadcast_arrays(events["w"], pt)[0][pt > 30])
    by_event, _ = np.histogram(events["x"][keep], 5, (0, 100), weights=events["w"][keep])
    by_object, _ = np.histogram(chosen, [0, 20, 40, 60, 80, np.inf], weights=weights)
    found = templates.hard(PARAMS)
    np.testing.assert_allclose(found["x", "d"].values, by_event, rtol=1e-12)
    np.testing.assert_allclose(found["pt", "d"].flow_values[1:], by_object, rtol=1e-12)


def test_without_cuts_the_sums_are_all_of_the_weight(events, templates) -> None:
    open_cuts = {"pt": -1e3, "lepton": -1e3}
    jets = ak.to_numpy(ak.num(events["pt"]))
    expected = {
        "x": events["w"][(jets >= 2) & ak.to_numpy(ak.num(events["lepton"]) >= 1)].sum(),
        "pt": (events["w"] * jets).sum(),
    }
    for found in (templates(open_cuts), templates.hard(open_cuts)):
        sums = {channel: float(found[channel, "d"].flow_values.sum()) for channel in expected}
        assert sums == pytest.approx(expected, rel=1e-12)


def test_the_order_of_events_changes_no_bit(events, templates, tmp_path) -> None:
    expected = templates(PARAMS)
    for chunksize in (1000, 100_000):
        order = np.random.default_rng(chunksize).permutation(3000)
        shuffled = write(tmp_path / f"{chunksize}.root", {name: values[order] for name, values in events.items()})
        with distribute(Crowd(), shuffled, chunksize=chunksize) as others:
            found = others(PARAMS)
        np.testing.assert_array_equal(found.values_flat, expected.values_flat)
        np.testing.assert_array_equal(found.variances_flat, expected.variances_flat)


@pytest.mark.parametrize("place", ["disk", "files"])
def test_wherever_they_lie_the_bits_are_the_same(fileset, templates, monkeypatch, place) -> None:
    if place == "files":
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=100, free=1))
    with distribute(Crowd(), fileset, memory=0) as elsewhere:
        assert elsewhere.ledger.nbytes[place] == sum(elsewhere.ledger.nbytes.values())
        np.testing.assert_array_equal(elsewhere(PARAMS).values_flat, templates(PARAMS).values_flat)


def test_workers_compute_the_same_bits(fileset, templates) -> None:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        distribute(Crowd(), fileset, client=client) as remote,
    ):
        np.testing.assert_array_equal(remote(PARAMS).values_flat, templates(PARAMS).values_flat)


def test_coffeas_runner_makes_the_same_templates(fileset, templates) -> None:
    def run(**options):
        executor = coffea.processor.IterativeExecutor(status=False)
        runner = coffea.processor.Runner(executor, schema=BaseSchema, chunksize=10_000)
        return runner({"d": {"files": dict.fromkeys(fileset["d"], "Events")}}, Crowd().at(PARAMS, **options))["d"]

    for found, expected in ((run(), templates(PARAMS)), (run(hard=True), templates.hard(PARAMS))):
        for key in expected:
            np.testing.assert_allclose(found[key].flow_values, expected[key].flow_values, rtol=1e-12)
            np.testing.assert_allclose(found[key].flow_variances, expected[key].flow_variances, rtol=1e-12)


class Undefined(Crowd):
    """Not finite for the event of one number."""

    def columns(self, events):
        return {"number": events.number, "pt": events.pt, "lepton": events.lepton}

    def fill(self, params, columns):
        yield Fill("x", columns["pt"].num() + 0.5, jnp.log(abs(columns["number"] - params["bad"])))


def test_an_event_that_is_not_finite_is_named_whatever_its_class(events, tmp_path) -> None:
    fileset = write(tmp_path / "bad.root", {**events, "number": np.arange(3000.0)})
    with distribute(Undefined(), fileset, chunksize=1000) as templates:
        assert len(templates.ledger.structures) == 2
        for event in (0, 7, 1234, 2997, 2999):
            number = f"{event % 1000} of the 1000 selected there"
            with pytest.raises(
                errors.NotFiniteError, match=f"bad.root, entries {event // 1000 * 1000}–.*, event {number}"
            ):
                templates({"bad": float(event)})
