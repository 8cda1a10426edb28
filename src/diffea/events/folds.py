"""Folds: parts of the events that are judged one after the other, each by parameters that did not see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from diffea.errors import SplitError
from diffea.events.filesets import Chunk
from diffea.events.splits import Split


def check_samples(split: Split, parts: Sequence[Iterable[tuple[Chunk, int]]]) -> None:
    """See that every sample has events in each of the parts into which a split with folds divides them, or in none.

    Args:
        split: whose parts they are.
        parts: chunks of each, with the number of their selected events.

    Raises:
        SplitError: naming a sample that has events in one part and not in another.
    """
    found: list[Counter[str]] = []
    for chunks in parts:
        found.append(Counter())
        for chunk, kept in chunks:
            found[-1][chunk.file.sample] += kept
    for sample, events in sum(found, Counter()).items():
        if any(not part[sample] for part in found):
            each = ", ".join(str(part[sample]) for part in found)
            msg = (
                f"the {events} selected events of sample {sample!r} leave a part of {split} without any (by part: {each}): take fewer folds, "
                "another seed, or more simulated events"
            )
            raise SplitError(msg)
