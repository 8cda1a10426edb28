"""Distributed steps against one core in process, many chunks against few, and resident columns against reading again.

    python benchmarks/distributed_steps.py [--events 2000000] [--repeat 7]

prints ratios of medians, all measured in this run, as JSON. A step is a value and a gradient.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

PARAMETERS = {f"cut_{i}": 0.2 + 0.02 * i for i in range(8)}


def make_processor():
    """Eight cuts, twenty bins."""
    import hist

    import diffea
    from diffea import soft

    class Search(diffea.DifferentiableProcessor):
        channels = {"all": hist.axis.Regular(20, 0, 1, name="x")}  # noqa: RUF012

        def columns(self, events):
            return {name: events[name] for name in ("x", "weight", *PARAMETERS)}

        def fill(self, params, columns):
            keep = soft.all_of(*(soft.above(columns[name], params[name], width=0.05) for name in PARAMETERS))
            yield diffea.Fill("all", columns["x"], columns["weight"] * keep)

    return Search()


def write(path: Path, events: int) -> None:
    """A flat tree of uniform numbers."""
    import numpy as np
    import uproot

    rng = np.random.default_rng(0)
    names = ("x", "weight", *PARAMETERS)
    with uproot.recreate(path, compression=None) as file:
        file.mktree("Events", dict.fromkeys(names, np.float32))
        for _ in range(20):
            file["Events"].extend({name: rng.random(events // 20, np.float32) for name in names})


def fileset(folder: Path):
    return {"all": {"files": {str(folder / "events.root"): "Events"}}}


def step_seconds(folder: Path, chunksize: int, repeat: int, gradient: str, client=None) -> dict[str, float]:
    """Median seconds of a step, and how many programs its steps compiled after the first one."""
    import jax
    from coffea.nanoevents import BaseSchema

    import diffea

    with diffea.distribute(
        make_processor(), fileset(folder), client=client, schemaclass=BaseSchema, chunksize=chunksize, gradient=gradient
    ) as templates:
        step = jax.jit(jax.value_and_grad(lambda p: (templates(p)["all", "all"].values ** 0.5).sum()))
        step(PARAMETERS)
        compiling = templates.seconds["compile"]
        times = []
        for _ in range(repeat):
            began = time.perf_counter()
            jax.block_until_ready(step(PARAMETERS))
            times.append(time.perf_counter() - began)
        return {"seconds": statistics.median(times), "compile": templates.seconds["compile"] - compiling}


def one_core(folder: str, chunksize: int, repeat: int, gradient: str, queue) -> None:
    """The same in a process that has one core."""
    os.sched_setaffinity(0, {0})
    queue.put(step_seconds(Path(folder), chunksize, repeat, gradient))


def in_one_core(*arguments) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=one_core, args=(*arguments, queue))
    process.start()
    result = queue.get()
    process.join()
    return result


def runner_seconds(folder: Path, client) -> float:
    """A coffea Runner job that reads the files again: templates and their Jacobian at fixed parameters."""
    import coffea.processor
    from coffea.nanoevents import BaseSchema

    runner = coffea.processor.Runner(
        coffea.processor.DaskExecutor(client=client, status=False), schema=BaseSchema, chunksize=100_000
    )
    processor = make_processor()
    runner(fileset(folder), processor.at(PARAMETERS, jacobian=True))
    elsewhere = {name: value + 0.01 for name, value in PARAMETERS.items()}  # dask remembers the results of a job
    began = time.perf_counter()
    runner(fileset(folder), processor.at(elsewhere, jacobian=True))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    found: dict[str, object] = {"events": options.events}
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "events.root", options.events)
        small = folder / "small"
        small.mkdir()
        write(small / "events.root", 2_000)
        os.environ["NPROC"] = "1"
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            for gradient in ("jacobian", "vjp"):
                few, many = options.events // 20, options.events // 2000
                two = step_seconds(folder, few, options.repeat, gradient, client)
                one = in_one_core(name, few, options.repeat, gradient)
                chunks = step_seconds(folder, many, options.repeat, gradient, client)
                empty = step_seconds(small, few, 3 * options.repeat, gradient, client)
                found[gradient] = {
                    "efficiency of two workers": one["seconds"] / two["seconds"] / 2,
                    "2000 chunks over 20": chunks["seconds"] / two["seconds"],
                    "overhead of a step in ms": 1e3 * empty["seconds"],
                    "seconds of a step": two["seconds"],
                    "seconds compiling after the first step": two["compile"] + chunks["compile"],
                }
                if gradient == "jacobian":
                    found[gradient]["coffea Runner over resident step"] = (
                        runner_seconds(folder, client) / two["seconds"]
                    )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
