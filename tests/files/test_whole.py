"""A file is whole or it is not there, also on a full disk and without the right to write."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.disks import full_disk

from diffea import exchange
from diffea.errors import ExchangeError, FitError, OutputError
from diffea.files import whole
from diffea.optimise import optimise


def test_what_was_there_stays_when_the_disk_is_full(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("before")
    with (
        pytest.raises(OutputError, match=rf"could not write {path}: File too large.* room"),
        full_disk(1000),
        whole(path) as file,
    ):
        file.write(bytes(100_000))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("result.json", "before")]


def test_an_error_within_keeps_its_name(tmp_path: Path) -> None:
    msg = "no minimum"
    with pytest.raises(FitError, match=msg), whole(tmp_path / "f"):
        raise FitError(msg)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "x.json", Path("/proc/diffea/x.json"), tmp_path / ("x" * 300) / "y"):
        with pytest.raises(OutputError, match="could not write"), whole(path):
            pass


def test_a_run_on_a_disk_that_fills_up_says_so_and_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    run = functools.partial(
        optimise,
        lambda p: jnp.sum((p - 1.0) ** 2),
        np.zeros(3),
        optimizer=optax.adam(0.1),
        steps=40,
        checkpoint=tmp_path,
    )
    with pytest.raises(OutputError, match=r"step-000000\d\d.npz"), full_disk(7000):
        run()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 3
    assert all(name.startswith("step-") for name in names)
    whole_run = optimise(lambda p: jnp.sum((p - 1.0) ** 2), np.zeros(3), optimizer=optax.adam(0.1), steps=40)
    assert [step.loss for step in run(resume=True).history] == [step.loss for step in whole_run.history]


def test_exchange_into_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    from tests.test_exchange import TOY, toy

    with pytest.raises(OutputError, match=r"t\.npz"), full_disk(500):
        exchange.forward(toy, TOY, tmp_path / "t.npz")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ExchangeError, match=json.dumps(str(tmp_path / "t.npz"))[1:-1]):
        exchange.read(tmp_path / "t.npz")
