"""The pictures of docs/operations.md, drawn by the docs build: `python docs/operations_pictures.py [FOLDER]` draws them alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import jax
import jax.numpy as jnp
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from diffea import Ragged, histograms, soft

FOLDER = Path(__file__).parent / "_static" / "generated"
JETS = Ragged.from_awkward(ak.Array([[92.0, 41.0, 33.0, 24.0]]))
THRESHOLDS = jnp.linspace(10.0, 110.0, 401)


def _both(axes: Any, x: Any, function: Callable[[], Any], label: str, **style: Any) -> None:
    """A soft curve, and its hard twin in thin lines of the same colour."""
    (line,) = axes.plot(x, function(), label=label, **style)
    with soft.hard():
        axes.plot(x, function(), color=line.get_color(), linewidth=0.8, alpha=0.6)


def cuts(axes: Any) -> None:
    x = np.linspace(10, 50, 401)
    for shape in ("sigmoid", "normal", "polynomial"):
        axes.plot(x, soft.above(x, 30.0, width=5.0 if shape == "polynomial" else 3.0, shape=shape), label=shape)
    with soft.hard():
        axes.plot(x, soft.above(x, 30.0, width=3.0), "k", linewidth=0.8, label="hard")
    axes.set(xlabel="x [GeV]", ylabel="above(x, 30)")


def combined(axes: Any) -> None:
    x = np.linspace(0, 100, 401)
    _both(axes, x, lambda: soft.between(x, 30.0, 60.0, width=3.0), "between")
    _both(axes, x, lambda: soft.outside(x, 30.0, 60.0, width=3.0), "outside")
    _both(axes, x, lambda: soft.any_of(soft.below(x, 10.0, width=3.0), soft.above(x, 80.0, width=3.0)), "any_of")
    axes.set(xlabel="x [GeV]")


def _scan(function: Callable[[Ragged], Any]) -> Any:
    """A function of the cut on the four jets, at each threshold."""

    def one(threshold: Any) -> Any:
        return function(soft.above(JETS, threshold, width=3.0))[0]

    return jax.vmap(one)(THRESHOLDS)


def counts(axes: Any) -> None:
    for n in (1, 2):
        _both(axes, THRESHOLDS, lambda n=n: _scan(lambda cut: soft.at_least(n, cut)), f"at_least({n})")
    _both(axes, THRESHOLDS, lambda: _scan(lambda cut: soft.exactly(1, cut)), "exactly(1)", linestyle="--")
    _both(axes, THRESHOLDS, lambda: _scan(lambda cut: soft.at_most(1, cut)), "at_most(1)", linestyle=":")
    axes.set(xlabel="jet threshold [GeV]", ylabel="probability")


def count(axes: Any) -> None:
    _both(axes, THRESHOLDS, lambda: _scan(soft.count), "count")
    axes.set(xlabel="jet threshold [GeV]", ylabel="jets")


def objects(axes: Any) -> None:
    _both(axes, THRESHOLDS, lambda: _scan(lambda cut: soft.sum(JETS, cut)), "sum")
    _both(axes, THRESHOLDS, lambda: _scan(lambda cut: soft.leading(1, JETS, cut)), "leading(1)")
    _both(axes, THRESHOLDS, lambda: _scan(lambda cut: soft.leading(2, JETS, cut)), "leading(2)")
    _both(axes, THRESHOLDS, lambda: _scan(lambda cut: soft.min(JETS, cut)), "min")
    axes.set(xlabel="jet threshold [GeV]", ylabel="GeV")


def pairs(axes: Any) -> None:
    random = np.random.default_rng(0)
    columns = [
        Ragged(random.normal(mean, spread, (4000, 3)), np.ones((4000, 3), bool))
        for mean, spread in ((60, 12), (0, 1), (0, 1.5))
    ]
    members = [soft.pairs(column) for column in columns]
    mass = soft.invariant_mass(*((*(m[side] for m in members), 0.0) for side in (0, 1)))
    edges = np.linspace(0, 200, 41)
    for name, x in (("every pair", mass), ("best", soft.leading(1, mass, by=-abs(mass - 80.4)))):
        axes.stairs(histograms.histogram(x, edges), edges, label=name)
    axes.set(xlabel="dijet mass [GeV]", ylabel="pairs")


def cleaning(axes: Any) -> None:
    distance = np.linspace(0, 1, 201)
    eta, zero = Ragged(distance[:, None], np.ones((201, 1), bool)), Ragged(np.zeros((201, 1)), np.ones((201, 1), bool))
    for width in (0.1, 0.03):
        _both(
            axes,
            distance,
            lambda width=width: soft.away_from(eta, zero, zero, zero, 0.4, width=width).where(0)[:, 0],
            f"width {width}",
        )
    axes.set(xlabel="ΔR to the nearest muon", ylabel="away_from(…, 0.4)")


def choices(axes: Any) -> None:
    logits = jnp.linspace(-4, 4, 201)
    for temperature in (1.0, 0.3):
        _both(
            axes,
            logits,
            lambda t=temperature: jax.vmap(
                lambda logit: soft.choice(jnp.stack([logit, 0.0]), jnp.array([0.9, 0.6]), temperature=t)
            )(logits),
            f"temperature {temperature}",
        )
    axes.set(xlabel="logit of the first option", ylabel="choice of 0.9 or 0.6")


def sorting(axes: Any) -> None:
    strengths = jnp.geomspace(0.3, 300, 101)
    ranks = jax.vmap(lambda s: soft.rank(JETS, strength=s).values[0])(strengths)
    for place, pt in enumerate(JETS.values[0]):
        axes.plot(strengths, ranks[:, place], label=f"{pt:.0f} GeV")
    axes.set(xscale="log", xlabel="strength [GeV]", ylabel="rank")


def sorted_values(axes: Any) -> None:
    strengths = jnp.geomspace(1e-3, 1.0, 101)
    values = jax.vmap(lambda s: soft.sort(JETS, strength=s).values[0])(strengths)
    for place in range(4):
        axes.plot(strengths, values[:, place], label=f"place {place + 1}")
    axes.set(xscale="log", xlabel="strength [1/GeV]", ylabel="sorted value [GeV]")


def kernels(axes: Any) -> None:
    edges = np.linspace(-4, 4, 201)
    for kernel in histograms.KERNELS:
        axes.stairs(histograms.histogram(np.zeros(1), edges, bandwidth=1.0, kernel=kernel) / 0.04, edges, label=kernel)
    axes.set(xlabel="(x − event) / bandwidth", ylabel="density")


def bandwidths(axes: Any) -> None:
    """Relative bias of the yield, and relative spread of the gradient, of one bin of a falling spectrum."""
    edges, shares, toys = np.linspace(0.0, 3.0, 16), np.geomspace(0.02, 2.0, 9), 40
    samples = np.random.default_rng(0).exponential(1.0, (toys, 2000))
    width = edges[1] - edges[0]
    exact = np.mean([np.histogram(x, edges)[0][5] for x in samples])
    bias, spread = [], []
    for share in shares:
        value = jax.jit(lambda shift, x, h=share * width: histograms.histogram(x + shift, edges, bandwidth=h)[5])
        found = [jax.value_and_grad(value)(0.0, x) for x in samples]
        yields, slopes = np.array(found).T
        bias.append(abs(np.mean(yields) / exact - 1))
        spread.append(np.std(slopes) / abs(np.mean(slopes)))
    axes.loglog(shares, bias, label="bias of the yield")
    axes.loglog(shares, spread, label="spread of its gradient")
    axes.axvline(0.5 / np.sqrt(7), color="grey", linewidth=0.8, label="default")
    axes.set(xlabel="bandwidth / bin width", ylabel="relative")


def reflection(axes: Any) -> None:
    x, edges = np.random.default_rng(0).beta(0.8, 2.0, 20000), np.linspace(0, 1, 26)
    for name, keywords in (("flow", {}), ("reflect", {"reflect": True})):
        axes.stairs(histograms.histogram(x, edges, bandwidth=0.05, **keywords), edges, label=name)
    axes.stairs(np.histogram(x, edges)[0], edges, color="k", linewidth=0.8, label="hard")
    axes.set(xlabel="x", ylabel="events")


def learnable_edges(axes: Any) -> None:
    x = np.random.default_rng(0).exponential(size=4000) / 8

    @jax.jit
    def descend(logits: Any) -> Any:
        def unequal(logits: Any) -> Any:
            edges = histograms.ordered_edges(logits, 0.0, 1.0)
            return jnp.sum((histograms.histogram(x, edges, bandwidth=0.01, reflect=True) / 4000 - 0.2) ** 2)

        return logits - 2.0 * jax.grad(unequal)(logits)

    logits, path = jnp.zeros(5), []
    for _ in range(250):
        path.append(histograms.ordered_edges(logits, 0.0, 1.0))
        logits = descend(logits)
    axes.plot(np.array(path)[:, 1:-1])
    for quantile in (0.2, 0.4, 0.6, 0.8):
        axes.axhline(
            np.quantile(x, quantile), color="grey", linewidth=0.6, label="quantiles" if quantile == 0.2 else None
        )
    axes.set(xlabel="step", ylabel="edges with equal shares")


def covariance(axes: Any) -> None:
    x, edges = np.random.default_rng(0).normal(0, 1, 5000), np.linspace(-3, 3, 13)
    matrix = np.asarray(histograms.covariance(x, edges, bandwidth=0.3))
    deviations = np.sqrt(np.diag(matrix))
    shown = matrix / np.outer(deviations, deviations)
    image = axes.imshow(shown, origin="lower", vmin=0, vmax=1, extent=(0.5, 12.5, 0.5, 12.5))
    axes.figure.colorbar(image, ax=axes, label="correlation")
    axes.set(xlabel="bin", ylabel="bin")


def scale_factors(axes: Any) -> None:
    factor = soft.ScaleFactor(("pt",), (np.array([20.0, 30.0, 50.0]),), np.array([0.90, 0.94, 0.98, 1.0]))
    pt = np.linspace(10, 70, 301)
    _both(axes, pt, lambda: factor(pt, width=1.5), "width 1.5 GeV")
    axes.set(xlabel="pT [GeV]", ylabel="scale factor")


def reweighting(axes: Any) -> None:
    x, edges = np.random.default_rng(0).normal(35.0, 10.0, 20000), np.linspace(0, 80, 33)
    for mean in (35.0, 38.0, 32.0):
        weights = soft.reweight(lambda x, mean: -0.5 * ((x - mean) / 10) ** 2, x, mean, 35.0)
        axes.stairs(histograms.histogram(x, edges, weights), edges, label=f"mean {mean:.0f} GeV")
    axes.set(xlabel="x [GeV]", ylabel="events")


def categories(axes: Any) -> None:
    random = np.random.default_rng(0)
    pt = Ragged(random.exponential(25.0, (5000, 6)) + 10.0, random.random((5000, 6)) < 0.6)

    def numbers() -> Any:
        jet = soft.above(pt, 30.0, width=6.0)
        shares = jnp.stack([soft.exactly(n, jet) for n in range(5)], axis=1)
        return histograms.histogram(shares, histograms.Categories(tuple(range(5))))

    axes.stairs(numbers(), np.arange(6) - 0.5, label="soft")
    with soft.hard():
        axes.stairs(numbers(), np.arange(6) - 0.5, color="k", linewidth=0.8, label="hard")
    axes.set(xlabel="jets above 30 GeV", ylabel="events")


def two_axes(axes: Any) -> None:
    x, y = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 5000).T
    edges = np.linspace(-3, 3, 21)
    counts = histograms.histogram((x, y), (edges, edges), bandwidth=(0.2, 0.2))
    axes.figure.colorbar(axes.pcolormesh(edges, edges, np.asarray(counts).T), ax=axes, label="events")
    axes.set(xlabel="first observable", ylabel="second observable", aspect="equal")


def variations(axes: Any) -> None:
    tau_pt, edges = np.random.default_rng(0).gamma(4.0, 12.0, 20000), np.linspace(0, 150, 31)
    for name, scale in (("nominal", 1.0), ("tes_up", 1.03), ("tes_down", 0.97)):
        shifted = tau_pt * scale
        kept = soft.above(shifted, 30.0, width=2.0)
        axes.stairs(histograms.histogram(shifted, edges, kept), edges, label=name)
    axes.set(xlabel="pT of the τ [GeV]", ylabel="events")


PICTURES = (
    cuts, combined, counts, count, objects, pairs, cleaning, choices, sorting, sorted_values, scale_factors, reweighting,
    kernels, bandwidths, two_axes, reflection, learnable_edges, categories, covariance, variations,
)  # fmt: skip


def main(folder: Path) -> None:
    """Draw all of them."""
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        figure, axes = plt.subplots(figsize=(5.2, 2.9), layout="constrained")
        picture(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
        figure.savefig(folder / f"{picture.__name__}.png", dpi=90, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
