"""Whatever is put in, what comes out is the exact number or an error of ``diffea.errors``.

``DIFFEA_FUZZ=500`` tries so many random cases of each kind; without it there are few, and always the same.
"""

from __future__ import annotations

import contextlib
import decimal
import fractions
import io
import json
import math
import os
import warnings
from pathlib import Path

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import diffea
from diffea import exchange
from diffea.errors import CheckpointError, DiffeaError, ExchangeError
from diffea.files.archives import read_npz
from diffea.optimise.checkpoints import Checkpoint, newest, save
from diffea.optimise.result import Step
from diffea.templates import Layout, TemplateSet

ON_REQUEST = int(os.environ.get("DIFFEA_FUZZ", "0"))
LARGE = 4  # bins of 1 from 0


def fuzz(few):
    return settings(
        max_examples=ON_REQUEST or few,
        derandomize=not ON_REQUEST,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def outcome(attempt):
    """What comes out: a value, or a named error; any other error is a fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return attempt()
        except DiffeaError as error:
            return error


# ---------------------------------------------------------------------------------------------------------------------------
# Filesets: exactly the events of the files, or an error; and an error only where something is wrong.


class Counted(diffea.DifferentiableProcessor):
    """Every event in the bin of its value, weighted by a parameter."""

    channels = {"c": hist.axis.Regular(LARGE, 0, LARGE, name="x")}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "w": events.w}

    def fill(self, params, columns):
        yield diffea.Fill("c", columns["x"], columns["w"] * params["scale"], bandwidth=1e-9)


def content(number, entries):
    rng = np.random.default_rng([number, entries])
    return {"x": rng.uniform(0, LARGE, entries), "w": rng.normal(1.0, 0.5, entries)}


def by_numpy(*contents):
    x, w = (np.concatenate([columns[name] for columns in contents]) for name in ("x", "w"))
    return np.histogram(x, LARGE, (0, LARGE), weights=w)[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files by their number of entries, two of each; their UUIDs; and what is no file of events."""
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for number in (0, 1):
        for entries in (0, 1, 3, 8):
            path = folder / f"{number}-{entries}.root"
            with uproot.recreate(path) as file:
                file.mktree("Events", {"x": np.dtype(float), "w": np.dtype(float)})
                if entries:
                    file["Events"].extend(content(number, entries))
            found[number, entries] = path
    (folder / "garbage.root").write_bytes(b"no ROOT file at all")
    return folder, found


ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    math.nan,
    math.inf,
    "",
    "Events",
    "x",
    [],
    {},
    (),
    [1],
    {"a": 1},
    b"b",
    1j,
    object(),
    10**30,
]
odd = st.sampled_from(ODD)


@st.composite
def filesets(draw, files):
    """A fileset, the contents it names by sample, and whether it is sound."""
    folder, found = files
    fileset, contents, sound = {}, {}, True
    for (number, entries), path in draw(
        st.lists(st.sampled_from(sorted(found.items())), min_size=1, max_size=4, unique=True)
    ):
        dataset = draw(st.sampled_from(["a", "b"]))
        spec = {"object_path": "Events"}
        if draw(st.booleans()):
            cuts = sorted(draw(st.sets(st.integers(1, entries - 1), max_size=3))) if entries > 1 else []
            spec["steps"] = [list(pair) for pair in zip([0, *cuts], [*cuts, entries], strict=True)]
        if draw(st.booleans()):
            spec["num_entries"] = entries
        if draw(st.booleans()):
            with uproot.open(path) as file:
                spec["uuid"] = str(file.file.uuid)
        entry = fileset.setdefault(
            dataset, {"files": {}, "metadata": {"sample": draw(st.sampled_from(["s", "t", dataset]))}}
        )
        entry["files"][draw(st.sampled_from([str, Path]))(path)] = spec
        contents.setdefault(dataset, []).append(content(number, entries))
    damage = draw(
        st.sampled_from(["none"] * 4 + ["spec", "steps", "spelling", "metadata", "files", "garbage", "anything"])
    )
    dataset = draw(st.sampled_from(sorted(fileset)))
    path = draw(st.sampled_from(list(fileset[dataset]["files"])))
    spec = fileset[dataset]["files"][path]
    if damage == "spec":
        fileset[dataset]["files"][path] = {
            **spec,
            draw(st.sampled_from(["object_path", "steps", "num_entries", "uuid"])): draw(odd),
        }
    elif damage == "steps":
        pairs = st.lists(st.tuples(st.integers(-1, 9), st.integers(-1, 9)), max_size=4)
        fileset[dataset]["files"][path] = {**spec, "steps": draw(pairs)}
    elif damage == "spelling":
        other = f"{Path(path).parent}/./{Path(path).name}"
        fileset.setdefault(draw(st.sampled_from(["a", "b"])), {"files": {}, "metadata": {"sample": "s"}})["files"][
            other
        ] = "Events"
    elif damage == "metadata":
        fileset[dataset]["metadata"] = draw(
            st.one_of(odd, st.dictionaries(st.sampled_from(["sample", "x", 3]), odd, max_size=2))
        )
    elif damage == "files":
        fileset[dataset] = draw(st.one_of(odd, st.builds(lambda value: {"files": value}, odd)))
    elif damage == "garbage":
        fileset[dataset]["files"][str(folder / draw(st.sampled_from(["garbage.root", "missing.root"])))] = "Events"
    elif damage == "anything":
        fileset = draw(odd)
    sound = damage == "none" and any(len(part["x"]) for parts in contents.values() for part in parts)
    return fileset, contents, sound, damage


@given(data=st.data())
@fuzz(60)
def test_filesets(files, data):
    fileset, contents, sound, damage = data.draw(filesets(files))
    options = {"chunksize": data.draw(st.sampled_from([1, 2, 3, 100])), "gradient": "vjp", "schemaclass": BaseSchema}

    def sums():
        with diffea.distribute(Counted(), fileset, **options) as templates:
            found = templates.hard({"scale": 2.0})
            if data.draw(st.integers(0, 9)) == 0:
                np.testing.assert_allclose(
                    templates({"scale": 2.0}).values_flat, found.values_flat, rtol=1e-9, atol=1e-12
                )
            return found

    found = outcome(sums)
    if isinstance(found, DiffeaError):
        assert not sound, found
    elif damage not in ("spelling", "garbage"):
        total = sum(np.asarray(template.flow_values) for template in found.values())[1:-1]
        whole = [part for name, parts in contents.items() if name in fileset for part in parts]
        np.testing.assert_allclose(total, 2 * by_numpy(*whole), rtol=1e-12, atol=1e-12)
    else:  # the same file may serve two samples, each of which has it once
        assert damage == "spelling"
        assert len({key[1] for key in found}) > 1


# ---------------------------------------------------------------------------------------------------------------------------
# Columns and fills.

ROWS = 5
ASIDE = 0.23  # from whole numbers, which are edges


class Events(dict):
    """What ``columns`` is given: a number of rows, and where they are from."""

    metadata = {"dataset": "d", "filename": "f.root", "entrystart": 0}  # noqa: RUF012

    def __len__(self):
        return ROWS


COUNTS = [2, 0, 1, 3, 1]
NUMBERS = np.array([0.5, 1.5, 1.7, 3.2, 7.0])
OBJECTS = ak.unflatten(np.array([0.2, 2.5, 3.5, 1.1, 0.4, 0.6, 2.2]), COUNTS)
SOUND = {
    "numbers": NUMBERS,
    "single": NUMBERS.astype(np.float32),
    "awkward": ak.Array(NUMBERS),
    "whole": np.array([0, 1, 3, 2, 5], np.uint8),
    "signed": np.array([-3, 1, 3, 2, 5]),
    "flags": np.array([True, False, True, True, False]),
    "objects": OBJECTS,
    "other objects": OBJECTS * 0.5,
    "whole objects": ak.values_astype(OBJECTS, np.int32),
}
UNSOUND = {
    "text": np.array(list("abcde")),
    "complex": NUMBERS * 1j,
    "complex objects": OBJECTS * 1j,
    "dates": np.array(["2020-01-01"] * ROWS, "M8[D]"),
    "durations": np.array([1] * ROWS, "m8[s]"),
    "NaN": np.where(NUMBERS > 3, np.nan, NUMBERS),
    "infinite": ak.Array(np.where(NUMBERS > 3, np.inf, NUMBERS)),
    "too large": np.array([1, 2, 3, 4, 2**63], np.uint64),
    "short": NUMBERS[:-1],
    "long": np.append(NUMBERS, 1.0),
    "missing": ak.Array([1.0, None, 2.0, 3.0, 4.0]),
    "missing objects": ak.Array([[1.0, None], [], [2.0], [3.0], [4.0]]),
    "missing lists": ak.Array([[1.0], None, [2.0], [3.0], [4.0]]),
    "lists of lists": ak.Array([[[1.0]], [], [[2.0]], [], []]),
    "records": ak.zip({"pt": NUMBERS}),
    "names": ak.Array(list("abcde")),
    "objects of Python": np.array([object()] * ROWS),
    "a list of lists": [[1.0], [], [2.0], [], []],
    "a set": {1, 2},
    "masked": np.ma.masked_greater(NUMBERS, 3),
    "a date": np.datetime64("2020-01-01"),
    "a number's complex": 1j,
    "bytes": b"b",
    "union": ak.Array([1.0, "a", 2.0, 3.0, 4.0]),
}
PLAIN = {"a text": "t", "a number": 3, "None": None, "a NumPy number": np.float32(1.5), "no dimension": np.array(2.0)}


@st.composite
def fills(draw):
    """A processor, what its template must be (None: there must be an error), and how it is run."""
    names = draw(st.lists(st.sampled_from(sorted(SOUND)), min_size=1, max_size=3, unique=True))
    beside = draw(st.lists(st.sampled_from(sorted(PLAIN)), max_size=2, unique=True))
    bad = draw(st.sampled_from([[]] * 3 + [[name] for name in sorted(UNSOUND)]))
    given = {name: {**SOUND, **PLAIN, **UNSOUND}[name] for name in (*names, *beside, *bad)}
    observable, weight = draw(st.sampled_from(names)), draw(st.sampled_from([None, *names, *beside]))
    channel = draw(st.sampled_from(["c", "c", "none", "whole", "circle", "nowhere"]))
    labels = draw(
        st.sampled_from(
            [{}, {}, {}, {"sample": "t"}, {"variation": "up"}, {"sample": 3}, {"variation": None}, {"variation": "a/b"}]
        )
    )
    options = draw(st.sampled_from([{"hard": True}, {"hard": True}, {"hard": True}, {}, {"jacobian": True}]))

    class Made(diffea.DifferentiableProcessor):
        channels = {  # noqa: RUF012
            "c": hist.axis.Regular(4, 0, 4, name="x"),
            "none": hist.axis.Variable([0, 1, 2.4, 4], name="x", flow=False),
            "whole": hist.axis.Integer(-1, 3, name="x"),
            "circle": hist.axis.Regular(3, 0, 3, circular=True, name="x"),
        }

        def columns(self, events):
            return given

        def fill(self, params, columns):
            by = None if weight is None else columns[weight]
            by = by if isinstance(by, str | None) else by * params["scale"]
            yield diffea.Fill(channel, columns[observable] + ASIDE, by, bandwidth=1e-9, **labels)

    sound = not bad and channel != "nowhere" and labels in ({}, {"sample": "t"}, {"variation": "up"})
    sound = sound and weight != "a text"
    return Made(), (channel, given[observable], None if weight is None else given[weight]) if sound else None, options


def by_hist(axis, observable, weight, scale):
    """The histogram that awkward and hist make by hand."""
    columns = ak.broadcast_arrays(ak.Array(observable) + ASIDE, 1.0 if weight is None else ak.Array(weight) * scale)
    x, w = (np.asarray(ak.flatten(column, axis=None), float) for column in columns)
    x = np.floor(x).astype(int) if axis.traits.discrete else x
    return hist.Hist(axis, storage=hist.storage.Weight()).fill(x, weight=w)


@given(made=fills())
@fuzz(120)
def test_columns_and_fills(made):
    processor, expected, options = made
    found = outcome(lambda: processor.at({"scale": 2.0}, **options).process(Events())["d"])
    if isinstance(found, DiffeaError):
        assert expected is None, found
        return
    assert expected is not None
    templates = found["templates"] if "jacobian" in options else found
    (template,) = templates.values()
    channel, observable, weight = expected
    weight = np.asarray(weight) if isinstance(weight, int | float | np.generic) else weight
    if isinstance(weight, np.ndarray) and weight.ndim == 0:
        weight = np.full(ROWS, weight)
    oracle = by_hist(processor.channels[channel], observable, weight, 2.0)
    got = template.to_hist()
    np.testing.assert_allclose(got.values(flow=True), oracle.values(flow=True), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.variances(flow=True), oracle.variances(flow=True), rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------------------------
# Parameters, and options.

REAL = st.one_of(
    st.floats(-1e6, 1e6), st.integers(-(10**6), 10**6),
    st.lists(st.floats(-10, 10), min_size=1, max_size=3).map(np.array), st.floats(-10, 10, width=32).map(np.float32),
    st.integers(0, 200).map(np.uint8), st.just(np.ones((2, 1), np.int16)), st.floats(-10, 10).map(jnp.asarray),
)  # fmt: skip
NOT_REAL = st.one_of(
    st.sampled_from([math.nan, math.inf, 1j, "1", b"1", True, object(), len, np.array(["a"]), np.array([1j]), np.array([True])]),
    st.sampled_from([np.datetime64("2020"), np.timedelta64(3, "s"), 10**400, decimal.Decimal(1), fractions.Fraction(1, 3)]),
    st.sampled_from([np.array([1.0, np.nan]), np.ma.masked_greater([1.0, 5.0], 3), np.array([None]), {1, 2}, range(3), jnp.array(1j)]),
)  # fmt: skip


def trees(leaves):
    names = st.sampled_from(["a", "b", "a.b", "", "ü"])
    return st.recursive(
        leaves, lambda inner: st.one_of(st.lists(inner, max_size=2), st.tuples(inner), st.dictionaries(names, inner, max_size=2)), max_leaves=4
    )  # fmt: skip


class Scaled(Counted):
    """Weights times the sum of all parameters."""

    def columns(self, events):
        return {"x": NUMBERS}

    def fill(self, params, columns):
        scale = sum((jnp.sum(leaf) for leaf in jax.tree.leaves(params)), start=jnp.zeros(()))
        yield diffea.Fill("c", columns["x"], jnp.ones(columns["x"].shape) * scale, bandwidth=1e-9)


@given(params=trees(REAL), wrong=st.one_of(st.none(), st.none(), trees(NOT_REAL)))
@fuzz(60)
def test_parameters(params, wrong):
    given = params if wrong is None else [params, wrong]
    found = outcome(lambda: Scaled().at(given, hard=True).process(Events())["d"])
    leaves = jax.tree.leaves(given, is_leaf=lambda leaf: isinstance(leaf, set))
    if isinstance(found, DiffeaError):
        names = [
            jax.tree_util.keystr(path, simple=True, separator=".")
            for path, _ in jax.tree_util.tree_leaves_with_path(given)
        ]
        assert (wrong is not None and leaves) or len(set(names)) < len(names), found
        return
    total = sum(float(np.sum(np.asarray(leaf, float))) for leaf in leaves)
    np.testing.assert_allclose(found["c", "d"].flow_values, total * np.array([0, 1, 2, 0, 1, 1]), rtol=1e-9, atol=1e-9)


OPTIONS = {
    "chunksize": st.one_of(odd, st.integers(1, 9)),
    "precision": st.one_of(odd, st.sampled_from(["float64", "float32", np.float64])),
    "on_bad_file": st.one_of(odd, st.sampled_from(["raise", "skip"])),
    "memory": st.one_of(odd, st.sampled_from(["auto", "1 MB", 0, 10**9])),
    "gradient": st.one_of(odd, st.sampled_from(["auto", "jacobian", "vjp", "by-bin"])),
    "split": st.one_of(odd, st.just(diffea.Split(train=0.4))),
    "client": st.one_of(odd, st.just("tcp://127.0.0.1:8786")),
    "schemaclass": st.one_of(odd, st.just(BaseSchema), st.just(int)),
}


@given(data=st.data())
@fuzz(60)
def test_options_of_distribute(files, data):
    path = files[1][0, 8]
    name = data.draw(st.sampled_from(sorted(OPTIONS)))
    options = {"schemaclass": BaseSchema, name: data.draw(OPTIONS[name])}

    def sums():
        with diffea.distribute(Counted(), {"d": [str(path)]}, **options) as templates:
            return templates.hard({"scale": 1.0})

    found = outcome(sums)
    if not isinstance(found, DiffeaError) and options.get("split") is None:
        np.testing.assert_allclose(found["c", "d"].values, by_numpy(content(0, 8)), rtol=1e-6)
    elif isinstance(found, DiffeaError):
        assert options[name] not in ("float64", "raise", "auto", "vjp") or isinstance(options[name], bool), found


@given(*[st.one_of(odd, st.floats(-0.2, 1.2), st.integers(-1, 2))] * 2, st.one_of(odd, st.integers(-2, 2**64)), odd | st.sampled_from(["train", "test"]))  # fmt: skip
@fuzz(200)
def test_splits(train, validation, seed, part):
    split = outcome(lambda: diffea.Split(train=train, validation=validation, seed=seed, part=part))
    if isinstance(split, DiffeaError):
        return
    assert 0 < split.train <= split.train + split.validation < 1
    numbers = (np.arange(1000),)
    masks = [split.of(of).mask(numbers) for of in ("train", "validation", "test")]
    np.testing.assert_array_equal(np.sum(masks, axis=0), 1)
    for of, fraction in zip(("train", "test"), (train, 1 - train - validation), strict=True):
        assert split.of(of).scale == pytest.approx(1 / fraction)


BOUND = st.one_of(
    odd,
    st.tuples(st.floats(-3, 1), st.floats(0, 3)),
    st.tuples(st.none(), st.floats(0, 3)),
    st.just((-math.inf, math.inf)),
)
MINIMISE = {
    "steps": st.one_of(odd, st.integers(0, 3)),
    "optimizer": st.one_of(odd, st.sampled_from(["l-bfgs-b", "gauss-newton", "newton", optax.adam(0.1), optax.adam])),
    "bounds": st.one_of(odd, st.dictionaries(st.sampled_from(["x", "y"]), BOUND, max_size=2)),
    "validate_every": st.one_of(odd, st.integers(1, 2)),
    "patience": st.one_of(odd, st.integers(1, 2)),
    "schedules": st.one_of(
        odd, st.dictionaries(st.sampled_from(["x", "z"]), st.one_of(odd, st.just(diffea.anneal(2.0, 1.0))), max_size=1)
    ),
    "progress": st.one_of(odd, st.just(lambda step: None)),
    "validate": st.one_of(odd, st.just(lambda params: params["x"] ** 2)),
    "resume": st.booleans(),
}


@given(data=st.data())
@fuzz(40)
def test_options_of_optimise(data):
    names = data.draw(st.lists(st.sampled_from(sorted(MINIMISE)), min_size=1, max_size=2, unique=True))
    options = {"optimizer": "l-bfgs-b", "steps": 2, **{name: data.draw(MINIMISE[name]) for name in names}}

    def loss(params):
        return jnp.sum((params["x"] - 2.0) ** 2 + params["y"] ** 2)

    result = outcome(lambda: diffea.optimise(loss, {"x": 0.5, "y": 1.0}, **options))
    if isinstance(result, DiffeaError):
        return
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    assert len(result.history) <= options["steps"]
    for name, pair in (options.get("bounds") or {}).items():
        low, high = (
            end if side is None else side for side, end in zip(pair or (None, None), (-math.inf, math.inf), strict=True)
        )
        assert low <= float(result.params[name]) <= high
    for step in result.history:
        assert math.isfinite(step.loss)


# ---------------------------------------------------------------------------------------------------------------------------
# Files: what was written, or an error.

LAYOUT = Layout(
    {
        "a": (hist.axis.Regular(3, 0, 1, name="x"),),
        "b": (hist.axis.IntCategory([1, 5], name="n"), hist.axis.Variable([0, 1, 4], name="y", flow=False)),
    },
    (("a", "s", "nominal"), ("a", "t", "up"), ("b", "s", "nominal")),
)  # fmt: skip


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A file of templates and a checkpoint as they were written, and a place for damaged ones."""
    folder = tmp_path_factory.mktemp("kept")
    rng = np.random.default_rng(0)
    templates = TemplateSet(
        LAYOUT, rng.normal(size=LAYOUT.size), rng.normal(size=LAYOUT.size) ** 2, {"a": np.array([0.0, 0.2, 0.5, 1.0])}
    )
    exchange.forward(lambda params: templates, {"x": 1.0}, folder / "templates.npz")
    steps = [Step(number, 3, 0.1 * number, 1.0, 0.5, None) for number in (1, 2)]
    save(folder, Checkpoint([np.arange(3.0), np.array(2), np.ones((2, 2))], steps), "run")
    return folder, {name: (folder / name).read_bytes() for name in ("templates.npz", "step-00000002.npz")}


@st.composite
def damaged(draw, whole):
    """A file that was cut off, or of which some bytes are others."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        kind, place = draw(st.sampled_from(["flip", "cut", "zero", "insert"])), draw(st.integers(0, len(content)))
        if kind == "cut":
            content = content[:place]
        elif kind == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "zero":
            content[place : place + 16] = bytes(len(content[place : place + 16]))
        elif place < len(content):
            content[place] ^= 1 << draw(st.integers(0, 7))
        if not content:
            break
    return bytes(content)


values = st.recursive(st.one_of(odd.filter(lambda v: v is None or isinstance(v, bool | int | float | str)), st.text(max_size=3)), lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(["kind", "edges", "name", "a"]), v, max_size=3), max_leaves=5)  # fmt: skip


@st.composite
def rewritten(draw, whole):
    """A sound file whose header, or one of whose arrays, says something else."""
    with np.load(io.BytesIO(whole)) as found:
        arrays = {name: found[name] for name in found.files}
    header = json.loads(str(arrays["header"]))
    place, inner = header, draw(st.sampled_from(sorted(header)))
    while isinstance(place[inner], dict | list) and place[inner] and draw(st.booleans()):
        place = place[inner]
        inner = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[inner] = draw(values)
    arrays["header"] = np.asarray(json.dumps(header))
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(arrays)))
        arrays[name] = draw(
            st.sampled_from(
                [np.zeros(3), np.zeros((1, 5)), np.array("x"), np.array([1j]), np.array(np.nan), np.zeros(5, int)]
            )
        )
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@given(data=st.data())
@fuzz(300)
def test_exchange_files(kept, data):
    folder, contents = kept
    whole = contents["templates.npz"]
    by_bytes = data.draw(st.booleans())
    (folder / "other.npz").write_bytes(data.draw(damaged(whole) if by_bytes else rewritten(whole)))
    found = outcome(lambda: exchange.read(folder / "other.npz"))
    if isinstance(found, DiffeaError):
        assert isinstance(found, ExchangeError)
    elif by_bytes:
        expected = exchange.read(folder / "templates.npz")
        assert found.templates.layout == expected.templates.layout
        assert (found.params, found.loss) == (expected.params, expected.loss)
        for kind in ("values_flat", "variances_flat"):
            np.testing.assert_array_equal(getattr(found.templates, kind), getattr(expected.templates, kind))
    else:
        assert np.isfinite(found.templates.values_flat).all()
        assert found.templates.values_flat.shape == (found.templates.layout.size,)
        assert all(template.to_hist() is not None for template in found.templates.values())


@given(data=st.data())
@fuzz(300)
def test_checkpoints(kept, data):
    folder, contents = kept
    whole = contents["step-00000002.npz"]
    by_bytes = data.draw(st.booleans())
    (folder / "damaged").mkdir(exist_ok=True)
    (folder / "damaged" / "step-00000002.npz").write_bytes(data.draw(damaged(whole) if by_bytes else rewritten(whole)))
    found = outcome(lambda: newest(folder / "damaged", "run", lambda checkpoint: checkpoint))
    if isinstance(found, DiffeaError):
        assert isinstance(found, CheckpointError)
        return
    assert [step.step for step in found.history] == [1, 2]
    if by_bytes:
        expected = newest(folder, "run", lambda checkpoint: checkpoint)
        assert list(found.history) == list(expected.history)
        for one, other in zip(found.arrays, expected.arrays, strict=True):
            np.testing.assert_array_equal(one, other)


@given(data=st.data())
@fuzz(100)
def test_archives(kept, data):
    """The reader below both, which says ``ValueError``."""
    folder, contents = kept
    (folder / "any.npz").write_bytes(data.draw(st.one_of(st.binary(max_size=300), damaged(contents["templates.npz"]))))
    with contextlib.suppress(ValueError):
        header, arrays = read_npz(folder / "any.npz")
        assert isinstance(header, dict)
        assert all(array.dtype.kind in "fiub" for array in arrays.values())
