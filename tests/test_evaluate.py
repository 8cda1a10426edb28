"""evaluate and run: pyhf judges real histograms of other events, and a run leaves whole files or none."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax.numpy as jnp
import numpy as np
import optax
import pyhf
import pytest

import diffea
from diffea import errors, objectives, report
from diffea.judge import Judge
from diffea.run import describe, run_variant
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

SPLIT = diffea.Split(train=0.5)
BOUNDS = {"mt": (10.0, 90.0), "jet_pt": (20.0, 60.0), "shift": (0.0, 1.0)}
SETTINGS = {"normsys": {"interpcode": "code1"}}


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


def model_of(background="bkg"):
    """One of the same layout in all tests, so that fits of it compile once."""
    return diffea.HistFactory(spec(background), modifier_settings=SETTINGS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_fileset(folder)
    return folder


@pytest.fixture(scope="module")
def final(folder):
    return diffea.evaluate(Search(), write_fileset(folder), PARAMS, model_of(), schemaclass=QuietSchema, split=SPLIT)


def test_the_test_half_is_judged_by_pyhf_itself(final, folder) -> None:
    workspace = pyhf.Workspace(final.workspace())
    model = workspace.model(modifier_settings=SETTINGS)
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
    model = model_of("tt")
    final = diffea.evaluate(Search(), write_fileset(folder), PARAMS, model, schemaclass=QuietSchema)
    with pytest.raises(errors.DiffeaError, match="'few', 'tt'"):
        final.workspace()


def analysis(**changes):
    variant = diffea.Variant(
        processor=Search(),
        spec=model_of(),
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
    assert [step.passes for step in steps] == [3, 4, 5, 6]  # after those that judge the start
    assert "passes" not in result["history"][0]
    assert all(step.events_per_second > 0 and step.memory > 1e7 and step.moved == 0 for step in steps)
    assert set(result["seconds_by_stage"]) == {"read", "compile", "compute", "reduce", "wall", "driver"}
    assert 0 < result["seconds_by_stage"]["driver"] < sum(step.seconds for step in steps)
    assert result["objective"] == "cls(poi_test=0.5)"
    for when in ("before", "after"):
        assert set(result[when]) == {"soft", "hard_train", "hard_test"}
    assert result["after"]["soft"] < result["before"]["soft"]
    workspace = pyhf.Workspace(json.loads((tmp_path / "workspace.json").read_text()))
    assert result["modifier_settings"]["normsys"] == SETTINGS["normsys"]
    model = workspace.model(modifier_settings=result["modifier_settings"])
    assert model.config.poi_name == "strength"
    _, expected = pyhf.infer.hypotest(0.5, workspace.data(model), model, test_stat="qtilde", return_expected=True)
    assert result["after"]["hard_test"] == pytest.approx(float(expected), abs=1e-5)


def untrained(**changes):
    """An analysis that is only judged."""
    variant = diffea.Variant(**{"processor": Search(), "spec": model_of(), "params": PARAMS, "steps": 0, **changes})
    return diffea.Analysis(
        name="u", title="", fileset=write_fileset, variants={"": variant}, schemaclass=QuietSchema, split=diffea.Split()
    )


def test_an_error_leaves_nothing_half_written(folder, tmp_path) -> None:
    broken = dataclasses.replace(untrained(objective=total), title=object())  # which is none for JSON
    with pytest.raises(TypeError, match="JSON serializable"):
        run_variant(broken, "", data=folder, out=tmp_path)
    assert not list(tmp_path.glob("*.json"))


def total(bound):
    return jnp.sum(bound.expected_data(jnp.asarray(bound.config.suggested_init())))


def test_one_sided_bounds_and_what_cannot_be_judged_lose_no_result(folder, tmp_path, monkeypatch) -> None:
    def fail(self, *arguments):
        msg = "this analysis excludes nothing"
        raise errors.JudgementError(msg)

    monkeypatch.setattr(Judge, "limit", fail)
    judged = dataclasses.replace(untrained(objective=total, bounds={"mt": (10.0, np.inf)}), split=None)
    result = run_variant(judged, "", data=folder, out=tmp_path)
    assert result == json.loads((tmp_path / "result.json").read_text())
    assert result["bounds"] == {"mt": [10.0, None]}
    assert result["limit_after"] is None
    assert result["not_judged"]["after"] == {"limit": "this analysis excludes nothing"}
    assert result["after"]["hard_test"] > 0
    page = report.write(tmp_path, ("svg",)).read_text()
    assert "excludes nothing" in page
    assert result["split"] is None
    assert list(result["events"]) == ["train"]
    assert "hard cuts, the events trained on" in page
    assert "not trained on" not in page


def test_what_does_not_fit_is_told_before_the_training(folder, tmp_path) -> None:
    steps = []
    with pytest.raises(errors.DiffeaError, match="'few', 'tt'"):
        run_variant(
            untrained(spec=model_of("tt"), objective=total, steps=5),
            "", data=folder, out=tmp_path, progress=steps.append,
        )  # fmt: skip
    assert not steps


def test_an_unknown_variant_is_named(folder, tmp_path) -> None:
    with pytest.raises(errors.AnalysisError, match="no variant 'x'"):
        run_variant(analysis(), "x", data=folder, out=tmp_path)


def test_objectives_are_described_in_words() -> None:
    assert describe(objectives.upper_limit) == "upper_limit"
    assert describe(functools.partial(objectives.cls, poi_test=10.0)) == "cls(poi_test=10.0)"


def test_more_steps_than_before_go_on_from_the_same_pretraining(folder, tmp_path) -> None:
    stage = diffea.Pretraining(
        objective=lambda templates: jnp.sum(templates["few", "bkg"].values), optimizer=optax.adam(0.1), steps=6
    )
    trained = untrained(objective=total, optimizer=optax.adam(0.1), steps=6, pretraining=stage, limit=False)
    first = run_variant(trained, "", data=folder, out=tmp_path, steps=2)
    more = run_variant(trained, "", data=folder, out=tmp_path, steps=3, resume=True)
    assert [step["loss"] for step in more["history"]][:2] == [step["loss"] for step in first["history"]]
    assert len(more["history"]) == 3
    assert [step["step"] for step in more["pretraining"]] == [1, 2]
    no_more = run_variant(trained, "", data=folder, out=tmp_path, steps=3, resume=True)
    assert no_more["params"] == more["params"]


def test_a_run_trains_on_mini_batches(folder, tmp_path) -> None:
    parts = untrained(objective=total, optimizer=optax.adam(0.1), steps=3, batches=3, limit=False)
    result = run_variant(parts, "", data=folder, out=tmp_path)
    model = parts.variants[""].model
    with diffea.distribute(Search(), write_fileset(folder), schemaclass=QuietSchema, split=parts.split) as templates:
        first = diffea.optimise(
            diffea.Composite(templates, lambda found: total(model(found))),
            PARAMS,
            optimizer=optax.adam(0.1),
            steps=3,
            batches=3,
            bounds=parts.variants[""].bounds,
        )
    assert [step["loss"] for step in result["history"]] == [step.loss for step in first.history]
    assert len({step["loss"] for step in result["history"]}) == 3
    with pytest.raises(errors.ParameterError, match="batches is a number of mini-batches"):
        untrained(objective=total, batches=0)


def test_files_that_stay_bad_are_left_out_on_request(folder, tmp_path) -> None:
    def fileset(data):
        (tmp_path / "garbage.root").write_bytes(b"no ROOT file at all")
        found = write_fileset(data)
        found["background"]["files"][str(tmp_path / "garbage.root")] = "Events"
        return found

    model = model_of()
    with pytest.raises(errors.FileReadError, match="garbage"):
        diffea.evaluate(Search(), fileset(folder), PARAMS, model, schemaclass=QuietSchema)
    settings = {"on_bad_file": "skip", "memory": 0}
    final = diffea.evaluate(Search(), fileset(folder), PARAMS, model, schemaclass=QuietSchema, **settings)
    assert final.lost == {"background": pytest.approx(1 / 3)}
    bad = dataclasses.replace(untrained(objective=total, limit=False), fileset=fileset, **settings)
    result = run_variant(bad, "", data=folder, out=tmp_path / "out")
    assert result["skipped_share"] == final.lost
    assert result["skipped"][0]["file"].endswith("garbage.root")


def test_a_run_without_an_optimizer_is_a_search_with_exact_cuts(folder, tmp_path) -> None:
    steps = []
    searched = untrained(objective=total, bounds=BOUNDS, steps=None, limit=False)
    result = run_variant(searched, "", data=folder, out=tmp_path, steps=3, progress=steps.append)
    assert [(step["phase"], step["points"]) for step in result["history"]] == [
        ("explore", 33),
        ("descend", 3),
        ("descend", 3),
    ]
    assert [step["gradient_norm"] is None for step in result["history"]] == [True, False, False]
    assert result["message"] == "all 3 passes made"
    assert result["fills"] > 33 + 2 * 3
    assert [step.phase for step in steps] == ["explore", "descend", "descend"]
    assert result["after"]["hard_train"] == pytest.approx(result["history"][0]["loss"])
    assert "Loss at every step" in report.write(tmp_path, ("svg",)).read_text()
