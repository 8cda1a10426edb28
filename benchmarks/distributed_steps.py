"""Distributed steps against one core in process, many chunks against few, and resident columns against reading again.

    python benchmarks/distributed_steps.py [--events 2000000 8000000] [--demo-events 2000000] [--repeat 7] [--htautau FOLDER]

prints ratios of medians, all measured in this run, as JSON; ``bars`` are those that have one. The workers are those of `diffea run --workers 2`. A step is a value and a gradient. Steps of
two workers and of one core are measured in turns, ``--rounds`` times, so that a load of the machine falls on both. ``graph`` is a step without
events that goes through the scheduler, as all do where the driver cannot connect to the workers. The invented file is flat and not
compressed, the cheapest that there is to read again; `demo` is the search of `diffea demo` on NanoAOD-like files,
`htautau` (with the folder of the open data) that analysis.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from functools import partial
from operator import add
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
    """A flat tree of uniform numbers, in place of the one before."""
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
        seconds = median_seconds(lambda: step(PARAMETERS), repeat)
        return {"seconds": seconds, "compile": templates.seconds["compile"] - compiling}


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


def runner_seconds(processor, fileset, parameters, schema, client) -> float:
    """The fastest of three coffea Runner jobs, after a first one that compiles; each reads the files again, for templates and
    Jacobian at fixed parameters."""
    import coffea.processor
    import jax

    executor = coffea.processor.DaskExecutor(client=client, status=False)
    runner = coffea.processor.Runner(executor, schema=schema, chunksize=100_000)
    first = processor.at(parameters, jacobian=True)
    runner(fileset, first)
    times = []
    for job in range(1, 4):
        elsewhere = jax.tree.map(partial(add, 0.01 * job), parameters)  # dask remembers results
        began = time.perf_counter()
        runner(fileset, first.at(elsewhere))
        times.append(time.perf_counter() - began)
    return min(times)


def again_over_resident(analysis, data: Path, repeat: int, client) -> dict[str, float]:
    """The first variant of an analysis: a Runner job over a resident step."""
    import jax

    import diffea

    variant, files = next(iter(analysis.variants.values())), analysis.fileset(data)
    with diffea.distribute(variant.processor, files, client=client, schemaclass=analysis.schemaclass) as templates:
        step = jax.jit(jax.value_and_grad(lambda p: sum(t.values.sum() ** 2 for t in templates(p).values())))
        seconds = median_seconds(lambda: step(variant.params), repeat)
        events = sum(templates.events.values())
    again = runner_seconds(variant.processor, files, variant.params, analysis.schemaclass, client)
    return {"coffea Runner over resident step": again / seconds, "seconds of a step": seconds, "events": events}


def median_seconds(function, repeat: int) -> float:
    """After a first call."""
    import jax

    times = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def compared(folder: Path, events: int, repeat: int, rounds: int, gradient: str, client) -> dict[str, object]:
    """Two workers beside one core in process."""
    chunk = events // 20
    runs = [
        (
            step_seconds(folder, chunk, repeat, gradient, client),
            in_one_core(str(folder), chunk, repeat, gradient),
        )
        for _ in range(rounds)
    ]
    two, one = (statistics.median(run[i]["seconds"] for run in runs) for i in range(2))
    return {
        "efficiency of two workers": one / two / 2,
        "of each round": [run[1]["seconds"] / run[0]["seconds"] / 2 for run in runs],
        "seconds of a step": two,
        "seconds of a step in one core": one,
        "seconds compiling after the first step": sum(run[0]["compile"] for run in runs),
    }


def without_events(folder: Path, repeat: int, gradient: str, client) -> dict[str, float]:
    """What a step costs beside computing, in ms: past the scheduler, as most go, and through it."""
    from diffea.distributed import keeping

    direct = step_seconds(folder, 2_000, repeat, gradient, client)["seconds"]
    usual, keeping.UNHEARD = keeping.UNHEARD, 0.0
    try:
        graph = step_seconds(folder, 2_000, repeat, gradient, client)["seconds"]
    finally:
        keeping.UNHEARD = usual
    return {"direct": 1e3 * direct, "graph": 1e3 * graph}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[2_000_000, 8_000_000])
    parser.add_argument(
        "--chunks", type=int, default=2000, help="beside 20, of the first number of events; 0 leaves it out"
    )
    parser.add_argument("--demo-events", type=int, default=2_000_000, help="of the demo's search; 0 leaves it out")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--htautau", type=Path, help="folder of the open data of analyses/htautau")
    options = parser.parse_args()
    found: dict[str, object] = {"benchmark": "distributed_steps"}
    bars: dict[str, float] = {}
    from coffea.nanoevents import BaseSchema

    from diffea import cli, demo
    from diffea.analysis import load_analysis

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "events.root", 2_000)
        os.environ["NPROC"] = "1"
        with cli.cluster(2, None) as client:
            for gradient in ("jacobian", "vjp"):
                found[f"a step without events, {gradient}, ms"] = empty = without_events(
                    folder, 3 * options.repeat, gradient, client
                )
                bars[f"fixed cost of a step, {gradient}, ms"] = empty["direct"]
            for events in options.events:
                here = folder / str(events)  # coffea remembers how many events a file of one name has
                here.mkdir()
                write(here / "events.root", events)
                for gradient in ("jacobian", "vjp"):
                    case = f"{events:,} events, {gradient}"
                    found[case] = measured = compared(here, events, options.repeat, options.rounds, gradient, client)
                    bars[f"efficiency of two workers, {case}"] = measured["efficiency of two workers"]
                    if options.chunks and events == options.events[0]:
                        many = step_seconds(here, events // options.chunks, options.repeat, gradient, client)
                        measured[f"{options.chunks} chunks over 20"] = many["seconds"] / measured["seconds of a step"]
                again = runner_seconds(make_processor(), fileset(here), PARAMETERS, BaseSchema, client)
                seconds = found[f"{events:,} events, jacobian"]["seconds of a step"]
                bars[f"coffea Runner over resident step, {events:,} events"] = again / seconds
            if options.demo_events:
                demo.make_data(folder / "demo", events=options.demo_events)
                found["demo"] = again_over_resident(demo.analysis, folder / "demo", options.repeat, client)
            if options.htautau:
                analysis = load_analysis(Path(__file__).parent.parent / "analyses" / "htautau")
                found["htautau"] = again_over_resident(analysis, options.htautau, options.repeat, client)
    print(json.dumps({**found, "bars": bars}, indent=1))


if __name__ == "__main__":
    main()
