"""The table "pyhf against diffea" for the published ATLAS likelihood, as Markdown.

``python benchmarks/statistics_table.py [--data DIR]`` with the folder of the open data that has
``likelihoods/sbottom_A`` (HEPData ins1748602, region A).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyhf

from diffea import statistics

PATCHES = ("sbottom_1300_205_60", "sbottom_900_250_60", "sbottom_1000_131_1")


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Result and wall time in seconds."""
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - start


def again(function: Callable[[], Any]) -> tuple[Any, float]:
    """Result and time of a second call, when nothing is compiled any more."""
    function()
    return timed(function)


def rows(workspace: dict[str, Any], patch: list[Any]) -> Iterator[tuple[str, float, float, float, float]]:
    """(quantity, pyhf's value, diffea's value, pyhf's seconds, diffea's seconds)."""
    bound = statistics.HistFactory.from_workspace(workspace, patches=[patch])()
    judge = pyhf.Workspace(workspace).model(patches=[patch])
    data = np.asarray(bound.observed_data())

    free, seconds = again(lambda: statistics.fit(bound, data))
    (_, theirs), pyhf_seconds = timed(lambda: pyhf.infer.mle.fit(data, judge, return_fitted_val=True))
    value = -2 * float(bound.logpdf(free.pars, data))
    yield "−2 ln L, all parameters free", float(theirs), value, pyhf_seconds, seconds
    for poi in (0.0, 1.0):
        held, seconds = again(lambda poi=poi: statistics.fit(bound, data, poi=poi))
        (_, theirs), pyhf_seconds = timed(
            lambda poi=poi: pyhf.infer.mle.fixed_poi_fit(poi, data, judge, return_fitted_val=True)
        )
        value = -2 * float(bound.logpdf(held.pars, data))
        yield f"−2 ln L, μ = {poi:g}", float(theirs), value, pyhf_seconds, seconds

    mine, seconds = again(lambda: statistics.hypotest(bound, 1.0, data))
    (cls, band), pyhf_seconds = timed(lambda: pyhf.infer.hypotest(1.0, data, judge, return_expected_set=True))
    yield "CLs observed, μ = 1", float(cls), float(mine.cls), pyhf_seconds, seconds
    names = ("−2σ", "−1σ", "median", "+1σ", "+2σ")
    yield from [
        (f"CLs expected, {name}", float(a), float(b), pyhf_seconds, seconds)
        for name, a, b in zip(names, band, mine.band, strict=True)
    ]
    limit, seconds = again(lambda: statistics.upper_limit(bound, data=data, band=True))
    (observed, expected), pyhf_seconds = timed(lambda: pyhf.infer.intervals.upper_limits.upper_limit(data, judge))
    yield "upper limit observed", float(observed), float(limit.observed), pyhf_seconds, seconds
    yield from [
        (f"upper limit expected, {name}", float(a), float(b), pyhf_seconds, seconds)
        for name, a, b in zip(names, expected, limit.band, strict=True)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("DIFFEA_DATA", Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--patch", choices=PATCHES, default=PATCHES[0])
    arguments = parser.parse_args()
    folder = arguments.data / "likelihoods" / "sbottom_A"
    workspace = json.loads((folder / "BkgOnly.json").read_text())
    patch = json.loads((folder / f"patch.{arguments.patch}.json").read_text())
    print(f"`{arguments.patch}`, pyhf {pyhf.__version__} (NumPy, SciPy), jax {jax.__version__}\n")
    print("| quantity | pyhf | diffea | diffea − pyhf | pyhf [s] | diffea [s] |")
    print("|---|---|---|---|---|---|")
    for name, theirs, mine, pyhf_seconds, seconds in rows(workspace, patch):
        print(
            f"| {name} | {theirs:.8g} | {mine:.8g} | {mine - theirs:+.1e} | {pyhf_seconds:.2f} | {seconds:.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
