"""Threads that share a program compile each of its kernels once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import hist
import numpy as np

import diffea
from diffea.events.columns import check
from diffea.program import Program, hard_sums, pieces

CALLS: list[None] = []
X = np.linspace(0.01, 0.99, 50)
PARAMS = {"scale": np.asarray(2.0)}


class Slow(diffea.DifferentiableProcessor):
    """Takes so long to trace that threads meet in it."""

    channels: ClassVar = {"one": hist.axis.Regular(4, 0, 1, name="x")}

    def columns(self, events):
        return {"x": events.x}

    def fill(self, params, columns):
        CALLS.append(None)
        time.sleep(0.1)
        yield diffea.Fill("one", columns["x"], params["scale"] * columns["x"])


def passes(threads: int) -> tuple[int, int, list[list[Any]]]:
    """How often some threads' passes over the same events, soft and hard, traced ``fill`` and compiled; and their sums."""
    program, meet = Program(Slow()), threading.Barrier(threads)
    (structure,), (blocks,), _ = pieces(check({"x": X}, len(X), "test"), np.dtype(float))
    layout = program.layout(structure, "a", PARAMS)
    CALLS.clear()

    def one(_: int) -> list[Any]:
        meet.wait()
        _, soft = program.run("jacobian", structure, "a", layout, PARAMS, blocks, 1.0)
        _, hard = hard_sums(program, structure, "a", layout, PARAMS, blocks, 1.0, "test")
        return [*soft, hard]

    with ThreadPoolExecutor(threads) as pool:
        return len(CALLS), program.compilations, list(pool.map(one, range(threads)))


def test_threads_trace_and_compile_once() -> None:
    *alone, (expected,) = passes(1)
    *together, found = passes(3)
    assert together == alone
    for sums in found:
        for left, right in zip(sums, expected, strict=True):
            np.testing.assert_array_equal(left, right)
