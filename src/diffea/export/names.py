"""Names: what the code of a processor refers to, and what stands for it in an exported file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffea import soft
from diffea.events.ragged import Ragged
from diffea.export.modules import Module, is_own
from diffea.processor import DifferentiableProcessor, Fill
from diffea.types import PyTree

TWINS = "diffea.export.plain"
FOREIGN = ("jax", "jaxlib", "jaxopt", "diffea", "optax", "optimistix", "equinox", "flax")
"""Packages that an exported file does without."""

_TWINS: dict[str, dict[str, PyTree]] = {
    "processor": {"PlainProcessor": DifferentiableProcessor, "Fill": Fill},
    "ragged": {"Ragged": Ragged},
    "cuts": {
        **{f"hard_{name.rstrip('_')}": getattr(soft, name) for name in soft.__all__},
        "hard_context": (soft.hard, soft.sharpened),
        "is_hard": soft.is_hard,
    },
    "functions": {
        **{name: getattr(jax.nn, name) for name in ("sigmoid", "relu", "softplus", "softmax", "one_hot")},
        "stable_argsort": jnp.argsort,
        "unchanged": jax.lax.stop_gradient,
    },
}
NUMPY = {name: getattr(jnp, name) for name in dir(jnp) if hasattr(np, name) and not name.startswith("_")}


class Twin(NamedTuple):
    """What stands for something of diffea or JAX: a name in one of the modules of ``TWINS``."""

    module: str
    name: str


class Imported(NamedTuple):
    """What is imported in the exported file too: the line that does it."""

    line: str
    name: str


class Own(NamedTuple):
    """Something of the user's own, whose text is copied."""

    module: str
    name: str


class Refused(NamedTuple):
    """Something that has no place in an exported file."""

    name: str


class NumpyName(NamedTuple):
    """A function of ``jax.numpy`` that NumPy has too."""

    name: str


Meaning = Twin | Imported | Own | Refused | NumpyName | None


def meaning(module: Module, chain: Sequence[str]) -> tuple[Meaning, int]:
    """What a dotted name of a module's code stands for, and how many of its parts that takes; None for a builtin."""
    root = chain[0]
    if root not in module.globals:
        return None, 1
    value, used, holder = module.globals[root], 1, ""
    while isinstance(value, ModuleType) and used < len(chain):
        holder, value = value.__name__, getattr(value, chain[used], None)
        used += 1
    if (twin := _twin_of(value)) is not None:
        return twin, used
    if isinstance(value, ModuleType) or holder:
        return _in_a_module(module, chain, used, holder)
    statement = module.importing(root)
    if statement is None:
        return Own(module.name, root), 1
    source, name = statement
    if is_own(source):
        return Own(source, name), 1
    if _package(source) in FOREIGN or _package(getattr(value, "__module__", "") or "") in FOREIGN:
        if source == "jax.numpy" and name in NUMPY:
            return NumpyName(name), 1
        return Refused(f"{source}.{name}"), 1
    return Imported(f"from {source} import {name}" + (f" as {root}" if root != name else ""), root), 1


def _in_a_module(module: Module, chain: Sequence[str], used: int, holder: str) -> tuple[Meaning, int]:
    root = module.globals[chain[0]]
    dotted = ".".join(chain[:used])
    if is_own(holder):
        return Own(holder, chain[used - 1]), used
    if _package(root.__name__) in FOREIGN:
        if holder == "jax.numpy" and chain[used - 1] in NUMPY:
            return NumpyName(chain[used - 1]), used
        if holder == "jax.numpy.linalg" and hasattr(np.linalg, chain[used - 1]):
            return NumpyName(f"linalg.{chain[used - 1]}"), used
        return Refused(dotted), used
    return Imported(module.import_line(chain[0]), chain[0]), 1


def _package(name: str) -> str:
    return name.partition(".")[0]


def _twin_of(value: object) -> Twin | None:
    """The twin of a function or class of diffea or JAX, if it has one."""
    if not callable(value):
        return None
    for where, twins in _TWINS.items():
        module = importlib.import_module(f"{TWINS}.{where}")
        for name, originals in twins.items():
            same = any(value is one for one in (originals if isinstance(originals, tuple) else (originals,)))
            if same and hasattr(module, name):
                return Twin(module.__name__, name)
    return None


def chain_of(node: ast.expr) -> list[str] | None:
    """The parts of a dotted name, if a node is one."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else None
