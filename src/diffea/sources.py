"""Sources: which modules are a user's own, and which text they were imported from."""

from __future__ import annotations

import functools
import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

INSTALLED = ("site-packages", "dist-packages")
_seen: dict[str, tuple[ModuleSpec | None, str]] = {}


def reachable(cls: type) -> dict[str, ModuleType]:
    """The user's own modules behind a class and its bases, and those whose names they hold, by name."""
    found: dict[str, ModuleType] = {}
    todo = [base.__module__ for base in cls.__mro__]
    while todo:
        name = todo.pop()
        if name in found or not of_a_user(name):
            continue
        found[name] = sys.modules[name]
        for value in vars(found[name]).values():
            if isinstance(value, ModuleType):
                todo.append(value.__name__)
            elif callable(value):
                todo.append(str(getattr(value, "__module__", "")))
            else:
                todo.append(type(value).__module__)
    return found


def of_a_user(name: str) -> bool:
    """Whether a module is a file of the user's own, rather than of an installed package, which has a version, or ``__main__``."""
    top = name.partition(".")[0]
    if top in ("__main__", "diffea") or top in sys.stdlib_module_names or name not in sys.modules:
        return False
    path = Path(getattr(sys.modules[name], "__file__", None) or "")
    if path.suffix != ".py" or not path.is_file() or set(INSTALLED) & set(path.parts):
        return False
    depth = name.count(".") + (
        path.stem == "__init__"
    )  # below the folder that is on the path, unless a name has dots of its own
    return not _of_packages(path.parents[min(depth, len(path.parents) - 1)])


@functools.cache
def _of_packages(folder: Path) -> bool:
    """Whether packages with versions are in this folder, as ``pip install --target`` leaves it."""
    return any(folder.glob("*.dist-info"))


def source_of(name: str) -> str:
    """The digest of a module's text when it was first asked for after its import or reload."""
    module = sys.modules[name]
    spec, digest = _seen.get(name, (None, ""))
    if spec is None or spec is not module.__spec__:
        digest = hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
        _seen[name] = module.__spec__, digest
    return digest
