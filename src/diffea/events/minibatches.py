"""Mini-batches: a part of every batch of events, drawn by a seed, the same on any cluster.

Rows are held in a shuffled order (``shuffled``), so that a few consecutive ones are a random sample of a batch, and a part of them costs a
part of a step. Each part takes its share of every batch, and so of every dataset and file, to within one event.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np

from diffea.errors import OptionError
from diffea.events.scalars import plain
from diffea.events.splits import splitmix64
from diffea.types import AnyArray, Scalar

LARGEST = 1 << 31  # of the numbers that name a part
ALL = np.array([0, 1, 0])  # the only part of one


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the parts that all events are divided into.

    Args:
        number: from 0.
        of: how many parts there are.
        seed: another seed divides otherwise.

    Raises:
        OptionError: if these are not whole numbers, or there is no such part.
    """

    number: int
    of: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = [plain(number) for number in (self.number, self.of, self.seed)]
        whole = all(isinstance(number, int) and not isinstance(number, bool) for number in numbers)
        if not whole or not (0 <= numbers[0] < numbers[1] < LARGEST and 0 <= numbers[2] < LARGEST):
            msg = (
                "a mini-batch is templates.batch(number, of=parts, seed=…) of whole numbers with 0 ≤ number < of and 0 ≤ seed, both below 2³¹, "
                f"got number={self.number!r}, of={self.of!r}, seed={self.seed!r}"
            )
            raise OptionError(msg)

    def windows(self, pieces: Sequence[int], *key: int) -> list[tuple[int, int, int]]:
        """Which rows of some pieces belong to this part: as (piece, first row, last row + 1), those of no rows left out.

        Args:
            pieces: their numbers of rows, shuffled over all of them.
            key: what tells these pieces from others, which are divided elsewhere.
        """
        rows, firsts = sum(pieces), [0, *accumulate(pieces)]
        if self.of == 1 or not rows:
            return [(piece, 0, count) for piece, count in enumerate(pieces) if count]
        begin, turned = _hash(self.seed, *key, 0) % rows, _hash(self.seed, *key, 1)
        number = (self.number + turned) % self.of
        start, stop = (begin + rows * end // self.of for end in (number, number + 1))
        found = [
            (piece, max(start - turn - first, 0), min(stop - turn - first, count))
            for turn in (0, rows)  # a part that begins near the end goes on at the beginning
            for piece, (first, count) in enumerate(zip(firsts, pieces, strict=False))
        ]
        return [window for window in found if window[1] < window[2]]


def shuffled(rows: int) -> np.ndarray:
    """The order in which rows are held: a permutation that depends on their number alone."""
    return np.argsort(splitmix64(np.arange(rows, dtype=np.uint64)), kind="stable").astype(np.int32)


@dataclasses.dataclass
class _Around:
    part: AnyArray
    asked: bool = False


_marker = jax.make_user_context(default_value=None)  # part of JAX's jit key, as those of soft.context
_around: ContextVar[_Around | None] = ContextVar("diffea_mini_batch", default=None)


@contextmanager
def mini_batch(number: Scalar, of: Scalar, seed: Scalar = 0) -> Iterator[_Around]:
    """A context in which templates are those of a mini-batch.

    Args:
        number, of, seed: see ``Part``; JAX integers that are arguments of a compiled function around the context compile once for all.

    Returns:
        whether any templates were ``asked`` for in it.
    """
    traced = any(isinstance(given, jax.core.Tracer) for given in (number, of, seed))
    if traced:
        marked, around = object(), _Around(jnp.stack([jnp.asarray(given, int) for given in (number, of, seed)]))
    else:
        marked = chosen = Part(*(plain(given) for given in (number, of, seed)))  # type: ignore[arg-type]
        around = _Around(np.array(dataclasses.astuple(chosen)))
    token = _around.set(around)
    try:
        with _marker(marked):
            yield around
    finally:
        _around.reset(token)


def chosen_part() -> AnyArray:
    """The part that a ``mini_batch`` around this call chose, as number, parts and seed; all events outside of any."""
    if (around := _around.get()) is None:
        return ALL
    around.asked = True
    return around.part


def _hash(*numbers: int) -> int:
    hashed = np.zeros(1, np.uint64)
    for number in numbers:
        hashed = splitmix64(hashed ^ np.uint64(number))
    return int(hashed[0])
