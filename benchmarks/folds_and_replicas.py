"""What certainty costs: a run in two folds over one in two halves, and 100 replicas of the events over 100 fills.

Both are ratios of times of one process, measured in turns after a turn that compiles. Prints JSON.

    python benchmarks/folds_and_replicas.py --events 200000 --repeat 3
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import warnings
from pathlib import Path

from timing import best

import diffea
from diffea.demo import analysis, make_data
from diffea.run import run_variant

REPLICAS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000, help="of the demo's data")
    parser.add_argument("--steps", type=int, default=30, help="of each training")
    parser.add_argument("--repeat", type=int, default=3, help="turns")
    parser.add_argument("--data", type=Path, help="folder of the demo's data; made anew without it")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "data"
        if options.data is None:
            make_data(data, events=options.events)

        def run(split: diffea.Split) -> None:
            own = dataclasses.replace(analysis, split=split)
            run_variant(own, "", data=data, out=Path(folder) / f"out-{split.folds}", steps=options.steps)

        splits = {"halves": diffea.Split(), "two folds": diffea.Split(folds=2)}
        runs = best({name: lambda split=split: run(split) for name, split in splits.items()}, options.repeat)
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
        "workers": templates.workers,
        "run in halves, seconds": runs["halves"],
        "run in two folds, seconds": runs["two folds"],
        "two folds over one run": runs["two folds"] / runs["halves"],
        "100 replicas, seconds": fills["100 replicas"],
        "100 fills, seconds": fills["100 fills"],
        "100 replicas over 100 fills": fills["100 replicas"] / fills["100 fills"],
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
