"""evaluate and run: pyhf judges real histograms of other events, and a run leaves whole files or none."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import optax
import pyhf
import pytest

import diffea
from diffea import errors, objectives
from diffea.judge import Judge
from diffea.run import describe, run_variant
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

SPLIT = diffea.Split(train=0.5)
BOUNDS = {"mt": (10.0, 90.0), "jet_pt": (20.0, 60.0), "shift": (0.0, 1.0)}


def spec(background="bkg"):
    def sample(name, *modifiers):
        return {"name": name, "data": name, "modifiers": list(modifiers)}

    def channel(name):
        signal = sample("signal", {"name": "strength", "type": "normfactor", "data": None})
        uncertain = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
        other = sample(background, uncertain, {"name": f"mc_{name}", "type": "staterror", "data": background})
        return {"name": name, "samples": [signal, other]}

    measurement = {"name": "search", "config": {"poi": "strength", "parameters": []}}
    return {"channels": [channel("few"), channel("many")], "measurements": [measurement]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_fileset(folder)
    return folder


@pytest.fixture(scope="module")
def final(folder):
    model = diffea.HistFactory(spec())
    return diffea.evaluate(Search(), write_fileset(folder), PARAMS, model, schemaclass=QuietSchema, split=SPLIT)


def test_the_test_half_is_judged_by_pyhf_itself(final, folder) -> None:
    workspace = pyhf.Workspace(final.workspace())
    model = workspace.model()
    _, expected = pyhf.infer.hypotest(1.0, workspace.data(model), model, test_stat="qtilde", return_expected=True)
    assert final.cls == pytest.approx(float(expected), abs=1e-5)
    assert final.cls == pytest.approx(float(objectives.cls(final.model(final.templates))), abs=1e-5)
    assert final.cls_at(final.limit) == pytest.approx(0.05, rel=5e-3)
    assert 0 < sum(final.events.values()) < 5100
    np.testing.assert_array_equal(final.hists["few", "bkg", "nominal"].values(), final.templates["few", "bkg"].values)


def test_a_judge_that_finds_another_limit_is_not_believed(final, monkeypatch) -> None:
    monkeypatch.setattr(Judge, "limit", lambda _, guess: 1.1 * guess)
    with pytest.raises(errors.JudgementError, match="the same limit within 5%, got"):
        _ = dataclasses.replace(final).limit


def test_a_template_that_no_fill_made_is_named(folder) -> None:
    model = diffea.HistFactory(spec(background="tt"))
    final = diffea.evaluate(Search(), write_fileset(folder), PARAMS, model, schemaclass=QuietSchema)
    with pytest.raises(errors.DiffeaError, match="'few', 'tt'"):
        final.workspace()


def analysis(**changes):
    variant = diffea.Variant(
        processor=Search(),
        spec=diffea.HistFactory(spec(), modifier_settings={"normsys": {"interpcode": "code1"}}),
        params=PARAMS,
        bounds=BOUNDS,
        objective=functools.partial(objectives.cls, poi_test=0.5),
        optimizer=optax.adam(0.03),
        steps=4,
        **changes,
    )
    return diffea.Analysis(
        name="few",
        title="a search",
        fileset=write_fileset,
        variants={"": variant},
        schemaclass=QuietSchema,
        split=diffea.Split(train=0.5, validation=0.2),
    )


@pytest.mark.slow
def test_a_run_leaves_its_numbers_and_a_workspace_for_pyhf(folder, tmp_path) -> None:
    steps = []
    result = run_variant(analysis(), "", data=folder, out=tmp_path, progress=steps.append)
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {
        "result.json",
        "workspace.json",
        "templates.json",
        "checkpoint",
    }
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert all(step.validation is not None for step in steps)
    assert all(step.events_per_second > 0 and step.memory > 1e7 and step.moved == 0 for step in steps)
    assert set(result["seconds_by_stage"]) == {"read", "compile", "compute", "reduce", "wall", "driver"}
    assert 0 < result["seconds_by_stage"]["driver"] < sum(step.seconds for step in steps)
    assert result["objective"] == "cls(poi_test=0.5)"
    for when in ("before", "after"):
        assert set(result[when]) == {"soft", "hard_train", "hard_test"}
    assert result["after"]["soft"] < result["before"]["soft"]
    workspace = pyhf.Workspace(json.loads((tmp_path / "workspace.json").read_text()))
    assert result["modifier_settings"]["normsys"] == {"interpcode": "code1"}
    model = workspace.model(modifier_settings=result["modifier_settings"])
    assert model.config.poi_name == "strength"
    _, expected = pyhf.infer.hypotest(0.5, workspace.data(model), model, test_stat="qtilde", return_expected=True)
    assert result["after"]["hard_test"] == pytest.approx(float(expected), abs=1e-5)
    resumed = run_variant(analysis(), "", data=folder, out=tmp_path, steps=4, resume=True)
    assert resumed["params"] == result["params"]


def test_an_error_leaves_nothing_half_written(folder, tmp_path) -> None:
    class Broken(Search):
        def fill(self, params, columns):
            yield from ()

    broken = diffea.Variant(processor=Broken(), spec=spec(), params=PARAMS, objective=objectives.cls)
    with pytest.raises(errors.DiffeaError):
        run_variant(
            diffea.Analysis(name="b", title="", fileset=write_fileset, variants={"": broken}, schemaclass=QuietSchema),
            "", data=folder, out=tmp_path,
        )  # fmt: skip
    assert not list(tmp_path.glob("*.json"))


def test_an_unknown_variant_is_named(folder, tmp_path) -> None:
    with pytest.raises(errors.AnalysisError, match="no variant 'x'"):
        run_variant(analysis(), "x", data=folder, out=tmp_path)


def test_objectives_are_described_in_words() -> None:
    assert describe(objectives.upper_limit) == "upper_limit"
    assert describe(functools.partial(objectives.cls, poi_test=10.0)) == "cls(poi_test=10.0)"
