"""Pulls and constraints of a fit: what the data say about what was uncertain."""

from diffea import HistFactory, statistics

scale = {"hi_data": [53.0, 44.0, 19.0], "lo_data": [67.0, 36.0, 11.0]}
samples = [
    {"name": "signal", "data": [3.0, 8.0, 6.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    {
        "name": "background",
        "data": [60.0, 40.0, 15.0],
        "modifiers": [
            {"name": "normalisation", "type": "normsys", "data": {"hi": 1.2, "lo": 0.8}},
            {"name": "energy scale", "type": "histosys", "data": scale},
            {
                "name": "tagging",
                "type": "histosys",
                "data": {"hi_data": [60.0, 41.0, 16.0], "lo_data": [60.0, 39.0, 14.0]},
            },
            {"name": "statistics", "type": "staterror", "data": [4.0, 3.0, 2.0]},
        ],
    },
]
bound = HistFactory({"channels": [{"name": "search", "samples": samples}]})()
data = [55.0, 47.0, 24.0, *bound.config.auxdata]

axes = statistics.plot_pulls(statistics.nuisances(bound, data))
figure = axes.figure
