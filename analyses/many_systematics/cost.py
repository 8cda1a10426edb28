"""What nuisances cost: time of a step and resident memory with 0, 10 and 30 of them. Prints JSON.

    python analyses/many_systematics/cost.py [--events 25000] [--nuisances 0 10 30] [--repeats 5]

Each number of nuisances is a process of its own. A step is the sum of both variances and its gradient in all weights of the network; one core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def resident(what: str = "VmRSS") -> int:
    """Bytes of this process: now, or the most so far (``VmHWM``)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def measure(data: Path, nuisances: int, repeats: int) -> dict[str, Any]:
    """Of one number of nuisances, in this process."""
    import analysis as many
    import jax
    from coffea.nanoevents import BaseSchema

    from diffea import HistFactory, distribute

    model, params = HistFactory(many.spec(nuisances)), many.untrained(0)
    with distribute(many.Classes(nuisances), many.fileset(data), schemaclass=BaseSchema) as templates:
        step = jax.jit(jax.value_and_grad(lambda params: many.both_variances(model(templates(params)))))
        before = resident()
        first_step, first_hard = cpu(lambda: step(params)), cpu(lambda: templates.hard(params))
        return {
            "nuisances": nuisances,
            "templates": len(set(templates(params))),
            "step_seconds": min(wall(lambda: step(params)) for _ in range(repeats)),
            "hard_seconds": min(wall(lambda: templates.hard(params)) for _ in range(repeats)),
            "first_step_cpu_seconds": first_step,
            "first_hard_cpu_seconds": first_hard,
            "columns_bytes": sum(templates.ledger.nbytes.values()),
            "resident_bytes_before_the_first_step": before,
            "resident_bytes": resident(),
            "most_resident_bytes": resident("VmHWM"),
        }


def wall(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that it takes."""
    began = clock()
    run()
    return clock() - began


def cpu(run: Callable[[], Any]) -> float:
    """Seconds of all cores, compilation included."""
    return wall(run, time.process_time)


def main() -> None:
    """Measure each number of nuisances, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=25_000, help="of each process")
    parser.add_argument("--nuisances", type=int, nargs="+", default=[0, 10, 30])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--in-this-process", type=Path, metavar="DATA", help="of one number of nuisances")
    arguments = parser.parse_args()
    if arguments.in_this_process:
        print(json.dumps(measure(arguments.in_this_process, arguments.nuisances[0], arguments.repeats)))  # noqa: T201
        return
    import analysis as many

    # nothing that an earlier run compiled; memory is given back as dask's workers do
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0", "NPROC": "1", "MALLOC_TRIM_THRESHOLD_": "65536"}
    found = []
    with tempfile.TemporaryDirectory() as name:
        many.make_data(Path(name), arguments.events)
        for nuisances in arguments.nuisances:
            command = [sys.executable, __file__, "--in-this-process", name]
            command += ["--nuisances", str(nuisances), "--repeats", str(arguments.repeats)]
            made = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
            found.append(json.loads(made))
    report = {"benchmark": "many_systematics", "events": arguments.events * len(many.YIELDS), "cases": found}
    print(json.dumps(report, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
