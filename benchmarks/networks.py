"""Networks trained by the limit against the same networks trained by cross-entropy, and against boosted trees. Prints JSON.

    pip install scikit-learn xgboost
    python benchmarks/networks.py --data FOLDER [--splits 10] [--first 0] [--out FILE] [--known FILE …]

All of them see the ten inputs of htautau's network and the training half of a split. Each score is then cut into five bins at quantiles of the
signal in the training half, of equal signal or each of half the signal of the one below, and its expected limit is computed by pyhf, from hard
cuts, on the other half. Trees are tuned by cross-validation within the training half. The network is that of analyses/htautau, and the mean of
ten of them; each is trained once for each kind of bins. `--known` tells splits of earlier runs, in place of running them.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import RandomizedSearchCV
from xgboost import XGBClassifier

import diffea
from diffea import Split, TemplateSet, learning, statistics
from diffea.analysis import load_analysis
from diffea.evaluate import Evaluation
from diffea.templates import Key, Layout

ANALYSIS = load_analysis(Path(__file__).parent.parent / "analyses" / "htautau")
NEURAL = ANALYSIS.variants["neural"]
HTAUTAU = sys.modules[type(NEURAL.processor).__module__]
BINS = {
    "equal": 5,
    "halving": (1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16),
}  # the share of the signal in each, from the lower end up
FINE = hist.axis.Regular(2000, 0, 1, name="score")
TRIED = 24  # settings of boosted trees
FOLDS = 3
SETTINGS = {
    "trees": {
        "learning_rate": [0.02, 0.05, 0.1, 0.2],
        "max_iter": [30, 60, 120, 250],
        "max_leaf_nodes": [4, 8, 16, 31],
        "min_samples_leaf": [10, 20, 50, 100],
        "l2_regularization": [0.0, 1.0, 10.0],
    },
    "xgboost": {
        "learning_rate": [0.02, 0.05, 0.1, 0.2],
        "n_estimators": [30, 60, 120, 250],
        "max_depth": [2, 3, 4, 6],
        "min_child_weight": [0.1, 1.0, 5.0],
        "subsample": [0.5, 0.8, 1.0],
        "reg_lambda": [1.0, 10.0],
    },
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How networks are trained: each by a cross-entropy of its own, and then the mean of their logits by the limit.

    Attributes:
        networks: how many, from other random weights.
        decay: of the weights in the first stage.
        steps: of the second stage.
    """

    networks: int
    decay: float
    steps: int

    @property
    def params(self) -> Any:
        """Weights to begin with, stacked."""
        each = [HTAUTAU.untrained(seed) for seed in range(1, 1 + self.networks)]
        return jax.tree.map(lambda *weights: np.stack(weights), *each)


# the first is that of analyses/htautau (both for filled bins, as its cuts); the second was chosen within training halves, see analyses/blackbox/README.md
RECIPES = {"one": Recipe(networks=1, decay=0.02, steps=36), "ten": Recipe(networks=10, decay=0.002, steps=60)}


def logits(params: Any, x: Mapping[str, Any]) -> jax.Array:
    """Of every network, shape (networks, events)."""
    return jax.vmap(HTAUTAU.network, in_axes=(0, None))(params, {name: x[name] for name in HTAUTAU.INPUTS})


class Network(HTAUTAU.Neural):  # type: ignore[name-defined]
    """The networks' output and the W region; bins of the score as they are told."""

    def __init__(self, score: Any) -> None:
        self.channels = {"score": score, "w_region": HTAUTAU.Neural.channels["w_region"]}

    def score(self, params: Any, x: Mapping[str, Any]) -> Any:
        return jax.nn.sigmoid(jnp.mean(logits(params, x), axis=0))

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        signal_region, w_region = self.selected(x)
        yield "score", self.score(params, x), signal_region
        yield "w_region", x["m_vis"], w_region


class CrossEntropies(HTAUTAU.Neural):  # type: ignore[name-defined]
    """What htautau's cross-entropy is made of, summed over the networks."""

    channels: ClassVar[dict[str, Any]] = {"cross_entropy": HTAUTAU.Neural.channels["cross_entropy"]}

    def regions(self, params: Any, x: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        (keep, _), each = self.selected(x), logits(params, x)
        for position, sign in enumerate((1, -1)):
            summed = jnp.sum(jax.nn.softplus(sign * each), axis=0)
            yield "cross_entropy", jnp.full_like(keep, position + 0.5), keep * summed
        yield "cross_entropy", jnp.full_like(keep, 2.5), keep


class Trees(Network):
    """The probability that boosted trees find, in place of the network's."""

    def __init__(self, score: Any, trees: Any) -> None:
        super().__init__(score)
        self.trees = trees

    def columns(self, events: Any) -> dict[str, Any]:
        columns = super().columns(events)
        for variation in HTAUTAU.TAU_ENERGY_SCALE:
            if f"m_vis {variation}" in columns:
                columns[f"trees {variation}"] = self.trees.predict_proba(inputs(columns, variation))[:, 1]
        return columns

    def score(self, params: Any, x: Mapping[str, Any]) -> Any:  # noqa: ARG002
        return x["trees"]


def inputs(columns: Mapping[str, Any], variation: str = "nominal") -> np.ndarray:
    """What all of them see, shape (events, inputs)."""
    found = [columns.get(f"{name} {variation}", columns.get(name)) for name in HTAUTAU.INPUTS]
    return np.stack([np.asarray(x, float) for x in found], axis=1)


def table(data: Path, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, whether signal, and weights of the training events in the signal region; both classes of the mean weight one.

    Trees take no negative weights: such events, of the multijet estimate, are left out.
    """
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    gathered = learning.gathered(
        NEURAL.processor, ANALYSIS.fileset(data), split=split, schemaclass=ANALYSIS.schemaclass
    )
    for part in gathered.values():
        x = part.columns
        region = (x["iso_1"] < 0.1) & (x["pt_2 nominal"] > 20.6) & (x["mt_1 nominal"] < 60.0)
        region &= (x["m_vis nominal"] > 20.0) & (x["m_vis nominal"] < 200.0)
        for name in (name for name in x if name.startswith("weight ")):
            weight, kept = x[name], region & (x[name] > 0)
            signal = part.sample in HTAUTAU.SIGNALS and name != "weight qcd"
            rows.append((inputs(x)[kept], np.full(kept.sum(), signal), weight[kept]))
    features, signal, weight = map(np.concatenate, zip(*rows, strict=True))
    for which in (signal, ~signal):
        weight[which] *= which.size / 2 / weight[which].sum()
    return features, signal, weight


def tuned(trees: Any, settings: Mapping[str, Any], events: tuple[np.ndarray, ...]) -> Any:
    """The best of some random settings by the logarithmic loss, cross-validated within the training events, fitted to all of them."""
    features, signal, weight = events
    search = RandomizedSearchCV(trees, settings, n_iter=TRIED, cv=FOLDS, scoring="neg_log_loss", random_state=0)
    return search.fit(features, signal, sample_weight=weight).best_estimator_


def read(processor: Any, data: Path, split: Split) -> Any:
    options = {"schemaclass": ANALYSIS.schemaclass, "chunksize": ANALYSIS.chunksize}
    return diffea.distribute(processor, ANALYSIS.fileset(data), split=split, **options)


def with_bins(templates: TemplateSet, edges: np.ndarray) -> TemplateSet:
    """The same templates with some of the edges of the fine axis of the score."""
    axes = {**templates.layout.axes, "score": (hist.axis.Variable(edges, name="score"),)}
    starts = [0, *(1 + np.searchsorted(FINE.edges, edges))]  # of each bin, those of overflow included

    def flat(key: Key, part: str) -> np.ndarray:
        values = np.asarray(getattr(templates[key], part))
        return np.add.reduceat(values, starts) if key[0] == "score" else values

    layout = Layout(axes, templates.layout.keys)
    return TemplateSet(
        layout,
        *(np.concatenate([flat(key, part) for key in layout.keys]) for part in ("flow_values", "flow_variances")),
    )


def edges_of(train: TemplateSet) -> dict[str, np.ndarray]:
    """Each kind of bins, by training events."""
    return {kind: learning.quantile_edges(train, "score", HTAUTAU.SIGNALS, bins=bins) for kind, bins in BINS.items()}


def limits(train: TemplateSet, test: TemplateSet, processor: Any) -> dict[str, dict[str, float]]:
    """The expected limit by pyhf on the half that was not trained on, for each kind of bins, from hard templates on the fine axis.

    Beside it, how many effective simulated events the emptiest bin has: a limit that rests on a few is a fluctuation.
    """
    found = {}
    for kind, edges in edges_of(train).items():
        final = learning.with_axis(processor, "score", hist.axis.Variable(edges, name="score"))
        judged = Evaluation(with_bins(test, edges), diffea.HistFactory(HTAUTAU.spec(final)), events={})
        fewest = statistics.effective_events(judged.model(judged.templates)).min()
        found[kind] = {"limit": judged.limit, "fewest events": float(fewest)}
    return found


def networks(data: Path, split: Split, recipe: Recipe) -> dict[str, Any]:
    """The networks by cross-entropy, and from there by the limit, of bins at quantiles of the signal after the first."""
    plain, optimizer = Network(FINE), optax.chain(optax.add_decayed_weights(recipe.decay), optax.adam(0.02))
    with read(CrossEntropies(), data, split) as templates:
        loss = diffea.Composite(templates, HTAUTAU.cross_entropy)
        start = diffea.optimise(loss, recipe.params, optimizer=optimizer, steps=NEURAL.pretraining.steps).params
    with read(plain, data, split) as train, read(plain, data, split.of("test")) as test:
        entropy = limits(train.hard(start), test.hard(start), plain)
        by_limit = {}
        for kind, edges in edges_of(train.hard(start)).items():
            binned = learning.with_axis(plain, "score", hist.axis.Variable(edges, name="score"))
            params = trained(binned, start, data, split, recipe.steps)
            by_limit[kind] = limits(train.hard(params), test.hard(params), plain)[kind]
    return {"cross-entropy": entropy, "limit": by_limit}


def trained(processor: Any, params: Any, data: Path, split: Split, steps: int) -> Any:
    """The networks by the limit of these bins, which are to hold simulated events."""
    model = diffea.HistFactory(HTAUTAU.spec(processor))
    with read(processor, data, split) as templates:
        loss = diffea.Composite(templates, lambda found: HTAUTAU.limit_of_filled_bins(model(found)))
        return diffea.optimise(loss, params, optimizer=NEURAL.optimizer, steps=steps).params


def boosted(data: Path, split: Split) -> dict[str, Any]:
    """scikit-learn's boosted trees as they are, and tuned; xgboost's tuned."""
    events = table(data, split)
    features, signal, weight = events
    trees = HistGradientBoostingClassifier(random_state=0, early_stopping=False)
    fitted = {
        "trees, default": copy.deepcopy(trees).fit(features, signal, sample_weight=weight),
        "trees, tuned": tuned(trees, SETTINGS["trees"], events),
        "xgboost, tuned": tuned(XGBClassifier(random_state=0, n_jobs=2), SETTINGS["xgboost"], events),
    }
    found = {}
    for name, one in fitted.items():
        processor = Trees(FINE, one)
        with read(processor, data, split) as train, read(processor, data, split.of("test")) as test:
            found[name] = limits(train.hard({}), test.hard({}), processor)
    return found


def paired(ratios: list[float]) -> dict[str, float]:
    """The mean of ratios over splits, its standard error, and the largest."""
    error = float(np.std(ratios, ddof=1) / np.sqrt(len(ratios))) if len(ratios) > 1 else float("nan")
    return {"mean": float(np.mean(ratios)), "error": error, "largest": float(np.max(ratios))}


def compared(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The limit of networks by the limit over those of all others, by kind of bins."""
    found: dict[str, Any] = {}
    for kind in BINS:
        of = [{name: limit[kind]["limit"] for name, limit in row["limits"].items()} for row in rows]
        for ours in (f"{recipe}, limit" for recipe in RECIPES):
            others = [name for name in of[0] if name != ours]
            ratios = {name: paired([one[ours] / one[name] for one in of]) for name in others}
            found.setdefault(kind, {})[f"{ours} over"] = ratios
        found[kind]["mean limit"] = {name: paired([one[name] for one in of]) for name in of[0]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the skimmed files of htautau")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="seed of the first split")
    parser.add_argument("--out", type=Path, help="also write it there, after every split")
    parser.add_argument(
        "--known", type=Path, nargs="*", default=[], help="files of earlier runs, whose splits are taken over"
    )
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    known = {row["seed"]: row for path in arguments.known for row in json.loads(path.read_text())["splits"]}
    rows: list[dict[str, Any]] = []
    for seed in range(arguments.first, arguments.first + arguments.splits):
        if seed not in known:
            split, began = Split(train=0.5, seed=seed), time.perf_counter()
            found = {
                f"{name}, {stage}": limit
                for name, recipe in RECIPES.items()
                for stage, limit in networks(arguments.data, split, recipe).items()
            } | boosted(arguments.data, split)
            known[seed] = {"seed": seed, "seconds": time.perf_counter() - began, "limits": found}
        rows.append(known[seed])
        report = json.dumps({"bins": compared(rows), "splits": rows}, indent=1)
        if arguments.out:
            arguments.out.write_text(report)
    print(report)


if __name__ == "__main__":
    main()
