"""The best time of several functions, measured in turns, so that a load of the machine falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax


def best(functions: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """The best time of each, in seconds, after a call that compiles."""
    for function in functions.values():
        jax.block_until_ready(function())
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}
