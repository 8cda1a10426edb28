"""Reduction: partial sums of batches, added up in one fixed tree, whoever holds them and in whatever order they arrive."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

import jax
import numpy as np
import psutil

from diffea.errors import LedgerError
from diffea.types import PyTree

Node = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Partial:
    """Sums over some of the batches.

    The binary tree over ``batches`` leaves is fixed: node ``(level, index)`` covers the batches from ``index · 2^level`` up
    to the next node of its level. Two siblings become their parent as soon as they meet, so the order of additions, and
    with it the last bit, depends on the number of batches alone.

    Attributes:
        batches: leaves of the whole tree.
        nodes: the sums held (None where nothing could be read), and the number of events that each counts.
        seconds: spent on the workers, by what for, summed over them.
        memory: resident, of the worker that has most of it, in bytes.
    """

    batches: int
    nodes: Mapping[Node, tuple[int, PyTree]]
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    memory: int = 0

    def spent(self, **seconds: float) -> Partial:
        """The same sums, with time that they took."""
        total = {name: spent + self.seconds.get(name, 0.0) for name, spent in seconds.items()}
        return dataclasses.replace(self, seconds={**self.seconds, **total})

    def here(self) -> Partial:
        """The same sums, with the memory of this process."""
        return dataclasses.replace(self, memory=psutil.Process().memory_info().rss)

    @property
    def total(self) -> PyTree:
        """The sum over all batches.

        Raises:
            LedgerError: if some were not counted.
        """
        return self._root[1]

    @property
    def events(self) -> int:
        """How many events were counted."""
        return self._root[0]

    @property
    def _root(self) -> tuple[int, PyTree]:
        root = ((self.batches - 1).bit_length(), 0)
        if root not in self.nodes:
            msg = f"of {self.batches} batches only the nodes {sorted(self.nodes)} were counted: events are missing"
            raise LedgerError(msg)
        return self.nodes[root]


def merge(partials: Iterable[Partial]) -> Partial:
    """The sum of partial sums over distinct batches; of those that are still to be computed, few are held at a time.

    Raises:
        LedgerError: if a batch is counted twice.
    """
    batches = 0
    nodes: dict[Node, tuple[int, PyTree]] = {}
    seconds: dict[str, float] = {}
    memory = 0
    for partial in partials:
        batches = partial.batches
        for node, value in partial.nodes.items():
            if node in nodes or any((node[0] + up, node[1] >> up) in nodes for up in range(1, 64)):
                msg = f"the batches of node {node} of {batches} were counted twice"
                raise LedgerError(msg)
            _insert(nodes, node, value, batches)
        for name, spent in partial.seconds.items():
            seconds[name] = seconds.get(name, 0.0) + spent
        memory = max(memory, partial.memory)
    return Partial(batches, nodes, seconds, memory)


def reduce(partials: Iterable[Partial]) -> Partial:
    """``merge``, which tells its time."""
    began = time.perf_counter()
    return merge(partials).spent(reduce=time.perf_counter() - began)


def _add(left: PyTree, right: PyTree) -> PyTree:
    if left is None or right is None:
        return right if left is None else left
    return jax.tree.map(np.add, left, right)


def _insert(nodes: dict[Node, tuple[int, PyTree]], node: Node, value: tuple[int, PyTree], batches: int) -> None:
    level, index = node
    while level < (batches - 1).bit_length():
        sibling = (level, index ^ 1)
        if sibling in nodes:
            pair = sorted([((level, index), value), (sibling, nodes.pop(sibling))], key=lambda item: item[0])
            (_, (left_events, left)), (_, (right_events, right)) = pair
            value = (left_events + right_events, _add(left, right))
        elif (index ^ 1) << level < batches:
            break
        level, index = level + 1, index >> 1
    nodes[level, index] = value
