"""Coverage: whether errors of limits and gains are what independent data sets scatter by.

Makes many small data sets of a search (a signal, a background with a systematic variation, weights, two cuts), judges each before and
after a change of its cuts with replicas, and counts how often the 68 % interval of one data set covers the mean over all of them. The
bias that replicas tell is compared with that of the data sets: their mean, less the result of their mean templates. Prints JSON.

    python benchmarks/coverage.py --toys 200           # of a small search, made for this
    python benchmarks/coverage.py --toys 200 --demo    # of the demo's search and its generator
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import hist
import numpy as np
import uproot
from coffea.nanoevents import BaseSchema

import diffea
from diffea import demo, learning, soft
from diffea.demo.data import SAMPLES
from diffea.evaluate import evaluation_of

BEFORE, AFTER = {"cut": 0.5, "other": 0.4}, {"cut": 1.1, "other": 0.6}
YIELDS = {"signal": 8.0, "background": 400.0}


class Search(diffea.DifferentiableProcessor):
    """Two cuts, and a mass that a scale uncertainty moves."""

    channels = {"mass": hist.axis.Variable([60, 100, 120, 140, 200], name="mass")}  # noqa: RUF012

    def columns(self, events):
        return {name: events[name] for name in ("mass", "score", "other", "weight")}

    def fill(self, params, columns):
        keep = soft.all_of(
            soft.above(columns["score"], params["cut"], width=0.1),
            soft.above(columns["other"], params["other"], width=0.1),
        )
        for variation, scale in (("nominal", 1.0), ("up", 1.02), ("down", 0.98)):
            yield diffea.Fill("mass", scale * columns["mass"], columns["weight"] * keep, variation=variation)


def spec() -> dict:
    def sample(name, *modifiers):
        shift = {"hi_data": f"{name}:up", "lo_data": f"{name}:down"}
        scale = {"name": "scale", "type": "histosys", "data": shift}
        return {"name": name, "data": name, "modifiers": [scale, *modifiers]}

    norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.08, "lo": 0.92}}
    statistics = {"name": "mc", "type": "staterror", "data": "background"}
    samples = [
        sample("signal", {"name": "mu", "type": "normfactor", "data": None}),
        sample("background", norm, statistics),
    ]
    return {
        "channels": [{"name": "mass", "samples": samples}],
        "parameters": [{"name": "mu", "bounds": [[0, 50]], "inits": [1]}],
    }


def write(folder: Path, events: int, seed: int) -> dict:
    """A data set of so many background events, weighted to ``YIELDS``."""
    fileset, rng = {}, np.random.default_rng(seed)
    for name, total in YIELDS.items():
        signal = name == "signal"
        count = rng.poisson(events * (0.4 if signal else 1.0))
        weight = np.where(rng.random(count) < 0.05, -1.0, 1.0) * rng.gamma(10.0, 0.1, count)
        branches = {
            "mass": rng.normal(125, 8, count) if signal else 60 + rng.exponential(60, count),
            "score": rng.normal(2.0 if signal else 0.5, 1.0, count),
            "other": rng.random(count) ** (0.5 if signal else 1.0),
            "weight": weight * total / (0.9 * events * (0.4 if signal else 1.0)),
        }
        path = folder / f"{name}.root"
        with uproot.recreate(path) as file:
            file["Events"] = branches
        fileset[name] = {"files": {str(path): "Events"}}
    return fileset


def both(evaluation):
    """Sums of weights and of their squares."""
    return evaluation.templates.values_flat, evaluation.templates.variances_flat


def write_demo(folder: Path, events: int, seed: int) -> dict:
    """A data set of the demo."""
    demo.make_data(folder, events=events, seed=seed)
    return demo.fileset(folder)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A search, two places of its cuts, and how its data sets are made: of a folder, a number of events and a seed."""

    processor: diffea.DifferentiableProcessor
    model: diffea.HistFactory
    schemaclass: type
    before: dict
    after: dict
    write: Callable[[Path, int, int], dict]
    events: int


def problem_of(of_demo: bool, events: int | None) -> Problem:
    """The small search, or that of the demo: with a floor of one event of its most heavily weighted background in each bin, without which some
    of so few events leave a bin that has signal and no background."""
    if not of_demo:
        return Problem(Search(), diffea.HistFactory(spec()), BaseSchema, BEFORE, AFTER, write, events or 3_000)
    events, variant = events or 300_000, demo.analysis.variants[""]
    sample = SAMPLES["wjets"]
    weight = demo.LUMINOSITY * sample.cross_section / (sample.share * events)
    model = diffea.HistFactory(learning.with_floor(variant.spec, variant.processor, events=weight))
    after = {"muon_pt": 30.0, "muon_iso": 0.12, "jet_pt": 30.0, "met": 90.0, "mt": 80.0, "btag": 0.5}
    return Problem(variant.processor, model, demo.DemoSchema, variant.params, after, write_demo, events)


def study(problem: Problem, toys: int, replicas: int) -> dict:
    """Judge all data sets, and the mean of their templates."""
    model = problem.model

    def judged(fileset, replicas):
        read = diffea.distribute(problem.processor, fileset, schemaclass=problem.schemaclass, identify=True)
        with read as templates:
            return [evaluation_of(templates, params, model, replicas) for params in (problem.before, problem.after)]

    totals = [0.0, 0.0]
    found: dict[str, list[diffea.bootstrap.Measured]] = {"limit before": [], "limit after": [], "gain": []}
    began = time.perf_counter()
    for toy in range(toys):
        with tempfile.TemporaryDirectory() as folder:
            before, after = judged(problem.write(Path(folder), problem.events, 1 + toy), replicas)
        totals = [total + np.stack(both(one)) / toys for total, one in zip(totals, (before, after), strict=True)]
        limits = [one.measured(diffea.objectives.upper_limit) for one in (before, after)]
        gain = after.gain_over(before, diffea.objectives.upper_limit)
        for name, measured in zip(found, (*limits, gain), strict=True):
            found[name].append(measured)
        if toy % 20 == 19:
            print(f"{toy + 1} data sets, {time.perf_counter() - began:.0f} s", flush=True, file=sys.stderr)
    means = [diffea.TemplateSet(before.templates.layout, *total) for total in totals]
    limits = [float(diffea.objectives.upper_limit(model(mean))) for mean in means]
    truths = dict(zip(found, (*limits, limits[1] / limits[0]), strict=True))
    result: dict = {
        "toys": toys,
        "events": problem.events,
        "replicas": replicas,
        "seconds": time.perf_counter() - began,
    }
    for name, measured in found.items():
        values, widths, biases = (
            np.array([getattr(one, part) for one in measured]) for part in ("value", "error", "bias")
        )
        binomial = float(np.sqrt(0.6827 * 0.3173 / toys))
        result[name] = {
            "mean": values.mean(),
            "scatter": values.std(ddof=1),
            "mean error": widths.mean(),
            "covered": float(np.mean(np.abs(values - values.mean()) < widths)),
            "binomial error": binomial,
            "bias told": biases.mean(),
            "bias found": values.mean() - truths[name],
            "of the mean templates": truths[name],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=200)
    parser.add_argument("--demo", action="store_true", help="data sets of the demo")
    parser.add_argument("--events", type=int, help="of a data set: of the background, or of all of the demo's samples")
    parser.add_argument("--replicas", type=int, default=100)
    options = parser.parse_args()
    problem = problem_of(options.demo, options.events)
    print(json.dumps(study(problem, options.toys, options.replicas), indent=1))


if __name__ == "__main__":
    main()
