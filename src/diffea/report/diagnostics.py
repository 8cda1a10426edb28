"""Pictures of what a result rests on: the objective along each parameter, the bins that matter, nuisance parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffea.report.contents import Run, leaves, limits
from diffea.report.pictures import INK, Picture, file_name, small, styled
from diffea.report.plots import COLOURS, SIGNAL
from diffea.types import JSONMapping

LARGEST = 25  # parameters that are drawn
BLUE = COLOURS[0]


def paths(run: Run) -> Iterator[Picture]:
    """Each parameter at every step, between its bounds."""
    steps = [step for step in run.result["history"] if step.get("params")]
    known = dict(limits(run.result["params"]["before"], run.result["bounds"]))
    for number, name in enumerate(list(steps[0]["params"] if steps else ())[:LARGEST]):
        values = np.array([step["params"].get(name) for step in steps], float)
        sloped = np.array([step["gradient_norm"] is not None for step in steps], dtype=bool)
        places = np.array([step.get("step", place) for place, step in enumerate(steps)])
        with styled():
            figure, axes = small(2.0, 0.22)
            axes.plot(places[sloped], values[sloped], marker=".", color=BLUE, label="soft cuts")
            axes.plot(places[~sloped], values[~sloped], marker="s", ls="", color=COLOURS[1], label="exact cuts")
            if name in known and np.size(known[name][0]) == 1 and np.isfinite(known[name]).all():
                low, high = map(float, known[name])
                for bound in (low, high):
                    axes.axhline(bound, ls=":", color="#777777", linewidth=1.0, label="bound")
                axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            axes.set_xlabel("step")
            axes.set_ylabel(name)
            yield Picture(file_name("path", f"{number:02}", name), figure, f"{name} at every step, between its bounds")


def along(run: Run) -> Iterator[Picture]:
    """The objective with exact cuts along each parameter, with the start and the end of the optimisation."""
    first, last = (dict(leaves(run.result["params"][when])) for when in ("before", "after"))
    for number, (name, scan) in enumerate((run.result["along"] or {}).items()):
        values, losses = np.asarray(scan["values"], float), np.asarray(scan["losses"], float)
        with styled():
            figure, axes = small(2.1, 0.22)
            axes.plot(values, losses, marker="o", color=BLUE, label="objective, exact cuts")
            for when, found, form, colour in (("before", first, ":", "#777777"), ("after", last, "-", INK)):
                if name in found and found[name].size == 1:
                    axes.axvline(float(found[name].ravel()[0]), ls=form, color=colour, linewidth=1.2, label=when)
            axes.set_xlabel(name)
            axes.set_ylabel("objective")
            yield Picture(
                file_name("along", f"{number:02}", name), figure, f"The objective with exact cuts along {name}"
            )


def sensitivity(run: Run, channel: str, colours: Mapping[str, str]) -> Iterator[Picture]:
    """By how much the objective changes if a bin of a sample held as many events again."""
    known = {
        name.removeprefix(f"{channel}/"): np.ravel(np.asarray(entry["by_yield"], float))
        for name, entry in ((run.result["trust"] or {}).get("sensitivity") or {}).items()
        if name.startswith(f"{channel}/")
    }
    if not known:
        return
    with styled():
        figure = Figure(figsize=(7.6, 2.6))
        figure.set_layout_engine("none")
        axes = figure.add_axes((0.115, 0.2, 0.87, 0.75))
        bins = len(next(iter(known.values())))
        width = 0.8 / len(known)
        for number, (sample, changes) in enumerate(known.items()):
            places = np.arange(bins) + (number - (len(known) - 1) / 2) * width
            low, high = np.minimum(changes, 0.0), np.maximum(changes, 0.0)
            axes.bar(places, high + low, width, color=colours.get(sample, SIGNAL), label=sample)
        axes.axhline(0.0, color=INK, linewidth=0.7)
        axes.set_xticks(range(bins))
        axes.minorticks_off()
        axes.set_xlabel(f"bin of {channel}")
        axes.set_ylabel("change of the objective")
        axes.legend(loc="best", ncols=2)
        yield Picture(
            file_name("sensitivity", channel),
            figure,
            f"Where the sensitivity of {channel} comes from, by bin and sample",
        )


def parameters(fit: JSONMapping | None, poi: str) -> Iterator[Picture]:
    """Impacts and pulls, largest impact on top, and the correlations."""
    rows = [row for row in (fit or {}).get("parameters", []) if row["impact"]][:LARGEST]
    if rows:
        yield _ranking(rows, poi)
    names = (fit or {}).get("correlations", {}).get("parameters", [])[:LARGEST]
    if names and fit:
        yield _correlations(names, np.asarray(fit["correlations"]["matrix"], float)[: len(names), : len(names)])


def _ranking(rows: list[JSONMapping], poi: str) -> Picture:
    places = np.arange(len(rows))
    with styled():
        figure = Figure(figsize=(7.6, 0.9 + 0.24 * len(rows)))
        impacts, pulls = figure.subplots(1, 2, sharey=True)
        impacts.barh(places, [row["impact"] for row in rows], 0.7, color=BLUE)
        impacts.set_yticks(places, [row["name"] for row in rows])
        impacts.set_ylim(len(rows) - 0.5, -0.5)
        impacts.set_xlabel(f"impact on {poi}")
        impacts.minorticks_off()
        known = [place for place, row in zip(places, rows, strict=True) if row["constraint"] is not None]
        values, widths = ([rows[place][what] for place in known] for what in ("pull", "constraint"))
        pulls.axvspan(-1, 1, color="#e8e8e8")
        pulls.errorbar(values, known, xerr=widths, fmt="o", color=INK, label="pull")
        pulls.axvline(0.0, color=INK, linewidth=0.7, ls=":")
        reach = max(1.5, 1.1 * float(np.max(np.abs(values) + np.asarray(widths), initial=0.0)))
        pulls.set_xlim(-reach, reach)
        pulls.set_xlabel("pull and constraint")
        pulls.minorticks_off()
        return Picture("ranking", figure, f"Impact of each nuisance parameter on {poi}, its pull and constraint")


def _correlations(names: list[str], matrix: np.ndarray) -> Picture:
    size = 2.2 + 0.3 * len(names)
    with styled():
        figure = Figure(figsize=(size + 0.6, size))
        axes = figure.subplots()
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
        image.set_label("correlation")
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(which="both", length=0)
        axes.minorticks_off()
        figure.colorbar(image, ax=axes, label="correlation")
        return Picture("correlations", figure, "Correlations of the parameters after the fit")
