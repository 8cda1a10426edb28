"""Cuts, counts and choices with the names of diffea's soft ones: exact, so that their widths mean nothing here."""

from __future__ import annotations

import contextlib
import functools
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from diffea.export.plain.ragged import Ragged, per_event


def hard_above(x: Any, threshold: Any, *, width: Any = None, shape: str = "") -> Any:  # noqa: ARG001
    """1 where x > threshold, 0 elsewhere; of events, or of objects."""
    if isinstance(x, Ragged):
        return Ragged(np.where(x.mask, hard_above(x.values, per_event(threshold)), 0.0), x.mask)
    return (np.asarray(x) > threshold).astype(float)


def hard_below(x: Any, threshold: Any, *, width: Any = None, shape: str = "") -> Any:  # noqa: ARG001
    """1 where x < threshold, 0 elsewhere."""
    if isinstance(x, Ragged):
        return Ragged(np.where(x.mask, hard_below(x.values, per_event(threshold)), 0.0), x.mask)
    return (np.asarray(x).astype(float) < threshold).astype(float)


def hard_between(x: Any, low: Any, high: Any, *, width: Any = None, shape: str = "") -> Any:  # noqa: ARG001
    """1 where low < x < high, 0 elsewhere."""
    return hard_above(x, low) * hard_below(x, high)


def hard_outside(x: Any, low: Any, high: Any, *, width: Any = None, shape: str = "") -> Any:  # noqa: ARG001
    """0 where low < x < high, 1 elsewhere."""
    return hard_not(hard_between(x, low, high))


def hard_not(cut: Any) -> Any:
    """The complement of a cut."""
    if isinstance(cut, Ragged):
        return Ragged(np.where(cut.mask, 1.0 - cut.values, 0.0), cut.mask)
    return 1.0 - cut


def hard_all_of(*cuts: Any) -> Any:
    """All of several cuts at once: their product."""
    return functools.reduce(operator.mul, (cut if isinstance(cut, Ragged) else np.asarray(cut) for cut in cuts))


def hard_any_of(*cuts: Any) -> Any:
    """At least one of several cuts; each fails an object that it is not made on."""
    masks = [cut.mask for cut in cuts if isinstance(cut, Ragged)]
    mask = np.logical_or.reduce(masks) if masks else None
    of_all = (Ragged(cut.where(0.0), mask) if isinstance(cut, Ragged) else np.asarray(cut) for cut in cuts)
    return hard_not(hard_all_of(*map(hard_not, of_all)))


def passes(cut: Any, most: int) -> list[Any]:
    """Whether 0, 1, …, `most` objects of each event pass: one array for each number."""
    passed = cut.where(0.0)
    return successes(list(passed.T), most)


def successes(trials: list[Any], most: int) -> list[Any]:
    """Whether 0, 1, …, `most` of the trials succeed."""
    found = [np.ones_like(trials[0])] + [np.zeros_like(trials[0])] * most
    for p in trials:
        fails = [q * (1.0 - p) for q in found]
        found = [fails[0]] + [fail + q * p for fail, q in zip(fails[1:], found[:-1], strict=True)]
    return found


def hard_count(cut: Any) -> Any:
    """How many objects of each event pass."""
    return cut.sum()


def hard_at_least(n: int, cut: Any) -> Any:
    """1 where at least n objects pass."""
    return 1.0 - hard_at_most(n - 1, cut) if n else np.ones(len(cut))


def hard_at_most(n: int, cut: Any) -> Any:
    """1 where at most n objects pass."""
    return functools.reduce(operator.add, passes(cut, n))


def hard_exactly(n: int, cut: Any) -> Any:
    """1 where exactly n objects pass."""
    return passes(cut, n)[-1]


def hard_sum(x: Any, cut: Any = None) -> Any:
    """Sum of x over the objects that pass."""
    return (x if cut is None else x * cut).sum()


def hard_nth(n: int, cut: Any, by: Any) -> Any:
    """1 for the object that is the n-th, in descending order of `by`, of those that pass."""
    passed, order = cut.where(0.0), by.where(-np.inf)
    places = np.arange(passed.shape[1])
    if n > len(places):
        return Ragged(np.zeros_like(passed), cut.mask)
    earlier = []
    for slot in places:
        ahead = order[:, slot, None]
        before = (ahead > order) | ((ahead == order) & (slot < places))
        earlier.append(np.where(before, passed[:, slot, None], 0.0))
    return Ragged(passed * successes(earlier, n - 1)[n - 1], cut.mask)


def hard_leading(n: int, x: Any, cut: Any = None, *, by: Any = None, default: Any = 0.0) -> Any:
    """x of the n-th object that passes, in descending order of `by`; the default where there is none."""
    cut = Ragged(np.ones_like(x.where(0.0)), x.mask) if cut is None else cut
    chosen = hard_nth(n, cut, x if by is None else by)
    missing = 1.0 - chosen.sum()
    default = np.where(np.isfinite(default) | (missing > 0), default, 0.0)
    return (x * chosen).sum() + missing * default


def hard_max(x: Any, cut: Any = None, *, default: Any = 0.0) -> Any:
    """The largest x of the objects that pass."""
    return hard_leading(1, x, cut, default=default)


def hard_min(x: Any, cut: Any = None, *, default: Any = 0.0) -> Any:
    """The smallest x of the objects that pass."""
    return hard_leading(1, x, cut, by=-x, default=default)


def hard_choice(logits: Any, options: Any, *, temperature: Any = 1.0, straight_through: bool = False) -> Any:  # noqa: ARG001
    """The option with the largest logit."""
    best = int(np.argmax(logits))
    one = options[best]
    return as_floating(one) if isinstance(one, np.ndarray | float | int | Ragged) else map_leaves(as_floating, one)


def as_floating(option: Any) -> Any:
    """Numbers as floating-point ones."""
    return option.astype(float) if isinstance(option, Ragged) else np.asarray(option, float)


def map_leaves(function: Any, tree: Any) -> Any:
    """A function of everything in dicts, lists and tuples."""
    if isinstance(tree, dict):
        return {key: map_leaves(function, value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(map_leaves(function, value) for value in tree)
    return function(tree)


def hard_pairs(x: Any) -> Any:
    """Both members of every pair of objects of an event."""
    if x.shape[1] < 2:
        none = Ragged(x.values, np.zeros_like(x.mask))
        return none, none
    first, second = np.array(list(itertools.combinations(range(x.shape[1]), 2)), int).T
    present = x.mask[:, first] & x.mask[:, second]
    return Ragged(x.values[:, first], present), Ragged(x.values[:, second], present)


@contextlib.contextmanager
def hard_context(*scale: Any) -> Iterator[None]:  # noqa: ARG001
    """Nothing: cuts are exact, however sharp the soft ones were."""
    yield


def is_hard() -> bool:
    """Cuts are exact here."""
    return True


def hard_rank(x: Any, *, strength: Any = None) -> Any:  # noqa: ARG001
    """Rank of each object in descending order, 1 for the largest."""
    values = x.where(0.0)
    larger = (values[:, None, :] > values[:, :, None]) & x.mask[:, None, :]
    return Ragged(np.where(x.mask, 1.0 + np.sum(larger, axis=-1), 0.0), x.mask)


def hard_sort(x: Any, *, strength: Any = None) -> Any:  # noqa: ARG001
    """The values of an event's objects in descending order."""
    present = np.arange(x.shape[1]) < x.num()[:, None]
    return Ragged(np.where(present, -np.sort(np.where(x.mask, -x.values, np.inf), axis=-1), 0.0), present)
