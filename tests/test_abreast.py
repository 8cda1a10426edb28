"""Side by side: results in order, one that fails or Ctrl-C ends all, and no thread is left behind."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from diffea.run.abreast import abreast
from diffea.runtime import THREADS

PATIENCE = 20.0  # seconds after which a thread that nobody ends fails the test


def until_ended(go_on):
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE:
        go_on()
        time.sleep(0.001)
    pytest.fail("nobody ended it")


def left():
    return [thread for thread in threading.enumerate() if thread.name.startswith("diffea-fold")]


def test_two_run_at_once_and_results_are_in_order():
    met = threading.Barrier(2, timeout=PATIENCE)

    def work(number):
        def with_others(go_on):
            go_on()
            met.wait()
            return number

        return with_others

    assert abreast([work(0), work(1)]) == [0, 1]
    assert not left()


def test_a_single_one_is_done_in_this_thread():
    assert abreast([lambda _: threading.get_ident()]) == [threading.get_ident()]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_first_failure_ends_the_others_and_those_to_come(error):
    begun = []

    def fail(_):
        msg = "this one"
        raise error(msg)

    def too_late(_):
        begun.append("never")

    waiting = [until_ended] * (THREADS - 2)
    with pytest.raises(error, match="this one") as raised:
        abreast([*waiting, fail, *[until_ended] * 3, too_late])
    assert raised.traceback[-1].name == "fail"
    assert not begun
    assert not left()


def test_ctrl_c_ends_all():
    main, both = threading.main_thread().ident, threading.Barrier(2, timeout=PATIENCE)

    def wait(go_on):
        both.wait()
        until_ended(go_on)

    def interrupt(go_on):
        both.wait()
        time.sleep(0.1)  # until the main thread waits, too
        signal.pthread_kill(main, signal.SIGINT)
        until_ended(go_on)

    handler = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which workers of pytest-xdist have switched off
    try:
        with pytest.raises(KeyboardInterrupt):
            abreast([interrupt, wait])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not left()
