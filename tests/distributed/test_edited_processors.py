"""Code that changes between two uses of a processor, or during one: values, gradients and hard templates are of one and the same."""

from __future__ import annotations

import functools
import gc
import importlib
import subprocess
import sys

import cloudpickle
import jax
import jax.numpy as jnp
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import portable
from diffea.distributed import distribute
from diffea.errors import FillError, WorkerMismatchError
from diffea.portable import Portable
from diffea.processor import Fill
from diffea.program import Program

MODULE = """
import {helper}
from tests.samples import Search
from diffea import Fill

class Weighted(Search):
    factor = 1.0

    def fill(self, params, columns):
        yield Fill("few", columns["met"] + params["shift"], self.factor * FACTOR * {helper}.FACTOR * columns["weight"])

FACTOR = 1.0
"""


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """A processor's module and its helper's, imported anew; and what writes and reloads them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(helper, own=MODULE):
        (tmp_path / "the_helper.py").write_text(helper)
        (tmp_path / "the_module.py").write_text(own.format(helper="the_helper"))
        importlib.invalidate_caches()
        for name in ("the_helper", "the_module"):
            importlib.reload(sys.modules[name]) if name in sys.modules else importlib.import_module(name)
        return sys.modules["the_module"], sys.modules["the_helper"]

    yield write
    for name in ("the_helper", "the_module"):
        sys.modules.pop(name, None)


def total(templates, params):
    return jnp.sum(templates(params)["few", "bkg"].flow_values)


def sums(templates):
    value, _ = jax.value_and_grad(lambda params: total(templates, params))(PARAMS)
    hard = templates.hard(PARAMS)["few", "bkg"].flow_values.sum()
    return [float(total(templates, PARAMS)), float(value), float(hard)]


def sums_of(processor, fileset):
    with distribute(processor, fileset, schemaclass=QuietSchema) as templates:
        return sums(templates)


def test_an_edited_and_reloaded_module_is_another_processor(fileset, modules) -> None:
    before = sums_of(modules("FACTOR = 1.0")[0].Weighted(), fileset)
    edited = sums_of(modules("FACTOR = 1.0", MODULE.replace("FACTOR = 1.0", "FACTOR = 10.0"))[0].Weighted(), fileset)
    assert edited == pytest.approx([10.0 * value for value in before], rel=1e-12)


def test_an_edited_and_reloaded_helper_makes_another_processor(fileset, modules) -> None:
    module, _ = modules("FACTOR = 1.0")
    before = sums_of(module.Weighted(), fileset)
    modules("FACTOR = 10.0")
    assert sums_of(module.Weighted(), fileset) == pytest.approx([10.0 * value for value in before], rel=1e-12)


@pytest.mark.parametrize("where", ["attribute", "global", "global of a helper"])
def test_what_is_set_between_two_uses_holds_for_the_second(fileset, modules, where) -> None:
    module, helper = modules("FACTOR = 1.0")
    before = sums_of(module.Weighted(), fileset)
    place, name = {
        "attribute": (module.Weighted, "factor"), "global": (module, "FACTOR"), "global of a helper": (helper, "FACTOR"),
    }[where]  # fmt: skip
    setattr(place, name, 10.0)
    assert sums_of(module.Weighted(), fileset) == pytest.approx([10.0 * value for value in before], rel=1e-12)


def test_what_is_set_during_a_use_holds_in_no_mode_of_it(fileset, modules) -> None:
    """Hard templates and gradients that are asked for later are of the code of which the first templates were."""
    module, helper = modules("FACTOR = 1.0")
    with distribute(module.Weighted(), fileset, schemaclass=QuietSchema) as templates:
        before = float(total(templates, PARAMS))
        module.Weighted.factor = module.FACTOR = helper.FACTOR = 10.0
        assert sums(templates)[:2] == pytest.approx([before] * 2, rel=1e-12)
        assert sums(templates)[2] == pytest.approx(before, rel=1e-9)


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


def test_a_worker_without_the_files_computes_with_what_the_driver_had(modules, tmp_path) -> None:
    """Class attributes, globals and helper modules travel as they are, to a process that cannot import them."""
    module, _ = modules("FACTOR = 2.0")
    module.Weighted.factor, module.FACTOR = 3.0, 5.0
    (tmp_path / "sent").write_bytes(cloudpickle.dumps(Portable(module.Weighted())))
    code = (
        "import sys, cloudpickle\n"
        f"weighted = cloudpickle.loads(open({str(tmp_path / 'sent')!r}, 'rb').read()).value\n"
        "assert 'the_module' not in sys.modules\n"
        "found = weighted.fill.__func__.__globals__\n"
        "print(weighted.factor, found['FACTOR'], found['the_helper'].FACTOR)\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".")
    assert made.stdout.split() == ["3.0", "5.0", "2.0"]


def test_a_worker_that_imported_another_text_of_what_cannot_travel_is_refused(modules) -> None:
    locked = "import threading\nLOCK = threading.Lock()\nFACTOR = 1.0"
    module, _ = modules(locked)
    sent = cloudpickle.dumps(Portable(module.Weighted()))
    gc.collect()
    same = cloudpickle.loads(sent)
    assert type(same.value) is module.Weighted
    del same
    gc.collect()
    modules(locked + " + 1.0")
    with pytest.raises(WorkerMismatchError, match="another text of the_helper"):
        _ = cloudpickle.loads(sent).value


def test_a_module_that_a_worker_lacks_is_named(modules) -> None:
    sent = cloudpickle.dumps(Portable(modules("import threading\nLOCK = threading.Lock()\nFACTOR = 1.0")[0].Weighted()))
    gc.collect()
    for name in ("the_helper", "the_module"):
        sys.modules.pop(name)
    sys.path.pop(0)
    importlib.invalidate_caches()
    with pytest.raises(WorkerMismatchError, match="No module named 'the_module'"):
        _ = cloudpickle.loads(sent).value


def test_what_arrives_twice_is_one_object_while_somebody_holds_it() -> None:
    sent = cloudpickle.dumps(Portable([1, 2]))
    gc.collect()
    first, second = (cloudpickle.loads(sent) for _ in range(2))
    assert first is second
    assert first.value is second.value
    token = first.token
    del first, second
    gc.collect()
    assert token not in portable._alive


def test_nothing_of_a_closed_distribute_is_left(fileset) -> None:
    def alive():
        gc.collect()
        return sum(isinstance(held, Program) for held in portable._alive.values())

    before = alive()
    with distribute(Search(), fileset, schemaclass=QuietSchema) as templates:
        jax.grad(functools.partial(total, templates))(PARAMS)
        assert alive() == before + 1
    del templates
    assert alive() == before


def test_a_processor_that_cannot_travel_is_named(fileset) -> None:
    processor = Search()
    processor.stream = sys.stdout.buffer
    with pytest.raises(FillError, match="Search cannot be copied to workers"):
        distribute(processor, fileset)
