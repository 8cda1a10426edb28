"""diffea compare: the numbers of result.json, side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.report.make_out import make_out

import diffea.cli
from diffea.cli import main


@pytest.fixture
def outs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(diffea.cli, "out_console", diffea.cli.Console(width=200))
    folders = [tmp_path / name for name in ("first", "second")]
    for number, folder in enumerate(folders):
        make_out(folder)
        path = folder / "result.json"
        result = json.loads(path.read_text())
        result |= {"limit_before": 2.0, "limit_after": 1.0 + number, "limit_after_error": 0.25, "gain": None}
        result["fills"] = 100 + number
        path.write_text(json.dumps(result))
    return folders


def test_runs_are_compared_by_their_own_numbers(outs: list[Path]) -> None:
    told = json.loads(CliRunner().invoke(main, ["compare", *map(str, outs), "--json"]).stdout)
    assert list(told) == list(map(str, outs))
    rows = list(told.values())
    assert [row["limit"] for row in rows] == [1.0, 2.0]
    assert [row["gain"] for row in rows] == [0.5, 1.0]
    result = json.loads((outs[0] / "result.json").read_text())
    assert rows[0]["hard_test"] == result["after"]["hard_test"]
    scalars = {name: value for name, value in result["params"]["after"].items() if isinstance(value, float)}
    assert scalars.items() <= rows[0]["params"].items()


def test_the_table_has_limits_with_their_errors(outs: list[Path]) -> None:
    shown = CliRunner().invoke(main, ["compare", *map(str, outs)])
    assert shown.exit_code == 0, shown.output
    assert "2 → 1 ± 0.25" in shown.output
    assert "2 → 2 ± 0.25" in shown.output


def test_a_folder_without_a_run_is_named(outs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    shown = CliRunner().invoke(main, ["compare", str(outs[0]), str(tmp_path / "empty")])
    assert shown.exit_code == 1
    assert "there is no result.json in" in shown.output
