"""Compilations: XLA is asked to be quick, and what it compiled is kept in the user's cache folder for the next process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import jax
from jaxlib import version, xla_client

SECONDS = 0.05  # what compiles faster is not worth a file
LARGEST = 1 << 30  # bytes of all files; the longest unused go first
DAY = 86_400.0  # seconds between two looks at all files
FLAG = "xla_cpu_use_fusion_emitters"
# as tried with jaxlib 0.7.2 to 0.10.2: one that does not know a flag ends the process
_KNOWN = (0, 7) <= tuple(version.__version_info__) < (0, 11)
THOROUGH = {FLAG: True} if _KNOWN else {}
"""Options of what runs over all events, for which `hasten` does not hold: its loops with many sums gain by half."""


def hasten() -> None:
    """Let XLA write fused loops for the CPU as it did of old, in half of the time, unless the user chose by ``XLA_FLAGS``.

    XLA reads its flags once, so that nothing changes where it runs already. They are not left behind for the processes that
    this one starts, nor for other libraries with an XLA of their own.
    """
    given = os.environ.get("XLA_FLAGS")
    if FLAG in (given or "") or not _KNOWN:
        return
    with variable("XLA_FLAGS", f"{given or ''} --{FLAG}=false"):
        xla_client.CompileOptions()


@contextlib.contextmanager
def variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment for a moment, in which XLA reads it."""
    given = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if given is not None:
            os.environ[name] = given


def keep() -> None:
    """Let JAX keep compiled programs, unless the user gave it a folder, or said no by ``DIFFEA_CACHE=0``.

    ``DIFFEA_CACHE`` may also name another folder. Machines of unlike processors that share it have a part of it each, as what
    was compiled for one may not run on another.
    """
    asked = os.environ.get("DIFFEA_CACHE", "")
    if asked == "0" or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffea"
        folder = Path(asked or usual) / _processor()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # a home that is not there or cannot be written: programs are compiled in each process
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Once a day, delete the longest unused files until the others are no more than ``LARGEST`` bytes.

    JAX's own limit is not for this: with it, whoever keeps a program reads two files for each one that is there, and all others wait.
    """
    mark = folder / ".swept"
    with contextlib.suppress(OSError):  # another process may sweep, too
        if mark.exists() and time.time() - mark.stat().st_mtime < DAY:
            return
        mark.touch()
        found = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
        excess = sum(about.st_size for _, about in found) - LARGEST
        for path, about in sorted(found, key=lambda one: max(one[1].st_atime, one[1].st_mtime)):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= about.st_size


def _processor() -> str:
    """A name for the processor and its instruction sets."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        facts = sorted({line for line in text.splitlines() if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        facts = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *facts]).encode()).hexdigest()[:16]
