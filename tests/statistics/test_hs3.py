"""HS3: what is written means the same to pyhs3, is read back as the same model, and what has no counterpart is refused."""

from __future__ import annotations

import copy
import json
import logging.config
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from diffea.errors import DiffeaError, FormatError
from diffea.statistics import BoundModel, HistFactory
from tests.statistics.models import EVERYTHING, FITTED, LUMI, OBSERVED, modifier, structure

CODES = [("code4", "code4p"), ("code1", "code0")]


def settings(normsys: str, histosys: str) -> dict[str, dict[str, str]]:
    return {"normsys": {"interpcode": normsys}, "histosys": {"interpcode": histosys}}


def holes() -> dict[str, Any]:
    """Bins without events, or without uncertainty, under staterror and shapesys."""
    signal = {"name": "s", "data": [0.0, 3.0, 4.0], "modifiers": [modifier("mu", "normfactor")]}
    first = {"name": "a", "data": [20.0, 0.0, 30.0], "modifiers": [modifier("method", "shapesys", [2.0, 0.0, 0.0])]}
    second = {"name": "b", "data": [9.0, 8.0, 7.0], "modifiers": [modifier("stat", "staterror", [1.0, 0.0, 0.5])]}
    parameters = [{"name": "mu", "bounds": [[-2.0, 7.0]], "inits": [0.5]}]
    return {"channels": [{"name": "c", "samples": [signal, first, second]}], "parameters": parameters}


def fixed() -> dict[str, Any]:
    spec = copy.deepcopy(EVERYTHING)
    spec["parameters"] = [{**LUMI, "fixed": True}, {"name": "norm", "fixed": True, "inits": [0.4], "bounds": [[-3, 3]]}]
    return spec


def points(bound: BoundModel) -> list[np.ndarray]:
    """Initial parameters, and three others within their bounds, on both sides of what the codes tell apart."""
    random, init = np.random.default_rng(5), np.array(bound.config.suggested_init())
    moves = [np.where(init == 0, 2.5, 0.4) * size * random.uniform(-1, 1, len(init)) for size in (0.0, 0.3, 1.0, 1.0)]
    return [np.where(bound.config.suggested_fixed(), init, init + move) for move in moves]


def missing_constants(bound: BoundModel) -> float:
    """Of the constraints on bins without events or uncertainty, whose parameters pyhf holds: N(1 | 1, 1), Poisson(1 | 1)."""
    held = np.asarray(bound.config.suggested_fixed())
    kinds = [
        item.kinds[0] for item in bound.layout.sets.values() if item.fixed is None for _ in range(item.n_parameters)
    ]
    which = [item.fixed is None for item in bound.layout.sets.values() for _ in range(item.n_parameters)]
    terms = {"staterror": -0.5 * np.log(2 * np.pi), "shapesys": -1.0}
    return sum(terms[kind] for kind, off in zip(kinds, held[which], strict=True) if off)


MODELS: dict[str, tuple[Callable[[], dict[str, Any]], tuple[str, str]]] = {
    "everything": (lambda: EVERYTHING, CODES[0]),
    "codes 1 and 0": (lambda: FITTED, CODES[1]),
    "shared names": (lambda: structure(2), CODES[0]),
    "holes": (holes, CODES[0]),
    "fixed parameters": (fixed, CODES[0]),
}


@pytest.mark.parametrize("name", MODELS)
def test_pyhs3_and_the_model_read_back_have_the_same_density(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytensor = pytest.importorskip(
        "pytensor", reason="pyhs3, which judges HS3 documents, is not installed: pip install diffea[test]"
    )
    monkeypatch.setattr(logging.config, "dictConfig", lambda config: None)  # pyhs3 silences all other loggers
    import pyhs3
    from pytensor.graph.traversal import explicit_graph_inputs

    make, codes = MODELS[name]
    model = HistFactory(make(), modifier_settings=settings(*codes))
    bound = model()
    seen = (
        OBSERVED
        if "signal" in bound.config.channels and len(bound.config.channels) == 2
        else 1.0 + np.arange(bound.config.nmaindata)
    )
    data = bound.data(seen)
    document = json.loads(json.dumps(model.hs3(observations=seen)))
    (analysis,) = document["analyses"]
    judge = pyhs3.Workspace(**document).model(analysis["name"], progress=False, mode="FAST_COMPILE")
    inputs = list(explicit_graph_inputs([judge.log_prob]))
    density = pytensor.function(inputs, judge.log_prob, mode="FAST_COMPILE", on_unused_input="ignore")
    names = [p["name"] for p in document["parameter_points"][0]["parameters"] if not p["name"].startswith("nom_")]
    read = HistFactory.from_hs3(document)
    again = read()
    assert read.modifier_settings == model.modifier_settings
    assert sorted(again.config.par_names) == sorted(bound.config.par_names)
    assert analysis["parameters_of_interest"] == [read.config.poi_name] == [model.config.poi_name]
    place = [again.config.par_names.index(name) for name in bound.config.par_names]
    for what in ("suggested_init", "suggested_bounds", "suggested_fixed"):
        old, new = (np.asarray(getattr(b.config, what)()) for b in (bound, again))
        np.testing.assert_array_equal(new[place], old, err_msg=what)
    for pars in points(bound):
        mine, moved = float(bound.logpdf(pars, data)), np.empty(len(pars))
        moved[place] = pars
        np.testing.assert_allclose(again.logpdf(moved, again.observed_data()), mine, rtol=1e-12)
        values = dict(zip(names, pars, strict=True))
        theirs = float(density(*[values[item.name] for item in inputs]))
        np.testing.assert_allclose(theirs + missing_constants(bound), mine, rtol=1e-12)


def native() -> dict[str, Any]:
    """A document as others write it: short forms of staterror and shapesys, a luminosity by name, swapped mean and x."""
    stat = {"type": "staterror", "name": "st", "parameters": ["g0", "g1"], "constraint": "Gauss"}
    shape = {
        "type": "shapesys",
        "name": "m",
        "parameters": ["h0", "h1"],
        "constraint": "Poisson",
        "data": {"vals": [4.0, 2.0]},
    }
    lumi = {"type": "normfactor", "name": "Lumi", "parameter": "Lumi", "constraint_name": "lumiConstraint"}
    norm = {"type": "normsys", "name": "n", "parameter": "alpha_n", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {
            "name": "s",
            "data": {"contents": [5.0, 6.0], "errors": [1.0, 0.5]},
            "modifiers": [lumi, stat, {"type": "normfactor", "name": "mu"}],
        },
        {"name": "b", "data": {"contents": [50.0, 40.0], "errors": [3.0, 2.0]}, "modifiers": [norm, stat, shape]},
    ]
    axes = [{"name": "x", "edges": [0.0, 1.0, 5.0]}]
    return {
        "metadata": {"hs3_version": "0.2"},
        "distributions": [
            {"name": "c", "type": "histfactory_dist", "axes": axes, "samples": samples},
            {"name": "lumiConstraint", "type": "gaussian_dist", "x": "Lumi", "mean": "nominalLumi", "sigma": 0.02},
        ],
        "data": [{"name": "obs", "type": "binned", "contents": [57.0, 44.0], "axes": axes}],
        "likelihoods": [{"name": "L", "distributions": ["c"], "data": ["obs"]}],
        "domains": [{"name": "d", "type": "product_domain", "axes": [{"name": "mu", "min": 0.0, "max": 5.0}]}],
        "parameter_points": [{"name": "p", "parameters": [{"name": "mu", "value": 1.0}, {"name": "nominalLumi", "value": 1.0, "const": True}]}],
        "analyses": [{"name": "A", "likelihood": "L", "parameters_of_interest": ["mu"], "domains": ["d"], "init": "p"}],
    }  # fmt: skip


def test_short_forms_are_read() -> None:
    """Against the same model, written for pyhf by hand."""
    stat = {"s": [1.0, 0.5], "b": [3.0, 2.0]}
    signal = [modifier("lumi", "lumi"), modifier("mu", "normfactor"), modifier("st", "staterror", stat["s"])]
    background = [modifier("alpha_n", "normsys", {"hi": 1.1, "lo": 0.9}), modifier("m", "shapesys", [4.0, 2.0]), modifier("st", "staterror", stat["b"])]  # fmt: skip
    samples = [
        {"name": "s", "data": [5.0, 6.0], "modifiers": signal},
        {"name": "b", "data": [50.0, 40.0], "modifiers": background},
    ]
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.0, 10.0]], "inits": [1.0]}
    expected = HistFactory({"channels": [{"name": "c", "samples": samples}], "parameters": [lumi]})()
    found = HistFactory.from_hs3(native())()
    assert found.config.par_names == expected.config.par_names
    assert found.config.suggested_bounds()[found.config.poi_index] == (0.0, 5.0)
    for pars in points(expected):
        np.testing.assert_allclose(
            found.logpdf(pars, found.observed_data()), expected.logpdf(pars, expected.data([57.0, 44.0])), rtol=1e-12
        )


def modifiers(document: dict[str, Any], sample: int) -> list[dict[str, Any]]:
    return document["distributions"][0]["samples"][sample]["modifiers"]


SPOILT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "Poisson staterror": (lambda d: modifiers(d, 0)[1].update(constraint="Poisson"), "samples\\[0\\].*staterror with the constraint 'Poisson'"),
    "unsaid staterror": (lambda d: modifiers(d, 0)[1].pop("constraint"), "readers differ"),
    "shapesys of ROOT": (lambda d: d["metadata"].update(packages=[{"name": "ROOT", "version": "6.36"}]), "not events"),
    "other distribution": (lambda d: d["distributions"][0].update(type="mixture_dist"), "mixture_dist is no histogram"),
    "log-normal": (lambda d: modifiers(d, 1)[0].update(constraint="LogNormal"), "LogNormal.*no counterpart"),
    "unknown modifier": (lambda d: modifiers(d, 1)[0].update(type="custom"), "modifiers\\[0\\].*'custom' has no counterpart"),
    "interpolation": (lambda d: modifiers(d, 1)[0]["data"].update(interpolation="lin"), "interpolation 'lin' of a normsys"),
    "full Barlow-Beeston": (lambda d: d["distributions"][0].update(barlow_beeston_method="full"), "only 'lite'"),
    "two luminosities": (lambda d: (modifiers(d, 1).append({"type": "normfactor", "parameter": "k", "name": "k"}), d["likelihoods"][0].update(aux_distributions=["more"]),
        d["distributions"].append({"name": "more", "type": "gaussian_dist", "x": 1.0, "mean": "k", "sigma": 0.1})), "one, its lumi"),
    "two constraints": (lambda d: (d["likelihoods"][0].update(aux_distributions=["more"]), modifiers(d, 1)[0].update(constraint="Gauss"),
        d["distributions"].append({"name": "more", "type": "gaussian_dist", "x": 0.0, "mean": "alpha_n", "sigma": 1.0})), "besides its own"),
    "two of interest": (lambda d: d["analyses"][0].update(parameters_of_interest=["mu", "Lumi"]), "has one"),
    "no such data": (lambda d: d["likelihoods"][0].update(data=["none"]), "there is no 'none'"),
    "shared in part": (lambda d: modifiers(d, 1)[2].update(parameters=["h0", "g1"]), "'g1' belongs to other bins"),
    "one held": (lambda d: d["parameter_points"][0]["parameters"].append({"name": "g1", "value": 1.0, "const": True}), "bins \\[1\\] are constant"),
    "unbinned": (lambda d: d["data"][0].update(type="unbinned"), "expected binned data"),
    "contents": (lambda d: d["distributions"][0]["samples"][0]["data"].pop("contents"), "expected 'contents'"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_what_pyhf_has_not_is_refused_by_name(name: str) -> None:
    document = native()
    spoil, expected = SPOILT[name]
    spoil(document)
    with pytest.raises(FormatError, match=expected):
        HistFactory.from_hs3(document)


def test_what_hs3_has_not_is_refused_by_name() -> None:
    spec = copy.deepcopy(FITTED)
    with pytest.raises(FormatError, match="histosys 'scale' is interpolated by code2"):
        HistFactory(spec, modifier_settings=settings("code1", "code2")).hs3()
    spec["parameters"] = [LUMI, {"name": "norm", "auxdata": [0.3]}]
    with pytest.raises(FormatError, match=r"'norm'.*auxdata.*at 0 in HS3"):
        HistFactory(spec).hs3()
    spec = {"channels": [{"name": "mu", "samples": holes()["channels"][0]["samples"]}]}
    with pytest.raises(FormatError, match="'mu' would name two things"):
        HistFactory(spec).hs3()


@pytest.mark.parametrize(
    "document",
    [{}, {"metadata": {}}, {"metadata": {}, "analyses": [{}]}, {"metadata": {}, "analyses": [{"name": "a"}]}],
)
def test_what_is_no_document_is_said(document: dict[str, Any]) -> None:
    with pytest.raises(DiffeaError):
        HistFactory.from_hs3(document)
