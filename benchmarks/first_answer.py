"""How long a new user waits: CPU seconds of imports, of the first CLs with its gradient, and of the demo.

    python benchmarks/first_answer.py [--repeat 3] [--demo]

Every figure is of a process of its own, the least of some; seconds are those of all threads and child processes. The first process of a series finds an empty
folder of compiled programs (`DIFFEA_CACHE`), the second one what the first left there. `dependencies` are the packages that diffea needs at once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

IMPORTS = """
import time
began = time.process_time()
import {modules}
print(time.process_time() - began)
"""
CLS = """
import time
import diffea, jax
from diffea import objectives

def spec(scale):
    mu = {"name": "mu", "type": "normfactor", "data": None}
    norm = {"name": "norm", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "signal", "data": [1.0 * scale, 2.0, 3.0], "modifiers": [mu]},
        {"name": "background", "data": [50.0 * scale, 55.0, 60.0], "modifiers": [norm]},
    ]
    return {"channels": [{"name": "region", "samples": samples}]}

import pyhf  # HistFactory reads its schema; its import is not counted
for scale in (1.0, 1.3):
    model = diffea.HistFactory(spec(scale))
    began = time.process_time()
    jax.block_until_ready(jax.value_and_grad(lambda yields: objectives.cls(model(yields)))(model.yields))
    print(time.process_time() - began)
"""
DEPENDENCIES = "jax, coffea.processor, coffea.nanoevents, hist, uproot, awkward, distributed, optax"


def environment_of(cache: Path | str) -> dict[str, str]:
    """As users have it: what Python compiled is kept."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "DIFFEA_CACHE": str(cache)}


def seconds_of(code: str, cache: Path | str) -> list[float]:
    """What a process prints."""
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment_of(cache)
    )
    return [float(line) for line in made.stdout.split()]


def demo(cache: Path, out: Path) -> float:
    """CPU seconds of a demo with two workers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(Path(sys.executable).with_name("diffea")), "demo", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, env=environment_of(cache))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--demo", action="store_true", help="the demo too, once with an empty cache and once more")
    options = parser.parse_args()
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    for _ in range(options.repeat):
        for name, modules in (("dependencies", DEPENDENCIES), ("import_diffea", "diffea")):
            note(name, *seconds_of(IMPORTS.format(modules=modules), "0"))
        with tempfile.TemporaryDirectory() as cache:
            for name in ("first_cls", "first_cls_second_process"):
                first, again = seconds_of(CLS, cache)
                note(name, first)
                note("cls_of_a_second_model", again)
    if options.demo:
        with tempfile.TemporaryDirectory() as folder:
            for name in ("demo", "demo_again"):
                note(name, demo(Path(folder) / "cache", Path(folder) / name))
    least = {name: round(min(found), 3) for name, found in times.items()}
    imports = round(least["import_diffea"] / least["dependencies"], 2)
    bars = {
        "import_over_dependencies": (imports, 1.2),
        "first_cls": (least["first_cls"], 3.0),
        "cls_of_a_second_model": (least["cls_of_a_second_model"], 0.3),
        "first_cls_second_process": (least["first_cls_second_process"], 1.5),
        "demo": (least.get("demo"), 60.0),
        "demo_again": (least.get("demo_again"), 40.0),
    }
    report = {
        name: {"value": value, "bar": f"<= {bar}", "met": value <= bar}
        for name, (value, bar) in bars.items()
        if value is not None
    }
    print(json.dumps({"cpu_seconds": least, "bars": report}, indent=2))


if __name__ == "__main__":
    main()
