"""Time and memory of a step beside a plain coffea processor of the same selection, in one run. Prints JSON, and on stderr how far it is.

    python analyses/agc_ttbar/speed.py DIR [--variant thresholds] [--repeat 5]

DIR is what generate.py made. All in this process, a thread a core; coffea's processor runs in one, has fixed thresholds and makes no gradient.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
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


def timed(name: str, function: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Seconds by the clock and of all threads, and what comes out."""
    start, spent = time.perf_counter(), time.process_time()
    found = jax.block_until_ready(function())
    seconds = {"seconds": time.perf_counter() - start, "CPU seconds": time.process_time() - spent}
    sys.stderr.write(f"{name}: {seconds['seconds']:.1f} s, {seconds['CPU seconds']:.1f} s of CPU time\n")
    return seconds, found


def best(name: str, function: Callable[[], Any], repeat: int) -> dict[str, Any]:
    """Seconds of the first call, which compiles, and the least of the others."""
    first, *others = (timed(name, function)[0] for _ in range(repeat + 1))
    return {"first": first, **{kind: min(other[kind] for other in others) for kind in first}}


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
        plain, (histograms, metrics) = timed("coffea", lambda: runner(fileset, PlainTTbar(), treename="Events"))
    events = int(metrics["entries"])
    reading, templates = timed("read", lambda: distribute(variant.processor, fileset, chunksize=analysis.chunksize))
    with templates:
        objective = jax.jit(jax.value_and_grad(lambda made: variant.objective(variant.model(made))))

        def step() -> Any:
            made, pull = jax.vjp(templates, variant.params)
            value, slope = objective(made)
            return value, pull(slope)

        times = {
            name: best(name, function, arguments.repeat)
            for name, function in {
                "hard templates": lambda: templates.hard(variant.params),
                "soft templates": lambda: templates(variant.params),
                "objective and gradient": step,
            }.items()
        }
        hard = templates.hard({**variant.params, **AGC})
        apart = {name: np.abs(made.values() - hard[tuple(name.split("/"))].values) for name, made in histograms.items()}
        largest = max(float(apart[name].max() / made.values().max()) for name, made in histograms.items())
        scale = {content["metadata"]["sample"]: content["metadata"]["scale"] for content in fileset.values()}
        moved = sum(apart["/".join(key)].sum() / 2 / scale[key[1]] for key in hard if not key[2].startswith("btag_var"))
        selected, columns = sum(templates.events.values()), sum(templates.ledger.nbytes.values())
        compiling = templates.seconds["compile"]
    result = {
        "variant": arguments.variant,
        "cores": len(os.sched_getaffinity(0)),
        "events": events,
        "selected events": selected,
        "plain coffea, reading included": {**plain, "events/s": events / plain["seconds"]},
        "diffea reads once": {**reading, "events/s": events / reading["seconds"]},
        "passes": {
            name: {
                **found,
                "events/s": events / found["seconds"],
                "coffea's time over it": plain["seconds"] / found["seconds"],
                "coffea's CPU time over it": plain["CPU seconds"] / found["CPU seconds"],
            }
            for name, found in times.items()
        },
        "seconds that threads compiled, all passes": compiling,
        "memory, MB": {
            "columns": columns / 1e6,
            "process at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        },
        "largest difference of a bin, of a histogram's largest": largest,
        "events in another bin than coffea's, all variations of jets": round(float(moved), 3),
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
