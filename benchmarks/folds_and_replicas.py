"""What certainty costs: a run in two folds over one in two halves, and 100 replicas of the events over 100 fills.

Both are ratios of times of one process, measured in turns after a turn that compiles. With workers the runs are on a local cluster, where the folds are trained side
by side, and one after the other for comparison. Prints JSON.

    python benchmarks/folds_and_replicas.py --events 200000 --repeat 3 [--workers 2]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from distributed import Client, LocalCluster
from timing import best

import diffea
from diffea.demo import analysis, make_data
from diffea.run import run_variant
from diffea.run.folds import Training

REPLICAS = 100


@contextlib.contextmanager
def _cluster(workers: int) -> Iterator[Client]:
    with mock.patch.dict(os.environ, NPROC="1"):  # XLA takes every core it sees in every worker
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        yield client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000, help="of the demo's data")
    parser.add_argument("--steps", type=int, default=30, help="of each training")
    parser.add_argument("--repeat", type=int, default=3, help="turns")
    parser.add_argument("--data", type=Path, help="folder of the demo's data; made anew without it")
    parser.add_argument(
        "--workers", type=int, default=0, help="of a local cluster, one thread each; in this process without"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        client = stack.enter_context(_cluster(options.workers)) if options.workers else None
        data = options.data or Path(folder) / "data"
        if options.data is None:
            make_data(data, events=options.events)

        def run(split: diffea.Split) -> None:
            own = dataclasses.replace(analysis, split=split)
            out = Path(folder) / f"out-{split.folds}"
            run_variant(own, "", data=data, out=out, steps=options.steps, client=client)

        def one_after_the_other() -> None:
            with mock.patch.object(Training, "_room", return_value=False):
                run(diffea.Split(folds=2))

        ways = {"halves": lambda: run(diffea.Split()), "two folds": lambda: run(diffea.Split(folds=2))}
        if client:
            ways["one after the other"] = one_after_the_other
        runs = best(ways, options.repeat)
        variant = analysis.variants[""]
        with diffea.distribute(
            variant.processor, analysis.fileset(data), schemaclass=analysis.schemaclass, identify=True
        ) as templates:
            params = variant.params
            fills = best(
                {
                    "100 replicas": lambda: templates.replicas(params, REPLICAS)[0].values_flat,
                    "100 fills": lambda: [templates.hard(params).values_flat for _ in range(REPLICAS)],
                },
                options.repeat,
            )
            events = sum(templates.events.values())
    result = {
        "events": events,
        "workers": options.workers,
        "run in halves, seconds": runs["halves"],
        "run in two folds, seconds": runs["two folds"],
        "two folds over one run": runs["two folds"] / runs["halves"],
        "side by side over one after the other": runs["two folds"] / runs["one after the other"] if client else None,
        "100 replicas, seconds": fills["100 replicas"],
        "100 fills, seconds": fills["100 fills"],
        "100 replicas over 100 fills": fills["100 replicas"] / fills["100 fills"],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
