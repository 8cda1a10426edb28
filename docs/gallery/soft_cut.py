"""A soft cut and its gradient: what a threshold moves, where a hard cut has no slope."""

import jax
import matplotlib.pyplot as plt
import numpy as np

from diffea import soft

pt, threshold = np.linspace(10, 50, 401), 30.0
figure, (passes, slopes) = plt.subplots(1, 2, figsize=(7.6, 2.8), layout="constrained")
for width in (1.0, 2.0, 4.0):
    passes.plot(pt, soft.above(pt, threshold, width=width), label=f"width {width:g} GeV")
    slope = jax.jacfwd(lambda cut, width=width: soft.above(pt, cut, width=width))(threshold)
    slopes.plot(pt, slope)
with soft.hard():
    passes.plot(pt, soft.above(pt, threshold, width=1.0), "k", linewidth=0.8, label="hard")
passes.set(xlabel="pT [GeV]", ylabel="above a threshold of 30 GeV")
slopes.set(xlabel="pT [GeV]", ylabel="derivative by it [1/GeV]")
passes.legend(fontsize="small")
