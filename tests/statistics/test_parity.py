"""Names, order, expectations and densities equal pyhf's, for every modifier, code and random specification."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from diffea.statistics import BoundModel, HistFactory
from tests.statistics.models import EVERYTHING, LUMI, modifier

NBINS = {"a": 2, "b": 3}


def assert_equal(bound: BoundModel, judge: pyhf.Model, points: int = 5, spread: float = 0.5) -> None:
    """Same names, order, settings; expectations and densities to 1e-10 at random points."""
    mine, theirs = bound.config, judge.config
    assert mine.par_names == theirs.par_names
    assert mine.par_order == theirs.par_order
    assert mine.channels == theirs.channels
    assert mine.samples == theirs.samples
    assert mine.modifiers == theirs.modifiers
    assert mine.channel_nbins == theirs.channel_nbins
    assert mine.channel_slices == theirs.channel_slices
    assert mine.poi_index == theirs.poi_index
    assert mine.auxdata_order == theirs.auxdata_order
    assert (mine.npars, mine.nmaindata, mine.nauxdata) == (theirs.npars, theirs.nmaindata, theirs.nauxdata)
    np.testing.assert_allclose(mine.suggested_init(), theirs.suggested_init())
    np.testing.assert_allclose(mine.suggested_bounds(), theirs.suggested_bounds())
    np.testing.assert_array_equal(mine.suggested_fixed(), theirs.suggested_fixed())
    np.testing.assert_allclose(mine.auxdata, theirs.auxdata, rtol=1e-12)
    random = np.random.default_rng(0)
    low, high = np.array(theirs.suggested_bounds()).T
    init = np.array(theirs.suggested_init())
    wide = jnp.asarray(random.uniform(low, high, size=(points, theirs.npars)))
    near = np.clip(init + spread * random.normal(size=(points, theirs.npars)), low, high)
    both = jax.jit(jax.vmap(lambda p, d: (bound.expected_data(p), bound.logpdf(p, d)), in_axes=(0, None)))
    data = np.asarray(judge.expected_data(init)) * random.uniform(0.8, 1.2, theirs.nmaindata + theirs.nauxdata)
    with np.errstate(invalid="ignore"):
        for sample in (wide, near):
            expected, density = both(sample, data)
            for pars, mu, value in zip(np.asarray(sample), expected, density, strict=True):
                np.testing.assert_allclose(mu, judge.expected_data(pars), rtol=1e-10, atol=1e-12)
                np.testing.assert_allclose(value, judge.logpdf(pars, data)[0], rtol=1e-10)


def test_every_modifier(everything: tuple[BoundModel, pyhf.Model]) -> None:
    assert_equal(*everything)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("normfactor", None),
        ("shapefactor", None),
        ("normsys", {"hi": 1.1, "lo": 0.8}),
        ("histosys", {"hi_data": [55.0, 41.0], "lo_data": [48.0, 37.0]}),
        ("lumi", None),
        ("shapesys", [3.0, 4.0]),
        ("staterror", [3.0, 4.0]),
    ],
)
def test_one_modifier_alone(kind: str, data: Any) -> None:
    signal = {"name": "s", "data": [5.0, 8.0], "modifiers": [modifier("mu", "normfactor")]}
    background = {"name": "b", "data": [50.0, 40.0], "modifiers": [modifier("lumi", kind, data)]}
    parameters = [LUMI] if kind == "lumi" else []
    spec = {"channels": [{"name": "c", "samples": [signal, background]}], "parameters": parameters}
    assert_equal(HistFactory(spec)(), pyhf.Model(spec), points=2)


@pytest.mark.parametrize(("normsys", "histosys"), [("code1", "code0"), ("code4", "code2")])
def test_other_interpolation_codes(normsys: str, histosys: str) -> None:
    settings = {"normsys": {"interpcode": normsys}, "histosys": {"interpcode": histosys}}
    bound = HistFactory(EVERYTHING, modifier_settings=settings)()
    assert_equal(bound, pyhf.Model(EVERYTHING, modifier_settings=settings), points=20)


def test_settings_of_the_measurement() -> None:
    spec = copy.deepcopy(EVERYTHING)
    spec["parameters"] = [
        LUMI,
        {"name": "mu", "bounds": [[-3.0, 20.0]], "inits": [0.5]},
        {"name": "norm", "fixed": True, "inits": [0.25]},
        {"name": "scale", "auxdata": [0.1]},
        {"name": "stat_signal", "fixed": True},
    ]
    assert_equal(HistFactory(spec)(), pyhf.Model(spec))


def test_bins_without_events_or_uncertainty() -> None:
    spec = copy.deepcopy(EVERYTHING)
    fake = spec["channels"][0]["samples"][2]  # type: ignore[index]
    bkg = spec["channels"][0]["samples"][1]  # type: ignore[index]
    fake["data"], bkg["data"] = [0.0, 6.0, 4.0, 0.0], [50.0, 40.0, 30.0, 0.0]
    fake["modifiers"][0]["data"] = [1.0, 0.0, 1.0, 1.0]
    assert_equal(HistFactory(spec)(), pyhf.Model(spec))


def test_simple_models_of_pyhf() -> None:
    simple = pyhf.simplemodels
    for judge in (
        simple.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0]),
        simple.correlated_background([12.0, 11.0], [50.0, 52.0], [45.0, 57.0], [55.0, 47.0]),
    ):
        assert_equal(HistFactory(judge.spec)(), judge)


def test_shared_by_name_over_channels_of_unlike_binning() -> None:
    spec = {
        "channels": [
            {"name": name, "samples": [{"name": "s", "data": [5.0] * n, "modifiers": mods}]}
            for name, n, mods in [
                ("wide", 2, [modifier("shape", "shapefactor"), modifier("mu", "normfactor")]),
                ("narrow", 3, [modifier("shape", "shapefactor"), modifier("st", "staterror", [1.0, 2.0, 3.0])]),
            ]
        ]
    }
    assert_equal(HistFactory(spec)(), pyhf.Model(spec))


def _numbers(low: float, high: float, n: int) -> st.SearchStrategy[list[float]]:
    """Numbers of a range, or 0 if it begins there (but nothing so small that pyhf divides by its square, 0)."""
    one = st.floats(max(low, 0.1), high)
    return st.lists(st.just(0.0) | one if low == 0 else one, min_size=n, max_size=n)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Random specifications: up to three samples in two channels of 2 and 3 bins, modifiers shared at random."""
    channels = []
    for channel, n in NBINS.items():
        samples = []
        stat = draw(st.booleans())
        for sample in draw(st.sampled_from([["s", "x"], ["x", "y"], ["y", "s", "x"]])):
            modifiers = [modifier("mu", "normfactor")] if sample == "s" else []
            for kind in draw(
                st.sets(st.sampled_from(["histosys", "normsys", "lumi", "shapesys", "normfactor", "both"]))
            ):
                if kind in ("histosys", "both"):
                    data = {key: draw(_numbers(1.0, 90.0, n)) for key in ("hi_data", "lo_data")}
                    modifiers.append(modifier(draw(st.sampled_from(["h1", "h2"])), "histosys", data))
                if kind in ("normsys", "both"):
                    data = {key: draw(st.floats(0.5, 1.6)) for key in ("hi", "lo")}
                    modifiers.append(modifier(draw(st.sampled_from(["h1", "n2"])), "normsys", data))
                if kind == "lumi":
                    modifiers.append(modifier("lumi", "lumi"))
                if kind == "shapesys":
                    modifiers.append(modifier(f"ss_{channel}_{sample}", "shapesys", draw(_numbers(0.0, 9.0, n))))
                if kind == "normfactor":
                    modifiers.append(modifier("free", "normfactor"))
            if stat and sample != "s":
                modifiers.append(modifier(f"stat_{channel}", "staterror", draw(_numbers(0.0, 9.0, n))))
            once = list({(m["name"], m["type"]): m for m in modifiers}.values())
            samples.append({"name": sample, "data": draw(_numbers(0.0, 90.0, n)), "modifiers": once})
        channels.append({"name": channel, "samples": samples})
    channels[0]["samples"].append({"name": "z", "data": [1.0, 2.0], "modifiers": [modifier("mu", "normfactor")]})
    return {"channels": channels, "parameters": [LUMI]}


@hypothesis.settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
@hypothesis.given(specs())
def test_random_specifications(spec: dict[str, Any]) -> None:
    assert_equal(HistFactory(spec)(), pyhf.Model(spec), points=2)


def test_patch_of_a_patchset_file(tmp_path: Path) -> None:
    """The patch is named as in pyhf, and pyhf's check of the workspace's digest passes."""
    workspace = pyhf.Workspace(HistFactory(EVERYTHING).workspace())
    channel = [channel["name"] for channel in workspace["channels"]].index("signal")
    document = {
        "metadata": {
            "references": {"hepdata": "ins1234567"},
            "description": "two masses",
            "digests": {"sha256": pyhf.utils.digest(workspace, "sha256")},
            "labels": ["mass"],
        },
        "patches": [
            {
                "metadata": {"name": f"mass_{mass}", "values": [mass]},
                "patch": [
                    {
                        "op": "replace",
                        "path": f"/channels/{channel}/samples/0/data",
                        "value": [mass / 100, 2.0, 3.0, 1.0],
                    }
                ],
            }
            for mass in (300, 500)
        ],
        "version": "1.0.0",
    }
    file = tmp_path / "patchset.json"
    file.write_text(json.dumps(document))
    patchset = pyhf.PatchSet(json.loads(file.read_text()))
    model = HistFactory.from_workspace(workspace, patches=[patchset["mass_500"]])
    assert_equal(model(), pyhf.Workspace(patchset.apply(workspace, "mass_500")).model(), points=2)
    assert 5.0 in np.asarray(model.yields.nominal)
    by_values = HistFactory.from_workspace(workspace, patches=[patchset[(300,)]])
    assert 3.0 in np.asarray(by_values.yields.nominal)


def test_published_likelihood(likelihood: tuple[dict[str, Any], list[Any]]) -> None:
    workspace, patch = likelihood
    model = HistFactory.from_workspace(workspace, patches=[patch])
    judge = pyhf.Workspace(workspace).model(patches=[patch])
    assert_equal(model(), judge, points=10)
    assert model().config.poi_name == "mu_SIG"
    np.testing.assert_allclose(model().observed_data(), pyhf.Workspace(workspace).data(judge))
