"""64-bit JAX and equal versions on driver and workers, and named errors out of callbacks."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

from diffea import compilations
from diffea.errors import WorkerMismatchError

jax.config.update("jax_enable_x64", True)
# A callback that computes with JAX waits for ever where XLA's threads are all busy, if only with such callbacks. Without
# asynchronous dispatch a computation runs in the thread that asks for it; large ones still hand parts to XLA's threads, so
# that a driver needs one for each distributed function of a program and one more, on however few cores.
jax.config.update("jax_cpu_enable_async_dispatch", False)
# On an accelerator are the columns and what runs over them, see `accelerator`. All else is small, and a callback out of a program
# that runs there may not start another one.
if jax.config.jax_default_device is None:  # type: ignore[attr-defined]
    jax.config.update("jax_default_device", "cpu")
THREADS = 4
compilations.hasten()
compilations.keep()
T = TypeVar("T")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerator() -> jax.Device | None:
    """JAX's first device, unless it is a CPU: where soft passes run. Exact cuts are always computed on the CPU, with the same bits."""
    first = jax.devices()[0]
    return None if first.platform == "cpu" else first


def on_accelerator(tree: T) -> T:
    """Arrays where soft passes run."""
    device = accelerator()
    return tree if device is None else jax.device_put(tree, device)


@contextlib.contextmanager
def soft_passes() -> Iterator[None]:
    """What is traced and run in it is for the accelerator, if there is one; products of float32 matrices keep their digits there."""
    device = accelerator()
    if device is None:
        yield
        return
    with jax.default_device(device), jax.default_matmul_precision("float32"):
        yield


def on_cpu(tree: T) -> T:
    """Arrays where exact cuts are computed."""
    return tree if accelerator() is None else jax.device_put(tree, jax.devices("cpu")[0])


def for_cpu() -> bool:
    """Whether what is traced or computed now is for a CPU."""
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    return accelerator() is None if device is None else getattr(device, "platform", device) == "cpu"


def start_xla() -> None:
    """Start XLA's threads, at least ``THREADS``; XLA reads NPROC once, and processes started later must not inherit ours."""
    with compilations.variable("NPROC", str(THREADS)):
        jax.devices()


def xla_runs() -> bool:
    """Whether JAX has computed something, and XLA started its threads."""
    asked = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
    try:
        jax.config.update("jax_num_cpu_devices", asked + 2)  # which JAX refuses from then on
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", asked)
    return False


if multiprocessing.parent_process() is None and (given := int(os.environ.get("NPROC", cores()))) < THREADS:
    if xla_runs():
        warnings.warn(
            f"JAX computed something before diffea was imported, so that XLA has {given} threads, and a step in this process may wait "
            f"for ever: import diffea first, or start Python with NPROC={THREADS}",
            stacklevel=2,
        )
    else:
        start_xla()

CHECKED = ("diffea", "jax", "jaxlib", "numpy", "awkward", "coffea")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the packages that decide what a worker computes; ``missing`` where there is none."""
    return {name: _version(name) for name in CHECKED}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def check_worker(expected: dict[str, str]) -> None:
    """Refuse to compute where the numbers would differ from the driver's.

    Raises:
        WorkerMismatchError: if a version or the 64-bit setting differs.
    """
    unlike = [
        f"{name} is {got}, the driver has {expected[name]}" for name, got in versions().items() if got != expected[name]
    ]
    if not jax.config.read("jax_enable_x64"):
        unlike.append("JAX is in 32-bit mode, something on this worker switched `jax_enable_x64` off")
    if unlike:
        msg = f"this worker cannot take part: {'; '.join(unlike)}. Give driver and workers one environment"
        raise WorkerMismatchError(msg)


_listening: dict[int, list[BaseException]] = {}


def keep_error(function: Callable[..., T]) -> Callable[..., T]:
    """Tell those who listen by ``named_errors`` what a JAX callback raised, which XLA turns into text."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except BaseException as error:
            for errors in list(_listening.values()):
                errors.append(error)
            raise

    return call


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Raise again the error of a callback instead of XLA's text of it.

    An error keeps the columns of the step that it ended, so that it is held no longer than this listens; those of other threads, which
    are told as well, are not in the text.
    """
    errors: list[BaseException] = []
    _listening[id(errors)] = errors
    try:
        yield
    except jax.errors.JaxRuntimeError as text:
        if named := [error for error in errors if str(error) in str(text)] or errors:
            raise named[-1] from text
        raise
    finally:
        del _listening[id(errors)]
        errors.clear()
