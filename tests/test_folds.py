"""Folds: every event is judged by parameters that did not see it, and all events count once."""

from __future__ import annotations

import functools
import json

import hist
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffea
from diffea import errors, objectives, report, soft
from diffea.distributed import distribute
from diffea.events.splits import PARTS
from diffea.run import folds, run_variant
from tests.samples import PARAMS, QuietSchema, Search, write, write_fileset

FOLDS = diffea.Split(folds=2)
EVENTS = {"signal": 300, "background": 900}


def numbers(count):
    rng = np.random.default_rng(1)
    return tuple(rng.integers(0, high, count, dtype=np.uint64) for high in (3, 50, 10**9))


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_folds_divide_all_events_and_train_on_the_others(folds) -> None:
    known = numbers(20_000)
    each = diffea.Split(folds=folds, validation=0.2, seed=5).each
    inside = np.array([split.of("fold").mask(known) for split in each])
    np.testing.assert_array_equal(inside.sum(axis=0), 1)
    np.testing.assert_allclose(inside.mean(axis=1), 1 / folds, atol=0.02)
    for split, fold in zip(each, inside, strict=True):
        masks = {part: split.of(part).mask(known) for part in PARTS}
        np.testing.assert_array_equal(masks["test"], fold)
        np.testing.assert_array_equal(masks["train"] | masks["validation"], ~fold)
        assert not (masks["train"] & masks["validation"]).any()
        assert masks["validation"].sum() / (~fold).sum() == pytest.approx(0.2, abs=0.02)
        for part, mask in masks.items():
            assert split.of(part).share == pytest.approx(mask.mean(), abs=0.02)
            assert split.of(part).scale == (1.0 if part == "fold" else 1 / split.of(part).share)


@pytest.mark.parametrize(
    "options",
    [{"folds": 1}, {"folds": "two"}, {"folds": True}, {"folds": 2.5}, {"folds": 3, "fold": 3}, {"fold": 0},
     {"folds": 2, "train": 0.7}, {"part": "fold"}, {"folds": 2, "fold": -1}],
)  # fmt: skip
def test_folds_that_are_none_are_refused(options) -> None:
    with pytest.raises(errors.SplitError):
        diffea.Split(**options)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


def spec(channels=("all",)):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "signal", "data": "signal", "modifiers": [mu]},
        {"name": "bkg", "data": "bkg", "modifiers": [norm]},
    ]
    return {
        "channels": [{"name": name, "samples": samples} for name in channels],
        "parameters": [{"name": "mu", "bounds": [[0, 20]]}],
    }  # fmt: skip


def test_folds_at_the_same_parameters_are_all_events(fileset) -> None:
    options = {"schemaclass": QuietSchema, "replicas": 5}
    model = diffea.HistFactory(spec(("few", "many")))
    plain = diffea.evaluate(Search(), fileset, PARAMS, model, **options)
    folded = diffea.evaluate(Search(), fileset, [PARAMS] * 3, model, split=diffea.Split(folds=3), **options)
    assert folded.events == plain.events
    for one, other in ((folded.templates, plain.templates), (folded.replicas, plain.replicas)):
        np.testing.assert_allclose(one.values_flat, other.values_flat, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one.variances_flat, other.variances_flat, rtol=1e-12)
    single = diffea.evaluate(Search(), fileset, PARAMS, model, split=FOLDS.without(1), **options)
    assert sum(single.templates.values_flat) == pytest.approx(sum(plain.templates.values_flat), rel=0.1)


@pytest.mark.parametrize("params", [PARAMS, [PARAMS], [PARAMS] * 3])
def test_each_fold_needs_parameters(fileset, params) -> None:
    with pytest.raises(errors.SplitError, match="with 2 folds expected a list of the parameters"):
        diffea.evaluate(Search(), fileset, params, diffea.HistFactory(spec()), split=FOLDS)


def test_a_training_says_which_fold_it_leaves_out(fileset) -> None:
    with pytest.raises(errors.SplitError, match=r"split.without\(0\)"):
        distribute(Search(), fileset, schemaclass=QuietSchema, split=FOLDS)


class Memory(diffea.DifferentiableProcessor):
    """Knows every event by its number, and so has nothing to say about others."""

    channels = {"all": hist.axis.Regular(2, 0, 200, name="met")}  # noqa: RUF012

    def columns(self, events):
        return {"met": events.MET.pt, "number": events.event}

    def fill(self, params, columns):
        keep = soft.above(params["memory"][columns["number"]], 0.5, width=0.2)
        yield diffea.Fill("all", columns["met"], keep)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    folder, first = tmp_path_factory.mktemp("numbered"), 0
    for seed, (name, count) in enumerate(EVENTS.items()):
        write(folder / f"{name}.root", count, seed, event=np.arange(first, first + count, dtype=np.uint64))
        first += count
    return folder


def rest():
    bins = {
        "name": "all",
        "samples": [*spec()["channels"][0]["samples"], {"name": "rest", "data": [9.0, 9.0], "modifiers": []}],
    }
    return {**spec(), "channels": [bins]}


def memorising(split=FOLDS, **changes):
    def files(folder):
        names = {"signal": "signal", "background": "bkg"}
        return {sample: {"files": {str(folder / f"{name}.root"): "Events"}} for name, sample in names.items()}

    variant = diffea.Variant(
        processor=Memory(),
        spec=rest(),
        params={"memory": np.full(sum(EVENTS.values()), 0.55)},
        objective=objectives.upper_limit,
        **{"optimizer": optax.adam(0.05), "steps": 6, **changes},
    )
    return diffea.Analysis(
        name="memory", title="", fileset=files, variants={"": variant}, schemaclass=QuietSchema, split=split, replicas=20
    )  # fmt: skip


@pytest.fixture(scope="module")
def memorised(numbered, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    steps = []
    return run_variant(memorising(), "", data=numbered, out=out, progress=steps.append), out, steps


@pytest.mark.filterwarnings("ignore:in the channel")
def test_what_learns_events_by_heart_gains_nothing(memorised) -> None:
    result, out, steps = memorised
    assert result["after"]["hard_train"] < 0.8 * result["before"]["hard_train"]
    assert result["after"]["hard_test"] == result["before"]["hard_test"]
    assert (result["gain"], result["gain_error"]) == (1.0, 0.0)
    templates = json.loads((out / "templates.json").read_text())
    assert templates["after"]["hard_test"] == templates["before"]["hard_test"]
    total = sum(sum(histogram["values"]) for histogram in templates["after"]["hard_test"].values())
    assert 0.95 * sum(EVENTS.values()) < total <= sum(EVENTS.values())  # all events, with the weights that they have
    assert [step.fold for step in steps] == [0] * 6 + [1] * 6
    assert len(result["folds"]) == 2
    memories = [np.asarray(fold["params"]["memory"]) for fold in result["folds"]]
    seen = [memory != 0.55 for memory in memories]
    assert not (seen[0] & seen[1]).any()
    assert result["folds"][0]["params"] == result["params"]["after"]
    assert {fold["events"]["train"]["bkg"] + fold["events"]["test"]["bkg"] for fold in result["folds"]} == {900}
    assert result["verdict"].startswith("doubtful because on events not trained on the objective changed by 0, which")
    overtraining = result["trust"]["overtraining"]
    assert overtraining["difference"] > 3 * overtraining["error"] > 0
    assert "on other events the objective is higher" in result["verdict"]
    page = report.write(out, ("svg",)).read_text()
    assert result["verdict"][:40] in page
    assert "in 2 folds" in page
    assert "gain 1" in page


@pytest.mark.filterwarnings("ignore:in the channel")
def test_a_run_that_stopped_in_the_second_fold_goes_on_there(memorised, numbered, tmp_path) -> None:
    def stop(step):
        if (step.fold, step.step) == (1, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_variant(memorising(), "", data=numbered, out=tmp_path, progress=stop)
    steps = []
    resumed = run_variant(memorising(), "", data=numbered, out=tmp_path, resume=True, progress=steps.append)
    assert {step.fold for step in steps} == {1}
    for name in ("before", "after", "gain", "errors"):
        assert resumed[name] == memorised[0][name]
    assert [fold["params"] for fold in resumed["folds"]] == [fold["params"] for fold in memorised[0]["folds"]]
    judged = run_variant(memorising(steps=0, optimizer="auto", limit=False), "", data=numbered, out=tmp_path)
    assert judged["verdict"] == "nothing was optimised"
    assert not list(tmp_path.glob("checkpoint/**/*.npz"))  # of the older run


def test_a_sample_without_events_in_a_fold_is_named(tmp_path) -> None:
    write(tmp_path / "signal.root", 2, 1)
    write(tmp_path / "background.root", 500, 2, event=np.arange(500, 1000, dtype=np.uint64))
    with pytest.raises(errors.SplitError, match="the 2 selected events of sample 'signal' leave a part"):
        run_variant(memorising(diffea.Split(folds=40)), "", data=tmp_path, out=tmp_path / "out")
    fileset = memorising().fileset(tmp_path)
    with pytest.raises(errors.SplitError, match="of sample 'signal'"):
        diffea.evaluate(
            Search(), fileset, [PARAMS] * 3, diffea.HistFactory(spec()), schemaclass=QuietSchema, split=diffea.Split(folds=3)
        )  # fmt: skip


def test_folds_that_learn_unlike_edges_do_not_add_up(fileset) -> None:
    class Edges(Search):
        def edges(self, params):
            return {"few": jnp.linspace(0.0, 160.0, 9) + params["shift"]}

    model = functools.partial(diffea.evaluate, Edges(), fileset, schemaclass=QuietSchema, split=FOLDS)
    with pytest.raises(errors.TemplateError, match="unlike learned edges"):
        model([PARAMS, {**PARAMS, "shift": 0.7}], diffea.HistFactory(spec(("few",))))


def total(bound):
    return jnp.sum(bound.expected_data(jnp.asarray(bound.config.suggested_init())))


class Learning(Search):
    """Learns an edge."""

    def edges(self, params):
        return {"few": jnp.linspace(0.0, 160.0, 9) + params["shift"], "many": jnp.asarray([0.0, 20.0, 50.0, 120.0])}


def test_folds_that_would_learn_edges_are_refused_before_they_train(fileset, tmp_path) -> None:
    def learning(**changes):
        given = {"processor": Learning(), "spec": spec(("few",)), "params": PARAMS, "objective": total, "limit": False}
        variant = diffea.Variant(**{**given, "optimizer": "l-bfgs-b", "steps": 1, **changes})
        return diffea.Analysis(
            name="e", title="", fileset=lambda _: fileset, variants={"": variant}, schemaclass=QuietSchema, replicas=0
        )  # fmt: skip

    with pytest.raises(errors.TemplateError, match=r"bin edges of 'few' for itself \(by shift\)"):
        run_variant(learning(), "", data=tmp_path, out=tmp_path)
    assert not list(tmp_path.rglob("steps.jsonl"))
    fixed = learning(steps=0).variants[""]
    for variant, steps in ((fixed, None), (fixed, 5), (learning().variants[""], 0)):
        folds._check_edges(variant, steps)
    scheduled = learning(schedules={"shift": lambda fraction: fraction}).variants[""]
    folds._check_edges(scheduled, None)


def test_steps_are_written_while_they_are_made_with_their_parameters(fileset, tmp_path) -> None:
    def searching(**changes):
        variant = diffea.Variant(
            **{
                "processor": Search(),
                "spec": spec(("few", "many")),
                "params": PARAMS,
                "objective": total,
                "optimizer": optax.adam(0.05),
                "bounds": {"mt": (10.0, 90.0), "jet_pt": (20.0, 60.0), "shift": (0.0, 1.0)},
                "steps": 4,
                "limit": False,
                **changes,
            }
        )
        return diffea.Analysis(
            name="s", title="", fileset=lambda _: fileset, variants={"": variant}, schemaclass=QuietSchema, split=None, replicas=0
        )  # fmt: skip

    lines = []

    def look(step):
        lines.append((tmp_path / "checkpoint" / "steps.jsonl").read_text().splitlines())
        if step.step == 3 and not resumed:
            raise KeyboardInterrupt

    resumed = False
    with pytest.raises(KeyboardInterrupt):
        run_variant(searching(), "", data=tmp_path, out=tmp_path, progress=look)
    assert [len(found) for found in lines] == [1, 2, 3]
    assert json.loads(lines[0][0])["params"] == pytest.approx(PARAMS)
    resumed = True
    result = run_variant(searching(), "", data=tmp_path, out=tmp_path, resume=True, progress=look)
    assert [json.loads(line) for line in lines[-1]] == result["history"]
    assert len({tuple(step["params"].values()) for step in result["history"]}) == len(result["history"]) > 2


def test_of_many_parameters_the_history_has_the_norm_and_a_file_each(memorised) -> None:
    result, out, _ = memorised
    for number, fold in enumerate(result["folds"]):
        each = np.load(out / "checkpoint" / f"fold-{number}" / "params.npy")
        assert each.shape == (6, sum(EVENTS.values()))
        np.testing.assert_array_equal(each[0], 0.55)
        norms = [step["params"]["|memory|"] for step in fold["history"]]
        np.testing.assert_allclose(np.linalg.norm(each, axis=1), norms, rtol=1e-12)
        assert any(np.array_equal(row, fold["params"]["memory"]) for row in each)
