"""A processor whose class or object changes between two uses: values, gradients and hard templates are of one and the same."""

from __future__ import annotations

import importlib
import sys

import cloudpickle
import jax
import jax.numpy as jnp
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute
from diffea.errors import WorkerMismatchError
from diffea.processor import Fill
from diffea.runtime import Portable

MODULE = """
from tests.samples import Search
from diffea import Fill

FACTOR = {}

class Weighted(Search):
    def fill(self, params, columns):
        yield Fill("few", columns["met"] + params["shift"], FACTOR * columns["weight"])
"""


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module with a factor, and imports or reloads it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(factor):
        (tmp_path / "edited.py").write_text(MODULE.format(factor))
        importlib.invalidate_caches()
        known = sys.modules.get("edited")
        return importlib.reload(known) if known else importlib.import_module("edited")

    yield write
    sys.modules.pop("edited", None)


def total(templates, params):
    return jnp.sum(templates(params)["few", "bkg"].flow_values)


def sums(templates):
    value, _ = jax.value_and_grad(lambda params: total(templates, params))(PARAMS)
    hard = templates.hard(PARAMS)["few", "bkg"].flow_values.sum()
    return [float(total(templates, PARAMS)), float(value), float(hard)]


def test_an_edited_and_reloaded_module_is_another_processor(fileset, module) -> None:
    found = []
    for factor in (1.0, 10.0):
        with distribute(module(factor).Weighted(), fileset, schemaclass=QuietSchema) as templates:
            found.append(sums(templates))
    assert found[1] == pytest.approx([10.0 * value for value in found[0]], rel=1e-12)


def test_what_is_done_to_a_processor_later_is_for_its_next_use(fileset) -> None:
    class Weighted(Search):
        factor = 1.0

        def fill(self, params, columns):
            yield Fill("few", columns["met"] + params["shift"], self.factor * columns["weight"])

    processor = Weighted()
    processor.factor = 2.0
    with distribute(processor, fileset, schemaclass=QuietSchema) as templates:
        before = float(total(templates, PARAMS))
        processor.factor = 10.0
        assert sums(templates) == pytest.approx([before] * 3, rel=1e-12)


def test_a_worker_that_imported_another_text_is_refused(module) -> None:
    sent = cloudpickle.dumps(Portable(module(1.0).Weighted()))
    module(2.0)
    arrived = cloudpickle.loads(sent)
    Portable._loaded.pop(arrived.digest)  # as on a worker, to which it is new
    with pytest.raises(WorkerMismatchError, match="another text of edited"):
        _ = arrived.value


def test_the_same_imported_processor_is_the_same_everywhere(module) -> None:
    portable = Portable(module(1.0).Weighted())
    assert list(portable.sources) == ["edited", "tests.samples"]
    assert Portable(module(1.0).Weighted()).digest == portable.digest
    arrived = cloudpickle.loads(cloudpickle.dumps(portable))
    Portable._loaded.pop(arrived.digest)
    assert type(arrived.value).__module__ == "edited"
