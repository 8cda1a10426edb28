"""Reading: how far it is, for the log and the progress line."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from dask.utils import format_bytes

from diffea.distributed.shards import Content
from diffea.events.batches import Batch

log = logging.getLogger(__name__)


class Reading:
    """Counts files, chunks and entries while shards arrive.

    Args:
        runs: the batches of each shard.
    """

    def __init__(self, runs: Sequence[Sequence[Batch]]) -> None:
        self._began = time.monotonic()
        self._chunks = [[chunk for batch in run for chunk in batch.chunks] for run in runs]
        self._files = [{(chunk.file.dataset, chunk.file.path) for chunk in chunks} for chunks in self._chunks]
        self._all = len(set[tuple[str, str]]().union(*self._files))
        self._told = -1

    def tell(self, there: Sequence[bool]) -> None:
        """Say how far it is, if it went on; ``there`` says of each shard whether it has arrived."""
        if (arrived := sum(there)) == self._told:
            return
        self._told = arrived
        open_files = set[tuple[str, str]]().union(
            *(files for files, done in zip(self._files, there, strict=True) if not done)
        )
        read = [chunk for chunks, done in zip(self._chunks, there, strict=True) if done for chunk in chunks]
        log.info(
            "reading: %d of %d files, %d of %d chunks, %s of %s entries",
            self._all - len(open_files),
            self._all,
            len(read),
            sum(map(len, self._chunks)),
            f"{sum(chunk.rows for chunk in read):,}",
            f"{sum(chunk.rows for chunks in self._chunks for chunk in chunks):,}",
        )

    def end(self, contents: Sequence[Content]) -> None:
        """Say what was read."""
        held = [pair for content in contents for pair in content.chunks]
        log.info(
            "read %d files, %d chunks, %s entries in %.1f s; held: %s selected events, %s of columns",
            len({(chunk.file.dataset, chunk.file.path) for chunk, _ in held}),
            len(held),
            f"{sum(chunk.rows for chunk, _ in held):,}",
            time.monotonic() - self._began,
            f"{sum(kept for _, kept in held):,}",
            format_bytes(sum(sum(content.nbytes.values()) for content in contents)),
        )
