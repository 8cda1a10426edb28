"""Memory of a worker beside the columns that it holds: while it reads, when it has read, and in a step. Prints JSON.

Each case is a process of its own that reads flat NanoAOD-like files; what a process needs without any data (Python, JAX,
coffea) is measured in the same process and left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import hist
import jax
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import soft

COLUMNS = 8
PARAMS = {"cut": 40.0, "shift": 0.5}


class Wide(diffea.DifferentiableProcessor):
    """All columns are used by a cut of their own."""

    channels = {"all": hist.axis.Regular(20, 0, 200, name="x")}  # noqa: RUF012

    def columns(self, events):
        return {f"x{number}": events[f"x{number}"] for number in range(COLUMNS)}

    def fill(self, params, columns):
        keep = soft.all_of(*(soft.above(columns[f"x{i}"], params["cut"] / 4, width=5.0) for i in range(1, COLUMNS)))
        yield diffea.Fill("all", columns["x0"] + params["shift"], keep)


def write(path: Path, events: int) -> None:
    rng = np.random.default_rng(0)
    with uproot.recreate(path) as file:
        file.mktree("Events", {f"x{i}": np.float32 for i in range(COLUMNS)})
        for start in range(0, events, 200_000):
            rows = min(200_000, events - start)
            file["Events"].extend({f"x{i}": rng.exponential(40, rows).astype(np.float32) for i in range(COLUMNS)})


def resident() -> dict[str, int]:
    """Bytes of this process: now, the most since `forget`, and what is mapped from files (which the system takes back)."""
    names = {"VmRSS": "now", "VmHWM": "most", "RssFile": "mapped"}
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {names[line[0][:-1]]: 1024 * int(line[1]) for line in lines if line[0][:-1] in names}


def forget() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def measure(path: Path, chunksize: int, memory: str, precision: str) -> dict[str, float]:
    def distribute(entries: int):
        fileset = {"some": {"files": {str(path): {"object_path": "Events", "steps": steps(entries)}}}}
        return diffea.distribute(
            Wide(), fileset, schemaclass=BaseSchema, chunksize=chunksize, memory=memory, precision=precision
        )

    def steps(entries: int) -> list[list[int]]:
        return [[start, min(start + chunksize, entries)] for start in range(0, entries, chunksize)]

    def step(templates) -> None:
        jax.value_and_grad(lambda params: templates(params)["all", "some"].values.sum())(PARAMS)

    with uproot.open(path) as file:
        entries = file["Events"].num_entries
    with distribute(min(2 * chunksize, entries)) as small:
        step(small)
    del small
    forget()
    empty = resident()["now"]
    with distribute(entries) as templates:
        reading = resident()["most"] - empty
        gc.collect()
        held = resident()["now"] - empty
        forget()
        step(templates)
        stepping = resident()["most"] - empty
        nbytes = templates.ledger.nbytes
    columns = sum(nbytes.values())
    events_bytes = entries * COLUMNS * np.dtype(precision).itemsize
    chunk = 2 * chunksize * COLUMNS * np.dtype(precision).itemsize
    return {
        "memory": memory,
        "precision": precision,
        "chunksize": chunksize,
        "columns_mb": columns / 1e6,
        "padding": columns / events_bytes,
        "in_memory_mb": nbytes["memory"] / 1e6,
        "without_data_mb": empty / 1e6,
        "held_over_columns": held / columns,
        "step_over_columns": stepping / columns,
        "reading_over_columns": reading / columns,
        "reading_beyond_columns_in_chunks": (reading - nbytes["memory"]) / chunk,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--case", nargs=4, metavar=("PATH", "CHUNKSIZE", "MEMORY", "PRECISION"))
    arguments = parser.parse_args()
    if arguments.case:
        path, chunksize, memory, precision = arguments.case
        print(json.dumps(measure(Path(path), int(chunksize), memory, precision)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.root"
        write(path, arguments.events)
        cases = [
            (100_000, "auto", "float64"),
            (100_000, "auto", "float32"),
            (500_000, "auto", "float64"),
            (100_000, "0", "float64"),
        ]
        found = []
        for case in cases:
            environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as dask sets it for its workers
            command = [sys.executable, __file__, "--case", str(path), *map(str, case)]
            found.append(
                json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)
            )
    print(json.dumps({"benchmark": "memory", "events": arguments.events, "cases": found}, indent=1))


if __name__ == "__main__":
    main()
