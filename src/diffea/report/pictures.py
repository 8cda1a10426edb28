"""Pictures: each within the page, and as files of its own with what is drawn in them."""

from __future__ import annotations

import base64
import dataclasses
import functools
import io
import json
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import mplhep
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from diffea.files import whole
from diffea.report.contents import Format
from diffea.report.ticks import join_minor_ticks
from diffea.run.numbers import numbers
from diffea.types import JSONDict, PyTree

DATES = {"svg": "Date", "pdf": "CreationDate", "png": "Creation Time"}
INK = "#222222"
STYLE: dict[str, object] = {
    "font.size": 9.0,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9.5,
    "axes.titley": 1.0,  # by default matplotlib lays out all ticks to see whether a title meets them
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.0,
    "legend.handlelength": 1.3,
    "legend.borderpad": 0.2,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "xtick.major.size": 5.0,
    "ytick.major.size": 5.0,
    "xtick.minor.size": 2.5,
    "ytick.minor.size": 2.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "axes.formatter.limits": (-4, 5),
    "axes.edgecolor": INK,
    "figure.constrained_layout.use": True,
    "savefig.bbox": None,
    "svg.fonttype": "path",
    "svg.hashsalt": "diffea",
}


def styled() -> AbstractContextManager[None]:
    """The style of all pictures."""
    return style.context([mplhep.style.ROOT, STYLE])


def small(height: float, left: float) -> tuple[Figure, Axes]:
    """One of many, of this height in inches, with some room on the left."""
    figure = Figure(figsize=(3.1, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((left, 0.46 / height, 0.95 - left, 1 - 0.56 / height))
    axes.minorticks_off()
    return figure, axes


def with_ratio(width: float, height: float) -> tuple[Figure, Axes, Axes]:
    """A figure of this size in inches, with a panel above and a ratio below."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    above = figure.add_axes((0.16, 0.34, 0.78, 0.6))
    bottom = 0.48 / height
    below = figure.add_axes((0.16, bottom, 0.78, 0.32 - bottom), sharex=above)
    # 1 is among the numbers, and none at the edge, where it would meet one of the panel above
    below.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], prune="both"))
    above.tick_params(labelbottom=False)
    return figure, above, below


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that is drawn; made within ``styled()``.

    Attributes:
        name: of its files.
        figure: what is drawn.
        alt: in words.
    """

    name: str
    figure: Figure
    alt: str

    @functools.cached_property
    def svg(self) -> bytes:
        """The picture for the page."""
        return self._written("svg")

    @property
    def src(self) -> str:
        """For a page that needs no other file."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg).decode()}"

    def save(self, folder: Path, formats: Sequence[Format]) -> None:
        """Write it in some formats, and the numbers that are drawn."""
        folder.mkdir(exist_ok=True)
        content = {"picture": self.alt, "panels": [drawn(axes) for axes in self.figure.axes]}
        files = {"json": json.dumps(content, indent=1).encode()}
        files |= {ending: self.svg if ending == "svg" else self._written(ending) for ending in formats}
        for ending, written in files.items():
            with whole(folder / f"{self.name}.{ending}") as opened:
                opened.write(written)

    def _written(self, ending: Format) -> bytes:
        try:
            return self._drawn(ending)
        except ValueError:  # of a text in which dollars begin no formula
            _as_they_are(self.figure)
            return self._drawn(ending)

    def _drawn(self, ending: Format) -> bytes:
        """Drawn once; ``savefig`` draws twice."""
        buffer = io.BytesIO()
        with styled():
            join_minor_ticks(self.figure)
            if ending == "svg":
                FigureCanvasSVG(self.figure).print_svg(buffer, metadata={DATES[ending]: None})
            else:
                self.figure.savefig(buffer, format=ending, metadata={DATES[ending]: None}, dpi=200)
        self.figure.set_layout_engine("none")  # it is laid out, and stays so
        return buffer.getvalue()


def _as_they_are(figure: Figure) -> None:
    """Let names in which dollars begin no formula stand as they are, rather than fail."""
    parser: PyTree = MathTextParser("path")
    for text in figure.findobj(Text):
        if "$" in text.get_text():
            try:
                parser.parse(text.get_text())
            except ValueError:
                text.set_text(text.get_text().replace("$", r"\$"))


def file_name(*parts: str) -> str:
    """Of a picture: words of letters and digits, with dashes between them."""
    return "-".join(filter(None, (re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-").lower() for part in parts)))


def drawn(axes: Axes) -> JSONDict:
    """The numbers that are drawn in a panel: lines, histograms and points with errors, each with its label."""
    bars = [found for found in axes.containers if isinstance(found, ErrorbarContainer)]
    inside = {id(line) for found in bars for line in (found.lines[0], *found.lines[1])}
    content: list[JSONDict] = [
        {"label": str(line.get_label()), "x": _numbers(line.get_xdata()), "y": _numbers(line.get_ydata())}
        for line in axes.lines
        if id(line) not in inside
    ]
    for patch in axes.patches:
        if isinstance(patch, StepPatch):
            values, edges, baseline = map(_numbers, patch.get_data())
            content.append({"label": str(patch.get_label()), "edges": edges, "values": values, "from": baseline})
    for bar in axes.containers:
        if isinstance(bar, BarContainer):
            places = [
                _numbers([part.get_x() + part.get_width() / 2, part.get_y() + part.get_height() / 2]) for part in bar
            ]
            sizes = [_numbers([part.get_width(), part.get_height()]) for part in bar]
            content.append({"label": str(bar.get_label()), "centres": places, "sizes": sizes})
    for found in bars:
        points: PyTree = found.lines[0]
        errors = [_numbers([_half(segment) for segment in part.get_segments()]) for part in found.lines[2]]
        x, y = _numbers(points.get_xdata()), _numbers(points.get_ydata())
        content.append({"label": str(found.get_label()), "x": x, "y": y, "errors": errors})
    content += [{"label": str(image.get_label()), "matrix": _numbers(image.get_array())} for image in axes.images]
    return {"title": axes.get_title("left"), "x": axes.get_xlabel(), "y": axes.get_ylabel(), "content": content}


def _half(segment: np.ndarray) -> float:
    """Half of the length of an error bar, of which matplotlib keeps no point where it is not finite."""
    return float(np.diff(segment, axis=0).sum()) / 2 if len(segment) == 2 else np.nan


def _numbers(values: object) -> object:
    return None if values is None else numbers(np.ma.filled(np.ma.asarray(values, float), np.nan))
