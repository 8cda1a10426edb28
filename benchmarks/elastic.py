"""What it costs that workers come, go and stop. Prints JSON of ratios within this run.

    python benchmarks/elastic.py [--events 2000000] [--stop 20]

- growth: the third step after a second worker has joined, over a step of two workers that were there from the start;
- adaptive: from `distribute` on a cluster without workers (``adapt(minimum=0, maximum=2)``) to the first step, over the same on two workers that
  are there; the start of two workers is told apart;
- stopped: a worker is stopped (SIGSTOP) for some seconds; the longest step meanwhile, over the median before.

Every gradient is compared, bit by bit, with that of the cluster that nothing happened to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

os.environ["NPROC"] = os.environ.get("NPROC", "4")

import numpy as np
from scale import PARAMS, make_processor, write


def started(workers: int):
    """A client of a local cluster of one-core processes."""
    from distributed import Client, LocalCluster

    os.environ["NPROC"] = "1"
    stack = contextlib.ExitStack()
    cluster = stack.enter_context(LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None))
    return stack, cluster, stack.enter_context(Client(cluster))


def distributed(path: Path, client):
    from coffea.nanoevents import BaseSchema

    import diffea

    fileset = {"all": {"files": {str(path): "Events"}}}
    return diffea.distribute(make_processor(), fileset, client=client, schemaclass=BaseSchema, gradient="jacobian")


def timed_step(templates) -> tuple[float, np.ndarray]:
    began = time.perf_counter()
    gradient = templates.jacobian(PARAMS).flat
    return time.perf_counter() - began, gradient


def fresh(path: Path, steps: int) -> dict[str, object]:
    """Two workers that were there from the start."""
    stack, _, client = started(2)
    with stack:
        began = time.perf_counter()
        with distributed(path, client) as templates:
            first = timed_step(templates)[1]
            until_first = time.perf_counter() - began
            times = [timed_step(templates)[0] for _ in range(steps)]
    return {"until_first": until_first, "step": float(np.median(times)), "gradient": first}


def grown(path: Path, steps: int) -> dict[str, object]:
    stack, cluster, client = started(1)
    with stack, distributed(path, client) as templates:
        alone = float(np.median([timed_step(templates)[0] for _ in range(steps + 1)][1:]))
        cluster.scale(2)
        client.wait_for_workers(2)
        time.sleep(1.0)
        after = [timed_step(templates) for _ in range(steps)]
    return {"alone": alone, "steps": [seconds for seconds, _ in after], "gradient": after[-1][1]}


def adaptive(path: Path) -> dict[str, object]:
    began = time.perf_counter()
    stack, _, client = started(2)
    with stack:
        start = time.perf_counter() - began
    stack, cluster, client = started(0)
    with stack:
        cluster.adapt(minimum=0, maximum=2, interval="200ms", target_duration="200ms")
        began = time.perf_counter()
        with distributed(path, client) as templates:
            gradient = timed_step(templates)[1]
            until_first = time.perf_counter() - began
            workers = len(client.nthreads())
    return {"until_first": until_first, "start_of_workers": start, "workers": workers, "gradient": gradient}


def stopped(path: Path, seconds: float, steps: int) -> dict[str, object]:
    stack, _, client = started(2)
    with stack, distributed(path, client) as templates:
        usual = float(np.median([timed_step(templates)[0] for _ in range(steps + 2)][2:]))
        process = next(iter(client.run(os.getpid).values()))
        os.kill(process, signal.SIGSTOP)
        resume = threading.Timer(seconds, os.kill, [process, signal.SIGCONT])
        resume.start()
        end, times, gradients = time.monotonic() + seconds, [], []
        try:
            while time.monotonic() < end:
                took, gradient = timed_step(templates)
                times.append(took)
                gradients.append(gradient)
        finally:
            resume.join()
        last = [timed_step(templates)[0] for _ in range(steps)]
    same = all(np.array_equal(gradient, gradients[0]) for gradient in gradients)
    return {"usual": usual, "steps": times, "after": last, "same": same, "gradient": gradients[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--stop", type=float, default=20.0, help="seconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.root"
        write(path, arguments.events)
        two = fresh(path, arguments.steps)
        one = grown(path, arguments.steps)
        zero = adaptive(path)
        halted = stopped(path, arguments.stop, arguments.steps)
    bits = two.pop("gradient")
    same = {
        name: bool(np.array_equal(case.pop("gradient"), bits))
        for name, case in (("growth", one), ("adaptive", zero), ("stopped", halted))
    }
    ratios = {
        "growth: third step over a fresh one": one["steps"][2] / two["step"],
        "growth: median of the steps from the third on, over fresh": float(np.median(one["steps"][2:])) / two["step"],
        "adaptive: beyond the start of workers, over two ready": (zero["until_first"] - zero["start_of_workers"])
        / two["until_first"],
        "stopped: the first step over the usual": halted["steps"][0] / halted["usual"],
        "stopped: the longest step after it over the usual": max(halted["steps"][1:]) / halted["usual"],
    }
    print(
        json.dumps(
            {"benchmark": "elastic", "ratios": ratios, "same_bits": same, "fresh": two, "growth": one, "adaptive": zero}
            | {"stopped": halted},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
