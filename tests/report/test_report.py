"""The report made from files like those of a run."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyhf
import pytest
import scipy
from tests.report import make_out as made

from diffea import report
from diffea.errors import ReportError
from diffea.report import plots
from diffea.report.contents import Run, read_run
from diffea.report.nuisances import nuisances
from diffea.report.page import leaves
from diffea.report.pictures import drawn
from diffea.report.words import objective_explained

PICTURES = 2 + 2 + 1 + 2 + 7 * len(made.EDGES)  # history, cuts, along, nuisance parameters; channels


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = made.make_out(tmp_path_factory.mktemp("out") / "run", **made.make_diagnostics())
    assert report.write(out) == out / "report.html"
    files = ["figures", "report.html", "result.json", "templates.json", "workspace.json"]
    assert sorted(p.name for p in out.iterdir()) == files
    return out


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pictures of templates, which take longer than all the rest of a page, where a test is of its words."""
    for name in ("stacks", "soft_and_hard", "train_and_test"):
        monkeypatch.setattr(plots, name, lambda *_: [])


def text(page: str) -> str:
    """What a reader reads."""
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append
    parser.feed(page.split("</style>")[1])
    return re.sub(r"\s+", " ", " ".join(parts))


def test_page_says_the_numbers(page: str) -> None:
    words = text(page)
    for expected in (
        "Expected 95 % CL upper limit on μ 1.27 → 0.712 −44 %",
        "Expected CLs at μ = 1 0.0925 → 0.0152",
        "met 50.00 121.7 +143 % 10.0 … 300",
        "events, train 52 608 (signal 12 421, ttbar 40 187)",
        "jax 0.10.2",
        "Soft–hard gap on the training events: 3.1 % of the yield",
        "of which reading columns, all workers 3.20 s; steps 21.0 s",
        "ttbar_norm normsys 1.0 0.76",
    ):
        assert expected in words, words


def test_page_needs_nothing_from_elsewhere(page: str) -> None:
    outside = page.replace("http://www.w3.org", "")
    assert "http" not in outside
    sources = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(sources) == PICTURES
    assert page.count("<img") == len(sources)
    assert page.count('alt=""') == 0
    for source in sources:
        assert ET.fromstring(base64.b64decode(source)).tag.endswith("svg")


def test_each_picture_is_a_file_with_its_numbers(out: Path) -> None:
    folder = out / "figures"
    names = {path.stem for path in folder.iterdir()}
    assert names == {
        "loss",
        "gradient",
        "n-1-00-met",
        "n-1-01-largest-btag",
        "along-00-met",
        "ranking",
        "correlations",
    } | {
        "-".join((kind, channel, *part))
        for channel in made.EDGES
        for kind, part in (
            *(("templates", (when,)) for when in ("before", "after")),
            *((kind, (group,)) for kind in ("soft-hard", "train-test") for group in ("background", "signal")),
            ("sensitivity", ()),
        )
    }
    assert len(names) == PICTURES
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "json": b"{"}
    for name in names:
        for ending, begin in begins.items():
            assert (folder / f"{name}.{ending}").read_bytes().startswith(begin), (name, ending)
    (panel,) = json.loads((folder / "n-1-00-met.json").read_text())["panels"]
    content = {entry["label"]: entry for entry in panel["content"]}
    yields = made.make_selection()["after"]["cuts"][0]["decided"]
    np.testing.assert_allclose(content["signal"]["values"], yields["signal"]["values"])
    stacked = np.asarray(content["ttbar"]["values"]) - np.asarray(content["ttbar"]["from"])
    np.testing.assert_allclose(stacked, yields["ttbar"]["values"])
    assert content["before: 50"]["x"] == [50.0, 50.0]
    assert content["after: 121.7"]["x"] == [121.7, 121.7]
    (along,) = json.loads((folder / "along-00-met.json").read_text())["panels"]
    assert along["content"][0]["y"] == [0.09, 0.014, None]
    assert [entry["x"] for entry in along["content"][1:]] == [[50.0, 50.0], [121.7, 121.7]]
    impacts, pulls = json.loads((folder / "ranking.json").read_text())["panels"]
    (bars,) = impacts["content"]
    np.testing.assert_allclose(np.asarray(bars["sizes"])[:, 0], [0.2, -0.1])
    points = next(entry for entry in pulls["content"] if "errors" in entry)
    assert points["x"] == [0.3, -0.1]
    np.testing.assert_allclose(points["errors"], [[0.8, 1.0]])
    losses = json.loads((folder / "loss.json").read_text())["panels"][0]["content"][0]["y"]
    assert losses == [step["loss"] for step in made.make_result()["history"]]


def test_what_it_rests_on_is_told(page: str) -> None:
    words = text(page)
    for expected in (
        "improvement of expected CLs at μ = 1 on events not trained on, after − before −0.070 ± 0.010",
        "soft − hard cuts, of the same training events −0.070 ± 0.010",
        "found of a signal of strength 3.0 3.0 ± 0.6",
        "parameters at their bounds muon_pt",
        "bins of too few simulated events tagged[5] (6.2)",
        "Impact of each nuisance parameter on μ, its pull and constraint, expected without signal",
    ):
        assert expected in words, words


SEEN = [40, 0, 7, 9, 4, 1]


@pytest.fixture(scope="module")
def unblinded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with what was typed, a history of parameters, and observed events; and what its page says."""
    history = [
        {"step": 1, "loss": 0.1, "gradient_norm": 1.0, "params": {"met": 50.0, "$\\nonsense{$": 1.0}},
        {"step": 2, "loss": 0.09, "gradient_norm": None, "params": {"met": 60.0, "$\\nonsense{$": 2.0}},
    ]
    observed = {"when": "today", "limit": 1.25, "observations": {"tagged": SEEN, "untagged": [1, 2, 3, 4]}}
    asked = {"command": "diffea run '<b>' --out x", "when": "2026-11-26T10:00:00+00:00"}
    folder = tmp_path_factory.mktemp("unblinded") / "run"
    out = made.make_out(folder, **asked, history=history, observed=observed)
    return out, text(report.write(out, ("svg",)).read_text(encoding="utf-8"))


def test_it_explains_the_objective_and_says_whence_it_is(unblinded: tuple[Path, str]) -> None:
    _, words = unblinded
    assert "below 0.05 that signal is excluded at 95 % CL. Smaller is better." in words
    assert "command diffea run '<b>' --out x" in words
    assert "finished 2026-11-26T10:00:00+00:00" in words
    assert "95 % CL limit on μ 1.250" in words


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("upper_limit", "the signal strength that would be excluded"),
        ("cls(poi_test=10.0)", "excluded at 95 % CL"),
        ("mine(a=1)", "mine(a=1), a function of the statistical model of this analysis"),
        ("cls(poi_test=1.0, test_stat=q)", "cls(poi_test=1.0, test_stat=q), a function"),
    ],
)
def test_objectives_are_explained(objective: str, said: str) -> None:
    assert said in objective_explained(objective)


def panels(out: Path, name: str) -> list[dict[str, Any]]:
    return [
        {entry["label"]: entry for entry in panel["content"]}
        for panel in json.loads((out / "figures" / f"{name}.json").read_text())["panels"]
    ]


def test_soft_and_hard_are_of_the_same_events_and_train_and_test_apart(out: Path) -> None:
    templates = made.make_templates()["after"]

    def background(kind: str) -> np.ndarray:
        return sum(np.asarray(templates[kind][f"tagged/{name}/nominal"]["values"]) for name in ("ttbar", "wjets"))

    first = panels(out, "soft-hard-tagged-background")[0]
    np.testing.assert_allclose(first["soft cuts"]["values"], background("soft"))
    np.testing.assert_allclose(first["hard cuts"]["y"], background("hard_train"))
    first = panels(out, "train-test-tagged-background")[0]
    np.testing.assert_allclose(first["trained on"]["values"], background("hard_train"))
    np.testing.assert_allclose(first["other events"]["y"], background("hard_test"))


def test_an_older_result_knows_hard_cuts_of_other_events_alone(tmp_path: Path) -> None:
    out, templates = made.make_out(tmp_path / "run"), made.make_templates()
    for when in templates.values():
        del when["hard_train"]
    (out / "templates.json").write_text(json.dumps(templates))
    run = read_run(out)
    _, signal = plots.soft_and_hard(run, "tagged")
    points = next(entry for entry in drawn(signal.figure.axes[0])["content"] if entry["label"] == "hard cuts")
    np.testing.assert_allclose(points["y"], templates["after"]["hard_test"]["tagged/signal/nominal"]["values"])
    assert plots.train_and_test(run, "tagged") == []


def test_parameters_have_their_paths(unblinded: tuple[Path, str]) -> None:
    out, words = unblinded
    assert "Each parameter at every step" in words
    (met,) = panels(out, "path-00-met")
    assert (met["soft cuts"]["x"], met["soft cuts"]["y"]) == ([1], [50.0])
    assert (met["exact cuts"]["x"], met["exact cuts"]["y"]) == ([2], [60.0])
    assert met["bound"]["y"] == [300.0, 300.0]
    assert (out / "figures" / "path-01-nonsense.svg").exists()


def test_observed_events_stand_on_the_templates_and_over_the_background(unblinded: tuple[Path, str]) -> None:
    out, words = unblinded
    assert "points: observed events with Poisson intervals" in words
    (before, ratio_before), (after, ratio_after) = (
        panels(out, f"templates-tagged-{when}") for when in ("before", "after")
    )
    assert after["observed"]["y"] == SEEN
    assert "observed" not in before | ratio_before
    stored = made.make_templates()["after"]["hard_test"]
    background = sum(np.asarray(stored[f"tagged/{name}/nominal"]["values"]) for name in ("ttbar", "wjets"))
    np.testing.assert_allclose(ratio_after["observed"]["y"], np.asarray(SEEN) / background)
    np.testing.assert_allclose(
        ratio_after["signal"]["values"], 1 + np.asarray(stored["tagged/signal/nominal"]["values"]) / background
    )
    low, high = (scipy.stats.chi2.ppf([0.15865525, 0.84134475], [2 * 40, 2 * 41]) / 2).tolist()
    np.testing.assert_allclose(after["observed"]["errors"][0][0], (high - low) / 2, rtol=1e-6)


def test_cutflow_is_a_table_for_each_channel(page: str) -> None:
    words = text(page)
    assert "untagged, after signal ttbar wjets before these cuts 36.00 ± 0.30 2700.00 ± 0.30 1500.00 ± 0.30" in words, (
        words
    )
    assert "met > 121.7 24.00 ± 0.20" in words
    assert "not largest btag > 0.5 12.00 ± 0.10" in words


def test_what_has_no_cuts_says_so(undrawn: None, tmp_path: Path) -> None:
    none = {"cuts": [], "cutflow": {}, "not_judged": "fill makes no cut"}
    out = made.make_out(tmp_path / "run", selection={"before": none, "after": none})
    assert "Selection fill makes no cut." in text(report.write(out, ("svg",)).read_text(encoding="utf-8"))


def test_variants_get_a_page_each_and_one_that_compares(tmp_path: Path) -> None:
    made.make_out(
        tmp_path / "cuts", variant="cuts", limit_after=0.91, verdict="holds", title="a < b & <script>alert(1)</script>"
    )
    made.make_out(
        tmp_path / "neural",
        variant="neural",
        limit_after=0.62,
        baseline=True,
        params={"before": {"w": [[0.0] * 4] * 4}, "after": {"w": [[0.5] * 4] * 4}},
    )
    index = report.write(tmp_path, ("svg",)).read_text(encoding="utf-8")
    assert "<script>" not in index + (tmp_path / "cuts" / "report.html").read_text(encoding="utf-8")
    words = text(index)
    assert re.search(r"cuts .* 0\.910 .* neural .* 0\.620", words)
    assert words.index("cuts : holds .") < words.index("variant objective")
    neural = text((tmp_path / "neural" / "report.html").read_text(encoding="utf-8"))
    assert "w 16 numbers, root mean square 0 0.500" in neural


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda out: (out / "templates.json").unlink(), "there is no templates.json in .*diffea run --out"),
        (lambda out: (out / "workspace.json").write_text("{"), "workspace.json is not JSON"),
        (lambda out: (out / "result.json").write_text("{}"), "result.json lacks analysis, objective"),
        (lambda out: (out / "result.json").unlink(), "holds no result.json"),
    ],
)
def test_an_unfinished_folder_is_refused(tmp_path: Path, spoil, message: str) -> None:
    out = made.make_out(tmp_path / "out")
    spoil(out)
    with pytest.raises(ReportError, match=message):
        report.write(out)
    assert not (out / "report.html").exists()


def test_uncertainty_adds_statistics_normalisations_and_shapes(tmp_path: Path) -> None:
    run = read_run(made.make_out(tmp_path))
    got = run.uncertainty("after", "hard_test", "tagged", ["ttbar", "wjets"])
    hists = made.make_templates()["after"]["hard_test"]
    values, up, down, variances = (
        {s: np.array(hists[f"tagged/{s}/{variation}"][what]) for s in ("ttbar", "wjets")}
        for variation, what in (
            ("nominal", "values"),
            ("jes_up", "values"),
            ("jes_down", "values"),
            ("nominal", "variances"),
        )
    )
    pieces = [
        *(np.sqrt(v) for v in variances.values()),
        0.02 * sum(values.values()),
        0.1 * values["ttbar"],
        0.1 * values["wjets"],
        sum((up[s] - down[s]) / 2 for s in values),
    ]
    np.testing.assert_allclose(got, np.sqrt(sum(piece**2 for piece in pieces)), rtol=1e-12)


def test_nuisances_of_a_model_that_is_solved_by_hand() -> None:
    """One bin, background b with an uncertainty σ: V_θθ = 1/(1 + σ²·b) without signal; with free signal θ stays unknown."""
    background, signal, relative = 100.0, 50.0, 0.1
    spec = pyhf.simplemodels.uncorrelated_background([signal], [background], [background * relative]).spec
    spec["channels"][0]["samples"][1]["modifiers"] = [
        {"name": "bkg", "type": "histosys", "data": {"hi_data": [110.0], "lo_data": [90.0]}}
    ]
    workspace = {
        "version": "1.0.0",
        "channels": spec["channels"],
        "observations": [{"name": "singlechannel", "data": [background]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    (row,) = nuisances(workspace)
    assert (row["name"], row["kind"], row["share"]) == ("bkg", "histosys", pytest.approx(100.0))
    assert row["prior"] == pytest.approx(1.0, rel=1e-4)
    assert row["posterior"] == pytest.approx(1.0, rel=1e-4)
    assert row["impact"] == pytest.approx(-relative * background / signal, rel=1e-4)


def test_nuisances_agree_with_the_statistics_room() -> None:
    """The whole covariance, against automatic differentiation of diffea's own likelihood."""
    import jax

    from diffea.statistics import HistFactory

    workspace = made.make_workspace(made.make_templates())
    model = HistFactory.from_workspace(workspace)()
    config = model.config
    point = np.array(config.suggested_init())
    point[config.poi_index] = 0.0
    data = np.asarray(model.expected_data(point))
    information = -np.asarray(jax.hessian(lambda p: model.logpdf(p, data))(point))
    covariance = np.linalg.inv(information)
    rows = {row["name"]: row for row in nuisances(workspace)}
    assert len(rows) == len(point) - 1
    for name in ("jes", "lumi", "ttbar_norm", "mcstat_tagged[3]"):
        base, _, bin_ = name.partition("[")
        index = config.par_slice(base).start + int(bin_.rstrip("]") or 0)
        assert rows[name]["posterior"] == pytest.approx(np.sqrt(covariance[index, index]), rel=1e-4)
        expected = covariance[config.poi_index, index] / np.sqrt(covariance[index, index])
        assert rows[name]["impact"] == pytest.approx(expected, rel=1e-3)


def test_leaves_of_parameters() -> None:
    tree = {"cut": 1.5, "edges": [1.0, 2.0], "layers": [{"w": [[0.0] * 5] * 5, "b": None}]}
    assert {name: array.shape for name, array in leaves(tree)} == {
        "cut": (), "edges[0]": (), "edges[1]": (), "layers[0].w": (5, 5),
    }  # fmt: skip


def changed(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A folder of a run whose templates and workspace were changed."""
    out = made.make_out(folder / "run")
    files = [out / name for name in ("templates.json", "workspace.json")]
    contents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    change(*contents)
    for file, content in zip(files, contents, strict=True):
        file.write_text(json.dumps(content), encoding="utf-8")
    return out


def test_a_channel_of_numbers_alone_has_no_templates_to_show(tmp_path: Path) -> None:
    def add(templates: dict[str, Any], workspace: dict[str, Any]) -> None:
        norm = {"name": "ttbar_norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
        sample = {"name": "ttbar", "data": [100.0], "modifiers": [norm]}
        workspace["channels"].append({"name": "control", "samples": [sample]})
        workspace["observations"].append({"name": "control", "data": [100.0]})

    assert "Expected events in control" not in text(
        report.write(changed(tmp_path, add), ("svg",)).read_text(encoding="utf-8")
    )


def test_names_of_samples_may_have_slashes(tmp_path: Path) -> None:
    def rename(templates: dict[str, Any], workspace: dict[str, Any]) -> None:
        templates.update(json.loads(json.dumps(templates).replace("/wjets/", "/W/jets/")))
        workspace.update(json.loads(json.dumps(workspace).replace('"name": "wjets"', '"name": "W/jets"')))

    run = read_run(changed(tmp_path, rename))
    plain = read_run(made.make_out(tmp_path / "plain"))
    expected = plain.uncertainty("after", "hard_test", "tagged", ["wjets"])
    np.testing.assert_array_equal(run.uncertainty("after", "hard_test", "tagged", ["W/jets"]), expected)
    assert "W/jets" in text(report.write(run.folder, ("svg",)).read_text(encoding="utf-8"))


def test_a_workspace_without_a_parameter_of_interest(tmp_path: Path) -> None:
    def remove(templates: dict[str, Any], workspace: dict[str, Any]) -> None:
        workspace["measurements"][0]["config"]["poi"] = ""

    assert "Nuisance parameters" not in report.write(changed(tmp_path, remove), ("svg",)).read_text(encoding="utf-8")


def test_a_normalisation_and_a_shape_of_one_name_move_together(tmp_path: Path) -> None:
    def add(templates: dict[str, Any], workspace: dict[str, Any]) -> None:
        for channel in workspace["channels"]:
            for sample in channel["samples"]:
                sample["modifiers"].append({"name": "jes", "type": "normsys", "data": {"hi": 1.5, "lo": 0.5}})

    def moved(run: Run) -> np.ndarray:
        """By jes: what is left of the band's square without the statistics and the normalisations."""
        nominal = run.histogram("after", "hard_test", "tagged", "ttbar")
        others = nominal.variances + (0.02**2 + 0.1**2) * nominal.values**2
        return np.sqrt(run.uncertainty("after", "hard_test", "tagged", ["ttbar"]) ** 2 - others)

    plain, both = read_run(made.make_out(tmp_path / "plain")), read_run(changed(tmp_path, add))
    shift = plain.shifts("after", "hard_test", "tagged", "ttbar")["jes"]
    np.testing.assert_allclose(moved(plain), np.abs(shift), rtol=1e-6)
    nominal = plain.histogram("after", "hard_test", "tagged", "ttbar").values
    np.testing.assert_allclose(moved(both), np.abs(shift + 0.5 * nominal), rtol=1e-6)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", ["result.json", "workspace.json", "templates.json"])
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{}", "lacks (analysis|before)|is no workspace of pyhf's"),
        ("[]", "holds no JSON object but a list"),
        ("null", "holds no JSON object but a NoneType"),
        ('"text"', "holds no JSON object but a str"),
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\x00", "is not JSON"),
        ('{"seconds": NaN}', "is not JSON .NaN is no finite number"),
        ('{"seconds": 1e999}', "is not JSON .1e999 is no finite number"),
        (f'{{"seconds": {10**400}}}', "is not JSON .1000.* is no finite number"),
        (None, "is not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_is_empty_of_another_kind_or_cut_off_is_named(
    tmp_path: Path, name: str, text: str | None, what: str
) -> None:
    out = made.make_out(tmp_path / "out")
    whole = (out / name).read_text(encoding="utf-8")
    (out / name).write_text(whole[: len(whole) // 2] if text is None else text, encoding="utf-8")
    with pytest.raises(ReportError, match=f"{name}.*({what})"):
        report.write(out)
    assert not (out / "report.html").exists()


def histogram(templates: Any) -> Any:
    return templates["after"]["hard_test"]["tagged/ttbar/nominal"]


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("result.json", lambda r: r.update(history={}), r"history: .* not of type 'array'"),
        ("result.json", lambda r: r["history"].append({"step": 1}), r"history\[25\]: 'loss' is a required property"),
        ("result.json", lambda r: r["history"][3].update(loss="low"), r"history\[3\].loss: 'low' is not"),
        ("result.json", lambda r: r.update(before=None), r"\$.before: None is not of type 'object'"),
        ("result.json", lambda r: r["after"].pop("hard_test"), r"after: 'hard_test' is a required property"),
        ("result.json", lambda r: r["after"].update(soft="x"), r"\$.after.soft"),
        ("result.json", lambda r: r.update(params=[1, 2]), r"\$.params: \[1, 2\] is not of type 'object'"),
        ("result.json", lambda r: r["params"].pop("after"), "'after' is a required property"),
        ("result.json", lambda r: r["params"]["after"].pop("mt"), "not the same ones before and after, see mt"),
        ("result.json", lambda r: r["params"]["after"].update(mt="x"), "params are not numbers"),
        ("result.json", lambda r: r.update(events=[1]), r"\$.events"),
        ("result.json", lambda r: r.update(limit_after="low"), r"\$.limit_after"),
        ("result.json", lambda r: r.update(seconds_by_stage={"read": None}), r"\$.seconds_by_stage.read"),
        ("result.json", lambda r: r.update(modifier_settings={"normsys": {"interpcode": "x"}}), "is no model that can be fitted"),
        ("templates.json", lambda t: t.pop("before"), "lacks before"),
        ("templates.json", lambda t: t["after"].pop("soft"), r"\$.after: 'soft' is a required property"),
        ("templates.json", lambda t: t["after"].update(soft=[]), r"\$.after.soft"),
        ("templates.json", lambda t: t["after"]["soft"].update(ttbar=histogram(t)), "'ttbar' does not match"),
        ("templates.json", lambda t: histogram(t).pop("edges"), "'edges' is a required property"),
        ("templates.json", lambda t: histogram(t).update(values="x"), "tagged/ttbar/nominal.*'x' is not of type 'array'"),
        ("templates.json", lambda t: histogram(t)["values"].pop(), r"nominal \(after, hard_test\): \(6,\) bins have \(5,\) values"),
        ("templates.json", lambda t: histogram(t).update(values=[[1.0], [1.0, 2.0]]), "its values are no array"),
        ("templates.json", lambda t: histogram(t).update(edges=[]), "should be non-empty|is too short"),
        ("workspace.json", lambda w: w.pop("measurements"), "'measurements' is a required property"),
        ("workspace.json", lambda w: w.update(measurements=[]), "workspace.json is no workspace of pyhf's"),
        ("workspace.json", lambda w: w["measurements"][0]["config"].pop("poi"), "workspace.json is no workspace of pyhf's"),
        ("workspace.json", lambda w: w["channels"][0].update(samples=3), "workspace.json is no workspace of pyhf's"),
        ("workspace.json", lambda w: w["measurements"][0]["config"].update(poi="nothing"), "is no model that can be fitted"),
        ("workspace.json", lambda w: w["channels"][0]["samples"][0]["data"].pop(), "is no model that can be fitted"),
    ],
)  # fmt: skip
def test_a_file_that_lacks_something_is_named_with_the_place(tmp_path: Path, name: str, change: Any, text: str) -> None:
    out = made.make_out(tmp_path / "out")
    rewrite(out / name, change)
    with pytest.raises(ReportError, match=text) as told:
        report.write(out)
    assert name in str(told.value)
    assert not (out / "report.html").exists()


def test_the_band_is_that_of_the_models_variations_not_of_names_that_look_like_some(tmp_path: Path) -> None:
    """``setup`` and ``setdown`` are two templates of their own; the sides of ``jes`` are called as one likes."""
    expected = read_run(made.make_out(tmp_path / "plain")).uncertainty("after", "hard_test", "tagged", ["ttbar"])
    out = made.make_out(tmp_path / "out")

    def rename(templates: dict[str, Any]) -> None:
        for when in templates.values():
            for kind in when.values():
                for key in [key for key in kind if key.endswith("/jes_up")]:
                    begin = key.removesuffix("jes_up")
                    nominal = kind[f"{begin}nominal"]
                    for name, factor in {"setup": 2.0, "setdown": 0.5, "hi": 9.0, "lo": 0.1}.items():
                        kind[begin + name] = {**nominal, "values": (factor * np.array(nominal["values"])).tolist()}
                    kind[f"{begin}harder"], kind[f"{begin}softer"] = kind.pop(key), kind.pop(f"{begin}jes_down")

    def tell(result: dict[str, Any]) -> None:
        sides = {
            f"{channel}/{sample}": {"jes": {"hi": f"{channel}/{sample}/harder", "lo": f"{channel}/{sample}/softer"}}
            for channel in made.EDGES
            for sample in made.SAMPLES
        }
        result["shifts"] = {"before": sides, "after": sides}

    rewrite(out / "templates.json", rename)
    rewrite(out / "result.json", tell)
    run = read_run(out)
    for kind in ("hard_test", "soft"):
        assert set(run.shifts("before", kind, "tagged", "ttbar")) == {"jes"}
    np.testing.assert_allclose(run.uncertainty("after", "hard_test", "tagged", ["ttbar"]), expected, rtol=1e-12)
    rewrite(out / "result.json", lambda result: result.update(shifts=None))  # as from a run before they were told
    assert read_run(out).shifts("after", "hard_test", "tagged", "ttbar") == {}


def test_yields_have_no_column_and_no_row_of_dashes(tmp_path: Path) -> None:
    out = made.make_out(tmp_path)
    stored = json.loads((out / "templates.json").read_text(encoding="utf-8"))
    for kind, name in (("hard_test", "before"), ("hard_test", "after"), ("soft", "after")):
        kept = {key: value for key, value in stored[name][kind].items() if not key.startswith("untagged/wjets/")}
        gone = "tagged/" if name == "before" else "nothing"
        stored[name][kind] = {key: value for key, value in kept.items() if not key.startswith(gone)}
    (out / "templates.json").write_text(json.dumps(stored), encoding="utf-8")
    page = text(report.write(out, ()).read_text(encoding="utf-8"))
    tagged, untagged = (
        page.split(f"Expected events in {name}:")[0].rsplit("sample", 1)[1] for name in ("tagged", "untagged")
    )
    assert tagged.split()[:3] == ["after", "after,", "soft"]
    assert {"ttbar", "wjets", "signal"} <= set(tagged.split())
    assert untagged.split()[:4] == ["before", "after", "change", "after,"]
    assert "wjets" not in untagged.split()
    assert "–" not in (tagged + untagged).split()


def test_bins_without_end_are_drawn_by_their_numbers(tmp_path: Path) -> None:
    def open_end(templates: dict[str, Any]) -> None:
        for when in templates.values():
            for key, stored in ((key, stored) for kind in when.values() for key, stored in kind.items()):
                if key.startswith("tagged/"):
                    stored["edges"][0][-1] = None

    out = made.make_out(tmp_path / "out")
    rewrite(out / "templates.json", open_end)
    found = read_run(out).histogram("after", "soft", "tagged", "ttbar")
    assert (found.edges.tolist(), found.label) == (list(range(7)), "bin")
    assert report.write(out, ("svg",)).is_file()


def test_a_mirrored_side_is_as_far_away_as_the_one_that_there_is(tmp_path: Path) -> None:
    out = made.make_out(tmp_path)
    sides = {"hi": "tagged/ttbar/jes_up", "lo": "tagged/ttbar/jes_up:mirrored"}
    rewrite(out / "result.json", lambda result: result.update(shifts={"after": {"tagged/ttbar": {"jes": sides}}}))
    run = read_run(out)
    up, nominal = (run.histogram("after", "hard_test", "tagged", "ttbar", of).values for of in ("jes_up", "nominal"))
    np.testing.assert_allclose(run.shifts("after", "hard_test", "tagged", "ttbar")["jes"], up - nominal, rtol=1e-12)


@pytest.mark.parametrize("steps", [0, 25])
def test_a_run_that_optimised_nothing_says_so_and_what_to_try(tmp_path: Path, steps: int) -> None:
    result = made.make_result(verdict="nothing was optimised", message="all steps taken")
    out = made.make_out(
        tmp_path, verdict=result["verdict"], message=result["message"], history=result["history"][:steps]
    )
    page = report.write(out, ("svg",)).read_text(encoding="utf-8")
    assert "Verdict: <strong>nothing was optimised</strong>. The parameters found are those of the start" in page
    assert ("no step was taken" in page) == (steps == 0)
    assert ("all steps taken, and none was better" in page) == (steps > 0)
    assert (out / "figures" / "loss.svg").is_file() == (steps > 0)
    assert "diffea check demo: which parameter moves what" in page


def test_only_what_is_in_doubt_has_advice(undrawn: None, tmp_path: Path) -> None:
    trust = made.make_diagnostics()["trust"]
    pages = [
        report.write(made.make_out(tmp_path / verdict[:5], verdict=verdict, trust=trust), ()).read_text(
            encoding="utf-8"
        )
        for verdict in ("holds", "doubtful because of a bin")
    ]
    assert ["What to try" in page for page in pages] == [False, True]
    assert "wider bounds of muon_pt" in pages[1]


def test_what_did_not_change_has_no_sign(undrawn: None, tmp_path: Path) -> None:
    out = made.make_out(tmp_path, limit_before=2.0, limit_after=1.9999)
    page = report.write(out, ()).read_text(encoding="utf-8")
    assert "0\u202f%, hard cuts" in page
    assert "−0\u202f%" not in page
