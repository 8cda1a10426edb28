"""Small faults, put into a copy of the source one by one: each must make its named test fail. Run by ``nox -s mutants``.

``python benchmarks/mutants.py [NAME…]``; a name is a part of what the fault is called. Exits with 1 if a fault goes unseen.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("src", "tests", "analyses", "pyproject.toml")
PASSED, FAILED = 0, 1  # as pytest exits; other numbers are errors of its own


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A fault, and the test that must see it.

    Attributes:
        file: below src/diffea.
        old: text that is there once.
        new: what stands in its place.
        test: as pytest names it, below tests.
    """

    file: str
    old: str
    new: str
    test: str


MUTANTS = {
    "weights of a split are scaled by one over its train part, whichever is read": Mutant(
        "events/splits.py",
        'return 1.0 if self.part == "fold" else 1.0 / self.share',
        'return 1.0 if self.part == "fold" else 1.0 / self.train',
        "events/test_splits.py::test_weights_are_scaled_by_one_over_the_fraction_of_their_part",
    ),
    "evaluate judges the events that were trained on": Mutant(
        "evaluate.py",
        'split.of(split.part or "test")',
        'split.of(split.part or "train")',
        "distributed/test_sums_by_hand.py::test_evaluate_judges_the_test_part_or_the_one_that_is_named",
    ),
    "the error is the scatter of whole replicas": Mutant(
        "bootstrap.py",
        "np.std(near, ddof=1)) / NEAR",
        "np.std(whole, ddof=1))",
        "test_bootstrap.py::test_the_error_of_a_bent_result_is_what_independent_samples_scatter_by",
    ),
    "an event without a number is told by its place in the chunk": Mutant(
        "events/splits.py",
        "np.arange(start, start + len(events), dtype=np.uint64)",
        "np.arange(len(events), dtype=np.uint64)",
        "events/test_splits.py::test_events_without_numbers_belong_to_one_part_whatever_the_chunks",
    ),
    "the last block of a batch is left out": Mutant(
        "program/kernels.py",
        "turns = -(-(blocks.rows - blocks.first) // size)\n",
        "turns = -(-(blocks.rows - blocks.first) // size) - 1\n",
        "distributed/test_sums_by_hand.py::test_every_event_counts_once_wherever_a_block_or_a_batch_ends",
    ),
    "a last block that is not full is counted and not summed": Mutant(
        "program/kernels.py",
        "return jnp.sum(valid), sums(given, arrays, valid)",
        "return jnp.sum(valid), sums(given, arrays, valid & valid[-1])",
        "distributed/test_sums_by_hand.py::test_every_event_counts_once_wherever_a_block_or_a_batch_ends",
    ),
    "a checkpoint forgets how long nothing was better": Mutant(
        "optimise/loops.py",
        "plain((point, state, best, lowest, stale))",
        "plain((point, state, best, lowest, 0))",
        "optimise/test_checkpoints.py::test_patience_goes_on_where_it_was",
    ),
    "Gauss–Newton accepts any step": Mutant(
        "optimise/gauss_newton.py",
        "State(trial if ratio > ACCEPT else state.at,",
        "State(trial,",
        "optimise/test_gauss_newton.py::test_a_step_that_leads_up_is_taken_back",
    ),
    "q for q̃ where the best signal is negative": Mutant(
        "statistics/ratios.py",
        'test_stat in ("qtilde", "ttilde", "q0")',
        'test_stat in ("ttilde", "q0")',
        "statistics/test_deficits.py::test_a_deficit_is_compared_with_no_signal",
    ),
    "steps of optax lead out of their bounds": Mutant(
        "optimise/updates.py",
        "held = box.clip(free)",
        "held = free",
        "optimise/test_bounds.py::test_steps_are_those_of_projected_gradient_descent",
    ),
}


def pytest(copy: Path, *tests: str) -> int:
    """How pytest exits on some tests of a copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", *(f"tests/{test}" for test in tests)]
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, check=False).returncode


def seen(copy: Path, mutant: Mutant) -> bool:
    """Whether the named test fails on a copy with this fault in it."""
    path = copy / "src" / "diffea" / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return pytest(copy, mutant.test) == FAILED
    finally:
        path.write_text(text, encoding="utf-8")


def main(names: list[str]) -> int:
    chosen = {name: mutant for name, mutant in MUTANTS.items() if not names or any(part in name for part in names)}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        if pytest(copy, *sorted({mutant.test for mutant in chosen.values()})) != PASSED:
            print("the named tests do not pass without a fault", file=sys.stderr)
            return 1
        found = {name: seen(copy, mutant) for name, mutant in chosen.items()}
    print(json.dumps({"seen": found}, indent=1, ensure_ascii=False))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
