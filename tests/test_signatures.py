"""Every public function, class and method with its parameters, as a snapshot: `python -m tests.test_signatures` writes it anew after a change on purpose."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

import diffea

SNAPSHOT = Path(__file__).with_suffix(".txt")
ROOMS = ("soft", "histograms", "learning", "exchange", "statistics", "objectives", "export", "notebook", "fetch")
RETURNED = (
    "distributed.function.Templates", "distributed.ledger.Ledger", "optimise.result.Result", "optimise.result.Step", "optimise.result.Scan",
    "evaluate.Evaluation", "bootstrap.Measured", "observed.Observed", "statistics.config.ModelConfig",
)  # fmt: skip
"""Classes that functions return, as docs/reference.md has them."""


def public() -> Iterator[tuple[str, object]]:
    """Names that users may use, and what they mean."""
    yield from ((name, getattr(diffea, name)) for name in diffea.__all__)
    for room in ROOMS:
        module = importlib.import_module(f"diffea.{room}")
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        yield from (
            (f"{room}.{name}", getattr(module, name)) for name in getattr(module, "__all__", own) if name[0] != "_"
        )


def returned() -> Iterator[tuple[str, type]]:
    """Classes that users do not make, but are given."""
    for name in RETURNED:
        room, _, cls = name.rpartition(".")
        yield name, getattr(importlib.import_module(f"diffea.{room}"), cls)


def signatures() -> list[str]:
    """A line for each name that can be called, and each public method of a class: its parameters, with ``=`` where they have a default."""
    lines = []
    for name, value in public():
        if (
            callable(value)
            and not hasattr(value, "__origin__")
            and not (inspect.isclass(value) and issubclass(value, enum.Enum))
        ):
            lines.append(f"{name}{_parameters(value)}")
    for name, cls in (*(pair for pair in public() if inspect.isclass(pair[1])), *returned()):
        for method, value in vars(cls).items():
            function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
            if method[0] != "_" and inspect.isfunction(function):
                lines.append(f"{name}.{method}{_parameters(function)}")
    return sorted(set(lines))


def _parameters(value: Callable[..., object]) -> str:
    return f"({', '.join(map(_shown, inspect.signature(value).parameters.values()))})"


def _shown(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    return stars + parameter.name + ("" if parameter.default is parameter.empty else "=")


def test_signatures_are_those_of_the_snapshot() -> None:
    assert signatures() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(signatures()) + "\n", encoding="utf-8")
