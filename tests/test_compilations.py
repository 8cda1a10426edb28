"""Compiled programs are kept for the next process, where and if the user wants it, and compute the same bits."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import diffea, jax, jax.numpy as jnp
x = jnp.linspace(0.0, 100.0, 1000)
loss = lambda cut: jnp.sum(diffea.histogram(x, jnp.linspace(0.0, 100.0, 21), diffea.soft.above(x, cut, width=3.0)) ** 1.5)
value, slope = jax.jit(jax.value_and_grad(loss))(40.0)
print(jax.config.jax_compilation_cache_dir, float(value).hex(), float(slope).hex())
"""


def run(**environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("DIFFEA_CACHE", "XDG_CACHE_HOME")}
    made = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env={**inherited, **environment}
    )
    return made.stdout.split()


def test_a_second_process_loads_what_the_first_compiled(tmp_path) -> None:
    first, second = (run(DIFFEA_CACHE=str(tmp_path)) for _ in range(2))
    assert first == second
    assert first[0].startswith(str(tmp_path))
    assert any(path.is_file() and path.name.startswith("jit_") for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("asked", ["0", "jax's own"])
def test_diffea_keeps_nothing_where_the_user_does_not_want_it(tmp_path, asked) -> None:
    own = {"DIFFEA_CACHE": "0"} if asked == "0" else {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    folder, *_ = run(XDG_CACHE_HOME=str(tmp_path / "home"), **own)
    assert folder == ("None" if asked == "0" else str(tmp_path / "own"))
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_no_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert run(XDG_CACHE_HOME=str(tmp_path / "file"))[0] == "None"
