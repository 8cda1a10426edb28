"""coffea's own Runner on ``processor.at(params)``: the same templates and derivatives as ``distribute``."""

from __future__ import annotations

import gc

import cloudpickle
import coffea.processor
import jax.numpy as jnp
import numpy as np
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute
from diffea.errors import FillError, NotFiniteError
from diffea.processor import DifferentiableProcessor, Fill


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


def run(fileset, instance, executor=None):
    runner = coffea.processor.Runner(
        executor or coffea.processor.IterativeExecutor(status=False), schema=QuietSchema, chunksize=700
    )
    return runner(fileset, instance)


def test_templates_and_jacobian_are_those_of_distribute(fileset) -> None:
    found = run(fileset, Search().at(PARAMS, jacobian=True))
    with distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        expected, jacobian = templates(PARAMS), templates.jacobian(PARAMS)
    for dataset, sample in (("signal", "signal"), ("background", "bkg")):
        for key in found[dataset]["templates"]:
            assert key[1] == sample
            got, derivative = found[dataset]["templates"][key], found[dataset]["jacobian"][key]
            np.testing.assert_allclose(got.flow_values, expected[key].flow_values, rtol=1e-12, atol=1e-9)
            np.testing.assert_allclose(got.flow_variances, expected[key].flow_variances, rtol=1e-12, atol=1e-9)
            for name in PARAMS:
                np.testing.assert_allclose(derivative.values[name], jacobian[key].values[name], rtol=1e-9, atol=1e-9)


def test_hard_templates_are_those_of_distribute(fileset) -> None:
    found = run(fileset, Search().at(PARAMS, hard=True))
    total = found["signal"] + found["background"]
    with distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        for key, expected in templates.hard(PARAMS).items():
            np.testing.assert_allclose(total[key].flow_values, expected.flow_values, rtol=1e-12)


def test_without_parameters_the_runner_is_told_what_to_do() -> None:
    with pytest.raises(FillError, match=r"processor.at\(params\)"):
        Search().process(None)


class Undefined(Search):
    def fill(self, params, columns):
        yield Fill("few", columns["met"], jnp.log(columns["met"] - params["mt"]))


@pytest.mark.parametrize("how", [{}, {"jacobian": True}, {"hard": True}])
def test_what_is_not_finite_is_named(fileset, how) -> None:
    once = coffea.processor.IterativeExecutor(status=False, retries=0)
    named = r"NotFiniteError\(.dataset 'signal', file .*signal.root, entries from 0: .*Undefined.fill"
    with pytest.raises(Exception, match=named):
        run({"signal": fileset["signal"]}, Undefined().at(PARAMS, **how), once)


def test_what_is_not_finite_with_exact_cuts_is_named(fileset) -> None:
    with (
        distribute(Undefined(), fileset, schemaclass=QuietSchema) as templates,
        pytest.raises(NotFiniteError, match=r"dataset '(signal|background)', file .* 'mt': 45"),
    ):
        templates.hard(PARAMS)


def test_a_process_that_gets_the_processor_with_each_chunk_compiles_it_once(fileset) -> None:
    sent = cloudpickle.dumps(Search().at(PARAMS))
    gc.collect()
    tokens = []
    for _ in range(2):
        arrived = cloudpickle.loads(sent)
        run({"signal": fileset["signal"]}, arrived)
        tokens.append((id(arrived.program), arrived.program.compilations))
        del arrived
        gc.collect()
    assert tokens[0] == tokens[1]


def test_the_same_program_at_other_parameters(fileset) -> None:
    elsewhere = {name: value + 0.5 for name, value in PARAMS.items()}
    first = Search().at(PARAMS)
    run(fileset, first)
    compiled = first.program.compilations
    found, expected = run(fileset, first.at(elsewhere)), run(fileset, Search().at(elsewhere))
    assert first.program.compilations == compiled
    for dataset, templates in expected.items():
        np.testing.assert_array_equal(found[dataset].values_flat, templates.values_flat)


@pytest.mark.parametrize("missing", ["columns", "fill"])
def test_a_processor_without_one_of_its_halves_is_told_which(fileset, missing) -> None:
    half = type("Half", (Search,), {missing: getattr(DifferentiableProcessor, missing)})
    with pytest.raises(FillError, match=f"Half defines no `{missing}"):
        distribute(half(), fileset, schemaclass=QuietSchema)(PARAMS)
