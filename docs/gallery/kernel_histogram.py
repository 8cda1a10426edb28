"""A kernel histogram beside a plain one, and how its bins move when all events shift: what a plain one cannot tell."""

import jax
import matplotlib.pyplot as plt
import numpy as np

from diffea import histograms, soft

mass = np.random.default_rng(1).normal(91.0, 4.0, 400)
edges = np.linspace(78, 104, 14)


def shifted(shift):
    return histograms.histogram(mass + shift, edges, bandwidth=0.8)


figure, (counts, slopes) = plt.subplots(1, 2, figsize=(7.6, 2.8), layout="constrained")
counts.stairs(shifted(0.0), edges, label="kernels")
with soft.hard():
    counts.stairs(histograms.histogram(mass, edges), edges, color="k", linewidth=0.8, label="plain")
slopes.stairs(jax.jacfwd(shifted)(0.0), edges, label="derivative")
slopes.stairs((shifted(0.5) - shifted(-0.5)), edges, color="C1", linestyle="--", label="shift by ±0.5 GeV")
slopes.axhline(0.0, color="grey", linewidth=0.6)
counts.set(xlabel="mass [GeV]", ylabel="events")
slopes.set(xlabel="mass [GeV]", ylabel="change of events per GeV")
counts.legend(fontsize="small")
slopes.legend(fontsize="small")
