"""Callbacks get each step with its parameters and yields; those of the documentation work as they stand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import optax
import pytest

import diffea
from diffea.optimise import Step
from diffea.run.training import Watch
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

PAGE = Path(__file__).parents[1] / "docs" / "results.md"


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    fileset = write_fileset(tmp_path_factory.mktemp("callbacks"))
    with diffea.distribute(Search(), fileset, schemaclass=QuietSchema) as held:
        yield held


def trained(templates, callback, **options):
    def loss(params):
        found = templates(params)
        return found["few", "bkg"].values.sum() / found["few", "signal"].values.sum()

    return diffea.optimise(loss, PARAMS, optimizer=optax.adam(0.1), steps=2, progress=callback, **options)


def expected_yields(templates, params):
    found = templates({name: params[name] for name in PARAMS})
    kept = [key for key in found if key[2] == "nominal"]
    return {
        f"{channel}/{sample}": float(np.sum(found.values_flat[found.layout.spans[channel, sample, "nominal"]]))
        for channel, sample, _ in kept
    }


@pytest.mark.parametrize("module", ["mlflow", "tensorboardX"])
def test_the_callbacks_of_the_documentation_work(templates, module, monkeypatch) -> None:
    logged: dict[int, dict[str, float]] = {}

    def note(values, step):
        logged.setdefault(step, {}).update(values)

    class SummaryWriter:
        def __init__(self, folder):
            assert folder == "runs/first"

        def add_scalar(self, name, value, step):
            note({name: value}, step)

    fake = ModuleType(module)
    fake.log_metrics = note
    fake.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, module, fake)
    (block,) = (
        text
        for text in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if module in text
    )
    assert len(block.splitlines()) <= 4
    names = {"templates": templates}
    exec(block, names)
    result = trained(templates, names["callback"])
    assert list(logged) == [1, 2]
    for step in result.history:
        values = logged[step.step]
        assert values["loss"] == step.loss
        assert {name: values[name] for name in PARAMS} == step.params
        expected = expected_yields(templates, step.params)
        assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert logged[1]["few/bkg"] != logged[2]["few/bkg"]


def test_steps_of_a_run_have_the_yields(templates) -> None:
    seen = []
    trained(templates, Watch(templates, None, seen.append, None))
    assert [step.step for step in seen] == [1, 2]
    for step in seen:
        assert dict(step.yields) == pytest.approx(expected_yields(templates, step.params), rel=1e-12)
    assert json.loads(json.dumps(dict(seen[0].yields)))["many/signal"] > 0


def test_yields_of_another_point_than_the_step_are_not_told(templates) -> None:
    seen = []
    watch = Watch(templates, None, seen.append, None)
    templates(PARAMS)
    watch(Step(step=1, steps=1, loss=0.0, gradient_norm=None, seconds=0.1, points=4))
    assert seen[0].yields == {}
