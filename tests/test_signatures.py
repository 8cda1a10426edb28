"""Every public function and class with its parameters, as a snapshot: `python -m tests.test_signatures` writes it anew after a change on purpose."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import diffea

SNAPSHOT = Path(__file__).with_suffix(".txt")
ROOMS = ("soft", "histograms", "learning", "exchange", "statistics", "objectives")


def public() -> Iterator[tuple[str, object]]:
    """Names that users may use, and what they mean."""
    yield from ((name, getattr(diffea, name)) for name in diffea.__all__)
    for room in ROOMS:
        module = importlib.import_module(f"diffea.{room}")
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        yield from (
            (f"{room}.{name}", getattr(module, name)) for name in getattr(module, "__all__", own) if name[0] != "_"
        )


def signatures() -> list[str]:
    """A line for each name that can be called: its parameters, with ``=`` where they have a default."""
    lines = []
    for name, value in sorted(public(), key=lambda pair: pair[0]):
        if callable(value) and not (inspect.isclass(value) and issubclass(value, enum.Enum)):
            parameters = inspect.signature(value).parameters.values()
            lines.append(f"{name}({', '.join(map(_shown, parameters))})")
    return lines


def _shown(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    return stars + parameter.name + ("" if parameter.default is parameter.empty else "=")


def test_signatures_are_those_of_the_snapshot() -> None:
    assert signatures() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(signatures()) + "\n", encoding="utf-8")
