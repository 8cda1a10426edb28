"""How good an optimum each optimizer finds, at what cost, and what is left of it on other events. Prints JSON.

    python benchmarks/optima.py --data FOLDER [--cuts 2 4 8 18] [--filled] [--zprime FOLDER] [--demo FOLDER] [--splits 10] [--first 0] \
        [--methods auto grid random tpe cma gp] [--evaluations 500] [--processes 1] [--known FILE] [--out FILE]

For each number of free cuts of htautau (and zprime's five and the demo's six) and each split into halves, every optimizer minimises the expected limit by
hard cuts on the training half; with --filled (not zprime) it is the limit of filled bins, the objective of analyses/htautau. What it found is then judged by its limit on
the other half. Cost is told in fills (one pass at one point with exact cuts is one; a gradient is what diffea.program.strategy takes it for), passes over
the data, and seconds. No setting was chosen by a test half: those of "auto" were fixed on training halves, of splits 100 to 102 and, since CMA-ES was
ahead there, of split 0.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import json
import logging
import multiprocessing
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jax.flatten_util import ravel_pytree

import diffea
from diffea.optimise.box import Box
from diffea.optimise.points import Points
from diffea.parameters import as_arrays

FOLDER = Path(__file__).parent.parent / "analyses" / "blackbox"
WITHIN = 1.01


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Trace:
    """The lowest loss after each pass, with the fills so far."""

    def __init__(self, templates: Any) -> None:
        self._templates, self._before = templates, (templates.passes, templates.fills)
        self._began = time.perf_counter()
        self.lowest, self.rows = np.inf, []

    def note(self, loss: float) -> None:
        self.lowest = min(self.lowest, loss)
        passes, fills = self._templates.passes - self._before[0], self._templates.fills - self._before[1]
        self.rows.append((passes, fills, float(self.lowest), time.perf_counter() - self._began))

    def reached(self, level: float) -> dict[str, float] | None:
        row = next((row for row in self.rows if row[2] <= level), None)
        return row and {"passes": row[0], "fills": row[1], "seconds": row[3]}


def box_of(points: Points, method: Any, evaluations: int, seed: int, trace: Trace) -> np.ndarray:
    """The best point of a black box, which sees a box of unit size."""
    size, best = points.high - points.low, (np.inf, points.begin)

    def values(unit: np.ndarray) -> np.ndarray:
        nonlocal best
        found = points.low + unit * size
        losses = points.hard(found)
        if losses.min() < best[0]:
            best = losses.min(), found[np.argmin(losses)]
        trace.note(losses.min())
        return losses

    method(values, (points.begin - points.low) / size, evaluations, seed)
    return best[1]


def auto(task: Any, templates: Any, trace: Trace) -> Any:
    """The default of diffea.optimise; only losses with exact cuts are noted."""

    def note(step: Any) -> None:
        trace.note(step.loss if step.gradient_norm is None else np.inf)

    return diffea.optimise(task.loss(templates), task.variant.params, bounds=task.variant.bounds, progress=note)


def split(task: Any, data: Path, seed: int, arguments: argparse.Namespace, tpe: float | None) -> dict[str, Any]:
    """Every method on one split; TPE's best may be known already."""
    boxes = load("black_boxes")
    found: dict[str, Any] = {}
    with task.read(data, "train", seed) as train, task.read(data, "test", seed) as test:
        start, judge = (
            Points(task.loss(train), *_start(task)),
            Points(diffea.Composite(test, task.limit), *_start(task)),
        )
        rows = {"start": start.begin}
        for name in arguments.methods:
            trace = Trace(train)
            if name == "auto":
                result = auto(task, train, trace)
                point = np.asarray(ravel_pytree(_start(task)[0].to_steps(result.params))[0])
            else:
                point = box_of(start, boxes.BLACK_BOXES[name], arguments.evaluations, seed, trace)
            rows[name], found[name] = point, trace
        losses = {n: [float(half.hard(point[None])[0]) for half in (start, judge)] for n, point in rows.items()}
    tpe = found["tpe"].lowest if "tpe" in found else tpe
    level = WITHIN * tpe if tpe else None
    return {
        name: {
            "train": losses[name][0],
            "test": losses[name][1],
            "params": start.flat_params(rows[name]).tolist(),
            **(
                {"passes": t.rows[-1][0], "fills": t.rows[-1][1], "seconds": t.rows[-1][3]}
                if (t := found.get(name))
                else {}
            ),
            **({"to_tpe": t.reached(level) if level else None, "trace": t.rows} if t else {}),
        }
        for name in losses
    }


def _start(task: Any) -> tuple[Box, Any]:
    start = as_arrays(task.variant.params)
    return Box.of(start, task.variant.bounds), start


def paired(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """The mean of ratios over splits, its standard error, and the largest; left out, and counted, are splits where the other has found no analysis."""
    ratios = [ours / theirs for ours, theirs in pairs if np.isfinite(theirs)]
    error = float(np.std(ratios, ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else float("nan")
    mean, largest = (float(number(ratios)) if ratios else float("nan") for number in (np.mean, np.max))
    return {"mean": mean, "error": error, "largest": largest, "left_out": len(pairs) - len(ratios)}


def summary(splits: list[dict[str, Any]], compared: tuple[str, ...]) -> dict[str, Any]:
    """Ratios of auto to the black box that is best on the training half, and to each of the others."""
    known = [name for name in splits[0] if name not in ("start", "auto")]
    rivals = [name for name in compared if name in known]
    result: dict[str, Any] = {}
    for half in ("train", "test"):
        pairs = {name: [(row["auto"][half], row[name][half]) for row in splits] for name in known}
        result[half] = {name: paired(ratios) for name, ratios in pairs.items()}
        if rivals:
            best = [min(rivals, key=lambda name: row[name]["train"]) for row in splits]
            pairs_best = [(row["auto"][half], row[name][half]) for row, name in zip(splits, best, strict=True)]
            result[half]["best black box"] = paired(pairs_best)
    if "tpe" in known:
        result["to within 1 % of TPE's best"] = [
            {"auto": row["auto"]["to_tpe"], "tpe": row["tpe"]["to_tpe"], "tpe in all": row["tpe"]["fills"]}
            for row in splits
        ]
    return result


def row_of(name: str, data: Path, seed: int, arguments: argparse.Namespace, known: Any, cores: Any) -> dict[str, Any]:
    """A split of a task, in a process of its own with its share of the cores."""
    warnings.simplefilter("ignore")
    logging.getLogger("jax._src.debugging").disabled = True
    own = cores.get()
    os.sched_setaffinity(0, own)
    found = split(load("tasks").Task.of(name), data, seed, arguments, known.get("tpe", {}).get("train"))
    cores.put(own)
    return known | {"seed": seed} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the skimmed files of htautau")
    parser.add_argument("--zprime", type=Path, help="folder with the files of zprime, to take part with five cuts")
    parser.add_argument("--demo", type=Path, help="folder with the demo's data, to take part with its six cuts")
    parser.add_argument("--cuts", nargs="*", default=["2", "4", "8", "18"], choices=["2", "4", "8", "18"])
    parser.add_argument("--filled", action="store_true", help="minimise the limit of filled bins")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first split")
    parser.add_argument("--methods", nargs="+", default=["auto", "grid", "random", "tpe", "cma", "gp"])
    parser.add_argument("--evaluations", type=int, default=500, help="of a black box")
    parser.add_argument("--processes", type=int, default=1, help="splits at a time; seconds are then of a busy machine")
    parser.add_argument(
        "--known", type=Path, help="what this wrote before: methods that are not asked for are taken from it"
    )
    parser.add_argument("--out", type=Path, help="also write it there, after every split")
    arguments = parser.parse_args()
    earlier = json.loads(arguments.known.read_text())["tasks"] if arguments.known else {}
    filled = " filled" if arguments.filled else ""
    folders = {number + filled: arguments.data for number in arguments.cuts if arguments.data}
    folders |= {"zprime": arguments.zprime} if arguments.zprime else {}
    folders |= {f"demo{filled}": arguments.demo} if arguments.demo else {}
    report: dict[str, Any] = {"evaluations": arguments.evaluations, "tasks": {}}
    compared, done = load("black_boxes").COMPARED, {name: [] for name in folders}
    spawn = multiprocessing.get_context("spawn")
    with (
        spawn.Manager() as manager,
        concurrent.futures.ProcessPoolExecutor(arguments.processes, spawn, max_tasks_per_child=1) as pool,
    ):
        cores = manager.Queue()
        every = sorted(os.sched_getaffinity(0))
        for first in range(arguments.processes):
            cores.put(every[first :: arguments.processes] or every)
        seeds = range(arguments.first, arguments.first + arguments.splits)
        known = {name: {row["seed"]: row for row in earlier.get(name, {}).get("splits", [])} for name in folders}
        jobs = {
            pool.submit(row_of, name, data, seed, arguments, known[name].get(seed, {}), cores): name
            for name, data in folders.items()
            for seed in seeds
        }
        for job in concurrent.futures.as_completed(jobs):
            name = jobs[job]
            done[name] = sorted([*done[name], job.result()], key=lambda row: row["seed"])
            rows = [{key: value for key, value in row.items() if key != "seed"} for row in done[name]]
            table = summary(rows, compared) if "auto" in rows[0] else {}
            report["tasks"][name] = {"summary": table, "splits": done[name]}
            if arguments.out:
                arguments.out.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
