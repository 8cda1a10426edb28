"""Workers die in every phase, files stay bad: nothing is lost, nothing is counted twice, and the bits stay the same."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import uproot
from coffea.nanoevents.mapping import UprootSourceMapping
from distributed import Client, LocalCluster
from tests.conftest import ROOT
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import errors
from diffea.distributed import distribute as distribute_nano
from diffea.distributed import keeping
from diffea.optimise import optimise

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=700)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        within(60, lambda: len(processes(client)) == 2)  # the last test may have killed some
        yield client


def within(seconds, condition):
    """Wait until a condition holds; an error if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def processes(client):
    """The process of each worker; none while the scheduler still counts on one that died."""
    try:
        return client.run(os.getpid)
    except OSError:
        return {}


def loss(templates, params):
    return sum(jnp.sum(jnp.sqrt(50.0 + t.values)) for t in templates(params).values())


def kill(client, number=0):
    """SIGKILL one worker process, unless it is the only one; its nanny starts another."""
    found = sorted(processes(client).items())
    if len(found) > 1:
        os.kill(found[number % len(found)][1], signal.SIGKILL)
    return len(found) > 1


class Dies(Search):
    """Kills its worker when it comes to the phase that the marker names, and removes the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def die(self, phase):
        if threading.current_thread() is threading.main_thread() or not self.marker.exists():
            return
        if self.marker.read_text() == phase:
            self.marker.unlink()
            os._exit(1)

    def columns(self, events):
        self.die("read")
        return super().columns(events)

    def fill(self, params, columns):
        jax.debug.callback(functools.partial(self.die, "pass"))
        yield from super().fill(params, columns)


def die_in_reduction(die):
    """To be run on workers: the tasks that add up sums there call ``die`` first."""
    from diffea.distributed import reduction

    reduce = reduction.reduce

    def dying(partials):
        die("reduce")
        return reduce(partials)

    reduction.reduce = dying


@pytest.fixture(scope="module")
def expected(fileset):
    """Value and gradient in one process, in two passes."""
    with distribute(Search(), fileset, gradient="vjp") as templates:
        return jax.value_and_grad(functools.partial(loss, templates))(PARAMS)


@pytest.fixture(scope="module")
def dies(tmp_path_factory):
    """One processor for all phases, so that workers compile it once."""
    return Dies(tmp_path_factory.mktemp("marker") / "marker")


def assert_same_bits(got, expected) -> None:
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["read", "pass one", "between the passes", "pass two", "reduce"])
def test_a_worker_that_dies_in_a_phase_costs_nothing(fileset, client, dies, expected, phase) -> None:
    if phase == "reduce":
        client.run(die_in_reduction, dies.die)
    if phase in ("read", "pass one", "reduce"):
        dies.marker.write_text(phase.split()[0])
    before = processes(client)
    with distribute(dies, fileset, client=client, gradient="vjp") as templates:
        value, pull = jax.vjp(functools.partial(loss, templates), PARAMS)
        assert not dies.marker.exists()
        if phase == "pass two":
            dies.marker.write_text("pass")
        if phase == "between the passes":
            assert kill(client)
        got = value, *pull(jnp.ones(()))
    assert not dies.marker.exists()
    within(60, lambda: (now := processes(client)) and set(now.values()) != set(before.values()))
    assert_same_bits(got, expected)


@pytest.mark.slow
def test_a_worker_that_dies_in_a_step_past_the_scheduler_costs_nothing(
    fileset, client, dies, expected, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(keeping, "KEEP", 600.0)  # however slow the machine
    before = processes(client)
    with distribute(dies, fileset, client=client, gradient="vjp") as templates:
        step = jax.value_and_grad(functools.partial(loss, templates))
        for _ in range(3):
            step(PARAMS)
        dies.marker.write_text("pass")
        with caplog.at_level("INFO", "diffea.distributed"):
            got = step(PARAMS)
    assert not dies.marker.exists()
    assert "to a step past the scheduler" in caplog.text
    within(60, lambda: (now := processes(client)) and set(now.values()) != set(before.values()))
    assert_same_bits(got, expected)


@pytest.mark.slow
def test_a_worker_killed_every_second_through_an_optimisation_leaves_the_same_bits(fileset, client) -> None:
    run = functools.partial(
        optimise,
        params=PARAMS,
        optimizer=optax.adam(0.02),
        steps=12,
        bounds={"mt": (10.0, 90.0), "jet_pt": (20.0, 60.0)},
    )
    with distribute(Search(), fileset) as templates:
        expected = run(functools.partial(loss, templates))
    over, kills = threading.Event(), []

    def chaos():
        while not over.wait(1.0):
            with contextlib.suppress(Exception):  # the worker died while it was asked, of which dask makes many errors
                if kill(client, len(kills)):
                    kills.append(time.monotonic())

    def wait(step):  # however fast the steps, and however slowly workers start again
        time.sleep(0.2)
        within(120, lambda: len(kills) >= step.step // 4)

    thread = threading.Thread(target=chaos)
    with distribute(Search(), fileset, client=client) as templates:
        thread.start()
        try:
            got = run(functools.partial(loss, templates), progress=wait)
        finally:
            over.set()
            thread.join()
    assert len(kills) >= 3
    assert_same_bits(got.params, expected.params)


DRIVER = """
import os, sys, time
from pathlib import Path
import numpy as np, optax
from distributed import Client
from tests.cluster.test_faults import distribute, loss
from tests.conftest import ROOT
from tests.samples import PARAMS, Search
from diffea import files
from diffea.optimise import optimise

if __name__ == "__main__":
    address, data, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    fileset = {"signal": {"files": {str(data / "signal.root"): "Events"}}}
    files.os.fsync = lambda file: time.sleep(0.5)  # a slow disk
    with Client(address) as client, distribute(Search(), fileset, client=client) as templates:
        (out / "started").touch()
        found = optimise(
            lambda params: loss(templates, params), PARAMS, optimizer=optax.adam(0.02), steps=6, checkpoint=out, resume=True
        )
    np.savez(out / "result.npz", **found.params)
"""


@pytest.mark.slow
def test_a_driver_killed_at_any_instant_goes_on_to_the_same_bits(fileset, client, tmp_path) -> None:
    (data,) = fileset["signal"]["files"]
    command = [sys.executable, "-c", DRIVER, client.scheduler.address, str(Path(data).parent), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    instants = [
        lambda: (tmp_path / "started").exists(),  # before the first checkpoint
        lambda: (tmp_path / "step-00000001.npz").exists(),  # between two
        lambda: (tmp_path / "step-00000002.npz").exists() and leftovers(tmp_path),  # while one is written
    ]
    for instant in instants:
        for left in leftovers(tmp_path):
            left.unlink()
        driver = subprocess.Popen(command, env=environment)
        while not instant():
            assert driver.poll() is None
            time.sleep(0.02)
        driver.kill()
        driver.wait()
    assert leftovers(tmp_path)
    subprocess.run(command, env=environment, check=True)
    with distribute(Search(), {"signal": fileset["signal"]}) as templates:
        expected = optimise(functools.partial(loss, templates), PARAMS, optimizer=optax.adam(0.02), steps=6)
    with np.load(tmp_path / "result.npz") as found:
        assert_same_bits(dict(found), expected.params)
    assert not leftovers(tmp_path)


def leftovers(folder):
    """Checkpoints of which the writing broke off."""
    return list(folder.glob(".writing-*"))


def test_bad_files_are_left_out_of_value_and_gradient_on_request(fileset, expected, tmp_path) -> None:
    (tmp_path / "garbage.root").write_bytes(b"no ROOT file at all")
    bad = {**fileset, "background": {**fileset["background"], "files": {**fileset["background"]["files"]}}}
    bad["background"]["files"][str(tmp_path / "garbage.root")] = "Events"
    with pytest.raises(errors.FileReadError, match=r"garbage\.root"):
        distribute(Search(), bad)
    with distribute(Search(), bad, on_bad_file="skip", gradient="vjp") as templates:
        (skipped,) = templates.ledger.skipped
        assert skipped.file.endswith("garbage.root")
        assert templates.ledger.lost == {"background": pytest.approx(1 / 3)}  # one file of three
        got = jax.value_and_grad(functools.partial(loss, templates))(PARAMS)
    assert_same_bits(got, expected)


def test_a_passing_read_error_is_tried_again(fileset, monkeypatch) -> None:
    read, failed = UprootSourceMapping.extract_column, []

    def fail_at_first(self, *arguments, **keywords):
        if len(failed) < 2:
            failed.append(arguments)
            msg = "passing"
            raise OSError(msg)
        return read(self, *arguments, **keywords)

    monkeypatch.setattr(UprootSourceMapping, "extract_column", fail_at_first)
    with distribute(Search(), fileset) as templates:
        assert len(failed) == 2
        assert not templates.ledger.skipped
        assert sum(templates.events.values()) == 5100


@pytest.fixture
def damaged(tmp_path):
    """A fileset of which one file opens, but a basket of it cannot be decompressed."""
    fileset = write_fileset(tmp_path)
    path = tmp_path / "background_1.root"
    with uproot.open(path) as file:
        branch = file["Events"]["MET_pt"]
        start, length = (int(branch.member(name)[0]) for name in ("fBasketSeek", "fBasketBytes"))
    content = bytearray(path.read_bytes())
    content[start + 90 : start + length : 3] = bytes(len(range(start + 90, start + length, 3)))
    path.write_bytes(content)
    return fileset


def test_a_damaged_basket_is_named(damaged) -> None:
    with pytest.raises(
        errors.FileReadError, match=r"background_1\.root, entries 0–850: reading a branch failed: error"
    ):
        distribute(Search(), damaged)


def test_an_error_of_the_users_own_is_not_one_of_reading(fileset, tmp_path) -> None:
    class Corrected(Search):
        def columns(self, events):
            with (tmp_path / "scale_factors.json").open():
                return super().columns(events)

    with pytest.raises(FileNotFoundError, match=r"scale_factors\.json") as caught:
        distribute(Corrected(), fileset, on_bad_file="skip")
    assert not isinstance(caught.value, errors.FileReadError)
    assert re.search("in `columns`, reading dataset '(signal|background)'", "".join(caught.value.__notes__))


def test_a_chunk_that_stays_bad_is_skipped_with_its_number_of_entries(damaged) -> None:
    with distribute(Search(), damaged, on_bad_file="skip") as templates:
        assert sum(entry.entries for entry in templates.ledger.skipped) == 1700
        assert templates.ledger.lost == {"background": pytest.approx(1700 / 4200)}
        assert templates.events == {"signal": 900, "background": 2500}
        assert np.isfinite(templates(PARAMS)["few", "bkg"].values).all()


def test_a_lost_scheduler_is_named(fileset, monkeypatch) -> None:
    monkeypatch.setenv("NPROC", "1")
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        client = Client(cluster)
        templates = distribute(Search(), fileset, client=client)
        templates(PARAMS)
        client.close()
    with pytest.raises(errors.ClusterError, match="scheduler is lost"):
        templates.jacobian(PARAMS)
