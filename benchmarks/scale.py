"""What a step costs the scheduler as shards grow in number: CPU time, messages and bytes. Prints JSON.

    python benchmarks/scale.py [--shards 1 10 100 1000] [--many 1000] [--few 10] [--steps 5]
    python benchmarks/scale.py --events 100_000_000 [--steps 25]      (see ``large``)

A scheduler and two workers run in processes of their own; a worker has as many threads as it takes to have a thread for each
shard, of a few hundred events, so that what is measured is the exchange and not the computation. At the end ``--many`` shards are on
``--few`` threads, beside as many shards as threads there. CPU time is that of the scheduler's process, without what it uses
while nothing happens; messages and bytes
are counted in its connections, and in those between the workers. All of these steps are graphs, as one is every ten seconds, and all are where the driver
cannot connect to the workers; ``direct`` are steps past the scheduler.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

BINS, CUTS, SAMPLES, ROWS = 20, 8, 5, 200
PARAMS = {f"cut_{i}": 0.2 for i in range(CUTS)}


def make_processor():
    """Eight cuts, twenty bins; the sample is the dataset's."""
    import hist

    import diffea
    from diffea import soft

    class Search(diffea.DifferentiableProcessor):
        channels = {"all": hist.axis.Regular(BINS, 0, 1, name="x")}  # noqa: RUF012

        def columns(self, events):
            return {name: events[name] for name in ("x", *PARAMS)}

        def fill(self, params, columns):
            keep = soft.all_of(*(soft.above(columns[name], params[name], width=0.05) for name in PARAMS))
            for sample in range(SAMPLES):
                yield diffea.Fill("all", columns["x"] ** (1 + 0.1 * sample), keep, sample=f"sample_{sample}")

    return Search()


def write(path: Path, events: int) -> None:
    """A flat tree of uniform numbers."""
    import numpy as np
    import uproot

    rng = np.random.default_rng(0)
    names = ("x", *PARAMS)
    with uproot.recreate(path, compression=None) as file:
        file.mktree("Events", dict.fromkeys(names, np.float32))
        file["Events"].extend({name: rng.random(events, np.float32) for name in names})


@contextlib.contextmanager
def cluster(threads: list[int], folder: Path):
    """A client of a scheduler process and one worker process for each number of threads."""
    from distributed import Client

    where = folder / f"scheduler-{uuid.uuid4().hex}.json"
    options = ["--scheduler-file", str(where), "--no-dashboard"]
    environment = {**os.environ, "NPROC": "1", "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}
    commands = [
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", *options],
        *(
            [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", str(number), "--no-nanny", *options]
            for number in threads
        ),
    ]
    processes = []
    try:
        for command in commands:
            processes.append(subprocess.Popen(command, cwd=folder, env=environment))
        while not where.exists():
            time.sleep(0.05)
        with Client(scheduler_file=str(where), timeout=60) as client:
            client.wait_for_workers(len(threads), timeout=120)
            yield client
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def count_traffic() -> None:
    """From now on, count what this process sends over TCP."""
    from distributed.comm.tcp import TCP

    TCP.traffic = {"messages": 0, "bytes": 0}
    write_one = TCP.write

    async def write(self, message, *args, **kwargs):
        sent = await write_one(self, message, *args, **kwargs)
        TCP.traffic["messages"] += len(message) if isinstance(message, list) else 1
        TCP.traffic["bytes"] += sent
        return sent

    TCP.write = write


def used() -> dict[str, float]:
    """CPU seconds of this process, and its traffic."""
    from distributed.comm.tcp import TCP

    return {"cpu": time.process_time(), **TCP.traffic}


def idling(client, seconds: float = 4.0) -> float:
    """What the scheduler uses when nothing happens (heartbeats, statistics), in CPU seconds a second."""
    before = client.run_on_scheduler(used)["cpu"]
    time.sleep(seconds)
    return (client.run_on_scheduler(used)["cpu"] - before) / seconds


def measure(shards: int, number: int, steps: int, folder: Path, *, direct: bool = False) -> dict[str, float]:
    """Some shards on a number of threads: medians over the steps."""
    import jax
    import numpy as np
    from coffea.nanoevents import BaseSchema

    import diffea
    from diffea.distributed import keeping
    from diffea.events import batches

    batches.ROWS = 1  # a batch is a chunk, however small
    keeping.UNHEARD = 100.0 if direct else 0.0
    path = folder / f"{shards}.root"
    write(path, shards * ROWS)
    fileset = {"all": {"files": {str(path): "Events"}}}
    threads = [1] if number == 1 else [number // 2, number - number // 2]
    with (
        cluster(threads, folder) as client,
        diffea.distribute(
            make_processor(), fileset, client=client, schemaclass=BaseSchema, chunksize=ROWS
        ) as templates,
    ):
        tasks = templates._lane.remote
        step = jax.jit(jax.value_and_grad(lambda params: sum(t.values.sum() for t in templates(params).values())))
        for _ in range(3):  # the first one compiles, and the second tells how long one takes
            jax.block_until_ready(step(PARAMS))
        client.run(count_traffic)
        client.run_on_scheduler(count_traffic)
        rows, idle = [], idling(client)
        for repeat in range(steps):
            before = client.run_on_scheduler(used), client.run(used), time.process_time()
            began = time.perf_counter()
            jax.block_until_ready(step({**PARAMS, "cut_0": 0.2 + 0.01 * repeat}))
            wall = time.perf_counter() - began
            driver = time.process_time() - before[2]
            after = client.run_on_scheduler(used), client.run(used)
            workers = {name: sum(after[1][key][name] - before[1][key][name] for key in after[1]) for name in after[0]}
            scheduler = {name: after[0][name] - before[0][name] for name in after[0]}
            rows.append(
                {
                    "wall_ms": 1e3 * wall,
                    "scheduler_cpu_ms": 1e3 * (scheduler["cpu"] - idle * wall),
                    "driver_cpu_ms": 1e3 * driver,
                    "workers_cpu_ms": 1e3 * workers["cpu"],
                    "messages_from_scheduler": scheduler["messages"],
                    "kB_from_scheduler": scheduler["bytes"] / 1e3,
                    "messages_from_workers": workers["messages"],
                    "kB_from_workers": workers["bytes"] / 1e3,
                }
            )
    found = {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    return {
        "shards": shards,
        "tasks": tasks,
        **found,
        "scheduler_cpu_ms_per_task": found["scheduler_cpu_ms"] / tasks,
        "driver_cpu_ms_per_task": found["driver_cpu_ms"] / tasks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--many", type=int, default=1000, help="shards on few threads")
    parser.add_argument("--few", type=int, default=10, help="threads for many shards")
    parser.add_argument("--steps", type=int, help="5, or 25 with --events")
    parser.add_argument("--events", type=int, help="very many, instead of small shards")
    parser.add_argument("--folder", type=Path, help="on a disk that has room for the events")
    arguments = parser.parse_args()
    if arguments.events:
        from large import large

        print(
            json.dumps(
                {"benchmark": "scale", **large(arguments.events, arguments.steps or 25, arguments.folder)}, indent=1
            )
        )
        return
    result_kb = 8 * 2 * SAMPLES * (BINS + 2) * (1 + CUTS) / 1e3
    few, steps, many = arguments.few, arguments.steps or 5, arguments.many
    with tempfile.TemporaryDirectory() as folder:
        found = [measure(shards, shards, steps, Path(folder)) for shards in arguments.shards]
        direct = [measure(shards, shards, steps, Path(folder), direct=True) for shards in arguments.shards]
        on_few = [measure(shards, few, steps, Path(folder)) for shards in (few, many)]
    ratio = on_few[1]["scheduler_cpu_ms"] / on_few[0]["scheduler_cpu_ms"]
    print(
        json.dumps(
            {
                "benchmark": "scale",
                "kB_of_one_result": result_kb,
                "cases": found,
                "direct": direct,
                f"on {few} threads": on_few,
                f"scheduler of {many} shards over {few}, on {few} threads": ratio,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
