"""A step on JAX's accelerator beside one on the CPU's cores, and whether they make the same numbers. Prints JSON.

    python benchmarks/accelerator.py [--events 8_000_000] [--steps 10] [--workers N]

The same events, eight cuts and twenty bins in processes of their own: columns on the accelerator, in chunks of a million events and of the
usual 100 000; on one core; and on a cluster of one-core workers. Ratios are of the median time of a step, value and gradient. Without an
accelerator the first two are the CPU's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

PARAMS = {f"cut_{i}": 0.2 for i in range(8)}


def measure(folder: Path, steps: int, workers: int, chunksize: int, precision: str, gradient: str) -> dict[str, object]:
    """Times and numbers of one case, in this process and its workers."""
    import contextlib

    import jax
    import numpy as np
    from coffea.nanoevents import BaseSchema
    from large import make_processor
    from scale import cluster

    import diffea
    from diffea.runtime import accelerator

    fileset = {"all": {"files": {str(path): "Events" for path in sorted(folder.glob("*.root"))}}}
    options = {"schemaclass": BaseSchema, "precision": precision, "gradient": gradient, "chunksize": chunksize}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(cluster([1] * workers, folder)) if workers else None
        began = time.perf_counter()
        templates = stack.enter_context(diffea.distribute(make_processor(), fileset, client=client, **options))
        read, times = time.perf_counter() - began, []
        step = jax.jit(jax.value_and_grad(lambda p: (templates(p)["all", "all"].values ** 0.5).sum()))
        for number in range(steps + 2):
            began = time.perf_counter()
            value, slope = jax.block_until_ready(step({**PARAMS, "cut_0": 0.2 + 0.001 * number}))
            times.append(time.perf_counter() - began)
        again = jax.block_until_ready(step({**PARAMS, "cut_0": 0.2 + 0.001 * number}))
        hard = templates.hard(PARAMS)["all", "all"]
        device = accelerator()
        return {
            "device": device.device_kind if device else f"{workers or 1} cores",
            "jax": jax.__version__,
            "seconds of reading": read,
            "seconds of the first step": times[0],
            "seconds of a step": float(np.median(times[2:])),
            "same bits again": bool(value == again[0] and all(slope[name] == again[1][name] for name in slope)),
            "value": float(value),
            "gradient": [float(slope[name]) for name in sorted(slope)],
            "hard": np.concatenate([hard.values, hard.variances]).tolist(),
        }


def in_a_process(case: list[str], environment: Mapping[str, str]) -> dict[str, object]:
    """The same in a process of its own."""
    on_one_core = ["taskset", "-c", "0"] if "NPROC" in environment else []
    command = [*on_one_core, sys.executable, __file__, "--case", *case]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(folder: Path, steps: int, workers: int, precision: str, gradient: str) -> dict[str, object]:
    """One precision and one way to the gradient, on all three."""
    import numpy as np

    cases: dict[str, tuple[int, int, dict[str, str]]] = {
        "accelerator": (0, 1_000_000, {}),
        "accelerator, small chunks": (0, 100_000, {}),
        "one core": (0, 100_000, {"JAX_PLATFORMS": "cpu", "NPROC": "1"}),
        "cores": (workers, 100_000, {"JAX_PLATFORMS": "cpu"}),
    }
    found = {
        name: in_a_process([str(folder), str(steps), str(number), str(chunksize), precision, gradient], environment)
        for name, (number, chunksize, environment) in cases.items()
    }
    own, other = found["accelerator"], found["one core"]
    numbers = [np.array([case["value"], *case["gradient"]]) for case in (own, other)]
    result: dict[str, object] = {"precision": precision, "gradient": gradient, "device": own["device"]}
    result |= {
        f"{name}: {key}": case[key]
        for name, case in found.items()
        for key in ("seconds of reading", "seconds of the first step", "seconds of a step", "same bits again")
    }
    result["largest relative difference of value and gradient"] = float(np.max(np.abs(numbers[0] / numbers[1] - 1)))
    result["exact histograms are the same to the bit"] = own["hard"] == other["hard"]
    for name in ("accelerator, small chunks", "one core", "cores"):
        result[f"a step on {name} over one on the accelerator"] = (
            found[name]["seconds of a step"] / own["seconds of a step"]  # type: ignore[operator]
        )
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=8_000_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precisions", nargs="+", default=["float32", "float64"])
    parser.add_argument("--gradients", nargs="+", default=["jacobian", "vjp"])
    parser.add_argument("--case", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        folder, *numbers, precision, gradient = options.case
        print(json.dumps(measure(Path(folder), *map(int, numbers), precision, gradient)))
        return
    from large import write

    with tempfile.TemporaryDirectory() as name:
        write(Path(name), options.events)
        cases = [(precision, gradient) for precision in options.precisions for gradient in options.gradients]
        rows = [compared(Path(name), options.steps, options.workers, *case) for case in cases]
    print(json.dumps({"events": options.events, "cases": rows}, indent=1))


if __name__ == "__main__":
    main()
