"""Time and memory of a step beside a plain coffea processor of the same selection, in one run. Prints JSON.

    python analyses/agc_ttbar/speed.py DIR [--variant thresholds] [--repeat 5]

DIR is what generate.py made. All in this process, with the threads that JAX takes; coffea's processor has fixed thresholds and makes no gradient.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from coffea import processor
from coffea.nanoevents import NanoAODSchema

sys.path.insert(0, str(Path(__file__).parent))

from analysis import AGC, analysis
from plain import PlainTTbar

from diffea import distribute


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what comes out."""
    start = time.perf_counter()
    found = jax.block_until_ready(function())
    return time.perf_counter() - start, found


def best(function: Callable[[], Any], repeat: int) -> dict[str, float]:
    """Seconds of the first call, which compiles, and the least of the others."""
    first, *others = (timed(function)[0] for _ in range(repeat + 1))
    return {"first": first, "best": min(others)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--variant", choices=list(analysis.variants), default="thresholds")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    variant, fileset = analysis.variants[arguments.variant], analysis.fileset(arguments.data)
    runner = processor.Runner(
        executor=processor.IterativeExecutor(status=False),
        schema=NanoAODSchema,
        chunksize=analysis.chunksize,
        savemetrics=True,
    )
    with contextlib.redirect_stdout(sys.stderr):  # where coffea's progress belongs
        plain_seconds, (histograms, metrics) = timed(lambda: runner(fileset, PlainTTbar(), treename="Events"))
    events = int(metrics["entries"])
    empty = resident()
    read_seconds, templates = timed(lambda: distribute(variant.processor, fileset, chunksize=analysis.chunksize))
    with templates:
        held = resident()

        def loss(params: Any) -> Any:
            return variant.objective(variant.model(templates(params)))

        step = jax.value_and_grad(loss)
        times = {
            "hard templates": best(lambda: templates.hard(variant.params), arguments.repeat),
            "soft templates": best(lambda: templates(variant.params), arguments.repeat),
            "objective and gradient": best(lambda: step(variant.params), arguments.repeat),
        }
        hard = templates.hard({**variant.params, **AGC})
        apart = max(
            float(np.abs(histogram.values() - hard[tuple(name.split("/"))].values).max() / histogram.values().max())
            for name, histogram in histograms.items()
        )
        selected = sum(templates.events.values())
    result = {
        "variant": arguments.variant,
        "cores": len(os.sched_getaffinity(0)),
        "events": events,
        "selected events": selected,
        "plain coffea, reading included": {"seconds": plain_seconds, "events/s": events / plain_seconds},
        "diffea reads once": {"seconds": read_seconds, "events/s": events / read_seconds},
        "passes": {
            name: {**found, "events/s": events / found["best"], "times coffea": plain_seconds / found["best"]}
            for name, found in times.items()
        },
        "memory, MB": {"columns": (held - empty) / 1e6, "steps": (resident() - held) / 1e6},
        "largest difference of a bin, of a histogram's largest": apart,
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
