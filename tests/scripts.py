"""Scripts of an analysis's folder, imported as they import one another."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ANALYSES = Path(__file__).parents[1] / "analyses"


@contextlib.contextmanager
def scripts(folder: Path, *names: str) -> Iterator[list[ModuleType]]:
    """The modules of these names; names such as `analysis` are also those of other folders, whose modules are back afterwards."""
    own = [path.stem for path in folder.glob("*.py")]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for name in own:
            patch.delitem(sys.modules, name, raising=False)
        yield [importlib.import_module(name) for name in names]
        for name in own:
            sys.modules.pop(name, None)
