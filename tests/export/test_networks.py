"""``--to onnx``: the network of an analysis as onnxruntime runs it, against the network written out in NumPy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import learning, objectives, soft
from diffea.analysis import Analysis, Variant
from diffea.errors import ExportError, MissingPackageError
from diffea.events.splits import Split
from diffea.export import export
from diffea.export.observables import Observable, learned_observables
from diffea.export.plain.folds import fold_of
from diffea.export.results import Result
from diffea.run.digests import digest_of
from diffea.run.numbers import numbers

EVENTS = 300
INPUTS = ("x y", "count")
FOLDS = Split(folds=2, seed=5)


class Scored(diffea.DifferentiableProcessor):
    """A network of two standardised inputs, of which one is a whole number, beside a channel that was not learned."""

    channels = {  # noqa: RUF012
        "score": hist.axis.Regular(4, 0, 1, name="score"),
        "mass": hist.axis.Regular(4, 0, 4, name="mass"),
    }
    scaled = learning.Standardised({"x y": jnp.log1p, "count": None}, np.array([1.1, 2.0]), np.array([0.7, 1.5]))

    def columns(self, events):
        events = events[events.x > 0.1]
        return {"x y": events.x, "count": events.n, "jets": events.jets, "name": events.metadata["dataset"]}

    def fill(self, params, columns):
        hidden = jax.nn.relu(self.scaled(columns) @ params["in"] + params["bias"])
        keep = soft.above(columns["x y"], params["cut"], width=0.1)
        yield diffea.Fill("score", jax.nn.sigmoid(hidden @ params["out"]), keep)
        yield diffea.Fill("score", jax.nn.sigmoid(hidden @ params["out"] + 0.1), keep, variation="up")
        yield diffea.Fill("mass", columns["x y"], keep)


class OfObjects(Scored):
    """A network of objects."""

    def fill(self, params, columns):
        yield diffea.Fill("score", jax.nn.sigmoid(params["bias"][0] * columns["jets"].sum()))


class EachObject(Scored):
    """A network of each object."""

    def fill(self, params, columns):
        yield diffea.Fill("mass", params["bias"][0] + columns["jets"])


class Unlike(Scored):
    """Not the same in every dataset."""

    def fill(self, params, columns):
        yield diffea.Fill("score", params["cut"] * columns["x y"] * (2.0 if columns["name"] == "signal" else 1.0))


class Nothing(Scored):
    """Learns no observable."""

    def fill(self, params, columns):
        yield diffea.Fill("mass", columns["x y"], soft.above(columns["x y"], params["cut"], width=0.1))


class Classes(Scored):
    """Probabilities of categories, and the largest of them."""

    channels = {"classes all": (hist.axis.IntCategory(range(3), name="of"), hist.axis.Regular(4, 0, 1, name="largest"))}  # noqa: RUF012

    def fill(self, params, columns):
        shares = jax.nn.softmax(self.scaled(columns) @ params["in"])
        yield diffea.Fill("classes all", (shares, jnp.max(shares, axis=1)))


def weights(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "in": rng.normal(size=(2, 3)),
        "bias": rng.normal(size=3),
        "out": rng.normal(size=3),
        "cut": 0.3 + 0.1 * seed,
    }


def by_hand(params: dict, x: np.ndarray, n: np.ndarray) -> np.ndarray:
    inputs = np.stack([(np.log1p(x) - 1.1) / 0.7, (n - 2.0) / 1.5], axis=1)
    hidden = np.maximum(inputs @ params["in"] + params["bias"], 0.0)
    return 1.0 / (1.0 + np.exp(-hidden @ params["out"]))


def fileset(folder: Path) -> dict:
    return {name: {"files": {str(folder / f"{name}.root"): "Events"}} for name in ("signal", "background")}


def analysis_of(processor: diffea.DifferentiableProcessor, split: Split | None = FOLDS) -> Analysis:
    samples = [
        {"name": "signal", "data": "signal", "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": "background", "modifiers": []},
    ]
    spec = {"channels": [{"name": "score", "samples": samples}]}
    variant = Variant(processor=processor, spec=spec, params=weights(0), objective=objectives.cls)
    return Analysis(
        name="scored", title="A network", fileset=fileset, variants={"": variant}, schemaclass=BaseSchema, split=split
    )  # fmt: skip


def result_of(analysis: Analysis, params: list[dict], folder: Path) -> Result:
    found = {
        "analysis": "scored",
        "variant": "",
        "analysis_digest": digest_of(analysis, analysis.variants[""]),
        "params": {"after": numbers(params[0])},
        "folds": [{"params": numbers(one)} for one in params] if len(params) > 1 else None,
    }
    return Result(folder, found, {}, None, {})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("signal", "background")):
        rng = np.random.default_rng(seed)
        counts = rng.integers(0, 4, EVENTS)
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = {
                "x": rng.exponential(2.0, EVENTS).astype(np.float32),
                "n": counts.astype(np.uint8),
                "jets": ak.unflatten(rng.exponential(20.0, counts.sum()), counts),
                **{key: np.full(EVENTS, 1 + seed) for key in ("run", "luminosityBlock")},
                "event": np.arange(EVENTS),
            }
    return folder


def learned(processor: diffea.DifferentiableProcessor, data: Path) -> list[Observable]:
    analysis = analysis_of(processor)
    return learned_observables(analysis, analysis.variants[""], data)


def test_the_network_is_found_with_the_columns_that_it_reads(data) -> None:
    (one,) = learned(Scored(), data)
    assert (one.name, tuple(sorted(one.inputs))) == ("score", tuple(sorted(INPUTS)))
    rng, params = np.random.default_rng(7), weights(3)
    x, n = rng.exponential(1.0, 50), rng.integers(0, 9, 50).astype(one.inputs["count"].dtype)
    given = {"x y": x, "count": n}
    found = one.at(params)(*(given[name] for name in one.inputs))
    np.testing.assert_allclose(found, by_hand(params, x, n), rtol=1e-14)


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        (OfObjects, "computed of the objects in jets"),
        (EachObject, "'mass' has an entry for each object"),
        (Unlike, "something else in background than in signal"),
        (Nothing, "no observable of Nothing depends on the parameters"),
    ],
)
def test_what_is_no_function_of_an_events_numbers_is_refused(data, processor, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        learned(processor(), data)


def test_what_is_missing_is_named(data, tmp_path, monkeypatch) -> None:
    analysis = analysis_of(Scored())
    result = result_of(analysis, [weights(0), weights(1)], tmp_path)
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'diffea\[onnx\]'"):
        export(result, "onnx", tmp_path / "out", analysis, data)
    with pytest.raises(ExportError, match="in which folder"):
        export(result, "onnx", tmp_path / "out", analysis)
    with pytest.raises(ExportError, match="say which analysis"):
        export(result, "onnx", tmp_path / "out", None, data)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", [FOLDS, Split(folds=7, seed=2**63)])
def test_the_fold_of_an_event_is_that_of_the_split(split: Split) -> None:
    rng = np.random.default_rng(1)
    identity = tuple(rng.integers(0, 2**62, 500) for _ in range(3))
    found = fold_of(split.seed, split.folds, *identity)
    for fold in range(split.folds):
        np.testing.assert_array_equal(found == fold, split.without(fold).of("fold").mask(identity))


def test_onnxruntime_judges_each_event_by_the_network_that_did_not_see_it(data, tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="needs jax2onnx (pip install 'diffea[onnx]')")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime (pip install 'diffea[onnx]')")
    analysis, params = analysis_of(Scored()), [weights(0), weights(1)]
    folder = export(result_of(analysis, params, tmp_path), "onnx", tmp_path / "out", analysis, data)
    about = json.loads((folder / "networks.json").read_text())
    (network,) = about["networks"]
    sessions = [runtime.InferenceSession(str(folder / file)) for file in network["files"]]
    rng = np.random.default_rng(7)
    for session, own in zip(sessions, params, strict=True):
        x, n = rng.exponential(1.0, 50), rng.integers(0, 9, 50)
        given = dict(zip(INPUTS, (x, n), strict=True))
        typed = {one["name"]: given[one["name"]].astype(one["type"]) for one in network["inputs"]}
        (found,) = session.run([about["output"]], typed)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, by_hand(own, x, n), rtol=1e-13)

    sys.path.insert(0, str(folder))
    try:
        import folds
    finally:
        sys.path.remove(str(folder))
    final = diffea.evaluate(
        Scored(),
        fileset(data),
        params,
        diffea.HistFactory(analysis.variants[""].spec),
        schemaclass=BaseSchema,
        split=FOLDS,
    )
    for name in ("signal", "background"):
        events = uproot.open(data / f"{name}.root")["Events"].arrays()
        events = events[events.x > 0.1]
        fold = folds.fold_of(
            about["split"]["seed"],
            about["split"]["folds"],
            *(events[key] for key in ("run", "luminosityBlock", "event")),
        )
        total = np.zeros(4)
        for number, (session, own) in enumerate(zip(sessions, params, strict=True)):
            part = events[fold == number]
            given = {"x y": part.x, "count": part.n}
            typed = {one["name"]: np.asarray(given[one["name"]]).astype(one["type"]) for one in network["inputs"]}
            (score,) = session.run(None, typed)
            total += np.histogram(score[np.asarray(part.x, float) > own["cut"]], np.linspace(0, 1, 5))[0]
        np.testing.assert_array_equal(final.templates["score", name].values, total)


def test_categories_are_rows_of_probabilities_and_each_axis_a_file(data, tmp_path) -> None:
    pytest.importorskip("jax2onnx", reason="needs jax2onnx (pip install 'diffea[onnx]')")
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime (pip install 'diffea[onnx]')")
    analysis = analysis_of(Classes(), None)
    folder = export(result_of(analysis, [weights(2)], tmp_path), "onnx", tmp_path / "out", analysis, data)
    assert not (folder / "folds.py").exists()
    entries = {one["observable"]: one for one in json.loads((folder / "networks.json").read_text())["networks"]}
    x, n = np.array([0.3, 1.0, 4.0]), np.array([0, 2, 3])
    logits = np.stack([(np.log1p(x) - 1.1) / 0.7, (n - 2.0) / 1.5], axis=1) @ weights(2)["in"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name, expected in (("classes all-of", shares), ("classes all-largest", shares.max(axis=1))):
        session = runtime.InferenceSession(str(folder / entries[name]["files"][0]))
        given = {"x y": x, "count": n}
        typed = {one["name"]: given[one["name"]].astype(one["type"]) for one in entries[name]["inputs"]}
        np.testing.assert_allclose(session.run(None, typed)[0], expected, rtol=1e-13)
