"""Threads that share a program trace and compile each of its kernels once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import hist
import numpy as np
import pytest

import diffea
from diffea.events.columns import check
from diffea.program import Program, hard_sums, kernels, pieces

X = np.linspace(0.01, 0.99, 50)
PARAMS = {"scale": np.asarray(2.0)}


class Search(diffea.DifferentiableProcessor):
    """One channel."""

    channels: ClassVar = {"one": hist.axis.Regular(4, 0, 1, name="x")}

    def columns(self, events):
        return {"x": events.x}

    def fill(self, params, columns):
        yield diffea.Fill("one", columns["x"], params["scale"] * columns["x"])


def passes(threads: int) -> tuple[int, list[list[Any]]]:
    """How many kernels some threads' passes over the same events compile, soft and hard; and their sums."""
    program, meet = Program(Search()), threading.Barrier(threads)
    (structure,), (blocks,), _ = pieces(check({"x": X}, len(X), "test"), np.dtype(float))
    layout = program.layout(structure, "a", PARAMS)

    def one(_: int) -> list[Any]:
        meet.wait()
        _, soft = program.run("jacobian", structure, "a", layout, PARAMS, blocks, 1.0)
        _, hard = hard_sums(program, structure, "a", layout, PARAMS, blocks, 1.0, "test")
        return [*soft, hard]

    with ThreadPoolExecutor(threads) as pool:
        sums = list(pool.map(one, range(threads)))
    return program.compilations, sums


def test_threads_trace_and_compile_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced, block, fill_sums = [], kernels.block, kernels.fill_sums

    def slowly(*args: Any) -> Any:
        time.sleep(0.2)  # for the others to come
        return block(*args)

    def noted(*args: Any, **kwargs: Any) -> Any:
        traced.append(threading.get_ident())
        return fill_sums(*args, **kwargs)

    monkeypatch.setattr(kernels, "block", slowly)
    monkeypatch.setattr(kernels, "fill_sums", noted)
    alone, (expected,) = passes(1)
    once = len(traced)
    together, found = passes(3)
    assert together == alone == 2
    assert len(traced) == 2 * once
    for sums in found:
        for left, right in zip(sums, expected, strict=True):
            np.testing.assert_array_equal(left, right)
