"""The ledger: every planned range of entries is held once, or listed as left out."""

from __future__ import annotations

import pytest

from diffea.distributed.ledger import Ledger
from diffea.distributed.shards import Content, Skipped
from diffea.errors import FilesetError, LedgerError
from diffea.events.filesets import Chunk, File

FILE = File("data", "a.root", "Events", {})
CHUNKS = [Chunk(FILE, start, start + 100) for start in (0, 100, 200)]


def content(*chunks, skipped=()):
    nbytes = {"memory": 0, "disk": 0, "files": 0}
    return Content({}, tuple((chunk, 90) for chunk in chunks), tuple(skipped), nbytes, 0.0, ())


def test_a_whole_one_counts_selected_events() -> None:
    ledger = Ledger.of(CHUNKS, [content(CHUNKS[2]), content(*CHUNKS[:2])], [])
    assert ledger.events == {"data": 270}
    assert ledger.lost == {}
    ledger.check(270)
    with pytest.raises(LedgerError, match="counted 269 events of 270"):
        ledger.check(269)


def test_a_gap_is_an_error_unless_it_is_listed() -> None:
    with pytest.raises(LedgerError, match="of 3 ranges of entries 1 are missing"):
        Ledger.of(CHUNKS, [content(*CHUNKS[:2])], [])
    skipped = Skipped("data", "a.root", 100, "bad")
    assert Ledger.of(CHUNKS, [content(*CHUNKS[:2], skipped=[skipped])], []).lost == {"data": pytest.approx(1 / 3)}


def test_a_double_is_an_error() -> None:
    with pytest.raises(LedgerError, match=r"held twice: .*'a.root', 100, 200"):
        Ledger.of(CHUNKS, [content(*CHUNKS), content(CHUNKS[1])], [])


def test_nothing_at_all_is_an_error() -> None:
    skipped = [Skipped("data", "a.root", 100, "bad")] * 3
    with pytest.raises(FilesetError, match="the first reason: bad"):
        Ledger.of(CHUNKS, [content(skipped=skipped)], [])
