"""Tracking: which events `columns` selected, seen from the selections it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import awkward as ak
import numpy as np

from diffea.types import Events

ROW = "diffea_row"


class Tracked:
    """Events that note their numbers in every selection made of them, ``events[mask]`` and the like.

    Args:
        events: NanoEvents of a chunk.
        kept: which of them are there to be selected from, shape ``(events,)``; all by default.

    Attributes:
        events: these, with a field more, which ``fields`` does not name.
    """

    def __init__(self, events: Events, kept: np.ndarray | None = None) -> None:
        self._seen: list[np.ndarray] = []
        self.events = self._numbered(events) if kept is None else self._numbered(events)[kept]
        self._seen[:] = [np.arange(len(events)) if kept is None else np.flatnonzero(kept)]

    def rows(self, found: int) -> np.ndarray | None:
        """The numbers of the selected events in the chunk; None where they cannot be told.

        Args:
            found: how many there are.
        """
        alike = [rows for rows in self._seen if len(rows) == found]
        known = alike and all(np.array_equal(rows, alike[0]) for rows in alike)
        return alike[0] if known else None

    def _numbered(self, events: Events) -> Events:
        layout = ak.to_layout(events)
        if not isinstance(layout, ak.contents.RecordArray):
            return events
        numbered = ak.contents.RecordArray(
            [*layout.contents, ak.contents.NumpyArray(np.arange(len(events)))],
            [*layout.fields, ROW],
            length=len(events),
            parameters=layout.parameters,
            backend=layout.backend,
        )
        behavior = dict(events.behavior or {})
        behavior["*", layout.parameter("__record__")] = _noting(type(events), self._seen.append)
        return ak.Array(numbered, behavior=behavior, attrs=events.attrs)


def _noting(kind: type[ak.Array], note: Callable[[np.ndarray], None]) -> type:
    """A class of arrays of events that tells the numbers of those that a selection keeps."""

    def getitem(self: ak.Array, where: object) -> object:
        found = kind.__getitem__(self, where)
        if isinstance(found, ak.Array) and ROW in ak.fields(found) and found.ndim == 1:
            note(np.asarray(found[ROW]))
        return found

    members: Mapping[str, object] = {
        "__getitem__": getitem,
        "fields": property(lambda self: [name for name in ak.fields(self) if name != ROW]),
    }
    return type(kind.__name__, (kind,), dict(members))
