"""A scan of CLs with its expected band, and the limits that it crosses."""

from diffea import HistFactory, statistics

normalisation = {"name": "normalisation", "type": "normsys", "data": {"hi": 1.08, "lo": 0.92}}
samples = [
    {"name": "signal", "data": [3.0, 8.0, 6.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    {"name": "background", "data": [60.0, 40.0, 15.0], "modifiers": [normalisation]},
]
bound = HistFactory({"channels": [{"name": "search", "samples": samples}]})()
data = [64.0, 43.0, 17.0, *bound.config.auxdata]

axes = statistics.plot_limit_scan(statistics.limit_scan(bound, [0.2 * step for step in range(1, 16)], data))
figure = axes.figure
