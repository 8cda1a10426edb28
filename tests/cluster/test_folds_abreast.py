"""Folds side by side: the numbers of one after the other, where the workers have room; one that fails ends the others."""

from __future__ import annotations

import dataclasses
import logging
import threading
from typing import ClassVar

import hist
import jax
import numpy as np
import optax
import pytest
from tests.samples import QuietSchema, write

import diffea
from diffea import soft
from diffea.run.folds import Reader, Training


class Met(diffea.DifferentiableProcessor):
    """One cut."""

    channels: ClassVar = {"all": hist.axis.Regular(4, 0, 160, name="met")}

    def columns(self, events):
        return {"met": events.MET.pt}

    def fill(self, params, columns):
        yield diffea.Fill("all", columns["met"], soft.above(columns["met"], params["met"], width=5.0))


MODIFIERS = [{"name": "mu", "type": "normfactor", "data": None}]
SPEC = {
    "channels": [{"name": "all", "samples": [{"name": "signal", "data": "signal", "modifiers": MODIFIERS}]}],
    "measurements": [{"name": "search", "config": {"poi": "mu", "parameters": []}}],
}
VARIANT = diffea.Variant(
    processor=Met(), spec=SPEC, params={"met": 30.0}, optimizer=optax.adam(0.5), steps=3, limit=False,
    objective=lambda bound: -bound.expected_data(np.array([1.0]))[1],
)  # fmt: skip


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    data = tmp_path_factory.mktemp("data") / "signal.root"
    write(data, 900, 1)
    analysis = diffea.Analysis(
        name="s", title="", fileset=lambda _: {"signal": {"files": {str(data): "Events"}}}, variants={"": VARIANT},
        schemaclass=QuietSchema, chunksize=300, split=diffea.Split(folds=2), replicas=0,
    )  # fmt: skip

    def train(out, client, progress, *, memory="auto", steps=3):
        read = Reader(dataclasses.replace(analysis, memory=memory), out, client)
        return Training(VARIANT, read, out, steps, False, progress)(analysis.split.each)

    return train


def numbers(fold):
    """What is made of a fold, to the bit."""
    cuts = [fold.cuts[when].selection.left for when in ("before", "after")]
    judged = [(piece.soft, piece.train.templates, piece.test.templates) for piece in (fold.before, fold.after)]
    steps = [(step.loss, step.params) for step in fold.found.history]
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((fold.found.params, steps, judged, fold.gap, cuts))]


def test_side_by_side_has_the_numbers_of_one_after_the_other(train, client, tmp_path, caplog):
    caplog.set_level(logging.INFO, "diffea.run")
    threads, told, in_turn = {}, [], []

    def watch(step):
        threads.setdefault(step.fold, set()).add(threading.get_ident())
        told.append((step.fold, step.step))

    abreast = train(tmp_path / "abreast", client, watch)
    assert "training 2 folds side by side" in caplog.text
    assert sorted(told) == [(fold, step) for fold in range(2) for step in (1, 2, 3)]
    assert threading.get_ident() not in set().union(*threads.values())
    folders = (tmp_path / "abreast" / "checkpoint").glob("*/steps.jsonl")
    assert {path.parent.name: len(path.read_text().splitlines()) for path in folders} == {"fold-0": 3, "fold-1": 3}

    caplog.clear()
    after = train(tmp_path / "after", client, in_turn.append, memory=0)  # no room for any columns
    assert "training 2 folds one after the other" in caplog.text
    assert [step.fold for step in in_turn] == [0, 0, 0, 1, 1, 1]
    assert [numbers(fold) for fold in abreast] == [numbers(fold) for fold in after]
    assert numbers(after[0]) != numbers(after[1])


def test_one_that_fails_ends_the_others(train, client, tmp_path):
    told = []

    def fail(step):
        told.append((step.fold, step.step))
        if step.fold == 1:
            msg = "the second of two"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="the second of two"):
        train(tmp_path, client, fail, steps=5000)
    assert [step for fold, step in told if fold == 1] == [1]
    assert len(told) < 5000
    assert (tmp_path / "checkpoint" / "fold-1" / "steps.jsonl").is_file()
