"""A room imports only from rooms above it: what the order of ROOMS says is what the code does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import diffea

SOURCE = Path(diffea.__file__).parent
ROOMS = (
    "errors", "types", "notebook", "files", "sources", "portable", "compilations", "runtime", "complaints", "parameters", "events", "soft", "histograms", "templates", "processor", "program", "distributed", "exchange",
    "statistics", "objectives", "learning", "optimise", "bootstrap", "judge", "observed", "evaluate", "fetch", "analysis", "check", "run", "report", "export", "demo", "scaffold", "cli",
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


def modules(name: str) -> list[str]:
    """What a dotted name may mean: the module itself, and that which defines the name."""
    path = SOURCE.joinpath(*name.split(".")[1:])
    if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
        return [name]
    return [name.rpartition(".")[0]]


def circles() -> list[list[str]]:
    """Files that import each other, directly or through others; the public names in ``__init__.py`` of a room count as the room's files."""
    graph: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        parts = [part for part in ("diffea", *path.relative_to(SOURCE).with_suffix("").parts) if part != "__init__"]
        own = ".".join(parts)
        names = (name for _, name in imported(path) if name.startswith("diffea."))
        graph[own] = {other for name in names for other in modules(name)} - {own}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def test_no_files_import_each_other() -> None:
    assert not circles()


def test_the_check_sees_a_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "soft").mkdir()
    (tmp_path / "soft" / "a.py").write_text("def f():\n    from diffea.soft.b import g\n")
    (tmp_path / "soft" / "b.py").write_text("from diffea.soft import a\n")
    assert set(circles()[0]) == {"diffea.soft.a", "diffea.soft.b"}


def test_the_check_sees_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "soft").mkdir()
    path = tmp_path / "soft" / "cuts.py"
    path.write_text("import dask.array\ndef f():\n    from ..cli import main\nfrom diffea.errors import DiffeaError\n")
    assert [line.split(": ")[0] for line in wrong_imports(path)] == ["soft/cuts.py:1", "soft/cuts.py:3"]
