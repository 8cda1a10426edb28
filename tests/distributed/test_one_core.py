"""With one core for everything, callbacks that compute with JAX must not wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.conftest import ROOT

SCRIPT = """
import os, pathlib, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax
from diffea.distributed import distribute
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

assert os.environ["NPROC"] == "1"  # workers started from here have the threads that they were given
fileset, gradient = write_fileset(pathlib.Path(sys.argv[1])), sys.argv[2]
with (
    distribute(Search(), fileset, schemaclass=QuietSchema, gradient=gradient) as one,
    distribute(Search(), fileset, schemaclass=QuietSchema, gradient=gradient) as other,
):
    def loss(params):
        return sum((t.values**2).sum() + t.variances.sum() for T in (one, other) for t in T(params).values())

    step = jax.jit(jax.value_and_grad(loss))
    for _ in range(3):
        jax.block_until_ready(step(PARAMS))
"""


@pytest.mark.slow
@pytest.mark.parametrize("gradient", ["jacobian", "vjp"])
def test_a_step_on_one_core_ends(tmp_path, gradient) -> None:
    environment = {**os.environ, "NPROC": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), gradient], env=environment, timeout=240, check=True)


@pytest.mark.parametrize(("threads", "warned"), [("1", True), ("4", False)])
def test_threads_that_were_started_too_early_are_told(threads, warned) -> None:
    script = "import jax; jax.devices(); import diffea"
    environment = {**os.environ, "NPROC": threads}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert ("import diffea first" in run.stderr) == warned
