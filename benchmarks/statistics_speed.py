"""CLs with its gradient in all yields, and an upper limit, against ``pyhf.infer.hypotest``; prints JSON.

``python benchmarks/statistics_speed.py [--data DIR] [--repeats N]``. Both sides run in this process, in turns; pyhf with its
NumPy backend and SciPy minimiser, and without any gradient. Of diffea's times the median over the repeats counts, of
pyhf's the least. ``--data`` is the folder of the open data with ``likelihoods/sbottom_A``; without it only the
generated models run: three channels, a large model (300 bins, 5 samples, 100 nuisance parameters), and a medium one that
everwillow and evermore run too, value and gradient, where they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyhf
import statistics_peers

from diffea import objectives
from diffea.statistics import HistFactory

BARS = {"sbottom_A": 50.0, "three_channels": 100.0, "large": 100.0}
LIMIT_BAR = 8.0


def three_channels(nuisances: int = 20, bins: int = 20, backgrounds: int = 3) -> dict[str, Any]:
    """A specification of 3 channels of so many bins, and nuisance parameters shared by all backgrounds."""
    random = np.random.default_rng(0)
    channels = []
    for c in range(3):
        x = np.linspace(0, 1, bins)
        samples = []
        shapes = {
            "signal": 12 * np.exp(-(((x - 0.3 - 0.2 * c) / 0.1) ** 2)),
            **{f"background{k}": 200 / (k + 1) * np.exp(-(k + 1) * x) + 5 for k in range(backgrounds)},
        }
        for name, values in shapes.items():
            modifiers: list[dict[str, Any]] = []
            if name == "signal":
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            for n in range(nuisances):
                tilt = 1 + 0.05 * random.normal() + 0.05 * random.normal() * (x - 0.5)
                shape = {"hi_data": (values * tilt).tolist(), "lo_data": (values / tilt).tolist()}
                factor = {"hi": 1 + 0.08 * random.uniform(), "lo": 1 - 0.08 * random.uniform()}
                kind = ("histosys", shape) if n % 2 else ("normsys", factor)
                modifiers.append({"name": f"nuisance{n}", "type": kind[0], "data": kind[1]})
            samples.append({"name": name, "data": values.tolist(), "modifiers": modifiers})
        channels.append({"name": f"channel{c}", "samples": samples})
    return {"channels": channels, "parameters": []}


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(model: HistFactory, judge: pyhf.Model, poi: float, repeats: int, every: int = 5) -> dict[str, Any]:
    """Times of both sides on one model, taken in turns, of which pyhf has one in `every`."""
    compilations = 0

    def count(event: str, _: float, **__: Any) -> None:
        nonlocal compilations
        compilations += event.endswith("backend_compile_duration")

    jax.monitoring.register_event_duration_secs_listener(count)
    yields = model.yields
    cls = jax.jit(jax.value_and_grad(lambda y: objectives.cls(model(y), poi)))
    limit = jax.jit(jax.value_and_grad(lambda y: objectives.upper_limit(model(y))))
    first = {
        name: seconds(lambda f=function: jax.block_until_ready(f(yields)))
        for name, function in (("cls", cls), ("limit", limit))
    }
    pars = np.array(judge.config.suggested_init())
    pars[judge.config.poi_index] = 0.0
    asimov = judge.expected_data(pars)
    judged: list[Any] = []
    before, times = compilations, {"cls": [], "limit": [], "pyhf": []}
    for repeat in range(repeats):
        times["cls"].append(seconds(lambda: jax.block_until_ready(cls(yields))))
        times["limit"].append(seconds(lambda: jax.block_until_ready(limit(yields))))
        if repeat % every == 0:
            times["pyhf"].append(
                seconds(lambda: judged.append(pyhf.infer.hypotest(poi, asimov, judge, return_expected=True)))
            )
    expected = float(judged[-1][1])
    found = float(cls(yields)[0])
    mine, pyhfs = float(np.median(times["cls"])), float(np.min(times["pyhf"]))
    return {
        "parameters": judge.config.npars,
        "bins": judge.config.nmaindata,
        "yields": sum(leaf.size for leaf in jax.tree.leaves(yields)),
        "cls": found,
        "relative_difference_from_pyhf": found / expected - 1,
        "cls_and_gradient_ms": 1e3 * mine,
        "pyhf_cls_ms": 1e3 * pyhfs,
        "times_faster_than_pyhf": pyhfs / mine,
        "limit_and_gradient_over_cls_and_gradient": float(np.median(np.divide(times["limit"], times["cls"]))),
        "first_call_s": first,
        "compilations_after_the_first_call": compilations - before,
    }


def beside_peers(repeats: int) -> dict[str, Any]:
    """Value and gradient of the medium model's CLs by diffea and by everwillow with evermore, taken in turns."""
    if not statistics_peers.is_there():
        return {"skipped": statistics_peers.MISSING}
    numbers = statistics_peers.medium()
    model = HistFactory(statistics_peers.specification(numbers), modifier_settings=statistics_peers.CODES)
    mine = jax.jit(jax.value_and_grad(lambda y: objectives.cls(model(y), 1.0)))
    sides = {"diffea": (mine, model.yields), "everwillow_evermore": (statistics_peers.peer_function(), numbers)}
    first = {name: seconds(lambda f=f, n=n: jax.block_until_ready(f(n))) for name, (f, n) in sides.items()}
    later: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, (function, given) in sides.items():
            later[name].append(seconds(lambda f=function, n=given: jax.block_until_ready(f(n))))
    values = {name: float(f(n)[0]) for name, (f, n) in sides.items()}
    medians = {name: float(np.median(times)) for name, times in later.items()}
    return {
        "cls": values,
        "first_call_s": first,
        "later_calls_ms": {name: 1e3 * median for name, median in medians.items()},
        "times_faster_first_call": first["everwillow_evermore"] / first["diffea"],
        "times_faster_later_calls": medians["everwillow_evermore"] / medians["diffea"],
        "relative_difference": values["diffea"] / values["everwillow_evermore"] - 1,
    }


def main() -> int:
    """Run, print, and say by the exit code whether every bar is reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("DIFFEA_DATA", Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    spec, large = three_channels(), three_channels(nuisances=100, bins=100, backgrounds=4)
    results = {
        "three_channels": measure(HistFactory(spec), pyhf.Model(spec), 1.0, arguments.repeats),
        "large": measure(HistFactory(large), pyhf.Model(large), 1.0, arguments.repeats, every=arguments.repeats),
    }
    folder = arguments.data / "likelihoods" / "sbottom_A"
    if folder.is_dir():
        workspace = json.loads((folder / "BkgOnly.json").read_text())
        patch = json.loads((folder / "patch.sbottom_1300_205_60.json").read_text())
        model = HistFactory.from_workspace(workspace, patches=[patch])
        judge = pyhf.Workspace(workspace).model(patches=[patch])
        results["sbottom_A"] = measure(model, judge, 1.0, arguments.repeats)
    for name, result in results.items():
        result["bar"] = BARS[name]
        result["reached"] = (
            result["times_faster_than_pyhf"] >= BARS[name]
            and result["limit_and_gradient_over_cls_and_gradient"] <= LIMIT_BAR
            and result["compilations_after_the_first_call"] == 0
            and abs(result["relative_difference_from_pyhf"]) <= 1e-5
        )
    reached = all(result["reached"] for result in results.values())
    results["medium_beside_everwillow_and_evermore"] = beside_peers(arguments.repeats)
    print(json.dumps(results, indent=2))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
