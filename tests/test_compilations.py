"""Compiled programs are kept for the next process, where and if the user wants it, and compute the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from diffea import compilations

WHERE = """
import diffea, jax
print(jax.config.jax_compilation_cache_dir)
"""
CODE = f"""
{WHERE}
import jax.numpy as jnp
x = jnp.linspace(0.0, 100.0, 1000)
loss = lambda cut: jnp.sum(diffea.histogram(x, jnp.linspace(0.0, 100.0, 21), diffea.soft.above(x, cut, width=3.0)) ** 1.5)
value, slope = jax.jit(jax.value_and_grad(loss))(40.0)
print(float(value).hex(), float(slope).hex())
"""


def run(code: str, **environment: str) -> list[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("DIFFEA_CACHE", "XDG_CACHE_HOME")}
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**inherited, **environment}
    )
    return made.stdout.split()


def test_a_second_process_loads_what_the_first_compiled(tmp_path) -> None:
    first, second = (run(CODE, DIFFEA_CACHE=str(tmp_path)) for _ in range(2))
    assert first == second
    assert first[0].startswith(str(tmp_path))
    assert any(path.is_file() and path.name.startswith("jit_") for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("asked", ["0", "jax's own"])
def test_diffea_keeps_nothing_where_the_user_does_not_want_it(tmp_path, asked) -> None:
    own = {"DIFFEA_CACHE": "0"} if asked == "0" else {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    (folder,) = run(WHERE, XDG_CACHE_HOME=str(tmp_path / "home"), **own)
    assert folder == ("None" if asked == "0" else str(tmp_path / "own"))
    assert not (tmp_path / "home").exists()


def test_a_home_that_cannot_be_written_is_no_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    assert run(WHERE, XDG_CACHE_HOME=str(tmp_path / "file")) == ["None"]


FLAGS = """
import os
import {module}
from jaxlib import xla_client
print(xla_client.CompileOptions().SerializeAsString().hex())
print(os.environ.get("XLA_FLAGS"))
"""
QUICK = "--xla_cpu_use_fusion_emitters=false"


def flags(module: str, given: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {} if given is None else {"XLA_FLAGS": given}
    code = FLAGS.format(module=module)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return made.stdout.splitlines()


@pytest.mark.parametrize("given", [None, "--xla_cpu_enable_fast_math=true"])
def test_xla_is_asked_to_be_quick_and_the_flag_is_not_left_behind(given) -> None:
    options, left = flags("diffea", given)
    assert options == flags("jax", f"{given or ''} {QUICK}")[0]
    assert options != flags("jax", given)[0]
    assert left == str(given)


def test_the_user_may_choose_otherwise() -> None:
    assert (
        flags("diffea", "--xla_cpu_use_fusion_emitters=true")[0]
        == flags("jax", "--xla_cpu_use_fusion_emitters=true")[0]
    )


LATE = ("pyhf", "scipy.stats", "scipy.optimize", "jaxopt", "iminuit", "jsonpatch", "matplotlib", "mplhep")


def test_what_is_not_needed_at_once_is_not_imported() -> None:
    code = f"import sys, diffea, diffea.cli; print([name for name in {LATE} if name in sys.modules])"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_once_a_day_the_longest_unused_files_go_until_the_others_fit(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(compilations, "LARGEST", 250)
    now = time.time()
    for name, age in (("old", 3), ("older", 4), ("new", 1), ("read", 5)):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (now - (0 if name == "read" else age), now - age))
    compilations.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".swept", "new", "read"}
    for name in ("more", "most"):
        (tmp_path / name).write_bytes(bytes(100))
    compilations.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".swept", "new", "read", "more", "most"}
    os.utime(tmp_path / ".swept", (now - 90_000, now - 90_000))
    compilations.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".swept", "more", "most"}
