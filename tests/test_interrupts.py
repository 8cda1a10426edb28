"""Ctrl-C: the first one unwinds, the second one ends the process at once and without a crash."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from diffea.cli.interrupts import STOPPED

RUN = """
import time
from rich.console import Console
from diffea.cli.interrupts import interrupts
try:
    with interrupts(Console()):
        try:
            print("begun", flush=True)
            time.sleep(600)
        finally:
            print("unwinding", flush=True)
            time.sleep(float({unwinding}))
            print("unwound", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def run(unwinding: float, *, twice: bool) -> tuple[int, list[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", RUN.format(unwinding=unwinding)], stdout=subprocess.PIPE, text=True
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line == "begun\n" or (twice and line == "unwinding\n"):
                process.send_signal(signal.SIGINT)
    return process.returncode, lines


@pytest.mark.parametrize("twice", [False, True])
def test_one_interrupt_unwinds_and_a_second_one_ends(twice: bool) -> None:
    code, lines = run(600 if twice else 0, twice=twice)
    assert "Ctrl-C again" in lines[1]
    assert lines[2:] == (["unwinding"] if twice else ["unwinding", "unwound", "interrupted"])
    assert code == (STOPPED if twice else 0)
