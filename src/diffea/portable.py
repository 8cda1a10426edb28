"""Portable: an object that travels as bytes, and is one object in a process however often it arrives there."""

from __future__ import annotations

import contextlib
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, Generic, Self, TypeVar

import cloudpickle

from diffea.errors import WorkerMismatchError
from diffea.sources import of_a_user, reachable, source_of

T = TypeVar("T")

_alive: weakref.WeakValueDictionary[str, Portable[Any]] = weakref.WeakValueDictionary()
_lock = threading.RLock()


class Portable(Generic[T]):
    """An object pickled once, as it is now, and unpickled once in a process, for as long as somebody there holds it.

    A class from ``__main__`` or a notebook would otherwise be a new one, with an empty jit cache, each time. Modules that are
    no installed packages travel by value: what a class attribute, a global or a helper module is now is what every worker
    computes with, which need not have those files. Between the two ends (in dask's scheduler) it stays closed.

    Args:
        value: what travels.
    """

    def __init__(self, value: T) -> None:
        self.token = uuid.uuid4().hex
        self._value: T | None = value
        self._pickled, self._sources = _dumps(value)
        with _lock:
            _alive[self.token] = self

    @property
    def value(self) -> T:
        """The object, the same one in a process.

        Raises:
            WorkerMismatchError: if it cannot be unpickled here, or this process has another text of a module that could not travel.
        """
        with _lock:
            if self._value is None:
                self._value = self._load()
            return self._value

    def _load(self) -> T:
        try:
            value: T = cloudpickle.loads(self._pickled)
        except ImportError as error:
            msg = (
                f"this worker cannot load what the driver sent: {error}. Install it there (`diffea run --install`, or dask's PipInstall), "
                "or upload the file (client.upload_file)"
            )
            raise WorkerMismatchError(msg) from error
        unlike = [module for module, digest in self._sources.items() if source_of(module) != digest]
        if unlike:
            name = value.__name__ if isinstance(value, type) else type(value).__name__
            msg = (
                f"this worker imported {name} from another text of {', '.join(unlike)} than the driver did: give all "
                "machines the same files and restart the workers (client.restart())"
            )
            raise WorkerMismatchError(msg)
        return value

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _arrive, (type(self), self.token, self._state())

    def _state(self) -> dict[str, object]:
        """What travels beside the token."""
        return {"_pickled": self._pickled, "_sources": self._sources, "_value": None}

    @classmethod
    def _of(cls, token: str, state: dict[str, object]) -> Self:
        made = cls.__new__(cls)
        made.token = token
        made.__dict__.update(state)
        return made


def _arrive(kind: type[Portable[Any]], token: str, state: dict[str, object]) -> Portable[Any]:
    with _lock:
        found = _alive.get(token)
        if found is None:
            found = _alive[token] = kind._of(token, state)
        return found


def _dumps(value: object) -> tuple[bytes, dict[str, str]]:
    """The pickle, and digests of the user's modules that it names instead of holding them.

    Those are all of them where one does not pickle, such as for a lock among its globals.
    """
    modules = reachable(value if isinstance(value, type) else type(value))
    with _by_value(modules):
        try:
            return cloudpickle.dumps(value), {}
        except Exception:
            if not modules:
                raise
    return cloudpickle.dumps(value), {name: source_of(name) for name in modules if of_a_user(name)}


@contextlib.contextmanager
def _by_value(modules: dict[str, ModuleType]) -> Iterator[None]:
    with _lock:
        new = [module for name, module in modules.items() if name not in cloudpickle.list_registry_pickle_by_value()]
        for module in new:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in new:
                cloudpickle.unregister_pickle_by_value(module)
