"""ROOT: an open file with a tree (TTree or RNTuple)."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import uproot
from coffea.nanoevents import NanoEventsFactory
from coffea.nanoevents.mapping.base import Accessed
from uproot.behaviors.TBranch import HasBranches

from diffea.errors import FileReadError
from diffea.events.filesets import Chunk
from diffea.events.servers import options_for
from diffea.types import Events


@dataclasses.dataclass(frozen=True)
class RootFile:
    """An open ROOT file.

    Attributes:
        path: of the file.
        tree: within it.
        row_groups: none: a tree may be divided anywhere.
    """

    path: str
    tree: str
    _directory: uproot.ReadOnlyDirectory
    row_groups: None = None

    @classmethod
    def open(cls, path: str, tree: str, options: Mapping[str, object]) -> RootFile:
        """Open a file by its path or address.

        Raises:
            FileReadError: if it has no such tree.
            whatever uproot raises, if it is not there or no whole ROOT file.
        """
        directory = uproot.open({path: None}, **options_for(path, options))
        if tree not in directory:
            found = ", ".join(sorted({key.split(";")[0] for key in directory.keys(recursive=False)}))
            msg = f"{path} has no tree {tree!r}; it has: {found or 'nothing'}"
            raise FileReadError(msg)
        return cls(path, tree, directory)

    @property
    def entries(self) -> int:
        return int(self._directory[self.tree].num_entries)

    @property
    def uuid(self) -> str:
        return str(self._directory.file.uuid)

    def is_stated(self, uuid: str) -> bool:
        """Whether a fileset means this file."""
        return uuid == self.uuid

    def events(
        self,
        chunk: Chunk,
        schemaclass: type,
        metadata: Mapping[str, object],
        accessed: list[Accessed],
        needed: frozenset[str],
    ) -> Events:
        """NanoEvents of a chunk: what is known to be needed is read at once, any other branch when it is asked for.

        Fields of an RNTuple are read one by one in any case, by uproot.
        """
        tree = self._directory[self.tree]
        at_once = needed & _told_by_name(tree.keys()) if isinstance(tree, HasBranches) else frozenset[str]()
        return NanoEventsFactory.from_root(
            self._directory,
            treepath=self.tree,
            entry_start=chunk.start,
            entry_stop=chunk.stop,
            schemaclass=schemaclass,
            metadata=metadata,
            mode="virtual",
            access_log=accessed,
            preload=(lambda branch: branch.name in at_once) if at_once else None,
        ).events()

    def close(self) -> None:
        """Let go of the file."""
        self._directory.close()


def _told_by_name(keys: Iterable[str]) -> set[str]:
    """The branches at the top of a tree whose names no other has, since coffea knows those that it has read by their last names."""
    keys = list(keys)
    last = Counter(re.split(r"[/.]", key)[-1] for key in keys)
    above = {re.split(r"[/.]", key)[0] for key in keys if re.search(r"[/.]", key)}
    return {key for key in keys if last[key] == 1 and key not in above}
