"""``diffea export``: what it writes of a real run, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import jsonpatch
import numpy as np
import pytest
from click.testing import CliRunner

from diffea import HistFactory
from diffea.cli import main
from diffea.errors import ExportError, FormatError, OutputError
from diffea.export import LIKELIHOODS, export, read_result
from diffea.export.cabinetry import configuration
from diffea.export.likelihoods import without_signal

TOY = Path(__file__).with_name("toy.py")


def exported(*arguments: object, fails: str | None = None) -> str:
    """What the command prints."""
    done = CliRunner().invoke(main, ["export", *map(str, arguments)])
    if fails is None:
        assert done.exit_code == 0, done.output
    else:
        assert done.exit_code == 1, done.output
        assert fails in " ".join(done.output.split())
    return done.output


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("chunksize", [2000, 777])
def test_a_processor_fills_the_histograms_of_the_run_to_the_last_bit(toy_run, tmp_path, run_it, chunksize) -> None:
    out, _, data = toy_run
    exported(out, "--to", "coffea", "--analysis", TOY, "--into", tmp_path / "plain")
    source, stored = (tmp_path / "plain" / name for name in ("processor.py", "parameters.json"))
    stored.write_text(json.dumps({**read(stored), "chunksize": chunksize}))
    printed = run_it(tmp_path / "plain", data).splitlines()[-1]
    templates = read(out / "templates.json")["after"]["hard_test"]
    assert printed.startswith(f"{len(templates)} of {len(templates)} histograms are those of diffea to the last bit")
    assert "heavy" in printed or any(key.endswith("/heavy") for key in templates)
    text = source.read_text()
    assert "diffea" not in "".join(line for line in text.splitlines() if "import " in line)
    assert "jax" not in "".join(line for line in text.splitlines() if line.startswith(("import ", "from ")))


def test_pyhf_gets_what_the_run_left_and_observed_events_only_after_they_were_looked_at(toy_run) -> None:
    blinded, seen, _ = toy_run
    for out in (blinded, seen):
        exported(out, "--to", "pyhf")
        assert read(out / "export" / "pyhf" / "workspace.json") == read(out / "workspace.json")
        assert (out / "export" / "pyhf" / "workspace-observed.json").is_file() == (out == seen)
    assert read(seen / "export/pyhf/workspace-observed.json") == read(seen / "workspace-observed.json")


def test_the_signal_is_a_patch_of_the_background(toy_run) -> None:
    _, seen, _ = toy_run
    exported(seen, "--to", "pyhf")
    folder = seen / "export" / "pyhf"
    for ending in ("", "-observed"):
        whole, background = (read(folder / f"{name}{ending}.json") for name in ("workspace", "background"))
        patch = jsonpatch.JsonPatch(read(folder / "signal-patch.json"))
        assert patch.apply(background) == whole
        assert len(patch.patch) == len(whole["channels"])
        assert "mu" not in json.dumps([channel["samples"] for channel in background["channels"]])


def test_a_channel_of_signal_alone_has_no_background_to_patch() -> None:
    modifiers = [{"name": "mu", "type": "normfactor", "data": None}]
    samples = [{"name": "s", "data": [1.0], "modifiers": modifiers}, {"name": "b", "data": [2.0], "modifiers": []}]
    workspace = {
        "channels": [{"name": "a", "samples": samples}, {"name": "c", "samples": samples[:1]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    background, patch = without_signal(workspace)
    assert [len(channel["samples"]) for channel in background["channels"]] == [1, 0]
    assert [entry["path"] for entry in patch] == ["/channels/0/samples/0", "/channels/1/samples/0"]


def alike(ours: HistFactory, theirs: HistFactory) -> None:
    """Both have the same density of their own observations, by names of parameters, at some points."""
    one, other = ours(), theirs()
    names = one.config.par_names
    assert sorted(names) == sorted(other.config.par_names)
    rng = np.random.default_rng(2)
    for pars in [np.array(one.config.suggested_init()), *(rng.uniform(0.8, 1.2, len(names)) for _ in range(2))]:
        theirs_pars = pars[[names.index(name) for name in other.config.par_names]]
        mine = one.logpdf(pars, one.data(ours.observations))
        assert float(mine) == pytest.approx(
            float(other.logpdf(theirs_pars, other.data(theirs.observations))), rel=1e-10
        )


def test_hs3_is_the_same_likelihood(toy_run) -> None:
    _, seen, _ = toy_run
    exported(seen, "--to", "hs3")
    for ending in ("", "-observed"):
        ours = HistFactory.from_workspace(read(seen / f"workspace{ending}.json"))
        alike(ours, HistFactory.from_hs3(read(seen / f"export/hs3/hs3{ending}.json")))


def test_combine_gets_the_yields_of_the_run(toy_run) -> None:
    _, seen, _ = toy_run
    with pytest.warns(match="Combine"):
        exported(seen, "--to", "combine")
    for place, ending in (("", ""), ("observed", "-observed")):
        found = HistFactory.from_datacard(seen / "export/combine" / place / "datacard.txt")
        ours = HistFactory.from_workspace(read(seen / f"workspace{ending}.json"))
        for name, events in ours.observations.items():
            np.testing.assert_allclose(found.observations[name], events, rtol=1e-6)
            one, other = (
                np.asarray(model().expected_data(model().config.suggested_init(), include_auxdata=False))
                for model in (ours, found)
            )
            np.testing.assert_allclose(np.sort(one), np.sort(other), rtol=1e-6)


def test_cabinetry_builds_the_same_model_and_finds_the_same_limit(toy_run, monkeypatch) -> None:
    cabinetry = pytest.importorskip("cabinetry", reason="needs cabinetry (pip install 'diffea[test]')")
    out, _, _ = toy_run
    exported(out, "--to", "cabinetry")
    monkeypatch.chdir(out / "export" / "cabinetry")
    built = cabinetry.workspace.build(cabinetry.configuration.load("config.yml"))
    workspace = cabinetry.workspace.load("workspace.json")
    assert workspace == read(out / "workspace.json")
    (ours, asimov), (theirs, data) = (cabinetry.model_utils.model_and_data(one) for one in (workspace, built))
    for name in ("mu", "scale", "norm"):
        for value in (-1.0, 0.0, 1.0):
            expected = []
            for model in (ours, theirs):
                pars = np.array(model.config.suggested_init())
                pars[model.config.par_slice(name)] = abs(value) * 2 if name == "mu" else value
                expected.append(model.expected_data(pars, include_auxdata=False))
            np.testing.assert_allclose(*expected, rtol=1e-9)
    limit = read(out / "result.json")["limit_after"]
    found = cabinetry.fit.limit(theirs, data, bracket=(0.8 * limit, 1.2 * limit), tolerance=0.01)
    assert found.observed_limit == pytest.approx(limit, rel=0.01)  # of the background-only expectation
    found = cabinetry.fit.limit(ours, asimov, bracket=(0.8 * limit, 1.2 * limit), tolerance=1e-5)
    assert found.observed_limit == pytest.approx(limit, rel=3e-3)  # as far as MINUIT goes


def test_hepdata_takes_the_submission(toy_run) -> None:
    pytest.importorskip("hepdata_lib", reason="needs hepdata-lib (pip install 'diffea[hepdata]')")
    import yaml
    from hepdata_validator.full_submission_validator import FullSubmissionValidator

    for out in toy_run[:2]:
        exported(out, "--to", "hepdata")
        folder = out / "export" / "hepdata"
        validator = FullSubmissionValidator()
        assert validator.validate(archive=str(folder / "submission.tar.gz")), validator.get_messages()
        table = yaml.safe_load((folder / "yields_in_high.yaml").read_text())
        columns = {one["header"]["name"]: one["values"] for one in table["dependent_variables"]}
        assert ("Data" in columns) == (out == toy_run[1])
        (channel,) = (one for one in read(out / "workspace.json")["channels"] if one["name"] == "high")
        (background,) = (one for one in channel["samples"] if one["name"] == "background")
        np.testing.assert_allclose([one["value"] for one in columns["background"]], background["data"], rtol=1e-6)
        errors = {error["label"]: error for error in columns["background"][0]["errors"]}
        assert errors["norm"]["asymerror"]["plus"] == pytest.approx(0.1 * background["data"][0], rel=1e-5)
        edges = [(one["low"], one["high"]) for one in table["independent_variables"][0]["values"]]
        assert len(edges) == 3
        assert edges[0][0] == 0
        assert edges[-1][1] == 5


def test_what_is_not_there_is_named(toy_run, tmp_path) -> None:
    out, _, _ = toy_run
    exported(tmp_path, "--to", "pyhf", fails="no result.json")
    exported(out, "--to", "pyhf", "--variant", "cuts", fails="no run of a variant 'cuts'")
    exported(out, "--to", "coffea", fails="say where its file or folder is with --analysis")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text("{}")
    exported(tmp_path, "--to", "pyhf", fails="several variants (one, two): say which with --variant")
    assert not list(tmp_path.glob("*export*"))


def test_an_analysis_that_changed_is_refused_and_nothing_is_left(toy_run, tmp_path) -> None:
    out, _, _ = toy_run
    changed = tmp_path / "toy.py"
    changed.write_text(TOY.read_text().replace('"x": 0.7', '"x": 0.71'))
    into = tmp_path / "plain"
    exported(out, "--to", "coffea", "--analysis", changed, "--into", into, fails="changed since the run")
    other = tmp_path / "other.py"
    other.write_text(TOY.read_text().replace('name="toy"', 'name="other"'))
    exported(out, "--to", "coffea", "--analysis", other, "--into", into, fails="is of 'toy'")
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("__")) == ["other.py", "toy.py"]


def test_a_folder_is_replaced_whole_or_stays_as_it_was(toy_run, tmp_path, monkeypatch) -> None:
    out, _, _ = toy_run
    into = tmp_path / "likelihood"
    into.mkdir()
    (into / "old").write_text("old")

    def fails(result, folder):
        (folder / "half").write_text("half")
        msg = "there is no such thing"
        raise FormatError(msg)

    with monkeypatch.context() as patch:
        patch.setitem(LIKELIHOODS, "pyhf", fails)
        exported(out, "--to", "pyhf", "--into", into, fails="there is no such thing")
    assert [path.name for path in into.iterdir()] == ["old"]
    exported(out, "--to", "pyhf", "--into", into)
    assert {path.name for path in into.iterdir()} == {
        "workspace.json",
        "modifier_settings.json",
        "background.json",
        "signal-patch.json",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["likelihood"]
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        export(read_result(out, None), "pyhf", taken)
    with pytest.raises(ExportError, match="exported to coffea, onnx, pyhf"):
        export(read_result(out, None), "root", tmp_path / "file")
    assert taken.read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "lumi", "type": "lumi", "data": None}, "cabinetry has no lumi"),
        ({"name": "other", "type": "staterror", "data": [1.0, 1.0, 1.0]}, "several staterrors"),
        ({"name": "scale", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}, "both a normsys and a histosys 'scale'"),
        ({"name": "mu", "type": "normfactor", "data": None}, "scales other samples in one channel than in another"),
    ],
)
def test_what_cabinetry_has_no_place_for_is_named(toy_run, change: dict, message: str) -> None:
    workspace = read(toy_run[0] / "workspace.json")
    next(one for one in workspace["channels"][0]["samples"] if one["name"] == "background")["modifiers"].append(change)
    with pytest.raises(ExportError, match=message):
        configuration(workspace)


def test_observed_events_are_those_that_diffea_observes(toy_run, tmp_path, without_diffea) -> None:
    _, seen, data = toy_run
    exported(seen, "--to", "coffea", "--analysis", TOY, "--into", tmp_path / "plain")
    code = f"""
import json, pathlib
sys.path.insert(0, ".")
import processor
from coffea.nanoevents import BaseSchema
from coffea.processor import IterativeExecutor, Runner
fileset = {{"seen": processor.fileset(pathlib.Path({str(data)!r}))["seen"]}}
found = Runner(IterativeExecutor(status=False), schema=BaseSchema)(fileset, processor.Toy())
print(json.dumps({{name: one["seen", "nominal", :].values().tolist() for name, one in found.items()}}))
"""
    found = json.loads(without_diffea(tmp_path / "plain", code).splitlines()[-1])
    assert found == {one["name"]: one["data"] for one in read(seen / "workspace-observed.json")["observations"]}
