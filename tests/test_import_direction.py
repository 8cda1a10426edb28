"""A room imports only from rooms above it: what the order of ROOMS says is what the code does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import diffea

SOURCE = Path(diffea.__file__).parent
ROOMS = (
    "errors", "files", "sources", "portable", "runtime", "parameters", "events", "soft", "histograms", "templates", "processor", "program", "distributed", "exchange",
    "statistics", "objectives", "optimise", "judge", "evaluate", "fetch", "analysis", "run", "report", "demo", "cli",
)  # fmt: skip
FOREIGN = dict.fromkeys(
    ("soft", "histograms", "templates", "statistics"), ("dask", "distributed", "dask_awkward", "coffea", "uproot")
)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that the file imports, wherever in it."""
    package = ("diffea", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join((*package[: len(package) + 1 - node.level], *filter(None, [node.module])))
                if node.level
                else node.module
            )
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def wrong_imports(path: Path) -> Iterator[str]:
    """One line for every import of the file that goes against ROOMS or FOREIGN."""
    room = path.relative_to(SOURCE).with_suffix("").parts[0]
    for line, name in imported(path):
        where, parts = f"{path.relative_to(SOURCE)}:{line}", name.split(".")
        if parts[0] in FOREIGN.get(room, ()):
            yield f"{where}: {room} must know nothing of {parts[0]}"
        if parts[0] != "diffea":
            continue
        other = parts[1] if len(parts) > 1 else ""
        if other not in ROOMS:
            yield f"{where}: import from the room that defines the name, not from diffea itself ({name})"
        elif ROOMS.index(other) > ROOMS.index(room):
            yield f"{where}: {room} is above {other} and must not import from it"


def test_every_file_is_in_a_room() -> None:
    found = {path.relative_to(SOURCE).with_suffix("").parts[0] for path in SOURCE.rglob("*.py")} - {"__init__"}
    assert found <= set(ROOMS), f"say where in ROOMS these belong: {sorted(found - set(ROOMS))}"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_up(room: str) -> None:
    files = [*SOURCE.glob(f"{room}.py"), *SOURCE.glob(f"{room}/**/*.py")]
    assert not (wrong := [line for path in files for line in wrong_imports(path)]), "\n".join(wrong)


def test_the_check_sees_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "soft").mkdir()
    path = tmp_path / "soft" / "cuts.py"
    path.write_text("import dask.array\ndef f():\n    from ..cli import main\nfrom diffea.errors import DiffeaError\n")
    assert [line.split(": ")[0] for line in wrong_imports(path)] == ["soft/cuts.py:1", "soft/cuts.py:3"]
