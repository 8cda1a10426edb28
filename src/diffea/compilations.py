"""Compilations: XLA is asked to be quick, and what it compiled is kept in the user's cache folder for the next process."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax
from jaxlib import version, xla_client

# Fused loops as XLA wrote them before its "fusion emitters": half of the time to compile, programs as fast (docs/internals.md).
FLAG = "xla_cpu_use_fusion_emitters"
KNOWING = ((0, 7), (0, 11))  # from and before which jaxlib knows it, as tried; what it does not know ends the process
SECONDS = 0.05  # what compiles faster is not worth a file
LARGEST = 1 << 30  # bytes of all files; the longest unused go first


def hasten() -> None:
    """Choose how XLA compiles for the CPU, unless the user did by ``XLA_FLAGS`` or it runs already.

    XLA reads its flags once. They are not left behind for the processes that this one starts, nor for other libraries with an
    XLA of their own.
    """
    given = os.environ.get("XLA_FLAGS")
    lowest, beyond = KNOWING
    if FLAG in (given or "") or not lowest <= tuple(version.__version_info__) < beyond:
        return
    os.environ["XLA_FLAGS"] = f"{given or ''} --{FLAG}=false"
    try:
        xla_client.CompileOptions()
    finally:
        del os.environ["XLA_FLAGS"]
        if given is not None:
            os.environ["XLA_FLAGS"] = given


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
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", SECONDS)


def _processor() -> str:
    """A name for the processor and its instruction sets."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        facts = sorted({line for line in text.splitlines() if line.startswith(("model name", "flags", "Features"))})
    except OSError:
        facts = [platform.processor()]
    return hashlib.sha256("\n".join([platform.machine(), *facts]).encode()).hexdigest()[:16]
