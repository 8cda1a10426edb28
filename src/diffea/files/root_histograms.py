"""Histograms of one dimension in ROOT files, by uproot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffea.errors import HistogramError

Contents = tuple[np.ndarray, np.ndarray]


def read(path: Path) -> dict[str, Contents]:
    """Values and errors of all histograms in a file, by their path in it; without under- and overflow.

    Raises:
        OSError, ValueError: as uproot, if the file is not there or none of ROOT's.
    """
    import uproot

    with uproot.open(path) as file:
        names = [name for name, kind in file.classnames(cycle=False).items() if kind.startswith("TH1")]
        found = {name: file[name] for name in names}
        return {
            name: (np.asarray(item.values(), float), np.sqrt(np.maximum(item.variances(), 0.0)))
            for name, item in found.items()
        }


def write(path: Path, histograms: Mapping[str, Contents]) -> None:
    """Write histograms, with bins of width 1 from 0, of these values and errors.

    Raises:
        HistogramError: if values and errors of one differ in shape, or have not one dimension.
    """
    import hist
    import uproot

    with uproot.recreate(path) as file:
        for name, (values, errors) in histograms.items():
            if np.ndim(values) != 1 or np.shape(values) != np.shape(errors):
                msg = f"{name}: expected values and errors of one dimension, got shapes {np.shape(values)} and {np.shape(errors)}"
                raise HistogramError(msg)
            histogram = hist.Hist(hist.axis.Regular(len(values), 0, len(values)), storage=hist.storage.Weight())
            histogram.view()["value"], histogram.view()["variance"] = values, np.square(errors)
            file[name] = histogram
