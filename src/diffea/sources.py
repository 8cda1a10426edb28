"""Sources: which text of its modules a class was imported from, so that edited code is never taken for the code before."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import cloudpickle

INSTALLED = ("site-packages", "dist-packages")
_seen: dict[str, tuple[Any, str]] = {}


def sources_of(cls: type) -> dict[str, str]:
    """Digests of the modules that define a class and its bases, by name.

    Left out are classes that are pickled by value, and with them their code, and modules of installed packages, which have versions.
    """
    return {base.__module__: source_of(base.__module__) for base in cls.__mro__ if _of_a_user(base)}


def source_of(name: str) -> str:
    """The digest of a module's text when it was first asked for after its import or reload."""
    module = sys.modules[name]
    spec, digest = _seen.get(name, (None, ""))
    if spec is None or spec is not module.__spec__:
        digest = hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
        _seen[name] = module.__spec__, digest
    return digest


def _of_a_user(cls: type) -> bool:
    name = cls.__module__
    top = name.partition(".")[0]
    if top in ("__main__", "diffea") or top in sys.stdlib_module_names or not _by_reference(cls):
        return False
    path = Path(getattr(sys.modules[name], "__file__", None) or "")
    return path.suffix == ".py" and path.is_file() and not set(INSTALLED) & set(path.parts)


def _by_reference(cls: type) -> bool:
    """Whether cloudpickle sends the name of a class alone."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return (
        found is cls
        and not {cls.__module__, cls.__module__.partition(".")[0]} & cloudpickle.list_registry_pickle_by_value()
    )
