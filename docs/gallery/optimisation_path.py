"""Two cuts on their way to the best significance, over what exact cuts give."""

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import diffea
from diffea import soft

random = np.random.default_rng(0)
signal = random.normal((55.0, 60.0), (14.0, 16.0), (2000, 2))
background = random.exponential((22.0, 26.0), (20_000, 2))


def significance(params):
    """Of a hundred signal and ten thousand background events, with 5 % uncertainty of the background."""

    def passes(events):
        cuts = [soft.above(events[:, place], params[name], width=3.0) for place, name in enumerate(("met", "mt"))]
        return soft.all_of(*cuts).mean()

    s, b = 100 * passes(signal), 10_000 * passes(background)
    return s / jnp.sqrt(b + (0.05 * b) ** 2 + 1.0)


result = diffea.optimise(
    lambda params: -significance(params), {"met": 10.0, "mt": 15.0}, optimizer=optax.adam(0.04), steps=40,
    bounds={"met": (0.0, 100.0), "mt": (0.0, 100.0)},
)  # fmt: skip
path = np.array([[step.params["met"], step.params["mt"]] for step in result.history])
scan = np.linspace(0, 100, 51)
with soft.hard():
    exact = [[significance({"met": met, "mt": mt}) for met in scan] for mt in scan]

figure, axes = plt.subplots(figsize=(5.0, 3.8), layout="constrained")
levels = axes.contourf(scan, scan, exact, levels=20, cmap="Blues")
figure.colorbar(levels, label="significance, exact cuts")
axes.plot(*path.T, "o-", color="C3", markersize=3, label="steps")
axes.plot(float(result.params["met"]), float(result.params["mt"]), "*", color="C1", markersize=13, label="found")
axes.set(xlabel="met threshold [GeV]", ylabel="mT threshold [GeV]")
axes.legend(fontsize="small")
