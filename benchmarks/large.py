"""Very many events on two workers: reading, steps and memory against a tenth of them, and with half of the columns on disk.

    python benchmarks/scale.py --events 100_000_000 [--steps 25] [--folder FOLDER]

writes them first (40 bytes each, in files of two million, to a temporary folder of ``--folder``). Workers are processes of one core; columns are
float32. The law is that a step takes as long as its events are many.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

BYTES, FILE = 40, 2_000_000  # of an event; events of a file
PARAMS = {f"cut_{i}": 0.2 for i in range(8)}


def make_processor():
    """Eight cuts, twenty bins, weights."""
    import hist

    import diffea
    from diffea import soft

    class Search(diffea.DifferentiableProcessor):
        channels = {"all": hist.axis.Regular(20, 0, 1, name="x")}  # noqa: RUF012

        def columns(self, events):
            return {name: events[name] for name in ("x", "weight", *PARAMS)}

        def fill(self, params, columns):
            keep = soft.all_of(*(soft.above(columns[name], params[name], width=0.05) for name in PARAMS))
            yield diffea.Fill("all", columns["x"], columns["weight"] * keep)

    return Search()


def write(folder: Path, events: int) -> list[Path]:
    """Flat trees of uniform numbers."""
    import numpy as np
    import uproot

    names = ("x", "weight", *PARAMS)
    paths = []
    for number, start in enumerate(range(0, events, FILE)):
        rng = np.random.default_rng(number)
        rows = min(FILE, events - start)
        paths.append(folder / f"{number}.root")
        with uproot.recreate(paths[-1], compression=None) as file:
            file.mktree("Events", dict.fromkeys(names, np.float32))
            file["Events"].extend({name: rng.random(rows, np.float32) for name in names})
    return paths


def measure(paths: list[Path], steps: int, client, memory: int | str = "auto") -> dict[str, object]:
    """Read these files and make some steps, each elsewhere."""

    def resident() -> float:
        """GB of memory of a process, without pages of files, which the system may take back."""
        memory = psutil.Process().memory_info()
        return (memory.rss - memory.shared) / 1e9

    import jax
    import numpy as np
    import psutil
    from coffea.nanoevents import BaseSchema

    import diffea

    fileset = {"all": {"files": {str(path): "Events" for path in paths}}}
    options = {"schemaclass": BaseSchema, "precision": "float32", "gradient": "jacobian", "memory": memory}
    began = time.perf_counter()
    with diffea.distribute(make_processor(), fileset, client=client, **options) as templates:
        read = time.perf_counter() - began
        step = jax.jit(jax.value_and_grad(lambda p: (templates(p)["all", "all"].values ** 0.5).sum()))
        times = []
        for number in range(steps + 3):  # the first one compiles, and the next ones go through the scheduler
            began = time.perf_counter()
            _, gradient = jax.block_until_ready(step({**PARAMS, "cut_0": 0.2 + 0.001 * number}))
            times.append(time.perf_counter() - began)
        assert all(np.isfinite(leaf).all() for leaf in gradient.values())
        events = sum(templates.events.values())
        return {
            "events": events,
            "seconds of reading": read,
            "seconds of the first step": times[0],
            "seconds of a step, median": float(np.median(times[3:])),
            "seconds of a step, longest": max(times[3:]),
            "seconds of all steps": sum(times),
            "events a second, a step": events / float(np.median(times[3:])),
            "GB of columns, by where they lie": {place: size / 1e9 for place, size in templates.ledger.nbytes.items()},
            "GB of each worker": list(client.run(resident).values()),
            "GB of the driver": resident(),
        }


def large(events: int, steps: int, folder: Path | None) -> dict[str, object]:
    """A tenth of the events, all of them, and all with half of the columns in memory; each on workers of its own."""
    from scale import cluster

    with tempfile.TemporaryDirectory(dir=folder) as name:
        os.environ["DASK_TEMPORARY_DIRECTORY"] = name  # of the workers, which are started below
        paths = write(Path(name), events)
        few = paths[: max(len(paths) // 10, 1)]
        with cluster([1, 1], Path(name)) as client:
            tenth = measure(few, steps, client)
        with cluster([1, 1], Path(name)) as client:
            whole = measure(paths, steps, client)
        each = 1e9 * sum(whole["GB of columns, by where they lie"].values()) / 2  # of two workers
        with cluster([1, 1], Path(name)) as client:
            out = measure(paths, steps, client, int(each / 2))
    rates = [case["events a second, a step"] for case in (tenth, whole, out)]
    return {
        "bytes of an event in the files": BYTES,
        "a tenth": tenth,
        "all": whole,
        "half on disk": out,
        "a step over the linear law of a tenth": rates[0] / rates[1],
        "a step with half on disk over one in memory": rates[1] / rates[2],
    }
