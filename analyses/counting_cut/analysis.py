"""One cut, one number: the significance of a counting experiment, after A. Held's differentiable-analysis-example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import numpy as np
import optax
import uproot
from coffea.nanoevents import BaseSchema

from diffea import Analysis, DifferentiableProcessor, Fill, Variant, anneal, objectives, soft

SAMPLES = ("background", "signal")


def draw() -> dict[str, np.ndarray]:
    """8000 background events N(40, 10) and 300 signal events N(50, 5) of NumPy's legacy generator, in this order."""
    generator = np.random.RandomState(0)
    return {"background": generator.normal(40, 10, 8000), "signal": generator.normal(50, 5, 300)}


def make_data(folder: Path) -> None:
    """Write the events, a ROOT file a sample."""
    folder.mkdir(parents=True, exist_ok=True)
    for sample, x in draw().items():
        with uproot.recreate(folder / f"{sample}.root") as file:
            file["Events"] = {"x": x}


def fileset(folder: Path) -> dict[str, Any]:
    """One dataset a sample."""
    return {sample: {"files": {str(folder / f"{sample}.root"): "Events"}} for sample in SAMPLES}


class Counting(DifferentiableProcessor):
    """Events that pass, in a single bin far wider than the data: the kernel loses none."""

    channels: ClassVar[Mapping[str, Any]] = {"passed": hist.axis.Regular(1, -100, 200, name="x")}

    def columns(self, events: Any) -> dict[str, Any]:
        return {"x": events.x}

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        yield Fill("passed", columns["x"], self.keep(params, columns["x"]), bandwidth=1.0)

    def keep(self, params: Any, x: Any) -> Any:
        """How much of each event passes."""
        raise NotImplementedError


class Threshold(Counting):
    """x above a cut; the soft cut is a logistic function, with the notebook's steepness 1 unless a width is given."""

    def keep(self, params: Any, x: Any) -> Any:
        return soft.above(x, params["cut"], width=params.get("width", 1.0))


class Window(Counting):
    """x between two cuts."""

    def keep(self, params: Any, x: Any) -> Any:
        return soft.between(x, params["low"], params["high"], width=params.get("width", 1.0))


def minus_significance(bound: Any) -> Any:
    """Minus √(2((S+B) ln(1+S/B) − S))."""
    return -objectives.counting_significance(bound)


SPEC = {
    "channels": [
        {
            "name": "passed",
            "samples": [
                {
                    "name": "signal",
                    "data": "signal",
                    "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                },
                {"name": "background", "data": "background", "modifiers": []},
            ],
        }
    ]
}

STEPS = 300
annealed = {
    "optimizer": optax.adam(optax.exponential_decay(0.02, STEPS, 0.03)),
    "steps": STEPS,
    "schedules": {"width": anneal(2.0, 0.02)},
}
cut = {"spec": SPEC, "objective": minus_significance, "bounds": {"cut": (30.0, 60.0)}}
window = {
    "spec": SPEC,
    "objective": minus_significance,
    "bounds": {"low": (30.0, 50.0), "high": (50.0, 80.0)},
}

analysis = Analysis(
    name="counting_cut",
    title="One cut for the significance of a counting experiment",
    fileset=fileset,
    schemaclass=BaseSchema,
    split=None,
    chunksize=1000,
    default_data=make_data,
    variants={
        "fixed-width": Variant(processor=Threshold(), params={"cut": 55.0}, optimizer="l-bfgs-b", steps=30, **cut),
        "annealed": Variant(processor=Threshold(), params={"cut": 55.0, "width": 2.0}, **annealed, **cut),
        "window": Variant(
            processor=Window(), params={"low": 40.0, "high": 70.0}, optimizer="l-bfgs-b", steps=30, **window
        ),
        "window-annealed": Variant(
            processor=Window(), params={"low": 40.0, "high": 70.0, "width": 2.0}, **annealed, **window
        ),
    },
)
