"""Replicas: a bootstrap by event with weights that a hash decides, and the errors that come out of it."""

from __future__ import annotations

import hashlib

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import uproot
from boost_histogram import Histogram
from boost_histogram.storage import Weight
from distributed import Client, LocalCluster

import diffea
from diffea import errors, objectives, soft
from diffea.bootstrap import with_error
from diffea.distributed import distribute
from diffea.events import batches, replicas
from diffea.events.replicas import event_hashes, poisson_weights
from diffea.judge import Judge
from tests.samples import PARAMS, QuietSchema, Search, write, write_fileset

MASK = 2**64 - 1
REPLICAS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_fileset(folder)
    return folder


@pytest.fixture(scope="module")
def fileset(folder):
    return write_fileset(folder)


def spec():
    def sample(name, *modifiers):
        return {"name": name, "data": name, "modifiers": list(modifiers)}

    def channel(name):
        signal = sample("signal", {"name": "mu", "type": "normfactor", "data": None})
        norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
        background = sample("bkg", norm, {"name": f"mc_{name}", "type": "staterror", "data": "bkg"})
        if name == "many":
            shape = {"name": "met", "type": "histosys", "data": {"hi_data": "bkg:met_up", "lo_data": "bkg"}}
            background["modifiers"].append(shape)
        return {"name": name, "samples": [signal, background]}

    return {"channels": [channel("few"), channel("many")], "parameters": [{"name": "mu", "bounds": [[0, 10]]}]}


MODEL = diffea.HistFactory(spec())


def evaluated(fileset, params=PARAMS, *, processor=None, replicas=REPLICAS, **options):
    options = {"schemaclass": QuietSchema, **options}
    return diffea.evaluate(processor or Search(), fileset, params, MODEL, replicas=replicas, **options)


@pytest.fixture(scope="module")
def final(fileset):
    return evaluated(fileset)


def splitmix(number: int) -> int:
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)


def times(dataset: str, event: tuple[int, ...], replica: int) -> int:
    """How often an event is in a replica, in Python's own arithmetic."""
    known = int.from_bytes(hashlib.sha256(dataset.encode()).digest()[:8], "little")
    for number in event:
        known = splitmix(known ^ number)
    return int(scipy.stats.poisson.ppf((splitmix(known ^ splitmix(replica)) + 0.5) / 2**64, 1.0))


def by_hand(fileset, replicas):
    """Sums of weights and of their squares of every template in every replica: cuts and histograms in NumPy."""
    sums: dict[tuple[str, str, str], np.ndarray] = {}
    for dataset, content in fileset.items():
        sample = content.get("metadata", {}).get("sample", dataset)
        for path in content["files"]:
            events = uproot.open(path)["Events"].arrays()
            kept = np.asarray(events["MET_pt"]) > PARAMS["mt"]
            many = np.asarray(ak.sum(events["Jet_pt"] > PARAMS["jet_pt"], axis=1)) >= 2
            numbers = [ak.to_list(events[name]) for name in ("run", "luminosityBlock", "event")]
            met = np.asarray(events["MET_pt"], float) + PARAMS["shift"]
            weight = np.asarray(events["genWeight"], float)
            for replica in range(replicas):
                count = np.array([times(dataset, event, replica) for event in zip(*numbers, strict=True)])
                for key, x, chosen, edges in (
                    (("few", sample, "nominal"), met, kept & ~many, np.linspace(0, 160, 9)),
                    (("many", sample, "nominal"), met, kept & many, [0, 20, 50, 120]),
                    (("many", sample, "met_up"), 1.1 * met, kept & many, [0, 20, 50, 120]),
                ):
                    entry = sums.setdefault(key, np.zeros((replicas, 2, len(edges) - 1)))
                    inside = chosen & (x < edges[-1])
                    for kind, power in enumerate((1, 2)):
                        entry[replica, kind] += np.histogram(x[inside], edges, weights=(count * weight**power)[inside])[
                            0
                        ]
    return sums


def test_replicas_are_those_of_a_bootstrap_by_hand(final, fileset) -> None:
    for key, sums in by_hand(fileset, 3).items():
        np.testing.assert_allclose(final.replicas[key].values[:3], sums[:, 0], rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(final.replicas[key].variances[:3], sums[:, 1], rtol=1e-12, atol=1e-9)


def test_a_bootstrap_leaves_the_templates_themselves_as_they_are(final, fileset) -> None:
    plain = evaluated(fileset, replicas=0)
    np.testing.assert_array_equal(final.templates.values_flat, plain.templates.values_flat)
    with pytest.raises(errors.ReplicaError, match="replicas=100"):
        _ = plain.limit_error


def test_weights_are_poisson_numbers_and_independent() -> None:
    numbers = tuple(np.arange(40_000, dtype=np.uint64) for _ in range(3))
    one, other = (event_hashes(numbers, name) for name in ("one", "other"))
    found = poisson_weights(one, np.arange(8, dtype=np.uint64))
    counts = np.bincount(found.ravel(), minlength=7)[:7] / found.size
    np.testing.assert_allclose(counts, scipy.stats.poisson.pmf(range(7), 1.0), atol=4e-3)
    together = np.column_stack([found, poisson_weights(other, np.arange(8, dtype=np.uint64))])
    correlation = np.corrcoef(together.T) - np.eye(16)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(one))


@pytest.mark.parametrize("options", [{"chunksize": 333}, {"memory": 0}])
def test_the_same_bits_in_other_chunks_and_out_of_core(final, fileset, options) -> None:
    other = evaluated(fileset, **options).replicas
    np.testing.assert_array_equal(other.values_flat, final.replicas.values_flat)
    np.testing.assert_array_equal(other.variances_flat, final.replicas.variances_flat)


def test_the_same_bits_on_two_workers(final, fileset) -> None:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, memory_limit="64 GB", dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        other = evaluated(fileset, client=client)
    np.testing.assert_array_equal(other.replicas.values_flat, final.replicas.values_flat)
    assert other.limit_error == final.limit_error


class Selecting(Search):
    """Selects among the events before it takes their columns."""

    def columns(self, events):
        events = events[events.MET.pt > 30]
        return super().columns(events[ak.num(events.Jet) > 0])


class SelectingArrays(Search):
    """Selects among the entries of each column, which says nothing about the events."""

    def columns(self, events):
        return {name: column[events.MET.pt > 30] for name, column in super().columns(events).items()}


def test_events_that_columns_selects_keep_their_weights(fileset) -> None:
    split = diffea.Split(seed=3)
    whole, some = (
        evaluated(fileset, {**PARAMS, "jet_pt": -1.0, "mt": 31.0}, processor=processor, split=split, replicas=5)
        for processor in (Search(), Selecting())
    )
    for key in [("many", "signal"), ("many", "bkg")]:  # with two jets or more
        np.testing.assert_allclose(whole.replicas[key].values, some.replicas[key].values, rtol=1e-12)


def test_events_that_nothing_identifies_are_refused(fileset) -> None:
    with pytest.raises(errors.ReplicaError, match=r"dataset 'signal', file .*events = events\[mask\]"):
        evaluated(fileset, processor=SelectingArrays())
    with (
        distribute(Search(), fileset, schemaclass=QuietSchema) as templates,
        pytest.raises(errors.ReplicaError, match="identif"),
    ):
        templates.replicas(PARAMS, 10)


def test_events_that_are_called_the_same_are_refused(tmp_path) -> None:
    for name in ("signal", "background"):
        write(tmp_path / f"{name}.root", 300, 1, event=np.full(300, 7, np.uint64))
    fileset = {name: {"files": {str(tmp_path / f"{name}.root"): "Events"}} for name in ("signal", "background")}
    with pytest.raises(errors.ReplicaError, match=r"dataset 'signal': 99\.7% of the events have the run"):
        evaluated(fileset)


def test_files_that_number_their_events_alike_are_refused_in_any_batch(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(batches, "ROWS", 1000)
    write_fileset(tmp_path)
    for number in (0, 1):
        write(tmp_path / f"background_{number}.root", 1500, 4, genWeight=np.full(1500, 1.0 + number, np.float32))
    fileset = {
        "signal": {"files": {str(tmp_path / "signal.root"): "Events"}},
        "bkg": {"files": {str(tmp_path / f"background_{number}.root"): "Events" for number in (0, 1)}},
    }
    with pytest.raises(errors.ReplicaError, match=r"dataset 'bkg': 50\.0% of the events have the run"):
        evaluated(fileset, chunksize=500)


def test_the_lowest_hashes_tell_the_share_that_is_repeated() -> None:
    rng = np.random.default_rng(3)
    known = rng.integers(0, 2**63, 40_000).astype(np.uint64)
    parts = [known[:25_000], known[20_000:]]  # 5000 in both
    assert replicas.repeated([replicas.lowest(part) for part in parts]) == pytest.approx(5_000 / 45_000, abs=0.01)
    assert replicas.repeated([np.unique(part[:300]) for part in (known, known[200:])]) == pytest.approx(1 / 6)
    assert replicas.repeated([known[:0]]) == 0.0


@pytest.mark.parametrize("number", [1, -3, True, 2.5, "many"])
def test_a_number_of_replicas_that_is_none(fileset, number) -> None:
    with pytest.raises(errors.CountError, match="replicas are at least two"):
        evaluated(fileset, replicas=number)


class Shapes(diffea.DifferentiableProcessor):
    """Every kind of axis, and an entry an object."""

    channels = {  # noqa: RUF012
        "jets": hist.axis.Variable([20, 30, 60], name="pt", overflow=False),
        "angle": hist.axis.Regular(5, -1.5, 2.5, name="phi", circular=True),
        "number": hist.axis.Integer(1, 4, name="n"),
        "charge": hist.axis.IntCategory([1, 3], name="n"),
        "region": hist.axis.StrCategory(["low", "high"], name="region"),
        "two": (hist.axis.Regular(3, 0, 90, name="met"), hist.axis.Integer(0, 2, name="n", underflow=False)),
    }

    def columns(self, events):
        return {"jets": events.Jet.pt, "met": events.MET.pt, "phi": events.MET.phi, "w": events.genWeight}

    def fill(self, params, columns):
        met, w = columns["met"], columns["w"] * params["scale"]
        number = soft.count(soft.above(columns["jets"], 30.0, width=1.0))
        high = soft.above(met, 40.0, width=1.0)
        yield diffea.Fill("jets", columns["jets"], w)
        yield diffea.Fill("angle", columns["phi"], w)
        yield diffea.Fill("number", number, w)
        yield diffea.Fill("charge", number, w)
        yield diffea.Fill("region", jnp.stack([1 - high, high], axis=1), w)
        yield diffea.Fill("two", (met, number), w)


def test_every_kind_of_axis_is_filled_as_boost_histogram_fills_it(fileset) -> None:
    """A replica is the histogram of events some of which are there several times."""
    path = next(iter(fileset["signal"]["files"]))
    events = uproot.open(path)["Events"].arrays()
    identity = tuple(ak.to_numpy(events[name]) for name in ("run", "luminosityBlock", "event"))
    count = poisson_weights(event_hashes(identity, "signal"), np.arange(2, dtype=np.uint64))
    met, phi, weight = (ak.to_numpy(events[name]).astype(float) for name in ("MET_pt", "MET_phi", "genWeight"))
    number = ak.to_numpy(ak.sum(events["Jet_pt"] > 30.0, axis=1)).astype(int)
    jets = ak.num(events["Jet_pt"])
    filled = {
        "jets": (ak.to_numpy(ak.flatten(events["Jet_pt"])).astype(float),),
        "angle": (phi,),
        "number": (number,),
        "charge": (number,),
        "region": (np.where(met > 40.0, "high", "low"),),
        "two": (met, number),
    }
    with distribute(Shapes(), {"signal": fileset["signal"]}, schemaclass=QuietSchema, identify=True) as templates:
        plain, replicas = templates.replicas({"scale": 0.5}, 2)
    for channel, arrays in filled.items():
        axes = Shapes.channels[channel] if channel == "two" else (Shapes.channels[channel],)
        for replica in (None, 0, 1):
            times = np.ones(len(met), int) if replica is None else count[:, replica]
            each = (weight, times) if channel != "jets" else (np.repeat(weight, jets), np.repeat(times, jets))
            expected = Histogram(*axes, storage=Weight())
            expected.fill(*(np.repeat(array, each[1]) for array in arrays), weight=0.5 * np.repeat(*each))
            found = (plain if replica is None else diffea.TemplateSet(
                replicas.layout, replicas.values_flat[replica], replicas.variances_flat[replica]
            ))[channel, "signal"].to_hist()  # fmt: skip
            np.testing.assert_allclose(found.values(flow=True), expected.values(flow=True), atol=1e-9)
            np.testing.assert_allclose(found.variances(flow=True), expected.variances(flow=True), atol=1e-9)


def shift(bound):
    """The background's relative change with the missing momentum."""
    pars = np.array(bound.config.suggested_init())
    pars[bound.config.poi_index] = 0.0
    moved = pars.copy()
    moved[bound.config.par_slice("met")] = 1.0
    changed, before = (jnp.sum(bound.expected_data(jnp.asarray(at), include_auxdata=False)) for at in (moved, pars))
    return changed / before - 1.0


@pytest.fixture(scope="module")
def many(fileset):
    """With many replicas; and the covariance of all bins and variations, in which an event moves all that it fills, of both sums."""
    final = evaluated(fileset, replicas=300)
    layout = final.templates.layout
    total = np.zeros((2 * layout.size, 2 * layout.size))
    for dataset, content in fileset.items():
        sample = content.get("metadata", {}).get("sample", dataset)
        for path in content["files"]:
            events = uproot.open(path)["Events"].arrays()
            kept = np.asarray(events["MET_pt"]) > PARAMS["mt"]
            many = np.asarray(ak.sum(events["Jet_pt"] > PARAMS["jet_pt"], axis=1)) >= 2
            met = np.asarray(events["MET_pt"], float) + PARAMS["shift"]
            weight = np.asarray(events["genWeight"], float)
            rows = np.zeros((len(met), 2 * layout.size))
            for key, x, chosen, edges in (
                (("few", sample, "nominal"), met, kept & ~many, np.linspace(0, 160, 9)),
                (("many", sample, "nominal"), met, kept & many, np.array([0, 20, 50, 120])),
                (("many", sample, "met_up"), 1.1 * met, kept & many, np.array([0, 20, 50, 120])),
            ):
                place = layout.spans[key].start + np.digitize(x, edges)
                chosen = np.flatnonzero(chosen)
                rows[chosen, place[chosen]] = weight[chosen]
                rows[chosen, place[chosen] + layout.size] = weight[chosen] ** 2
            total += rows.T @ rows
    return final, total


@pytest.mark.parametrize("objective", [objectives.poi_uncertainty, objectives.upper_limit, shift])
def test_errors_are_those_of_linear_propagation(many, objective) -> None:
    """σ² = gᵀ C g, with C the covariance and g of both sums."""
    final, total = many
    layout = final.templates.layout
    values, variances = (jnp.asarray(flat) for flat in (final.templates.values_flat, final.templates.variances_flat))

    def of_both(both):
        return objective(MODEL(diffea.TemplateSet(layout, *jnp.split(both, 2))))

    both = jnp.concatenate([values, variances])
    slope = np.asarray(jax.grad(of_both)(both))
    expected = np.sqrt(slope @ total @ slope)
    alone = np.sqrt(slope**2 @ np.diag(total))
    found = final.measured(objective)
    assert found.error == pytest.approx(expected, rel=0.12)
    replicas = np.concatenate([final.replicas.values_flat, final.replicas.variances_flat], axis=1)
    assert found.error == pytest.approx(np.std((replicas - np.asarray(both)) @ slope, ddof=1), rel=0.01)
    assert objective is not shift or alone > 2 * expected  # an event moves a template and its variation together
    assert found.replicas == 300
    if objective is objectives.poi_uncertainty:  # ½ tr(H C), to second order, by differences along the axes of C
        size, axes = np.linalg.eigh(total)
        steps = (0.1 * np.sqrt(np.maximum(size, 0.0)) * axes).T[size > 1e-6 * size.max()]
        steps = np.where(both == 0, 0.0, steps)  # no rounding leaves an empty bin a variance below zero
        at, middle = jax.jit(of_both), float(of_both(both))
        bent = [float(at(both + step) + at(both - step)) - 2 * middle for step in steps]
        assert found.bias == pytest.approx(sum(bent) / (2 * 0.1**2), rel=0.25)


def test_limits_of_replicas_are_pyhfs(final) -> None:
    ours, limits = final.replicated(objectives.upper_limit)
    assert final.limit == pytest.approx(ours, rel=2e-3)
    for replica in (0, 1):
        for way, part in enumerate((1.0, 0.1)):
            sums = (
                before + part * (after[replica] - before)
                for before, after in (
                    (final.templates.values_flat, final.replicas.values_flat),
                    (final.templates.variances_flat, final.replicas.variances_flat),
                )
            )
            templates = diffea.TemplateSet(final.templates.layout, *sums)
            judge = Judge(MODEL.workspace(templates), MODEL.modifier_settings)
            assert judge.limit(limits[replica, way]) == pytest.approx(limits[replica, way], rel=3e-3)
    assert final.limit_error == pytest.approx(np.std(limits[:, 1], ddof=1) / 0.1)
    assert 0.01 < final.limit_error / final.limit < 0.3


def test_a_gain_is_told_in_pairs(final, fileset) -> None:
    same = final.gain_over(final)
    assert (same.value, same.error, same.bias) == (1.0, 0.0, 0.0)
    after = evaluated(fileset, {**PARAMS, "mt": 47.0})
    gain = after.gain_over(final)
    assert gain.value == pytest.approx(after.limit / final.limit)
    alone = gain.value * np.hypot(after.limit_error / after.limit, final.limit_error / final.limit)
    assert 0 < gain.error < 0.5 * alone
    by_width = after.gain_over(final, objectives.poi_uncertainty)
    assert by_width.value == pytest.approx(after.poi_uncertainty / final.poi_uncertainty)
    with pytest.raises(errors.ReplicaError, match="got 5 and 60"):
        evaluated(fileset, replicas=5).gain_over(final)


def test_other_errors_are_those_of_the_replicas(final) -> None:
    errors_of = final.yield_errors
    bins = final.templates["few", "bkg"]
    np.testing.assert_allclose(errors_of["few", "bkg", "nominal"], np.sqrt(bins.variances), rtol=0.4, atol=1e-9)
    assert final.cls_error == pytest.approx(final.measured(objectives.cls).error)
    assert 0 < final.significance_error < final.significance
    assert 0 < final.poi_uncertainty_error < final.poi_uncertainty


def test_replicas_that_cannot_be_judged_are_no_error_in_silence(final) -> None:
    level = np.sort(final.replicas["few", "bkg"].values.sum(axis=1))[10]

    def objective(bound):
        found = jnp.sum(bound.expected_data(jnp.asarray(bound.config.suggested_init())))
        return jnp.where(found > level + 200, jnp.nan, found)

    with pytest.raises(errors.ReplicaError, match="of 60 replicas"):
        final.measured(objective)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (15.43, 0.62, "15.4 ± 0.6"),
        (0.6789, 0.0212, "0.679 ± 0.021"),
        (1234.0, 56.0, "1230 ± 60"),
        (5.0, 9.6, "5 ± 10"),
        (5.4321, None, "5.432"),
        (1.0, 0.0, "1"),
    ],
)
def test_numbers_are_written_as_far_as_their_errors_go(value, error, text) -> None:
    assert with_error(value, error) == text
