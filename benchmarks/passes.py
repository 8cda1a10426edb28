"""Passes over the data until the limit of the htautau cuts analysis is within 1 % of the best value found. Prints JSON.

    python benchmarks/passes.py --data FOLDER [--steps 40]

Gauss–Newton, L-BFGS-B and Adam start at the same cuts, on the same training half, with the same bounds. An optimizer that
runs into cuts where the statistics fail stops there, and what it reached before counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import warnings
from pathlib import Path
from typing import Any

import diffea
from diffea.errors import FitError, YieldError
from diffea.optimise import Composite

ANALYSIS = Path(__file__).parent.parent / "analyses" / "htautau" / "analysis.py"
WITHIN = 1.01


def load() -> Any:
    spec = importlib.util.spec_from_file_location("htautau", ANALYSIS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.analysis


def run(templates: Any, loss: Any, variant: Any, optimizer: Any, steps: int) -> dict[str, Any]:
    """The lowest loss after each pass."""
    found: list[tuple[int, float]] = []
    before, began = templates.passes, time.perf_counter()
    try:
        message = diffea.optimise(
            loss,
            variant.params,
            optimizer=optimizer,
            steps=steps,
            bounds=variant.bounds,
            progress=lambda step: found.append((templates.passes - before, step.loss)),
        ).message
    except (FitError, YieldError) as error:
        message = f"{type(error).__name__}: {error}"
    return {"found": found, "message": message, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the skimmed files")
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    analysis = load()
    variant = analysis.variants["cuts"]
    model = variant.model
    warnings.simplefilter("ignore")
    optimizers = {"gauss-newton": "gauss-newton", "l-bfgs-b": "l-bfgs-b", "adam": variant.optimizer}
    with diffea.distribute(
        variant.processor,
        analysis.fileset(arguments.data),
        schemaclass=analysis.schemaclass,
        split=diffea.Split(train=0.5),
        gradient="jacobian",
    ) as templates:
        loss = Composite(templates, lambda T: variant.objective(model(T)))
        runs = {
            name: run(templates, loss, variant, optimizer, arguments.steps) for name, optimizer in optimizers.items()
        }
    best = min(value for found in runs.values() for _, value in found["found"])
    for found in runs.values():
        history = found.pop("found")
        found["passes"] = history[-1][0]
        found["lowest"] = min(value for _, value in history)
        found["passes_to_its_own_best"] = next(n for n, value in history if value <= WITHIN * found["lowest"])
        found["passes_to_the_best"] = next((n for n, value in history if value <= WITHIN * best), None)
        found["lowest_by_pass"] = [
            [n, min(value for m, value in history if m <= n)] for n, _ in history if n <= 12 or n % 5 == 0
        ]
    print(json.dumps({"benchmark": "passes", "best": best, "within": WITHIN, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
