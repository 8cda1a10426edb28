"""Split: a partition by what identifies an event."""

from __future__ import annotations

import hist
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from diffea.distributed import distribute
from diffea.errors import SplitError
from diffea.events.splits import Split
from diffea.processor import DifferentiableProcessor, Fill


def numbers(events: int) -> tuple[np.ndarray, ...]:
    return np.ones(events, np.uint32), np.full(events, 7, np.uint32), np.arange(events, dtype=np.uint64)


def test_every_event_belongs_to_one_part() -> None:
    split = Split(train=0.5, validation=0.2, seed=4)
    masks = [split.of(part).mask(numbers(10_000)) for part in ("train", "validation", "test")]
    np.testing.assert_array_equal(sum(mask.astype(int) for mask in masks), 1)
    for mask, fraction in zip(masks, (0.5, 0.2, 0.3), strict=True):
        assert abs(mask.mean() - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 10_000)


def test_parts_do_not_depend_on_the_chunking_and_do_on_the_seed() -> None:
    identity = numbers(1000)
    whole = Split().mask(identity)
    pieces = [Split().mask(tuple(part[start : start + 137] for part in identity)) for start in range(0, 1000, 137)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    assert (Split(seed=1).mask(identity) != whole).any()


@pytest.mark.parametrize(
    ("split", "scales"),
    [
        (Split(train=0.5, validation=0.25), {"train": 2.0, "validation": 4.0, "test": 4.0}),
        (Split(train=0.2), {"train": 5.0, "test": 1.25}),
        (Split(train=0.9, validation=0.05), {"train": 1 / 0.9, "validation": 20.0, "test": 20.0}),
    ],
)
def test_weights_are_scaled_by_one_over_the_fraction_of_their_part(split, scales) -> None:
    assert {part: split.of(part).scale for part in scales} == pytest.approx(scales, rel=1e-12)
    assert split.scale == split.of("train").scale


@pytest.mark.parametrize(
    "fractions",
    [
        {"train": 0.0},
        {"train": 1.0},
        {"train": 0.8, "validation": 0.2},
        {"train": -0.1},
        {"train": float("nan")},
        {"train": float("inf")},
        {"train": "0.5"},
        {"train": None},
        {"train": True},
        {"train": [0.5]},
        {"train": 0.5j},
        {"train": np.array([0.5, 0.5])},
        {"validation": -0.1},
        {"validation": float("nan")},
        {"validation": "0.1"},
        {"validation": None},
        {"validation": False},
    ],
)
def test_impossible_fractions_are_named(fractions) -> None:
    (name,) = set(fractions) - {"train"} or set(fractions)
    with pytest.raises(SplitError, match=f"a split needs .* got .*{name}="):
        Split(**fractions)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, 1.0, "1", None, True, float("nan"), np.float64(2.0)])
def test_a_seed_that_is_no_whole_number_is_named(seed) -> None:
    with pytest.raises(SplitError, match="whole number from 0"):
        Split(seed=seed)


@pytest.mark.parametrize("part", ["training", "Train", "", 0, True, ["train"]])
def test_a_part_that_there_is_not_is_named(part) -> None:
    for make in (lambda: Split(part=part), lambda: Split().of(part)):
        with pytest.raises(SplitError, match="the part of a split is 'train', 'validation', 'test' or None, got"):
            make()


def test_numbers_of_numpy_divide_as_those_of_python() -> None:
    split = Split(train=np.float32(0.5), validation=np.array(0.25), seed=np.uint8(3))
    assert split == Split(train=0.5, validation=0.25, seed=3)
    np.testing.assert_array_equal(split.mask(numbers(100)), Split(seed=3, validation=0.25).mask(numbers(100)))


def test_an_empty_part_is_named() -> None:
    with pytest.raises(SplitError, match="holds no events"):
        _ = Split().of("validation").scale


class Numbers(DifferentiableProcessor):
    """Which of the events there are, a bin for each."""

    channels = {"n": hist.axis.Regular(700, 0, 700, name="n", flow=False)}  # noqa: RUF012

    def columns(self, events):
        return {"n": events.n}

    def fill(self, params, columns):
        yield Fill("n", columns["n"] + 0.5, jnp.full(columns["n"].shape, params["weight"]))


@pytest.fixture(scope="module")
def unnumbered(tmp_path_factory):
    """Two files of 400 and 300 events that have no run, luminosity block and event number."""
    folder = tmp_path_factory.mktemp("unnumbered")
    for name, first, last in (("a", 0, 400), ("b", 400, 700)):
        with uproot.recreate(folder / f"{name}.root") as file:
            file["Events"] = {"n": np.arange(first, last)}
    return {"d": [str(folder / "a.root"), str(folder / "b.root")]}


PARTS_OF = {"train": 0.5, "validation": 0.2, "test": 0.3}


def bins(fileset, part, **options):
    split = Split(train=0.5, validation=0.2, seed=2, part=part)
    with distribute(Numbers(), fileset, schemaclass=BaseSchema, split=split, **options) as templates:
        return np.asarray(templates.hard({"weight": 1.0})["n", "d"].values)


def test_events_without_numbers_belong_to_one_part_whatever_the_chunks(unnumbered) -> None:
    parts = {part: bins(unnumbered, part) for part in PARTS_OF}
    np.testing.assert_allclose(sum(fraction * parts[part] for part, fraction in PARTS_OF.items()), 1.0, rtol=1e-12)
    for part, fraction in PARTS_OF.items():
        kept = parts[part] > 0
        np.testing.assert_allclose(parts[part][kept], 1 / fraction, rtol=1e-12)
        assert abs(kept.mean() - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 700)
    for chunksize in (50, 133, 10_000):  # chunks of one length, of unlike lengths, and whole files
        np.testing.assert_array_equal(bins(unnumbered, "train", chunksize=chunksize), parts["train"])


def test_events_without_numbers_are_divided_anew_in_every_file(unnumbered) -> None:
    kept = bins(unnumbered, "train") > 0
    same = kept[:300] == kept[400:]
    assert abs(same.mean() - 0.5) < 4 * np.sqrt(0.25 / 300)


def test_preprocessed_or_not_the_parts_are_the_same(unnumbered) -> None:
    found = {}
    for path in unnumbered["d"]:
        with uproot.open(path) as file:
            entries, uuid = file["Events"].num_entries, str(file.file.uuid)
        found[path] = {
            "object_path": "Events",
            "num_entries": entries,
            "uuid": uuid.upper(),
            "steps": [[0, 90], [90, entries]],
        }
    np.testing.assert_array_equal(bins({"d": {"files": found}}, "test"), bins(unnumbered, "test"))
