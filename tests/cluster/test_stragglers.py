"""A worker that is stopped, or slow, for a while: others compute its part, and it is counted once."""

from __future__ import annotations

import functools
import os
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
from distributed import Client
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea.distributed import distribute as distribute_nano
from diffea.distributed import keeping, stragglers
from diffea.distributed.stragglers import Durations, Suspects, sharing
from diffea.events import batches

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=400)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("keep", [0.0, 600.0], ids=["graph", "direct"])
def test_a_stopped_worker_holds_up_one_step_for_about_twice_its_time(
    cluster, tmp_path, monkeypatch, caplog, keep
) -> None:
    monkeypatch.setattr(keeping, "KEEP", keep)
    monkeypatch.setattr(batches, "ROWS", 1)
    monkeypatch.setattr(stragglers, "PROBATION", 0.5)
    fileset = write_fileset(tmp_path)
    with distribute(Search(), fileset) as templates:
        expected = templates.jacobian(PARAMS).flat
    with Client(cluster) as client, distribute(Search(), fileset, client=client) as templates:
        for _ in range(3):
            templates.jacobian(PARAMS)
        place, process = next(iter(client.run(os.getpid).items()))
        os.kill(process, signal.SIGSTOP)
        try:
            began = time.monotonic()
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            assert f"a step waits for {place}" in caplog.text
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            took = time.monotonic() - began
            assert place not in templates._lane._holding.homes
        finally:
            os.kill(process, signal.SIGCONT)
        assert took < 30  # where nothing helped, this would wait for ever
        end = time.monotonic() + 60
        while place not in templates._lane._holding.homes:  # it works again, and gets its share back
            np.testing.assert_array_equal(templates.jacobian(PARAMS).flat, expected)
            assert time.monotonic() < end


def test_steps_of_one_client_at_once_know_of_each_other() -> None:
    class Cluster:
        pass

    one, other = Cluster(), Cluster()
    with sharing(one) as first, sharing(other) as elsewhere:
        with sharing(one) as second:
            pass
        assert (first.most, second.most, elsewhere.most) == (2, 2, 1)
        with sharing(one) as third:
            assert third.most == 2
    with sharing(one) as alone:
        assert alone.most == 1


def test_a_step_is_late_after_twice_the_usual_time_but_not_at_once() -> None:
    durations = Durations()
    assert durations.late("jacobian") == np.inf
    for seconds in (3.0, 30.0, 4.0, 5.0, 1.0):
        durations.add("jacobian", seconds)
    assert durations.late("jacobian") == 8.0
    for _ in range(3):
        durations.add("jacobian", 0.01)
    assert durations.late("jacobian") == stragglers.AT_LEAST
    assert durations.late("values") == np.inf


class Answer:
    """A ping."""

    status = "pending"


def test_a_worker_that_was_late_gets_work_again_when_it_answers_and_later_each_time(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(stragglers, "time", SimpleNamespace(monotonic=lambda: now[0]))
    answers = []
    suspects = Suspects(lambda address: answers.append(Answer()) or answers[-1])
    threads = {"a": 1, "b": 2}
    assert suspects.trusted(threads) == threads
    suspects.add(["a"])
    now[0] += 11
    assert suspects.trusted(threads) == {"b": 2}
    answers[0].status = "finished"
    assert suspects.trusted(threads) == threads
    suspects.add(["a"])
    answers[1].status = "finished"
    now[0] += 11
    assert suspects.trusted(threads) == {"b": 2}
    now[0] += 10
    assert suspects.trusted(threads) == threads
    suspects.add(threads)
    assert suspects.trusted(threads) == threads  # nobody else is there
