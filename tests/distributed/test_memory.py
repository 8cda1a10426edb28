"""Fifty uses of ``distribute`` in one process leave next to nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import ctypes, gc, sys, tempfile
from pathlib import Path
import jax, jax.numpy as jnp, psutil
import diffea
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

fileset = write_fileset(Path(tempfile.mkdtemp()))

def use():
    with diffea.distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        jax.value_and_grad(lambda params: jnp.sum(templates(params)["few", "bkg"].flow_values))(PARAMS)
        templates.hard(PARAMS)

def resident():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free, but not given back yet, is not held
    return psutil.Process().memory_info().rss

for _ in range(5):
    use()
before = resident()
for _ in range(50):
    use()
print(resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what is free is given back by glibc's malloc_trim")
def test_fifty_uses_grow_the_memory_by_less_than_50_mb() -> None:
    made = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(made.stdout) < 50e6
