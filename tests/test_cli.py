"""The command line, without a run: what it prints, refuses and leaves behind."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner, Result
from distributed import Client

import diffea.cli
from diffea.analysis import Analysis
from diffea.cli.progress import progress
from diffea.errors import AnalysisError, FitError, OutputError, ParameterError, ReportError
from diffea.files.locks import locked
from diffea.run import MeasuredStep, result_folder, result_folders
from diffea.run.numbers import numbers
from tests.disks import full_disk

CONTENT = b"not really a ROOT file " * 1000

ANALYSIS = """
from diffea import Analysis, DifferentiableProcessor, Variant
from diffea.fetch import RemoteFile

def variant():
    return Variant(processor=DifferentiableProcessor(), spec={{}}, params={{}}, objective=sum)

analysis = Analysis(
    name="small", title="A [small] analysis", fileset=dict, variants={{"one": variant(), "two": variant()}},
    fetch=[RemoteFile(name="a.root", url="{url}", sha256="{sha256}", record=12350)],
)
"""

MORE_SEEDS = """
import dataclasses
analysis = dataclasses.replace(
    analysis, seeds=2, reseeded=lambda seed: dataclasses.replace(analysis, title=f"seed {seed}"),
    figures=lambda out: [out / "figure.png"],
)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(diffea.cli, "out_console", diffea.cli.Console(width=200))
    monkeypatch.setattr(diffea.cli, "log_console", diffea.cli.Console(width=200, stderr=True))
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    served = tmp_path_factory.mktemp("served")
    (served / "a.root").write_bytes(CONTENT)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/a.root"
        running.shutdown()


def write_analysis(
    place: Path, url: str = "http://127.0.0.1/", sha256: str = hashlib.sha256(CONTENT).hexdigest()
) -> None:
    place.mkdir(parents=True)
    (place / "analysis.py").write_text(ANALYSIS.format(url=url, sha256=sha256), encoding="utf-8")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(diffea.cli.main, arguments)


def refused(result: Result) -> str:
    """The message of a refusal, which has exit code 1 and no traceback."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    return result.output


def test_help_names_the_commands() -> None:
    output = call("--help").output
    assert all(f"  {name} " in output for name in ("demo", "run", "report", "list", "fetch"))


def test_list(folder: Path) -> None:
    write_analysis(folder / "analyses" / "small")
    (folder / "analyses" / "broken").mkdir()
    (folder / "analyses" / "broken" / "analysis.py").write_text("nothing = 1")
    (folder / "analyses" / "fails").mkdir()
    (folder / "analyses" / "fails" / "analysis.py").write_text("import diffea\nimport no_such_module")
    output = call("list").output
    assert "diffea demo" in output
    assert re.search(r"analyses/small +A \[small\] analysis +one, two", output)
    assert "has no object named `analysis`" in output
    assert re.search(
        r"fails: ModuleNotFoundError: No module named 'no_such_module' \(.*line 2\)", re.sub(r"\s+", " ", output)
    )


def test_run_without_data_says_where_they_are(folder: Path) -> None:
    write_analysis(folder / "analyses" / "small")
    message = refused(call("run", "small"))
    assert "record 12350: https://opendata.cern.ch/record/12350" in message
    assert "diffea fetch small --data DIR" in message
    assert [path.name for path in folder.iterdir()] == ["analyses"]


def test_run_of_what_is_not_there_names_what_is(folder: Path) -> None:
    write_analysis(folder / "analyses" / "small")
    write_analysis(folder / "mine")
    message = refused(call("run", "nosuch", "--data", "."))
    assert "got nosuch, which is not there. Here: mine, analyses/small. `diffea demo` needs no file" in message
    for command in (("check", "nosuch", "--data", "."), ("fetch", "nosuch")):
        assert "Here: mine, analyses/small" in refused(call(*command))


def pretend_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffea.cli, "run_variant", lambda *args, **kwargs: finished())
    monkeypatch.setattr(diffea.cli.report, "write", lambda out, formats: out / "report.html")


def test_nothing_to_resume_and_a_folder_that_is_not_empty_are_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_analysis(folder / "small")
    pretend_to_run(monkeypatch)
    run = ("run", "small", "--data", ".", "--out", "out")
    assert "out" not in call(*run).stderr.replace("out/report.html", "").split()
    assert (
        "nothing to resume of one: there is no checkpoint in out/one, so that it begins at the first step"
        in call(*run, "--resume").stderr
    )
    (folder / "out" / "one" / "checkpoint").mkdir(parents=True)
    (folder / "out" / "one" / "checkpoint" / "step-00000050.npz").touch()
    (folder / "out" / "notes.md").touch()
    told = call(*run, "--resume").stderr
    assert "resume of one" not in told
    assert "nothing to resume of two" in told
    told = call(*run).stderr
    assert (
        "out/one holds 50 steps of one of a run that did not end: this one begins anew, --resume would have gone on"
        in told
    )
    assert "out is not empty: it holds notes.md as well, which stay as they are" in told
    (folder / "out" / "one" / "result.json").write_text('{"when": "yesterday"}')
    assert (
        "out/one holds the results of one of a run that ended at yesterday, which this one replaces"
        in call(*run).stderr
    )


@pytest.mark.parametrize("steps", [0, 12])
def test_ctrl_c_ends_in_three_lines(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    def interrupted(*args: object, out: Path, **kwargs: object) -> None:
        if steps:
            (out / "checkpoint" / "fold-1").mkdir(parents=True)
            (out / "checkpoint" / "fold-1" / f"step-{steps:08d}.npz").touch()
        signal.raise_signal(signal.SIGINT)

    write_analysis(folder / "small")
    monkeypatch.setattr(diffea.cli, "run_variant", interrupted)
    result = call("run", "small", "--data", ".", "--variant", "one", "--out", "my out")
    assert result.exit_code == 130
    lines = result.stderr.splitlines()
    saved = "saved in my out: 12 steps of one" if steps else "no step was finished: nothing is saved in my out"
    typed = "diffea run small --data . --variant one --out 'my out'"
    assert lines[-3:] == [
        "stopping after this pass over the data; Ctrl-C again ends it at once",
        saved,
        f"go on with: {typed} --resume" if steps else f"begin again with: {typed}",
    ]


def test_results_as_json_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_analysis(folder / "small")
    pretend_to_run(monkeypatch)
    result = call("run", "small", "--data", ".", "--out", "out", "--json")
    assert json.loads(result.stdout) == {"one": finished(), "two": finished()}
    assert "report: out/report.html" in result.stderr


def test_a_shell_completes_commands_and_options() -> None:
    complete = BashComplete(diffea.cli.main, {}, "diffea", "_DIFFEA_COMPLETE")
    assert {item.value for item in complete.get_completions([], "")} == set(diffea.cli.main.commands)
    assert "--resume" in {item.value for item in complete.get_completions(["run", "small"], "--res")}
    assert {item.value for item in complete.get_completions(["export", "out", "--to"], "c")} == {
        "coffea",
        "cabinetry",
        "combine",
    }


def test_run_of_what_is_no_analysis(folder: Path) -> None:
    (folder / "text.py").write_text("analysis = 'no'")
    assert "no object named `analysis`" in refused(call("run", "text.py"))
    assert "got elsewhere, which is not there" in refused(call("run", "elsewhere"))


def test_unknown_variant(folder: Path) -> None:
    write_analysis(folder / "small")
    assert "no variant 'three'; it has: one, two" in refused(call("run", "small", "--variant", "three", "--data", "."))


def test_two_places_to_run(folder: Path) -> None:
    result = call("run", "small", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2
    assert "give one of them" in result.output


def test_a_performance_report_of_no_cluster(folder: Path) -> None:
    result = call("run", "small", "--performance-report")
    assert result.exit_code == 2
    assert "give --workers or --scheduler" in result.output


def test_a_performance_report_of_a_run_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, client: Client, **kwargs: object) -> None:
        msg = f"there was {client.submit(sum, (1, 2), key='Search.values-1').result()}"
        raise FitError(msg)

    write_analysis(folder / "small")
    monkeypatch.setattr(diffea.cli, "run_variant", fail)
    options = ["--data", ".", "--out", "out", "--workers", "1", "--performance-report"]
    message = refused(call("run", "small", *options))
    assert "there was 3" in message
    if "no performance report" not in message:  # as with a dask that is older than its bokeh
        assert "Search.values" in (folder / "out" / "performance-report.html").read_text()


def test_no_report_costs_no_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def no_bokeh(path: str) -> Iterator[None]:
        yield
        msg = "no [bokeh]"
        raise ModuleNotFoundError(msg, name="bokeh")

    @contextlib.contextmanager
    def nowhere(*arguments: object) -> Iterator[None]:
        yield None

    def fail(out: Path, formats: Sequence[str]) -> Path:
        msg = "no page of this"
        raise ReportError(msg)

    write_analysis(folder / "small")
    monkeypatch.setattr(diffea.cli, "dask_report", no_bokeh)
    monkeypatch.setattr(diffea.cli, "cluster", nowhere)
    monkeypatch.setattr(diffea.cli, "run_variant", lambda *args, **kwargs: finished())
    monkeypatch.setattr(diffea.cli.report, "write", fail)
    message = refused(call("run", "small", "--data", ".", "--out", "out", "--workers", "1", "--performance-report"))
    assert "could not write it (ModuleNotFoundError: no [bokeh])" in message
    assert "passes over the data" in message
    assert "hard cuts, the events trained on" in message
    assert "left out of ttbar, in files that stayed bad: 12 % of the entries" in message
    assert "no page of this" in message


def finished(hard_test: float = 1.0) -> dict[str, Any]:
    """What a run returns, as far as it is printed."""
    return {
        "objective": "cls",
        "split": None,
        "skipped_share": {"ttbar": 0.125},
        "passes_over_data": 1,
        "seconds": 1.0,
        "seconds_by_stage": {},
        **{when: {"soft": 1.0, "hard_train": 1.0, "hard_test": hard_test} for when in ("before", "after")},
        "limit_before": 2.0,
        "limit_after": 1.0,
        "not_judged": {"before": {}, "after": {"limit": "[nothing] is excluded"}},
    }


def test_an_error_of_diffea_is_a_message_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        msg = "the fit of [jes] did not converge"
        raise FitError(msg)

    write_analysis(folder / "small")
    monkeypatch.setattr(diffea.cli, "run_variant", fail)
    assert "Error: the fit of [jes] did not converge" in refused(call("run", "small", "--data", ".", "--out", "out"))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_only_resume_keeps_older_checkpoints(folder: Path, monkeypatch: pytest.MonkeyPatch, resume: bool) -> None:
    found = []
    checkpoints = [Path("out/one/checkpoint") / name for name in ("step-00000050.npz", "pretraining/step-00000003.npz")]
    others = [Path("out/one/checkpoint/notes.md"), Path("out/one/step-00000001.npz")]

    def look(*args: object) -> None:
        found.append([path for path in (*checkpoints, *others) if path.exists()])
        msg = "far enough"
        raise FitError(msg)

    write_analysis(folder / "small")
    for path in (*checkpoints, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.setattr(diffea.run, "_contents", look)
    refused(call("run", "small", "--data", ".", "--out", "out", *(["--resume"] if resume else [])))
    assert found == [[*(checkpoints if resume else []), *others]]


@pytest.mark.parametrize("at", [".", "one"])
def test_two_runs_in_one_folder(folder: Path, at: str) -> None:
    write_analysis(folder / "small")
    (folder / "out" / "one" / "checkpoint").mkdir(parents=True)
    (folder / "out" / "one" / "checkpoint" / "step-00000050.npz").touch()
    told = []

    def second() -> None:  # as another process would, another thread holds what is not its own
        told.append(refused(call("run", "small", "--data", ".", "--out", "out")))

    with locked(folder / "out" / at):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert "is in use by another run (process" in told[0]
    assert (folder / "out" / "one" / "checkpoint" / "step-00000050.npz").exists()


NAMES = ["../../x", "/tmp/x", "a/b", "..", ".", "", " ", ".hidden", "a\\b", "a\nb", "x" * 300, "con", 3]


@pytest.mark.parametrize("name", [*NAMES, "checkpoint", "data", "seeds"])
def test_a_variant_that_leads_out_of_its_folder_is_refused(folder: Path, name: Any) -> None:
    demo = diffea.cli.demo_analysis
    (variant,) = demo.variants.values()
    with pytest.raises(AnalysisError, match="a variant's name is that of its folder"):
        dataclasses.replace(demo, variants={name: variant, "other": variant})
    if name:
        with pytest.raises(AnalysisError, match="a variant's name is that of its folder"):
            result_folder(folder / "out", name)


@pytest.mark.parametrize("name", NAMES)
def test_an_analysis_whose_name_leads_elsewhere_is_refused(folder: Path, name: Any) -> None:
    with pytest.raises(AnalysisError, match="an analysis's name is one of files and folders"):
        dataclasses.replace(diffea.cli.demo_analysis, name=name)


def test_what_leads_out_of_its_folder_removes_and_writes_nothing(folder: Path) -> None:
    write_analysis(folder / "small")
    text = (folder / "small" / "analysis.py").read_text().replace('"one"', '"../../x"')
    (folder / "small" / "analysis.py").write_text(text)
    (folder / "x" / "checkpoint").mkdir(parents=True)
    (folder / "x" / "checkpoint" / "step-00000001.npz").touch()
    before = sorted(folder.rglob("*"))
    assert "a variant's name is that of its folder" in refused(call("run", "small", "--data", ".", "--out", "a/b"))
    assert sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_place_that_cannot_be_written_to_is_named(folder: Path) -> None:
    write_analysis(folder / "small")
    (folder / "file").touch()
    for out in (f"{folder}/file/out", "/proc/diffea"):
        assert f"could not write {out}: " in refused(call("run", "small", "--data", ".", "--out", out))


def test_data_that_find_no_room_are_not_kept(folder: Path) -> None:
    def fill(place: Path) -> None:
        (place / "half.root").write_bytes(bytes(100_000))

    analysis = dataclasses.replace(diffea.cli.demo_analysis, default_data=fill)
    with full_disk(1000), pytest.raises(OutputError, match=r"could not write .*out/data: File too large"):
        diffea.cli.run_analysis(analysis, data=None, out=folder / "out")
    assert list(folder.iterdir()) == []


def test_all_without_further_initialisations(folder: Path) -> None:
    write_analysis(folder / "small")
    assert "a single initialisation" in refused(call("run", "small", "--all", "--data", "."))


@pytest.mark.parametrize("every_seed", [True, False])
def test_all_runs_every_initialisation_and_draws(
    folder: Path, monkeypatch: pytest.MonkeyPatch, every_seed: bool
) -> None:
    write_analysis(folder / "small")
    with (folder / "small" / "analysis.py").open("a", encoding="utf-8") as file:
        file.write(MORE_SEEDS)
    ran = []

    def pretend(analysis: Analysis, name: str, *, out: Path, **kwargs: object) -> dict[str, Any]:
        ran.append((analysis.title, name))
        result = finished(len(ran))
        out.mkdir(parents=True)
        (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return result

    monkeypatch.setattr(diffea.cli, "run_variant", pretend)
    monkeypatch.setattr(diffea.cli.report, "write", lambda out, formats: out / "report.html")
    (folder / "out" / "seeds").mkdir(parents=True)
    (folder / "out" / "seeds" / ".DS_Store").touch()
    result = call("run", "small", "--data", ".", "--out", "out", *(["--all"] if every_seed else []))
    assert result.exit_code == 0, result.output
    first = ("A [small] analysis", "one"), ("A [small] analysis", "two")
    further = ("seed 1", "one"), ("seed 1", "two")
    assert sorted(ran) == sorted([*first, *(further if every_seed else ())])
    assert ("1.5 (1 to 2)" in result.output) == every_seed
    folders = [Path("out/one"), *([Path("out/seeds/1/one")] if every_seed else [])]
    assert result_folders(Path("out"), "one") == folders
    assert "not judged: limit after: [nothing] is excluded" in result.output
    assert "figure: out/figure.png" in result.output


def test_a_log_that_is_no_terminal_has_lines_of_progress(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(diffea.cli.Console(stderr=True), "[small]") as tell:
        for number in range(1, 5):
            tell(MeasuredStep(number, 4, 0.5, 0.1, 1.0, passes=number))
    lines = capsys.readouterr().err.splitlines()
    assert [" ".join(line.split()[:3]) for line in lines] == [
        "[small]: reading events", "[small]: step 1/4", "[small]: step 4/4",
    ]  # fmt: skip


def test_folds_side_by_side_have_lines_of_their_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(diffea.cli.Console(stderr=True), "small") as tell:
        for number in range(1, 4):
            for fold in (1, 0):
                tell(MeasuredStep(number, 9, 0.5, 0.1, 1.0, passes=number, fold=fold))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [f"small: without fold {fold}: step 1/9" for fold in (1, 0)]


def test_no_scheduler_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_analysis(folder / "small")
    monkeypatch.setattr(diffea.cli, "CONNECT", "1s")
    message = refused(call("run", "small", "--data", ".", "--scheduler", "tcp://127.0.0.1:1"))
    assert "no dask scheduler answers at tcp://127.0.0.1:1" in message


def test_interrupted_data_are_not_kept(folder: Path) -> None:
    def interrupt(place: Path) -> None:
        (place / "half.root").write_bytes(b"half")
        raise KeyboardInterrupt

    analysis = dataclasses.replace(diffea.cli.demo_analysis, default_data=interrupt)
    with pytest.raises(KeyboardInterrupt):
        diffea.cli.run_analysis(analysis, data=None, out=folder / "out")
    assert list(folder.iterdir()) == []


def test_fetch(folder: Path, server: str) -> None:
    write_analysis(folder / "small", server)
    result = call("fetch", "small")
    assert result.exit_code == 0
    assert (folder / "data" / "small" / "a.root").read_bytes() == CONTENT
    assert "1 files, all whole, in data/small" in result.output
    assert call("fetch", "small", "--data", "data/small").exit_code == 0


def test_fetch_of_something_else_than_published(folder: Path, server: str) -> None:
    write_analysis(folder / "small", server, sha256="0" * 64)
    assert "is not the published file 'a.root': expected sha256 0000" in refused(call("fetch", "small"))
    assert list((folder / "data" / "small").iterdir()) == []


def test_report_of_an_empty_folder(folder: Path) -> None:
    assert "holds no result.json" in refused(call("report", "."))


@pytest.mark.parametrize("change", [{"steps": 1.5}, {"steps": float("nan")}, {"validate_every": 0}, {"patience": True}])
def test_a_variant_whose_numbers_are_none_is_refused_before_it_runs(change: dict[str, Any]) -> None:
    (variant,) = diffea.cli.demo_analysis.variants.values()
    with pytest.raises(ParameterError, match=f"{next(iter(change))} is a number of"):
        dataclasses.replace(variant, **change)


def test_parameters_of_every_structure_are_told_by_their_names() -> None:
    class Cuts(NamedTuple):
        mt: float
        iso: Any

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Network:
        weight: Any
        bias: Any

    params = {"net": Network(np.ones((1, 2)), None), "cuts": [Cuts(1.5, {"a": np.inf})]}
    assert numbers(params) == {"net": {"weight": [[1.0, 1.0]]}, "cuts": [{"mt": 1.5, "iso": {"a": None}}]}


@pytest.mark.parametrize(
    ("arguments", "code", "said"), [(["list", "--help"], 0, "Usage"), (["nosuch"], 2, "No such command")]
)
def test_the_command_ends_with_its_code_and_all_that_it_said(arguments: list[str], code: int, said: str) -> None:
    text = f"import sys; from diffea.cli.command import command; sys.argv = ['diffea', *{arguments}]; command()"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert (done.stdout + done.stderr).endswith("\n")
