"""Which modules are a user's own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from diffea.sources import of_a_user


@pytest.mark.parametrize("module", ["one_file_here", "package_here.part"])
@pytest.mark.parametrize("installed", [False, True])
def test_a_folder_with_versions_holds_packages_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, *, installed: bool
) -> None:
    (tmp_path / "one_file_here.py").write_text("")
    (tmp_path / "package_here").mkdir()
    for name in ("__init__.py", "part.py"):
        (tmp_path / "package_here" / name).write_text("")
    if installed:
        (tmp_path / "package_here-1.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(module)
    try:
        for name in (module, module.partition(".")[0]):
            assert of_a_user(name) is not installed
    finally:
        for name in (module, module.partition(".")[0]):
            sys.modules.pop(name, None)


def test_a_name_with_dots_of_its_own_is_a_module_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Such as that of an analysis in a folder `v1.2`."""
    file = tmp_path / "analysis.py"
    file.write_text("")
    name = "analysis_in" + ".v" * 50
    module = ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)
    assert of_a_user(name)
