"""Ledger: which entries of which files are held, so that every pass can prove that it counted each event once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from diffea.distributed.shards import Content, Skipped
from diffea.distributed.storage import Place
from diffea.errors import FilesetError, LedgerError, ReplicaError
from diffea.events.filesets import Chunk
from diffea.events.kinds import Signature, agree
from diffea.events.replicas import repeated
from diffea.notebook import tables
from diffea.program import Structure

REPEATED = 0.01  # of the events of a dataset, that may be called like another one


@dataclasses.dataclass(frozen=True)
class Ledger:
    """What was planned, held and left out.

    Attributes:
        chunks: file and entry range of all that is held, each with its number of selected events.
        skipped: what was left out because it stayed bad.
        structures: those that occur, each with its sample, and how many events each has.
        nbytes: of columns held, by where they lie: ``memory``, ``disk``, or ``files`` (read again at every step).
        read_seconds: spent on reading, summed over the workers.
        repeated: the share of events that are called like another one, by dataset, where it is known what identifies them.
    """

    chunks: tuple[tuple[Chunk, int], ...]
    skipped: tuple[Skipped, ...]
    structures: Mapping[tuple[str, Structure], int]
    nbytes: dict[Place, int]
    read_seconds: float
    repeated: Mapping[str, float]

    @classmethod
    def of(cls, planned: Iterable[Chunk], contents: Sequence[Content], skipped: Iterable[Skipped]) -> Ledger:
        """Compare what the shards hold with what was planned.

        Raises:
            LedgerError: if a range of entries is neither held nor skipped, or held twice.
            FilesetError: if nothing could be read.
            ColumnError: if chunks of a dataset disagree on the columns' names, kinds, or a plain Python value.
        """
        held = [pair for content in contents for pair in content.chunks]
        lost = tuple(skipped) + tuple(entry for content in contents for entry in content.skipped)
        planned = list(planned)
        expected = Counter((chunk.file.dataset, chunk.file.path, chunk.start, chunk.stop) for chunk in planned)
        found = Counter((chunk.file.dataset, chunk.file.path, chunk.start, chunk.stop) for chunk, _ in held)
        missing = sum((expected - found).values()) - sum(entry.entries is not None for entry in lost)
        if missing or found - expected:
            msg = f"of {len(planned)} ranges of entries {missing} are missing, and these are held twice: {found - expected}"
            raise LedgerError(msg)
        if not held:
            msg = f"no file of the fileset could be read; the first reason: {lost[0].reason}"
            raise FilesetError(msg)
        _check_alike(pair for content in contents for pair in content.signatures)
        structures: Counter[tuple[str, Structure]] = Counter()
        for content in contents:
            structures.update(content.structures)
        nbytes = {place: sum(content.nbytes[place] for content in contents) for place in get_args(Place)}
        seconds = sum(content.seconds for content in contents)
        lowest: dict[str, list[np.ndarray]] = {}
        for dataset, hashes in (pair for content in contents for pair in content.lowest):
            lowest.setdefault(dataset, []).append(hashes)
        shares = {dataset: repeated(batches) for dataset, batches in lowest.items()}
        return cls(tuple(held), lost, structures, nbytes, seconds, shares)

    @property
    def events(self) -> dict[str, int]:
        """Number of events held, by dataset."""
        events: dict[str, int] = {}
        for chunk, kept in self.chunks:
            events[chunk.file.dataset] = events.get(chunk.file.dataset, 0) + kept
        return events

    @property
    def lost(self) -> dict[str, float]:
        """The share of entries left out, by dataset; of its weight too, where its files are alike.

        A file that could not be opened counts as much as the mean of the dataset's others.
        """
        read: dict[str, dict[str, int]] = {}
        for chunk, _ in self.chunks:
            files = read.setdefault(chunk.file.dataset, {})
            files[chunk.file.path] = files.get(chunk.file.path, 0) + chunk.rows
        lost = {}
        for dataset in sorted({entry.dataset for entry in self.skipped}):
            here = [entry for entry in self.skipped if entry.dataset == dataset]
            files = dict(read.get(dataset, {}))
            kept = sum(files.values())
            for entry in here:
                if entry.entries is not None:
                    files[entry.file] = files.get(entry.file, 0) + entry.entries
            known = sum(files.values())
            unopened = sum(entry.entries is None for entry in here)
            lost[dataset] = 1.0 - kept / (known * (1 + unopened / len(files))) if kept else 1.0
        return lost

    def _repr_html_(self) -> str:
        return tables.of_ledger(self)

    def check(self, counted: int) -> None:
        """See that a pass counted all that is held.

        Raises:
            LedgerError: if it did not.
        """
        expected = sum(self.events.values())
        if counted != expected:
            msg = (
                f"a pass counted {counted} events of {expected}: a shard that was read again found other events, so a file "
                "changed or became unreadable since the start"
            )
            raise LedgerError(msg)

    def check_identity(self) -> None:
        """See that what identifies the events tells them apart.

        Raises:
            ReplicaError: if it does not, naming the dataset.
        """
        for dataset, share in self.repeated.items():
            if share > REPEATED:
                msg = (
                    f"dataset {dataset!r}: {share:.1%} of the events have the run, luminosity block and event number of another one, with which replicas "
                    "would move them together; give files in which these tell events apart, or without the three branches"
                )
                raise ReplicaError(msg)


def _check_alike(found: Iterable[tuple[Chunk, Signature]]) -> None:
    """See that batches of a dataset agree as its chunks within a batch do, so that no error depends on the amount of data."""
    datasets: dict[str, list[tuple[str, Signature]]] = {}
    for chunk, signature in found:
        datasets.setdefault(chunk.file.dataset, []).append((str(chunk), signature))
    for signatures in datasets.values():
        agree(signatures)
