"""What a JAX callback raises comes out by its name, of the right thread, and is not kept."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading

import jax
import jax.numpy as jnp
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write

from diffea.distributed import distribute, storage
from diffea.errors import FitError, NotFiniteError
from diffea.optimise import optimise
from diffea.processor import Fill
from diffea.runtime import keep_error, named_errors


@keep_error
def fail(whose):
    raise FitError(whose)


def fail_elsewhere():
    with contextlib.suppress(FitError):
        fail("another's")


def fail_here_then_elsewhere():
    try:
        jax.pure_callback(lambda _: fail("one's own"), jax.ShapeDtypeStruct((), float), 1.0)
    finally:
        thread = threading.Thread(target=fail_elsewhere)
        thread.start()
        thread.join()


def test_the_error_of_another_thread_is_not_taken_for_ones_own() -> None:
    with pytest.raises(FitError, match="one's own"), named_errors():
        fail_here_then_elsewhere()


class Undefined(Search):
    def fill(self, params, columns):
        yield Fill("few", columns["met"], jnp.log(columns["met"] - params["mt"]))


def test_a_step_that_failed_keeps_no_columns(tmp_path, monkeypatch, caplog) -> None:
    caplog.set_level(logging.CRITICAL, "jax._src.callback")  # pytest keeps what JAX logs
    monkeypatch.setattr(storage, "_accounts", {})
    write(tmp_path / "some.root", 100, 0)
    with distribute(
        Undefined(), {"some": {"files": {str(tmp_path / "some.root"): "Events"}}}, schemaclass=QuietSchema
    ) as t:
        assert storage._worker()[0].held > 0
        with pytest.raises(NotFiniteError) as caught:
            optimise(lambda params: jnp.sum(t(params)["few", "some"].values), PARAMS, optimizer="l-bfgs-b", steps=1)
    del caught
    gc.collect()
    assert storage._worker()[0].held == 0
