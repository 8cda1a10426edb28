"""Small models in which every modifier has its place, and how pyhf and finite differences judge them."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pyhf

LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0]}


def modifier(name: str, type_: str, data: Any = None) -> dict[str, Any]:
    return {"name": name, "type": type_, "data": data}


EVERYTHING = {
    "channels": [
        {
            "name": "signal",
            "samples": [
                {
                    "name": "sig",
                    "data": [3.0, 8.0, 12.0, 4.0],
                    "modifiers": [modifier("mu", "normfactor"), modifier("lumi", "lumi")],
                },
                {
                    "name": "bkg",
                    "data": [50.0, 40.0, 30.0, 20.0],
                    "modifiers": [
                        modifier("lumi", "lumi"),
                        modifier("norm", "normsys", {"hi": 1.1, "lo": 0.92}),
                        modifier("scale", "histosys", {"hi_data": [53.0, 42.0, 29.0, 18.0], "lo_data": [48.0, 39.0, 31.0, 21.0]}),
                        modifier("stat_signal", "staterror", [3.0, 2.5, 2.0, 2.0]),
                    ],
                },
                {
                    "name": "fake",
                    "data": [5.0, 6.0, 4.0, 3.0],
                    "modifiers": [
                        modifier("method", "shapesys", [1.0, 2.0, 1.0, 1.0]),
                        modifier("scale", "normsys", {"hi": 1.05, "lo": 0.97}),
                        modifier("stat_signal", "staterror", [1.0, 1.5, 1.0, 1.0]),
                    ],
                },
            ],
        },
        {
            "name": "control",
            "samples": [
                {
                    "name": "bkg",
                    "data": [100.0, 90.0],
                    "modifiers": [
                        modifier("norm", "normsys", {"hi": 1.12, "lo": 0.9}),
                        modifier("free", "normfactor"),
                        modifier("lumi", "lumi"),
                    ],
                },
                {"name": "other", "data": [9.0, 7.0], "modifiers": [modifier("shape", "shapefactor")]},
            ],
        },
    ],
    "parameters": [LUMI],
}  # fmt: skip
OBSERVED = {"control": [111.0, 95.0], "signal": [60.0, 49.0, 43.0, 26.0]}

# the same without the two parameters of `shape`, which with two bins in `control` leave `free` unmeasured
FITTED = copy.deepcopy(EVERYTHING)
FITTED["channels"][1]["samples"][1]["modifiers"] = []  # type: ignore[index]


def randomised(spec: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same specification with other numbers; variations of a shape move with the shape."""
    spec, random = copy.deepcopy(spec), np.random.default_rng(seed)
    for sample in (sample for channel in spec["channels"] for sample in channel["samples"]):
        factor = random.uniform(0.7, 1.4, len(sample["data"]))
        sample["data"] = (factor * sample["data"]).tolist()
        for entry in sample["modifiers"]:
            if entry["type"] == "histosys":
                entry["data"] = {name: (factor * values).tolist() for name, values in entry["data"].items()}
            elif entry["type"] == "normsys":
                entry["data"] = {"hi": random.uniform(1.02, 1.3), "lo": random.uniform(0.75, 0.98)}
            elif entry["type"] in ("staterror", "shapesys"):
                entry["data"] = (random.uniform(0.5, 1.5, len(factor)) * entry["data"]).tolist()
    return spec


def structure(seed: int) -> dict[str, Any]:
    """A specification of random structure: up to three channels of unlike binning, with modifiers and names drawn at random."""
    random = np.random.default_rng(seed)
    channels = [_channel(number, random) for number in range(random.integers(1, 4))]
    if len(channels) > 1:
        channels[-1]["samples"][0]["modifiers"].append(modifier("free", "normfactor"))
    signal = _signal(random, len(channels[0]["samples"][0]["data"]))
    channels[0]["samples"].insert(0, signal)
    return {"channels": channels, "parameters": [LUMI]}


def _channel(number: int, random: np.random.Generator) -> dict[str, Any]:
    """Up to three backgrounds in up to five bins; names of nuisance parameters are shared over samples and channels."""
    nbins, has_stat = random.integers(1, 6), random.random() < 0.6
    samples = []
    for sample in range(random.integers(1, 4)):
        data = random.uniform(5.0, 60.0, nbins)
        high, low, method, stat = ((data * random.uniform(*r, nbins)).tolist() for r in [(1.0, 1.2), (0.8, 1.0), (0.05, 0.3), (0.02, 0.15)])  # fmt: skip
        factors = {"hi": random.uniform(1.02, 1.3), "lo": random.uniform(0.75, 0.98)}
        candidates = [
            (0.6, modifier(f"theta{random.integers(3)}", "histosys", {"hi_data": high, "lo_data": low})),
            (0.6, modifier(f"theta{random.integers(5)}", "normsys", factors)),
            (0.5, modifier("lumi", "lumi")),
            (0.3, modifier(f"method_{number}_{sample}", "shapesys", method)),
            (1.0 if has_stat else 0.0, modifier(f"stat_{number}", "staterror", stat)),
        ]
        modifiers = [candidate for probability, candidate in candidates if random.random() < probability]
        samples.append({"name": f"background{sample}", "data": data.tolist(), "modifiers": modifiers})
    return {"name": f"channel{number}", "samples": samples}


def _signal(random: np.random.Generator, nbins: int) -> dict[str, Any]:
    modifiers = [modifier("mu", "normfactor"), modifier("theta0", "normsys", {"hi": 1.1, "lo": 0.93})]
    return {"name": "signal", "data": random.uniform(3.0, 20.0, nbins).tolist(), "modifiers": modifiers}


def without_signal(config: Any) -> np.ndarray:
    """Initial parameters of a pyhf or diffea model, the parameter of interest at 0."""
    pars = np.array(config.suggested_init(), float)
    pars[config.poi_index] = 0.0
    return pars


def shifted(yields: Any, field: str, index: int, by: float) -> Any:
    """The same yields with one entry moved."""
    values = np.array(getattr(yields, field))
    values[index] += by
    return dataclasses.replace(yields, **{field: values})


def rebuilt(spec: dict[str, Any], places: dict[str, list[str]], yields: Any) -> pyhf.Model:
    """A `pyhf.Model` made anew with these numbers in the places of the specification."""
    spec = copy.deepcopy(spec)
    for field, names in places.items():
        for place, value in zip(names, np.asarray(getattr(yields, field)).tolist(), strict=True):
            steps = place.replace("[", "/").replace("]", "").split("/")
            holder: Any = spec
            for step in steps[:-1]:
                holder = holder[int(step) if step.isdigit() else step]
            holder[int(steps[-1]) if steps[-1].isdigit() else steps[-1]] = value
    return pyhf.Model(spec)
