"""Sums by hand: every event of every block and batch, once, in float64, of the part that is asked for."""

from __future__ import annotations

import awkward as ak
import hist
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import errors
from diffea.events.blocks import Blocks, block_rows
from diffea.program import kernels

EDGES = np.linspace(0, 9, 4)
BLOCK = 1024
SIZES = sorted({1, 2, *(blocks * BLOCK + aside for blocks in (1, 2, 8) for aside in (-1, 0, 1))})


def write(path, columns):
    with uproot.recreate(path) as file:
        file["Events"] = columns
    return {"files": {str(path): "Events"}}


def distribute(processor, fileset, **options):
    return diffea.distribute(processor, fileset, schemaclass=BaseSchema, **options)


# ---------------------------------------------------------------------------------------------------------------------------
# Blocks and batches.


class Weights(diffea.DifferentiableProcessor):
    """The weights of events and of objects, in bins of hist as nothing is smeared; a parameter scales them."""

    channels = {name: hist.axis.Variable(EDGES, name="x") for name in ("events", "objects")}  # noqa: RUF012

    def columns(self, events):
        return {name: events[name] for name in ("x", "w", "objects")}

    def fill(self, params, columns):
        yield diffea.Fill("events", columns["x"], params["scale"] * columns["w"], bandwidth=1e-9)
        yield diffea.Fill("objects", columns["objects"], params["scale"] * columns["w"], bandwidth=1e-9)


def sample(rows):
    rng = np.random.default_rng(rows)
    counts = rng.integers(0, 4, rows)
    objects = ak.unflatten(rng.uniform(-1, 10, counts.sum()), counts)
    return {"x": rng.uniform(-1, 10, rows), "w": rng.uniform(0.5, 2.0, rows), "objects": objects}


SAMPLES = {str(rows): sample(rows) for rows in SIZES}


def by_numpy(columns):
    """Sums of weights and of their squares in each channel, flow bins included."""
    bins = [-np.inf, *EDGES, np.inf]
    counts = ak.to_numpy(ak.num(columns["objects"]))
    filled = {
        "events": (columns["x"], columns["w"]),
        "objects": (ak.to_numpy(ak.flatten(columns["objects"])), np.repeat(columns["w"], counts)),
    }
    return {
        channel: [np.histogram(x, bins, weights=weight**power)[0] for power in (1, 2)]
        for channel, (x, weight) in filled.items()
    }


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    return {name: write(folder / f"{name}.root", columns) for name, columns in SAMPLES.items()}


def test_the_sizes_are_those_around_the_borders_of_blocks():
    assert block_rows(SIZES) == BLOCK


@pytest.mark.parametrize(("batch", "chunksize"), [(131_072, 100_000), (3000, BLOCK)])
def test_every_event_counts_once_wherever_a_block_or_a_batch_ends(sizes, monkeypatch, batch, chunksize):
    monkeypatch.setattr("diffea.events.batches.ROWS", batch)
    with distribute(Weights(), sizes, chunksize=chunksize, gradient="jacobian") as templates:
        soft, hard = templates({"scale": 2.0}), templates.hard({"scale": 2.0})
        derivatives = templates.jacobian({"scale": 2.0})
    for name, columns in SAMPLES.items():
        for channel, (values, variances) in by_numpy(columns).items():
            for found in (soft, hard):
                np.testing.assert_allclose(found[channel, name].flow_values, 2 * values, rtol=1e-11, err_msg=name)
                np.testing.assert_allclose(found[channel, name].flow_variances, 4 * variances, rtol=1e-11)
            np.testing.assert_allclose(derivatives[channel, name].values["scale"], values[1:-1], rtol=1e-11)
            np.testing.assert_allclose(derivatives[channel, name].variances["scale"], 4 * variances[1:-1], rtol=1e-11)


@pytest.mark.parametrize("gradient", ["jacobian", "vjp", "by-bin"])
def test_a_kernel_that_loses_a_block_is_found_out(sizes, monkeypatch, gradient):
    whole = kernels._over_blocks

    def last_one_lost(counted, given, blocks):
        return whole(counted, given, Blocks(blocks.arrays, jnp.maximum(blocks.rows - blocks.size, 0)))

    monkeypatch.setattr(kernels, "_over_blocks", last_one_lost)
    some = {name: sizes[name] for name in ("1023", "2049")}
    with distribute(Weights(), some, gradient=gradient) as templates:
        with pytest.raises(errors.LedgerError, match="of 3072"):
            templates({"scale": 2.0})
        with pytest.raises(errors.LedgerError, match="of 3072"):
            templates.jacobian({"scale": 2.0})
        assert templates.hard({"scale": 2.0})["events", "1023"].flow_values.sum() > 0


# ---------------------------------------------------------------------------------------------------------------------------
# Numbers that float32 cannot hold.

HEAVY, SQUARED = 1e8, 8192.0  # float32 loses a one that is added to the first, or to the square of the second
ONES = 5000


class Heavy(diffea.DifferentiableProcessor):
    """One heavy event and many light ones in a bin; a bandwidth that is known, and one that is not, and a category."""

    channels = {  # noqa: RUF012
        "known": hist.axis.Regular(3, 0, 9, name="x"),
        "learned": hist.axis.Regular(3, 0, 9, name="x"),
        "category": hist.axis.Integer(0, 3, name="n"),
        "two": (hist.axis.Regular(3, 0, 9, name="x"), hist.axis.Integer(0, 3, name="n")),
    }

    def columns(self, events):
        return {"x": events.x, "w": events.w}

    def fill(self, params, columns):
        x, n, weight = columns["x"], columns["x"] / 3.0, params["scale"] * columns["w"]
        yield diffea.Fill("known", x, weight)
        yield diffea.Fill("learned", x, weight, bandwidth=params["bandwidth"])
        yield diffea.Fill("category", n, weight)
        yield diffea.Fill("two", (x, n), weight)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heavy")
    weights = {"values": HEAVY, "variances": SQUARED}
    return {
        name: write(folder / f"{name}.root", {"x": np.full(ONES + 1, 4.5), "w": np.append(weight, np.ones(ONES))})
        for name, weight in weights.items()
    }


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("batch", [131_072, 1000])
def test_sums_are_of_float64_whatever_the_precision(heavy, monkeypatch, precision, batch):
    assert np.float32(HEAVY) + np.float32(1) == np.float32(HEAVY)
    assert np.float32(SQUARED**2) + np.float32(1) == np.float32(SQUARED**2)
    monkeypatch.setattr("diffea.events.batches.ROWS", batch)
    params = {"scale": 1.0, "bandwidth": 0.1}
    with distribute(Heavy(), heavy, precision=precision, chunksize=batch, gradient="jacobian") as templates:
        for found in (templates(params), templates.hard(params)):
            for channel in Heavy.channels:
                assert np.max(found[channel, "values"].flow_values) == HEAVY + ONES, channel
                assert np.sum(found[channel, "values"].flow_values) == HEAVY + ONES, channel
                assert np.max(found[channel, "variances"].flow_variances) == SQUARED**2 + ONES, channel
        derivatives = templates.jacobian(params)
        for channel in Heavy.channels:
            assert np.max(derivatives[channel, "values"].values["scale"]) == HEAVY + ONES, channel
            assert np.max(derivatives[channel, "variances"].variances["scale"]) == 2 * (SQUARED**2 + ONES), channel


# ---------------------------------------------------------------------------------------------------------------------------
# Parts.

SPLIT = diffea.Split(train=0.5, validation=0.2, seed=11)
FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.3}
WORTH = {"train": 1.0, "validation": 100.0, "test": 10_000.0}


class Parts(diffea.DifferentiableProcessor):
    """Events whose weight says to which part they belong."""

    channels = {"c": hist.axis.Variable(EDGES, name="x", flow=False)}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "w": events.w}

    def fill(self, params, columns):
        yield diffea.Fill("c", columns["x"], columns["w"] * params["scale"], bandwidth=1e-9)


def parted(rows, seed):
    rng = np.random.default_rng(seed)
    numbers = {
        "run": rng.integers(1, 4, rows).astype(np.uint32),
        "luminosityBlock": rng.integers(1, 50, rows).astype(np.uint32),
        "event": np.arange(rows, dtype=np.uint64) + np.uint64(10_000 * seed),
    }
    worth = np.zeros(rows)
    for part, weight in WORTH.items():
        worth[SPLIT.of(part).mask(tuple(numbers.values()))] += weight
    return {**numbers, "x": rng.uniform(0, 9, rows), "w": worth}


def spec():
    strength = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [{"name": name, "data": name, "modifiers": of} for name, of in (("sig", strength), ("bkg", []))]
    measurement = {"name": "m", "config": {"poi": "mu", "parameters": []}}
    return {"channels": [{"name": "c", "samples": samples}], "measurements": [measurement]}


@pytest.mark.parametrize("part", [None, "train", "validation", "test"])
def test_evaluate_judges_the_test_part_or_the_one_that_is_named(tmp_path, part):
    columns = {name: parted(rows, seed) for seed, (name, rows) in enumerate([("sig", 400), ("bkg", 1500)])}
    fileset = {name: write(tmp_path / f"{name}.root", found) for name, found in columns.items()}
    split = SPLIT if part is None else SPLIT.of(part)
    final = diffea.evaluate(
        Parts(), fileset, {"scale": 1.0}, diffea.HistFactory(spec()), schemaclass=BaseSchema, split=split, chunksize=333
    )
    judged = part or "test"
    written = {one["name"]: one["data"] for one in final.workspace()["channels"][0]["samples"]}
    for name, found in columns.items():
        mine = found["w"] == WORTH[judged]
        assert 0.5 * FRACTIONS[judged] < mine.mean() < 1.5 * FRACTIONS[judged]
        expected = np.histogram(found["x"][mine], EDGES)[0] * WORTH[judged] / FRACTIONS[judged]
        np.testing.assert_allclose(final.templates["c", name].values, expected, rtol=1e-12)
        np.testing.assert_allclose(written[name], expected, rtol=1e-12)
        assert final.events[name] == mine.sum()
    with distribute(Parts(), fileset, split=split) as templates:
        of = part or "train"
        mine = columns["bkg"]["w"] == WORTH[of]
        expected = np.histogram(columns["bkg"]["x"][mine], EDGES)[0] * WORTH[of] / FRACTIONS[of]
        np.testing.assert_allclose(templates({"scale": 1.0})["c", "bkg"].values, expected, rtol=1e-9)
