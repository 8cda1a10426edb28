"""How long a new user waits: CPU seconds of imports and of the first CLs with its gradient, CPU and wall seconds of the demo.

    python benchmarks/first_answer.py [--repeat 3] [--demo | --fresh]

`--repeat 0 --fresh` measures the first minute alone: `diffea demo` from a virtual environment into which this tree was just installed, with an empty folder of compiled programs, and once more. Wall seconds
say something only on a quiet machine.

Every figure is of a process of its own, the least of some; CPU seconds are those of all threads and child processes. The first process of a series finds an empty
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
import time
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
BARS = {
    "import_over_dependencies": 1.2,
    "first_cls": 3.0,
    "cls_of_a_second_model": 0.3,
    "first_cls_second_process": 1.5,
    "demo_cpu": 60.0,
    "demo_again_cpu": 40.0,
    "demo_wall": 60.0,
    "demo_again_wall": 25.0,
}
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


def demo(diffea: Path, cache: Path, out: Path) -> dict[str, float]:
    """Seconds of a demo with two workers, from the command to the end of the report."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(diffea), "demo", "--out", str(out)], check=True, capture_output=True, env=environment_of(cache))
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if not (out / "report.html").is_file():
        msg = f"the demo left no report in {out}"
        raise SystemExit(msg)
    return {"cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "wall": wall}


def installed(folder: Path) -> Path:
    """The command of this tree, installed into a new virtual environment."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    tree = Path(__file__).parents[1]
    subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", str(tree)], check=True)
    return folder / "bin" / "diffea"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--demo", action="store_true", help="the demo too, once with an empty cache and once more")
    parser.add_argument("--fresh", action="store_true", help="likewise, from a new virtual environment")
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
    if options.demo or options.fresh:
        with tempfile.TemporaryDirectory() as folder:
            here = Path(sys.executable).with_name("diffea")
            diffea = installed(Path(folder) / "venv") if options.fresh else here
            for name in ("demo", "demo_again"):
                for kind, seconds in demo(diffea, Path(folder) / "cache", Path(folder) / "out").items():
                    note(f"{name}_{kind}", seconds)
    least = {name: round(min(found), 3) for name, found in times.items()}
    if "import_diffea" in least:
        least["import_over_dependencies"] = round(least["import_diffea"] / least["dependencies"], 2)
    report = {
        name: {"value": least[name], "bar": f"<= {bar}", "met": least[name] <= bar}
        for name, bar in BARS.items()
        if name in least
    }
    print(json.dumps({"seconds": least, "bars": report}, indent=2))


if __name__ == "__main__":
    main()
