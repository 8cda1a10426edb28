"""Digests: an analysis that changed is another one, in every process alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import hist
import numpy as np
import pytest

import diffea
from diffea import learning, objectives
from diffea.analysis import Analysis, Variant
from diffea.run.digests import digest_of, said
from tests.samples import PARAMS, Search


class Pair(NamedTuple):
    """A named tuple."""

    first: int
    second: None


def digest(**held: object) -> str:
    processor = Search()
    vars(processor).update(held)
    variant = Variant(processor=processor, spec={"channels": []}, params=PARAMS, objective=objectives.cls)
    return digest_of(Analysis(name="a", title="", fileset=dict, variants={"": variant}), variant)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (3.5, 3.6),
        ([1, {"a": np.zeros(3)}], [1, {"a": np.array([0.0, 0.0, 1e-300])}]),
        (np.zeros(2, np.float32), np.zeros(2)),
        (
            learning.Standardised({"x": None, "y": np.log1p}, np.zeros(2), np.ones(2)),
            learning.Standardised({"x": None, "y": np.sqrt}, np.zeros(2), np.ones(2)),
        ),
        (diffea.Split, diffea.Fill),
        ({"x": hist.axis.Regular(3, 0, 1, name="x")}, {"x": hist.axis.Regular(4, 0, 1, name="x")}),
    ],
)
def test_what_a_processor_holds_is_part_of_it(one: object, other: object) -> None:
    assert digest() != digest(held=one) == digest(held=one) != digest(held=other)


def test_nothing_of_a_digest_is_of_one_process_only() -> None:
    code = "import json; from tests.test_digests import held; from diffea.run.digests import said; print(json.dumps(said(held())))"
    root = Path(__file__).parents[1]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (root, Path(diffea.__file__).parents[1])))}
    there = subprocess.check_output([sys.executable, "-c", code], text=True, env={**os.environ, **paths})
    assert json.loads(there) == json.loads(json.dumps(said(held())))
    assert " at 0x" not in there
    assert said({"a": 1}) != said({"a": 1.0})


def held() -> dict:
    """A bit of everything."""
    return {
        "sets": {"b", "a", "c"},
        "function": held,
        "class": Search,
        "lambda": lambda x: x,
        "object": hist.axis.Regular(3, 0, 1, name="x"),
        "pair": Pair(1, None),
        "array": np.array(["a", None], object),
    }
