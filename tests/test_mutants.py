"""The list of faults in benchmarks/mutants.py fits the source and the tests of today."""

from __future__ import annotations

import pytest
from benchmarks.mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS.values(), ids=MUTANTS)
def test_every_fault_has_its_place_and_its_test(mutant):
    source = (ROOT / "src" / "diffea" / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1
    assert mutant.new not in source
    file, name = mutant.test.split("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")
