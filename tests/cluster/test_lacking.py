"""A scheduler and workers that lack a package, or a module of the user's: it is named, with what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from distributed import Client
from tests.conftest import ROOT
from tests.samples import QuietSchema, Search, write_fileset

from diffea import distribute, errors, runtime

MINE = """
from coffea.nanoevents import NanoAODSchema

class Schema(NanoAODSchema):
    warn_missing_crossrefs = False

class Tag:
    pass
"""


@pytest.fixture
def apart(tmp_path):
    """A scheduler and a worker that see no file of the driver's."""
    file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(file), "--no-dashboard"]
    environment = {**os.environ, "NPROC": "1", "PYTHONPATH": str(ROOT / "src")}
    commands = [["dask_scheduler", "--port", "0", *common], ["dask_worker", "--nthreads", "1", "--no-nanny", *common]]
    started = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.{name}", *options], cwd="/", env=environment)
        for name, *options in commands
    ]
    try:
        while not file.exists():
            time.sleep(0.05)
        with Client(scheduler_file=str(file), timeout=60) as client:
            yield client
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_schema_of_the_users_travels_and_an_object_that_the_scheduler_cannot_import_is_named(
    apart, tmp_path, monkeypatch
) -> None:
    (tmp_path / "mine_alone.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine_alone

    fileset = write_fileset(tmp_path)
    with distribute(Search(), fileset, client=apart, schemaclass=mine_alone.Schema) as templates:
        assert sum(templates.events.values()) == 5100
    tagged = {"signal": {**fileset["signal"], "metadata": {"tag": mine_alone.Tag()}}}
    with pytest.raises(errors.WorkerMismatchError, match=r"scheduler cannot read .*No module named 'mine_alone'"):
        distribute(Search(), tagged, client=apart, schemaclass=QuietSchema)


def test_a_package_that_a_worker_lacks_is_named(monkeypatch) -> None:
    monkeypatch.setattr(runtime, "CHECKED", ("diffea", "no-such-package"))
    runtime.versions.cache_clear()
    try:
        with pytest.raises(errors.WorkerMismatchError, match=r"no-such-package is missing, the driver has 1\.0"):
            runtime.check_worker({**runtime.versions(), "no-such-package": "1.0"})
    finally:
        runtime.versions.cache_clear()
