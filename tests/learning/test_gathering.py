"""Events gathered into this process are those that templates are made of."""

from __future__ import annotations

import numpy as np
import pytest
from coffea.nanoevents import BaseSchema

from diffea import Split, distribute, learning
from tests.learning.scores import PARAMS, Scored, arrays, write


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data"))


def gathered(fileset, split=None, chunksize=400):
    return learning.gathered(Scored(), fileset, split=split, schemaclass=BaseSchema, chunksize=chunksize)


def test_all_events_are_there_in_the_order_of_the_files(fileset) -> None:
    found = gathered(fileset)
    assert {name: (part.sample, part.events, part.scale) for name, part in found.items()} == {
        name: (name, len(arrays(name)["x"]), 1.0) for name in fileset
    }
    for name, part in found.items():
        for column, expected in arrays(name).items():
            assert isinstance(part.columns[column], np.ndarray)
            np.testing.assert_array_equal(part.columns[column], expected)


def test_a_split_divides_them(fileset) -> None:
    split = Split(train=0.3, validation=0.2, seed=4)
    parts = [gathered(fileset, split.of(part)) for part in ("train", "validation", "test")]
    assert [part["top"].scale for part in parts] == pytest.approx([1 / 0.3, 1 / 0.2, 1 / 0.5])
    for name in fileset:
        together = np.concatenate([part[name].columns["x"] for part in parts])
        np.testing.assert_array_equal(np.sort(together), np.sort(arrays(name)["x"]))


def test_hard_templates_are_histograms_of_them(fileset) -> None:
    split = Split(train=0.4, seed=1)
    with distribute(Scored(), fileset, schemaclass=BaseSchema, split=split) as templates:
        hard = templates.hard(PARAMS)
    for name, part in gathered(fileset, split).items():
        x, y, weight = (part.columns[column] for column in ("x", "y", "weight"))
        score = 1 / (1 + np.exp(-PARAMS["slope"] * x - PARAMS["offset"]))
        keep = y > PARAMS["cut"]
        expected, _ = np.histogram(score[keep], np.linspace(0, 1, 6), weights=part.scale * weight[keep])
        np.testing.assert_allclose(hard["score", name].values, expected, rtol=1e-12)
