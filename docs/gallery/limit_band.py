"""Expected limits for signals of several masses, with their bands: the picture that a search ends with."""

import matplotlib.pyplot as plt
import numpy as np

from diffea import HistFactory, statistics

centres = np.linspace(450, 1950, 16)
background = 3000 * np.exp(-centres / 300)
normalisation = {"name": "normalisation", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}


def limits(mass):
    """At −2, −1, 0, 1, 2 σ; models of one structure are compiled once."""
    signal = 20 * np.exp(-0.5 * ((centres - mass) / (0.08 * mass)) ** 2)
    samples = [
        {"name": "signal", "data": signal.tolist(), "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": background.tolist(), "modifiers": [normalisation]},
    ]
    bound = HistFactory({"channels": [{"name": "search", "samples": samples}]})()
    return statistics.upper_limit(bound, band=True).band


masses = np.linspace(600, 1800, 7)
lowest, low, median, high, highest = np.array([limits(mass) for mass in masses]).T
figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
axes.fill_between(masses, lowest, highest, color="#F5BB54", label="expected ±2 σ")
axes.fill_between(masses, low, high, color="#607641", label="expected ±1 σ")
axes.plot(masses, median, "k--", label="expected")
axes.set(xlabel="mass [GeV]", ylabel="95 % CL limit on μ", yscale="log")
axes.legend(fontsize="small")
