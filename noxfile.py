#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox"]
# ///
"""Sessions of nox: `nox -s lint tests` before a pull request; `nox -l` lists them all."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4"
nox.options.default_venv_backend = "uv|virtualenv"

PARALLEL = ["-n", "2", "--dist", "loadfile"]  # most of the time is XLA, which compiles on one core


@nox.session(default=True)
def lint(session: nox.Session) -> None:
    """Style, format, types, and the direction of imports."""
    session.install(".", "ruff>=0.14", "mypy>=1.18", "pytest>=8.2", "pytest-timeout")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("pytest", "tests/test_import_direction.py", "-q")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The whole suite."""
    session.install(".[test]")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(default=False)
def newest(session: nox.Session) -> None:
    """Without dask-awkward, which pins dask, on the newest dask."""
    session.install(
        ".",
        "dask",
        "distributed",
        "cryptography",
        "hypothesis",
        "jsonpatch",
        "pytest",
        "pytest-timeout",
        "pytest-xdist",
    )
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session(venv_backend="uv", default=False)
def minimums(session: nox.Session) -> None:
    """The oldest versions that pyproject.toml admits."""
    session.install(".[test]", "--resolution=lowest-direct")
    session.run("pytest", *PARALLEL, "-m", "not slow", *session.posargs)


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Whether small faults in the source make their named tests fail: minutes; `nox -s mutants -- q̃` for some of them."""
    session.install(".[test]")
    session.run("python", "benchmarks/mutants.py", *session.posargs)


@nox.session(default=False)
def facilities(session: nox.Session) -> None:
    """Slurm, a dask-gateway server and TLS on this machine: minutes; Slurm takes root, and Debian's munge, slurmctld, slurmd and slurm-client."""
    session.install(".[test]", "dask-gateway", "dask-gateway-server[local]", "dask-jobqueue")
    session.run("pytest", "tests/facilities", *session.posargs, env={"DIFFEA_FACILITIES": "1"})


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The documentation, in docs/_build; by many processes, so that notebooks run side by side."""
    session.install(".[docs]")
    session.run("sphinx-build", "-j", "8", "-W", "--keep-going", "docs", "docs/_build")


if __name__ == "__main__":
    nox.main()
