"""What a user writes, with types: `mypy` checks it with the source (see pyproject.toml), strictly, so that diffea's types are usable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import hist
import optax

import diffea
from diffea import objectives, soft, statistics
from diffea.demo import DemoSchema
from diffea.types import Axis, Events, PyTree


class Search(diffea.DifferentiableProcessor):
    channels: ClassVar[Mapping[str, Axis]] = {"sr": hist.axis.Regular(4, 0, 200, name="met")}

    def columns(self, events: Events) -> dict[str, Any]:
        return {"met": events.MET.pt, "weight": events.genWeight}

    def fill(self, params: Mapping[str, PyTree], columns: Mapping[str, PyTree]) -> Iterator[diffea.Fill]:
        keep = soft.all_of(soft.above(columns["met"], params["met"], width=5.0))
        yield diffea.Fill("sr", columns["met"], columns["weight"] * keep)


def run(fileset: dict[str, Any], spec: dict[str, Any]) -> float:
    """Optimise a cut, and give the limit."""
    model = diffea.HistFactory(spec)
    split = diffea.Split(train=0.5)
    with diffea.distribute(Search(), fileset, schemaclass=DemoSchema, split=split) as templates:
        loss = diffea.Composite(templates, lambda T: objectives.upper_limit(model(T)))
        result = diffea.optimise(loss, {"met": 50.0}, optimizer=optax.adam(0.1), steps=5, bounds={"met": (0.0, 100.0)})
    losses: list[float] = [step.loss for step in result.history]
    final = diffea.evaluate(Search(), fileset, result.params, model, schemaclass=DemoSchema, split=split)
    limit: statistics.Limit = statistics.upper_limit(model(final.templates), band=True)
    above, _ = result.plot()
    above.set_title(f"{losses[-1]:.3f}, {float(limit.expected):.3f}")
    final.plot("sr").set_yscale("log")
    return final.limit
