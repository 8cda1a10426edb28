"""The exported processor: the same hard histograms to the last bit, without diffea and JAX."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import ClassVar, NamedTuple

import awkward as ak
import hist
import numpy as np
import pytest

from diffea.analysis import load_analysis
from diffea.demo import analysis as demo
from diffea.demo import make_data
from diffea.errors import ExportError
from diffea.events.splits import Split, identity
from diffea.export import processors
from diffea.export.plain.processor import parts
from diffea.export.processors import write_processor
from diffea.processor import DifferentiableProcessor

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("DIFFEA_DATA", ROOT.parent / "shared" / "data"))
CUTS = {"muon_pt": 33.7, "muon_iso": 0.11, "jet_pt": 31.4, "met": 61.0, "mt": 57.0, "btag": 0.53}
ROUNDED = "cross_entropy"
"""A channel whose weights are logarithms, which NumPy and JAX round each in their way."""


def test_the_demo(tmp_path: Path, judged, run_it) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for folder in (data, out):
        folder.mkdir()
    make_data(data)
    result = judged(demo, "", data, [CUTS])
    write_processor(result, dataclasses.replace(demo, chunksize=30_001), out)
    number = len(result.templates)
    assert f"{number} of {number} histograms are those of diffea to the last bit" in run_it(out, data)


@pytest.mark.parametrize("fields", [("x",), ("x", "run", "luminosityBlock", "event")])
@pytest.mark.parametrize("split", [Split(train=0.3, validation=0.2, seed=7), Split(folds=3, seed=2**63)])
def test_events_are_divided_as_diffea_divides_them(fields: tuple[str, ...], split: Split) -> None:
    rng = np.random.default_rng(4)
    events = ak.zip({name: rng.integers(0, 2**40, 500) for name in fields})
    uuid, start = "6b17d1ee-e610-11f1-ae6e-02fc00000001", 1234
    known = identity(events, uuid, start)

    class Chunk:
        """What a processor sees of NanoEvents."""

        metadata: ClassVar = {"fileuuid": uuid, "entrystart": start}
        fields = events.fields

        def __len__(self) -> int:
            return len(events)

        def __getitem__(self, name: str):
            return events[name]

    low, high = split.of("test").interval
    stored = {"seed": split.seed, "folds": split.folds, "low": low, "high": high}
    found = list(parts(stored, Chunk()))
    assert len(found) == (split.folds or 1)
    for number, mask, scale in found:
        own = split.of("test") if split.folds is None else split.without(number).of("fold")
        np.testing.assert_array_equal(mask, own.mask(known))
        assert scale == own.scale


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
    printed = run_it(tmp_path, data).splitlines()[-1]
    exact = sum(not key.startswith(ROUNDED) for key in result.templates)
    assert int(printed.split(" of ")[0]) >= exact > 0
    assert float(printed.rsplit(" ", 1)[1]) < 1e-14
    if variant != "neural":
        assert exact == len(result.templates)


class Held(DifferentiableProcessor):
    """A processor that holds something, or learns edges."""

    channels: ClassVar = {"c": hist.axis.Regular(2, 0, 1, name="x")}

    def __init__(self, **held: object) -> None:
        vars(self).update(held)

    def edges(self, params):
        return {"c": np.array([0.0, params, 1.0])}


class Point(NamedTuple):
    """Parameters that are neither a dict nor a list."""

    x: np.ndarray


def test_what_has_no_text_is_refused() -> None:
    assert processors._settings(Held(lumi=3.5, names=["a", {"b": (1, None)}])) == [
        "Held.lumi = 3.5",
        "Held.names = ['a', {'b': (1, None)}]",
    ]
    with pytest.raises(ExportError, match="holds table = ndarray"):
        processors._settings(Held(table=np.zeros(2)))
    assert processors._json({"a": [np.array(1.5), np.zeros(2)]}) == {"a": [1.5, [0.0, 0.0]]}
    with pytest.raises(ExportError, match="dicts and lists of numbers and arrays, got Point"):
        processors._json({"a": Point(np.zeros(2))})
    assert processors._edges(Held(), [0.3, 0.3]) == {"c": [0.0, 0.3, 1.0]}
    with pytest.raises(ExportError, match="unlike bin edges"):
        processors._edges(Held(), [0.3, 0.4])
    with pytest.raises(ExportError, match="one part of the events only"):
        processors._split(Split(part="train"))
