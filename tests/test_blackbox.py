"""analyses/blackbox: what the black boxes compete on is the analysis itself, and how they are compared."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from diffea import distribute, statistics
from diffea.demo.data import make_data
from tests.scripts import ANALYSES, scripts


@pytest.fixture(scope="module")
def tasks() -> ModuleType:
    with scripts(ANALYSES / "blackbox", "tasks") as (module,):
        return module


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_the_cuts_of_zprime_fill_what_its_categories_fill(tasks: ModuleType, open_data: Path, factor: float) -> None:
    if not (folder := open_data / "zprime").is_dir():
        pytest.skip(f"no zprime files at {folder}: set DIFFEA_DATA to a folder that has them")
    task = tasks.Task.of("zprime")
    bounds = task.variant.bounds
    params = {name: float(np.clip(factor * start, *bounds[name])) for name, start in task.variant.params.items()}
    whole = tasks.ZPRIME_CUTS.baseline.params | {"softness": 1.0} | params
    schema = {"schemaclass": task.analysis.schemaclass}
    fileset = {name: task.analysis.fileset(folder)[name] for name in ("signal_M2000", "ttsemilep")}
    with (
        distribute(task.program, fileset, **schema) as few,
        distribute(tasks.ZPRIME_CUTS.processor, fileset, **schema) as every,
    ):
        found, expected = few.hard(params), every.hard(whole)
    assert set(found) == set(expected)
    for key, template in expected.items():
        np.testing.assert_array_equal(found[key].values, template.values, err_msg="/".join(key))
    assert sum(template.values.sum() for template in expected.values()) > 0


@pytest.fixture(scope="module")
def folders(open_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("demo")
    make_data(made, events=20_000)
    return {"8": open_data / "htautau", "demo": made}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tight"),
    [("8", {"jdeta": 2.9, "pt_2": 35.0, "pt_boosted": 115.0}), ("demo", {"met": 90.0})],
)
def test_filled_tasks_minimise_what_htautau_does_and_are_judged_by_the_limit(
    tasks: ModuleType, folders: dict[str, Path], name: str, tight: dict[str, float]
) -> None:
    if not folders[name].is_dir():
        pytest.skip(f"no htautau files at {folders[name]}: set DIFFEA_DATA to a folder that has them")
    filled, plain = tasks.Task.of(f"{name} filled"), tasks.Task.of(name)
    with filled.read(folders[name], "train", 0) as half:
        templates = half.hard({**filled.variant.params, **tight})
    bound = filled.variant.model(templates)
    lacking = np.maximum(0.0, 1.0 - np.asarray(statistics.effective_events(bound)) / 10.0).sum()
    limit = float(plain.objective(templates))
    assert lacking > 0
    assert filled.objective(templates) == pytest.approx(limit * (1.0 + lacking), rel=1e-9)
    assert float(filled.limit(templates)) == float(plain.limit(templates)) == limit


def test_a_split_without_analysis_is_counted_and_flatters_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ANALYSES.parent / "benchmarks")
    import optima

    found = optima.paired([(1.0, 2.0), (3.0, 2.0), (1.0, np.inf)])
    assert found == pytest.approx({"mean": 1.0, "error": 0.5, "largest": 1.5, "left_out": 1})
    assert optima.paired([(np.inf, 2.0), (1.0, 2.0)])["mean"] == np.inf
    assert np.isnan(optima.paired([(1.0, np.inf)])["mean"])
