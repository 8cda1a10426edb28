"""What an event's jets come to for every threshold on their transverse momentum and on their b tag, worked out once.

The jets above a threshold are the first n in the order of their momenta, and those tagged the first k in the order of their tags. So the
region, H_T and the chosen trijet of an event are step functions of the two thresholds: an event has a few outcomes, each for a range of
momentum thresholds, from that of jet n + 1 to that of jet n, and a range of b-tag thresholds. All trijets are looked at, whatever the number of jets.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from math import comb
from typing import TypeAlias

import awkward as ak
import numpy as np

Array: TypeAlias = np.ndarray

JETS = (21.0, 54.0)
"""Transverse momenta in GeV between which thresholds are looked at."""
LOOSE_TAG = 0.35
"""B tag below which no threshold is looked at."""
RULES = ("pt", "one_tag", "w_mass")
"""Which trijet with a tagged jet is taken: that of the largest momentum, as the AGC does; that among those with one tagged jet only, where there are
any; and that among those whose other two jets are nearest to the W boson's mass."""
W_MASS = 80.4
NOTHING = -20.0  # a b tag below those that there are
PIECE = 20_000  # events that are looked at together, for the sake of memory

RANGES = ("pt_low", "pt_high", "tag_low", "tag_high")
COUNTED = ("x", *RANGES)
COMBINED = ("x", "rules", *RANGES)
KINDS = {**dict.fromkeys(COMBINED, np.float64), "rules": np.int32}


def together(tables: Mapping[str, dict[str, ak.Array]]) -> dict[str, ak.Array]:
    """The columns of some tables by ``table column``, all of one length for an event, a power of four, so that few shapes compile.

    What is added holds for no threshold.
    """
    lengths = [ak.to_numpy(ak.num(next(iter(columns.values())))) for columns in tables.values()]
    longest = np.max(lengths, axis=0, initial=1)
    padded = 4 ** np.ceil(np.log2(np.maximum(longest, 4)) / 2).astype(int)
    added = [ak.unflatten(np.zeros(lacking.sum()), lacking) for lacking in padded - np.array(lengths)]
    return {
        f"{table} {name}": ak.concatenate([column, ak.values_astype(zeros, KINDS[name])], axis=1)
        for (table, columns), zeros in zip(tables.items(), added, strict=True)
        for name, column in columns.items()
    }


def outcomes(jets: Mapping[str, ak.Array]) -> tuple[dict[str, ak.Array], dict[str, ak.Array]]:
    """Of events of one tagged jet, and of two or more, with at least four jets each.

    Args:
        jets: ``pt``, ``eta``, ``phi``, ``mass`` and ``tag`` of the jets of each event, in any order.

    Returns:
        for both kinds jagged arrays of an event's outcomes, by the names in ``COUNTED`` and ``COMBINED``: the observable ``x`` in GeV; which rules
        give it, the sum of 2 ** number of the rule; and the thresholds, ``low ≤ threshold < high``, for which it is the outcome.
    """
    order = ak.argsort(jets["pt"], ascending=False, stable=True)
    ordered = {name: ak.values_astype(column[order], np.float64) for name, column in jets.items()}
    number = ak.to_numpy(ak.num(order))
    found: tuple[list[Array], list[Array]] = ([], [])
    for jets_each in np.unique(number[number >= 4]):
        alike = np.flatnonzero(number == jets_each)
        for events in np.array_split(alike, -(-len(alike) // PIECE)):
            group = {name: ak.to_numpy(ak.to_regular(column[events])) for name, column in ordered.items()}
            found[0].extend(_numbered(events, _counted(group)))
            found[1].extend(_numbered(events, _combined(group)))
    return _jagged(COUNTED, found[0], len(number)), _jagged(COMBINED, found[1], len(number))


def _numbered(events: Array, parts: Iterator[tuple[Array, list[Array]]]) -> Iterator[Array]:
    """Rows of an event's number and the numbers of one of its outcomes."""
    return (np.stack([events[rows].astype(float), *numbers]) for rows, numbers in parts)


def _jagged(names: tuple[str, ...], parts: list[Array], events: int) -> dict[str, ak.Array]:
    every = np.concatenate([np.zeros((1 + len(names), 0)), *parts], axis=1)
    every = every[:, np.argsort(every[0], kind="stable")]
    counts = np.bincount(every[0].astype(int), minlength=events)
    return {
        name: ak.unflatten(column.astype(KINDS[name]), counts) for name, column in zip(names, every[1:], strict=True)
    }


def _thresholds(jets: Mapping[str, Array]) -> Iterator[tuple[int, Array, Array, Array]]:
    """For each number n of jets above a threshold: n, the range of thresholds, and the tags from the largest on, one more than there are."""
    pt, tag = jets["pt"], jets["tag"]
    events, most = pt.shape
    for n in range(4, most + 1):
        low = pt[:, n] if n < most else np.zeros(events)
        tags = np.concatenate([-np.sort(-tag[:, :n], axis=1), np.full((events, 1), NOTHING)], axis=1)
        yield n, np.maximum(low, JETS[0]), np.where(low < JETS[1], pt[:, n - 1], 0.0), tags


def _counted(jets: Mapping[str, Array]) -> Iterator[tuple[Array, list[Array]]]:
    ht = np.cumsum(jets["pt"], axis=1)
    for n, low, high, tags in _thresholds(jets):
        rows = np.flatnonzero((high > low) & (tags[:, 0] > np.maximum(tags[:, 1], LOOSE_TAG)))
        yield rows, [column[rows] for column in (ht[:, n - 1], low, high, tags[:, 1], tags[:, 0])]


def _combined(jets: Mapping[str, Array]) -> Iterator[tuple[Array, list[Array]]]:
    triplets = _Triplets(jets)
    for n, low, high, tags in _thresholds(jets):
        for k in range(1, n):
            rows = np.flatnonzero((high > low) & (tags[:, k] > np.maximum(tags[:, k + 1], LOOSE_TAG)))
            if not rows.size:
                continue
            chosen = triplets.chosen(rows, comb(n, 3), tags[rows, k])
            for rule, of_rule in enumerate(chosen):
                new = np.all(chosen[:rule] != of_rule, axis=0)
                rules = 2.0 ** np.arange(len(RULES)) @ (chosen == of_rule)
                every = triplets.mass[rows, of_rule], rules, *(x[rows] for x in (low, high, tags[:, k + 1], tags[:, k]))
                yield rows[new], [column[new] for column in every]


class _Triplets:
    """All combinations of three jets: those of the first n jets come first.

    Attributes, each of shape (events, combinations):
        pt, mass: of the sum.
        first, second: the largest and the second largest tag of the three.
        pair: mass of the two that have not the largest, the same for all triplets of one pair.
    """

    def __init__(self, jets: Mapping[str, Array]) -> None:
        chosen = np.array(sorted(itertools.combinations(range(jets["pt"].shape[1]), 3), key=lambda three: three[::-1]))
        momenta = four_momenta(*(jets[name][:, chosen] for name in ("pt", "eta", "phi", "mass")))
        total = momenta.sum(axis=-1)
        tags = jets["tag"][:, chosen]
        order = np.argsort(-tags, axis=-1, kind="stable")
        self.pt, self.mass = np.hypot(total[0], total[1]), invariant_mass(total)
        self.first, self.second = (np.take_along_axis(tags, order[..., i : i + 1], axis=-1)[..., 0] for i in (0, 1))
        self.pair = invariant_mass(np.take_along_axis(momenta, order[None, ..., 1:], axis=-1).sum(axis=-1))

    def chosen(self, rows: Array, among: int, threshold: Array) -> Array:
        """The trijet that each rule takes for these events, where jets from this tag on are tagged, shape (rules, rows)."""
        pt, first, second, pair = (column[rows, :among] for column in (self.pt, self.first, self.second, self.pair))
        tagged = first >= threshold[:, None]
        once = tagged & (second < threshold[:, None])
        once = np.where(once.any(axis=1, keepdims=True), once, tagged)
        away = np.where(once, np.abs(pair - W_MASS), np.inf)
        candidates = {"pt": tagged, "one_tag": once, "w_mass": away == away.min(axis=1, keepdims=True)}
        return np.stack([np.where(candidates[rule], pt, -np.inf).argmax(axis=1) for rule in RULES])


def four_momenta(pt: Array, eta: Array, phi: Array, mass: Array) -> Array:
    """Momentum and energy, shape (4, …)."""
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([x, y, z, np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)])


def invariant_mass(momentum: Array) -> Array:
    """Of four-momenta of shape (4, …)."""
    x, y, z, energy = momentum
    return np.sqrt(np.maximum(energy**2 - x**2 - y**2 - z**2, 0.0))
