"""What the black boxes compete on: the cuts of htautau, of which 2, 4, 8 or all 18 are free; five of zprime; and the demo's six.

With two free cuts these are the borders of the categories in the momentum of the ττ system, with four also those of the dijet
category; with eight also the isolation and one cut on each of three variables, common to all categories. All others stay where
`analyses/htautau` starts. "Filled" are tasks whose objective is that of `analyses/htautau`, which asks for simulated events in every
bin. zprime's are those of its four categories, with the largest mass of an event's candidates.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from diffea import Analysis, Composite, Fill, Split, TemplateSet, distribute, objectives, soft
from diffea.analysis import Variant, load_analysis
from diffea.demo import analysis as demo
from diffea.distributed import Templates
from diffea.program import Program
from diffea.statistics.bound import BoundModel

HTAUTAU, ZPRIME = (load_analysis(Path(__file__).parent.parent / name) for name in ("htautau", "zprime"))
CUTS = HTAUTAU.variants["cuts"]
Cuts: Any = type(CUTS.processor)
BACKGROUNDS = sys.modules[Cuts.__module__].BACKGROUNDS
ZPRIME_CUTS = ZPRIME.variants["categories"]
ZPrimeCuts: Any = type(ZPRIME_CUTS.processor)
ZPRIME_BACKGROUNDS, ZPRIME_SYSTEMATICS = (
    getattr(sys.modules[ZPrimeCuts.__module__], name) for name in ("BACKGROUNDS", "SYSTEMATICS")
)
VARIATIONS = ("nominal", *(name for pair in ZPRIME_SYSTEMATICS.values() for name in pair))
CATEGORIES = ("vbf", "boosted", "medium", "low")
COMMON = ("pt_boosted", "pt_medium", "mjj", "jdeta", "iso_1", "btag")
OWN = ("mt_1", "pt_2", "m_collinear")
FREE = {
    2: COMMON[:2],
    4: COMMON[:4],
    8: (*COMMON[:5], *OWN),
    18: (*COMMON, *(f"{category}.{name}" for category in CATEGORIES for name in OWN)),
}


def complete(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `Cuts`, from the free ones."""
    found = {name: params.get(name, CUTS.params[name]) for name in COMMON}
    for category in CATEGORIES:
        start = CUTS.params[category]
        found[category] = {n: params.get(f"{category}.{n}", params.get(n, start[n])) for n in OWN}
    return found


class FewCuts(Cuts):
    """The categories of htautau, by some free cuts."""

    def regions(self, params: Any, x: Mapping[str, Any]) -> Any:
        yield from super().regions(complete(params), x)


class ZPrimeFewCuts(ZPrimeCuts):
    """The categories of zprime, by the cuts alone: an event's candidate is that of the largest mass."""

    def fill(self, params: Any, columns: Mapping[str, Any]) -> Iterator[Fill]:
        mass = soft.max(columns["mtt"])
        for channel, keep in self.regions(params, columns).items():
            for variation in VARIATIONS:
                yield Fill(channel, mass, keep * columns[f"weight {variation}"], variation=variation)


def _of(tree: Mapping[str, Any], name: str) -> Any:
    category, _, own = name.rpartition(".")
    return tree[category][own] if category else tree[name] if name in tree else tree[CATEGORIES[0]][name]


@dataclasses.dataclass(frozen=True)
class Task:
    """Something to optimise, and how it is judged.

    Attributes:
        name: of the task.
        variant: processor, start, bounds and objective.
        analysis: where its data are.
        backgrounds: whose sum is negative in no bin of an analysis.
    """

    name: str
    variant: Variant
    analysis: Analysis
    backgrounds: tuple[str, ...]
    program: Program

    @classmethod
    def of(cls, name: str) -> Task:
        """``"2"``, ``"4"``, ``"8"``, ``"18"`` (cuts of htautau) or ``"demo"``, the same ``" filled"``, or ``"zprime"``."""
        which, _, filled = name.partition(" ")
        objective = CUTS.objective if filled else objectives.upper_limit
        if which == "demo":
            variant = dataclasses.replace(demo.variants[""], objective=objective)
            return cls(name, variant, demo, ("ttbar", "wjets"), Program(variant.processor))
        if which == "zprime":
            free = sorted(set(ZPRIME_CUTS.params) - {"candidate", "softness"})
            params, bounds = ({key: tree[key] for key in free} for tree in (ZPRIME_CUTS.params, ZPRIME_CUTS.bounds))
            cuts = dataclasses.replace(
                ZPRIME_CUTS, processor=ZPrimeFewCuts(), params=params, bounds=bounds, schedules={}
            )
            return cls(name, cuts, ZPRIME, ZPRIME_BACKGROUNDS, Program(cuts.processor))
        free = FREE[int(which)]
        params, bounds = ({key: _of(tree, key) for key in free} for tree in (CUTS.params, CUTS.bounds))
        variant = dataclasses.replace(CUTS, processor=FewCuts(), params=params, bounds=bounds, objective=objective)
        return cls(name, variant, HTAUTAU, BACKGROUNDS, Program(variant.processor))

    def objective(self, templates: TemplateSet) -> jax.Array:
        """What is minimised; infinite where the background of a bin is negative, which is no analysis."""
        return self._of_analyses(self.variant.objective, templates)

    def limit(self, templates: TemplateSet) -> jax.Array:
        """The expected limit (zprime: its objective), likewise, by which points are judged on other events."""
        filled = self.variant.objective is CUTS.objective
        return self._of_analyses(objectives.upper_limit if filled else self.variant.objective, templates)

    def _of_analyses(self, objective: Callable[[BoundModel], jax.Array], templates: TemplateSet) -> jax.Array:
        channels = self.variant.processor.channels
        bins = [sum(templates[channel, name].values for name in self.backgrounds) for channel in channels]
        value = objective(self.variant.model(templates))
        return jnp.where(jnp.min(jnp.concatenate(bins)) < 0, jnp.inf, value)

    def loss(self, templates: Templates) -> Composite:
        return Composite(templates, self.objective)

    def read(self, data: Path, part: Any, seed: int) -> Templates:
        """The training or test half of a split."""
        return distribute(
            self.program,
            self.analysis.fileset(data),
            schemaclass=self.analysis.schemaclass,
            chunksize=self.analysis.chunksize,
            split=Split(train=0.5, seed=seed).of(part),
        )
