"""Code that only the driver has, and as the driver has it now: workers and scheduler, in processes of their own, cannot import it."""

from __future__ import annotations

import importlib
import sys

import jax
import numpy as np
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute
from diffea.errors import FileReadError, OptionError

HELPER = "SHIFT = 0.0\n"
MODULE = """
import only_here_too
from coffea.nanoevents import NanoAODSchema
from tests.samples import Search
from diffea import Fill

class Schema(NanoAODSchema):
    warn_missing_crossrefs = False

class Scaled(Search):
    scale = 1.0

    def fill(self, params, columns):
        yield Fill("few", columns["met"] + params["shift"] + only_here_too.SHIFT, self.scale * columns["weight"])
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "only_here_too.py").write_text(HELPER)
    (tmp_path / "only_here.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("only_here")
    for name in ("only_here", "only_here_too"):
        sys.modules.pop(name)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


def sums(templates):
    soft, slope = jax.value_and_grad(lambda params: templates(params)["few", "bkg"].values[2])(PARAMS)
    return np.array([soft, slope["shift"], templates.hard(PARAMS)["few", "bkg"].values[2]])


def test_processor_helper_and_schema_travel_as_they_are(client, fileset, module) -> None:
    with distribute(module.Scaled(), fileset, client=client, schemaclass=module.Schema) as remote:
        first = sums(remote)
    module.Scaled.scale = 10.0
    with (
        distribute(module.Scaled(), fileset, client=client, schemaclass=module.Schema) as remote,
        distribute(module.Scaled(), fileset, schemaclass=QuietSchema) as local,
    ):
        np.testing.assert_allclose(sums(remote), 10.0 * first, rtol=1e-12)
        np.testing.assert_array_equal(sums(remote), sums(local))
    sys.modules["only_here_too"].SHIFT = 200.0
    with distribute(module.Scaled(), fileset, client=client, schemaclass=module.Schema) as remote:
        np.testing.assert_allclose(sums(remote), 0.0, atol=1e-12)  # all events beyond the bin


def test_messages_of_the_users_client_are_hurried_only_while_templates_are_open(client, fileset) -> None:
    usual = client.scheduler_comm.interval
    first, second = (distribute(Search(), fileset, client=client, schemaclass=QuietSchema) for _ in range(2))
    assert client.scheduler_comm.interval < usual
    first.close()
    first.close()
    assert client.scheduler_comm.interval < usual
    second.close()
    assert client.scheduler_comm.interval == usual
    with pytest.raises(FileReadError):
        distribute(Search(), {"a": {"files": {"nowhere.root": "Events"}}}, client=client, schemaclass=QuietSchema)
    assert client.scheduler_comm.interval == usual


@pytest.mark.parametrize("given", ["tcp://127.0.0.1:8786", 3, object])
def test_what_is_no_client_is_named(fileset, given) -> None:
    with pytest.raises(OptionError, match=r"client is a dask\.distributed\.Client"):
        distribute(Search(), fileset, client=given, schemaclass=QuietSchema)


@pytest.mark.parametrize("given", ["NanoAODSchema", None, dict])
def test_what_is_no_schema_is_named(fileset, given) -> None:
    with pytest.raises(OptionError, match="schemaclass is a class of coffea"):
        distribute(Search(), fileset, schemaclass=given)
