"""Results to hand on, and a Python without diffea and JAX to run what was handed on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diffea import evaluate
from diffea.analysis import Analysis, load_analysis
from diffea.export.results import Result
from diffea.run.digests import digest_of
from diffea.run.numbers import numbers
from diffea.run.states import histograms
from diffea.runtime import versions
from diffea.types import Params

TOY = Path(__file__).with_name("toy.py")
WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("diffea", "jax", "jaxlib"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(scope="session")
def judged() -> Callable[..., Result]:
    """What a run at these parameters would have left, with the histograms of ``evaluate``."""

    def judge(analysis: Analysis, name: str, data: Path, params: list[Params]) -> Result:
        variant = analysis.variants[name]
        found = evaluate(
            variant.processor,
            analysis.fileset(data),
            params if analysis.split and analysis.split.folds else params[0],
            variant.model,
            schemaclass=analysis.schemaclass,
            chunksize=analysis.chunksize,
            split=analysis.split,
        )
        result = {
            "analysis": analysis.name,
            "variant": name,
            "analysis_digest": digest_of(analysis, variant),
            "params": {"after": numbers(params[0])},
            "folds": [{"params": numbers(one)} for one in params] if len(params) > 1 else None,
            "versions": versions(),
        }
        return Result(data, result, found.workspace(), None, histograms(found.templates))

    return judge


@pytest.fixture(scope="session")
def without_diffea() -> Callable[..., str]:
    """Run code in a folder, in a Python where neither diffea nor JAX can be imported; what it prints."""

    def run(folder: Path, code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error::UserWarning:processor", "-c", WITHOUT + code],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def run_it(without_diffea: Callable[..., str]) -> Callable[..., str]:
    """``python run.py DATA`` there."""

    def run(folder: Path, data: Path) -> str:
        code = f"import runpy\nsys.argv = ['run.py', {json.dumps(str(data))}]\nsys.path.insert(0, '.')\n"
        return without_diffea(
            folder,
            code
            + "try:\n    runpy.run_path('run.py', run_name='__main__')\nexcept SystemExit as end:\n    assert not end.code",
        )

    return run


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """What a run of the toy leaves, twice: blinded, and looked at; the folders of both, and of the data."""
    folder = tmp_path_factory.mktemp("toy")
    data, blinded, seen = (folder / name for name in ("data", "blinded", "seen"))
    for path in (data, blinded, seen):
        path.mkdir()
    analysis = load_analysis(TOY)
    variant = analysis.variants[""]
    analysis.default_data(data)  # type: ignore[misc]
    found = evaluate(
        variant.processor,
        analysis.fileset(data),
        variant.params,
        variant.model,
        schemaclass=analysis.schemaclass,
        split=analysis.split,
        observed=True,
    )
    assert found.observed is not None
    stored, params = histograms(found.templates), numbers(variant.params)
    result = {
        "analysis": "toy",
        "variant": "",
        "title": analysis.title,
        "objective": "none",
        "analysis_digest": digest_of(analysis, variant),
        "params": {"before": params, "after": params},
        **{when: dict.fromkeys(("soft", "hard_train", "hard_test")) for when in ("before", "after")},
        "history": [],
        "limit_after": found.limit,
        "modifier_settings": variant.model.modifier_settings,
        "versions": versions(),
    }
    observations = {name: bins.tolist() for name, bins in found.observed.observations.items()}
    files = {
        "templates.json": {when: {"soft": stored, "hard_test": stored} for when in ("before", "after")},
        "workspace.json": found.workspace(),
        "result.json": result,
    }
    looked = {"when": "2026-11-25", "observations": observations, "limit": 1.25}
    more = {
        "workspace-observed.json": found.observed.workspace(),
        "result.json": {**result, "observed": looked},
    }
    for out, contents in ((blinded, files), (seen, {**files, **more})):
        for name, content in contents.items():
            (out / name).write_text(json.dumps(content))
    return blinded, seen, data
