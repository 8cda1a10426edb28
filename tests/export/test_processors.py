"""The exported processor: the same hard histograms to the last bit, without diffea and JAX."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from diffea.analysis import load_analysis
from diffea.demo import analysis as demo
from diffea.demo import make_data
from diffea.export.processors import write_processor

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data"))
CUTS = {"muon_pt": 33.7, "muon_iso": 0.11, "jet_pt": 31.4, "met": 61.0, "mt": 57.0, "btag": 0.53}


def all_of_them(printed: str) -> bool:
    """Whether every histogram was the same to the last bit."""
    same, _, number = printed.splitlines()[-1].split()[:3]
    return int(same) == int(number) > 0


@pytest.mark.parametrize("chunksize", [25_000, 3_001])
def test_the_demo(tmp_path: Path, judged, run_it, chunksize: int) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make_data(data)
    result = judged(demo, "", data, [CUTS])
    out = tmp_path / "out"
    out.mkdir()
    write_processor(result, dataclasses.replace(demo, chunksize=chunksize), out)
    assert all_of_them(run_it(out, data))


OPEN = {
    ("htautau", "cuts"): lambda start, fold: {**start, "iso_1": 0.07 + 0.02 * fold, "mjj": 287.3},
    ("htautau", "neural"): lambda start, fold: start,
    ("zprime", "categories"): lambda start, fold: {
        **start,
        "mu_pt": 63.3 + fold,
        "candidate": np.array([0.1, 0.4, 0.2, 0.3]),
    },
}


@pytest.mark.parametrize(("name", "variant"), OPEN)
def test_open_data(tmp_path: Path, judged, run_it, name: str, variant: str) -> None:
    data = DATA / name
    if not data.is_dir():
        pytest.skip(f"needs open data in {data} (`diffea fetch {name}`, or DIFFEA_DATA)")
    analysis = load_analysis(ROOT / "analyses" / name)
    start = analysis.variants[variant].params
    params = [OPEN[name, variant](start, fold) for fold in range((analysis.split and analysis.split.folds) or 1)]
    result = judged(analysis, variant, data, params)
    write_processor(result, analysis, tmp_path)
    print(run_it(tmp_path, data))
    assert all_of_them(run_it(tmp_path, data))
