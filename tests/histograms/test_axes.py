"""Every kind of axis that hist has, through ``distribute``: hist's own fill as the bandwidth goes to zero, or refused by name."""

from __future__ import annotations

import ctypes
from functools import partial
from itertools import pairwise

import awkward as ak
import hist
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from coffea.processor import IterativeExecutor, Runner

import diffea
from diffea import errors
from diffea.exchange.axes import described, made
from diffea.histograms import KERNELS, edges_of
from diffea.templates.layout import axis_identity

Pow, log, sqrt = hist.axis.transform.Pow, hist.axis.transform.log, hist.axis.transform.sqrt
EDGES = [-1.0, -0.3, 0.2, 1.7, 2.5]
NAMES = ["e", "mu", "tau"]


def variants(make):
    """An axis with all and with none of its flow bins, and with one of them."""
    flows = {
        "": {},
        " no flow": {"flow": False},
        " no underflow": {"underflow": False},
        " no overflow": {"overflow": False},
    }
    return {flow: make(**options) for flow, options in flows.items()}


CONTINUOUS = {
    **{f"regular{flow}": axis for flow, axis in variants(partial(hist.axis.Regular, 7, -1, 2.5, name="x")).items()},
    **{f"variable{flow}": axis for flow, axis in variants(partial(hist.axis.Variable, EDGES, name="x")).items()},
    "circular": hist.axis.Regular(6, -1, 2, circular=True, name="x"),
    "circular variable": hist.axis.Variable(EDGES, circular=True, name="x"),
    "log": hist.axis.Regular(5, 0.2, 3, transform=log, name="x"),
    "sqrt": hist.axis.Regular(5, 0.0, 3, transform=sqrt, name="x"),
    **{
        f"power {power}": hist.axis.Regular(5, 0.2, 3, transform=Pow(power), name="x")
        for power in (2, 3, 1.5, -1, -2, -0.7)
    },
}  # boost-histogram gives axes with a transform both flow bins
DISCRETE = {
    **{f"integer{flow}": axis for flow, axis in variants(partial(hist.axis.Integer, -1, 3, name="x")).items()},
    "circular integer": hist.axis.Integer(-1, 3, circular=True, name="x"),
    "boolean": hist.axis.Boolean(name="x"),
    "categories": hist.axis.IntCategory([3, 0, 2], name="x"),
    "categories no overflow": hist.axis.IntCategory([3, 0, 2], flow=False, name="x"),
    "names": hist.axis.StrCategory(NAMES, name="x"),
    "names no overflow": hist.axis.StrCategory(NAMES, flow=False, name="x"),
}
PAIRS = {
    "angle and mass": (hist.axis.Regular(5, -1, 2, circular=True, name="angle"), hist.axis.Variable(EDGES, name="mass")),
    "mass and angle": (hist.axis.Regular(4, 0, 2, flow=False, name="mass"), hist.axis.Variable(EDGES, circular=True, name="angle")),
    "category and root": (hist.axis.IntCategory([3, 0, 2], name="n"), hist.axis.Regular(4, 0.0, 3, transform=sqrt, name="root")),
}  # fmt: skip
BY_OBJECT = {
    "objects": hist.axis.Regular(6, -1, 2, name="x"),
    "objects no flow": hist.axis.Variable(EDGES, name="x", flow=False),
    "objects circular": hist.axis.Regular(6, -1, 2, circular=True, name="x"),
    "objects log": hist.axis.Regular(5, 0.2, 3, transform=log, name="x"),
    "objects integer": hist.axis.Integer(-1, 3, name="x"),
}
TINY = 1e-9


def numbers(columns, name):
    """What an axis is filled with."""
    if name == "boolean":
        return columns["n"] > 1
    return columns["n"] if name in DISCRETE else columns["x"]


class Everything(diffea.DifferentiableProcessor):
    """A channel for each axis; half of the bandwidths are known before compilation, those of the other half are a parameter."""

    channels = {**CONTINUOUS, **DISCRETE, **PAIRS, **BY_OBJECT}  # noqa: RUF012

    def columns(self, events):
        return {"x": events.x, "y": events.y, "n": events.n, "w": events.w, "objects": events.objects}

    def fill(self, params, columns):
        for place, name in enumerate(self.channels):
            bandwidth = params["bandwidth"] if place % 2 else TINY
            if name in PAIRS:
                n_or_x = columns["n"] if name.startswith("category") else columns["x"]
                yield diffea.Fill(name, (n_or_x, columns["y"]), columns["w"], bandwidth=bandwidth)
            elif name in BY_OBJECT:
                yield diffea.Fill(name, columns["objects"], columns["w"], bandwidth=bandwidth)
            else:
                yield diffea.Fill(name, numbers(columns, name), columns["w"], bandwidth=bandwidth)


def at_edges():
    """Every edge of every axis, its neighbours among the doubles, and zeros of both signs."""
    edges = np.unique(np.concatenate([EDGES, *(axis.edges for axis in CONTINUOUS.values())]))
    return np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf), [0.0, -0.0, -7.5, 9.5]])


def sample(x, seed):
    rng = np.random.default_rng(seed)
    objects = ak.unflatten(rng.uniform(-3, 5, 3 * x.size)[: (counts := rng.integers(0, 4, x.size)).sum()], counts)
    return {
        "x": x,
        "y": rng.permutation(x),
        "n": rng.integers(-3, 6, x.size),
        "w": rng.normal(1.0, 0.5, x.size),
        "objects": objects,
    }


SAMPLES = {"anywhere": sample(np.random.default_rng(0).uniform(-4, 6, 700), 1), "edges": sample(at_edges(), 2)}


def written(folder, columns, name):
    with uproot.recreate(folder / f"{name}.root") as file:
        file["Events"] = columns
    return {name: {"files": {str(folder / f"{name}.root"): "Events"}}}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Soft and hard templates of all channels, from one compiled program."""
    folder = tmp_path_factory.mktemp("axes")
    fileset = {name: of for sample, columns in SAMPLES.items() for name, of in written(folder, columns, sample).items()}
    with diffea.distribute(Everything(), fileset, schemaclass=BaseSchema, gradient="vjp") as templates:
        params = {"bandwidth": TINY}
        return {"soft": templates(params), "hard": templates.hard(params)}


def by_hist(name, columns):
    axes = Everything.channels[name]
    histogram = hist.Hist(*(axes if isinstance(axes, tuple) else (axes,)), storage=hist.storage.Weight())
    x, y, n, weight = (columns[of] for of in "xynw")
    if name in PAIRS:
        entries = (n if name.startswith("category") else x, y)
    elif name in BY_OBJECT:
        flat, weight = ak.to_numpy(ak.flatten(columns["objects"])), np.repeat(weight, ak.num(columns["objects"]))
        entries = (np.floor(flat).astype(int) if "integer" in name else flat,)
    elif name.startswith("names"):
        entries = ([NAMES[number] if 0 <= number < len(NAMES) else "none of these" for number in n],)
    else:
        entries = (numbers(columns, name),)
    return histogram.fill(*entries, weight=weight)


@pytest.mark.parametrize(("cuts", "of"), [("soft", "anywhere"), ("hard", "anywhere"), ("hard", "edges")])
@pytest.mark.parametrize("name", Everything.channels)
def test_every_bin_is_that_of_hist(filled, name, cuts, of):
    oracle, found = by_hist(name, SAMPLES[of]), filled[cuts][name, of].to_hist()
    assert found.axes == oracle.axes
    exact = {"rtol": 1e-12, "atol": 1e-12} if cuts == "hard" else {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(found.values(flow=True), oracle.values(flow=True), **exact)
    np.testing.assert_allclose(found.variances(flow=True), oracle.variances(flow=True), **exact)


def test_circular_axes_that_differ_in_one_edge_are_told_apart():
    axes = [hist.axis.Variable([*EDGES[:2], edge, *EDGES[3:]], circular=True, name="x") for edge in (0.2, 0.3)]
    assert axis_identity(axes[0]) != axis_identity(axes[1])
    np.testing.assert_array_equal(edges_of(axes[0]), EDGES)
    np.testing.assert_array_equal(edges_of(made(described(axes[0]))), EDGES)


def refused():
    @ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
    def same(x):
        return x

    own = hist.axis.transform.Function(same, same)
    return {
        "grows": hist.axis.Regular(4, 0, 1, growth=True, name="x"),
        "variable that grows": hist.axis.Variable([0, 1, 2], growth=True, name="x"),
        "integer that grows": hist.axis.Integer(0, 3, growth=True, name="x"),
        "categories that grow": hist.axis.IntCategory([1, 2], growth=True, name="x"),
        "names that grow": hist.axis.StrCategory(["a"], growth=True, name="x"),
        "no category yet": hist.axis.StrCategory([], growth=True, name="x"),
        "a transform of one's own": hist.axis.Regular(4, 0.5, 1, transform=own, name="x"),
        "a cube through zero": hist.axis.Regular(5, -1.5, 3, transform=Pow(3), name="x"),
        "an edge at infinity": hist.axis.Variable([0, 1, np.inf], name="x"),
        "no axis": 4,
        "a histogram": hist.Hist.new.Regular(3, 0, 1).Double(),
    }


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another axis"])
@pytest.mark.parametrize("kind", refused())
def test_what_cannot_be_a_template_is_refused_before_anything_is_read(kind, beside):
    axis = refused()[kind]

    class Odd(Everything):
        channels = {"odd": (hist.axis.Regular(3, 0, 1, name="y"), axis) if beside else axis}  # noqa: RUF012

    for attempt in (
        lambda: diffea.distribute(Odd(), {"s": {"files": {"nowhere.root": "Events"}}}),
        lambda: Odd().at({}),
    ):
        with pytest.raises(errors.HistogramError, match="channel 'odd' of Odd"):
            attempt()


# ---------------------------------------------------------------------------------------------------------------------------
# Circular axes with kernels of finite width.

PERIODIC = {"regular": np.linspace(-1, 2, 7), "variable": np.array(EDGES)}
DENSITIES = {
    "biweight": lambda u: 15 / 16 * (1 - u * u) ** 2,
    "triweight": lambda u: 35 / 32 * (1 - u * u) ** 3,
    "epanechnikov": lambda u: 3 / 4 * (1 - u * u),
}


class Wrapped(diffea.DifferentiableProcessor):
    """Circular channels of each kernel, with a bandwidth that is known and one that is a parameter, and one with a second axis."""

    channels = {  # noqa: RUF012
        **{f"{edges} {kernel}": hist.axis.Variable(PERIODIC[edges], circular=True, name="x") for edges in PERIODIC for kernel in DENSITIES},
        "by hand": hist.axis.Variable(EDGES, circular=True, name="x"),
        "two": (hist.axis.Regular(6, -1, 2, circular=True, name="x"), hist.axis.Variable(EDGES, name="y")),
    }  # fmt: skip
    narrow = 0.31

    def columns(self, events):
        return {"x": events.x, "y": events.y, "w": events.w}

    def fill(self, params, columns):
        x = columns["x"] + params["shift"]
        for name in self.channels:
            if name == "two":
                yield diffea.Fill(name, (x, columns["y"]), columns["w"], bandwidth=(params["bandwidth"], self.narrow))
            elif name == "by hand":
                yield diffea.Fill(name, x, columns["w"], bandwidth=self.narrow)
            else:
                yield diffea.Fill(name, x, columns["w"], bandwidth=params["bandwidth"], kernel=name.split()[1])


def integrals(x, low, high, bandwidth, kernel="biweight"):
    """The integral of a kernel around each x from low to high, by Gauss–Legendre quadrature of its density, shape (events,)."""
    half = bandwidth * KERNELS[kernel].reach
    start, stop = np.clip(low, x - half, x + half), np.clip(high, x - half, x + half)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    at = (start + stop)[:, None] / 2 + (stop - start)[:, None] / 2 * nodes
    return (stop - start) / 2 * (DENSITIES[kernel]((at - x[:, None]) / half) / half @ weights)


def wrapped_fractions(x, edges, bandwidth, kernel="biweight"):
    """The share of each event in each bin of a circle, shape (events, bins), by adding up turn after turn."""
    period = edges[-1] - edges[0]
    turns = [turn * period for turn in range(-4, 5)]
    pairs = pairwise(edges)
    return np.stack(
        [sum(integrals(x, low + turn, high + turn, bandwidth, kernel) for turn in turns) for low, high in pairs], axis=1
    )


def fractions(x, edges, bandwidth):
    """Of an axis that is none, with its flow bins."""
    ends = np.concatenate([[-1e3], edges, [1e3]])
    return np.stack([integrals(x, low, high, bandwidth) for low, high in pairwise(ends)], axis=1)


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory):
    rng = np.random.default_rng(5)
    columns = {"x": rng.uniform(-3, 5, 90), "y": rng.uniform(-2, 3, 90), "w": rng.normal(1, 0.4, 90)}
    fileset = written(tmp_path_factory.mktemp("circle"), columns, "s")
    with diffea.distribute(Wrapped(), fileset, schemaclass=BaseSchema, gradient="jacobian") as templates:
        yield templates, columns


@pytest.mark.parametrize("bandwidth", [0.05, 0.4, 0.98])
def test_a_kernel_goes_round_the_circle(wrapped, bandwidth):
    """The largest one reaches round most of a period on either side."""
    templates, columns = wrapped
    found = templates({"bandwidth": bandwidth, "shift": 0.37})
    x, y, w = columns["x"] + 0.37, columns["y"], columns["w"]
    shares = {
        f"{edges} {kernel}": wrapped_fractions(x, PERIODIC[edges], bandwidth, kernel) for edges in PERIODIC for kernel in DENSITIES
    }  # fmt: skip
    shares["by hand"] = wrapped_fractions(x, PERIODIC["variable"], Wrapped.narrow)
    shares["two"] = shares["regular biweight"][:, :, None] * fractions(y, PERIODIC["variable"], Wrapped.narrow)[:, None]
    for name, share in shares.items():
        inner = (slice(1, -1), *(slice(None) for _ in share.shape[2:]))
        np.testing.assert_allclose(
            found[name, "s"].flow_values[inner], np.tensordot(w, share, 1), rtol=1e-10, atol=1e-11, err_msg=name
        )
        np.testing.assert_allclose(found[name, "s"].flow_variances[inner], np.tensordot(w**2, share**2, 1), rtol=1e-10, atol=1e-11, err_msg=name)  # fmt: skip


def test_derivatives_on_a_circle_are_those_of_finite_differences(wrapped):
    templates, _ = wrapped
    params, step = {"bandwidth": 0.4, "shift": 0.37}, 1e-4
    found = templates.jacobian(params)
    for parameter, value in params.items():
        up, down = (templates({**params, parameter: value + sign * step}) for sign in (1, -1))
        for key in found:
            for kind in ("values", "variances"):
                exact, ends = getattr(found[key], kind)[parameter], [getattr(of[key], kind) for of in (up, down)]
                expected = (ends[0] - ends[1]) / (2 * step)
                np.testing.assert_allclose(
                    exact, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max(), err_msg=str(key)
                )


def test_a_kernel_that_reaches_round_more_than_the_circle_is_refused(wrapped):
    templates, _ = wrapped
    too_wide = {"bandwidth": 3.5 / KERNELS["epanechnikov"].reach * 1.01, "shift": 0.0}
    with pytest.raises(errors.HistogramError, match="around the circular axis once"):
        templates(too_wide)


def test_the_known_bandwidth_of_a_circle_may_not_reach_round_it_either(tmp_path):
    class Wide(Wrapped):
        channels = {"by hand": hist.axis.Regular(6, -1, 2, circular=True, name="x")}  # noqa: RUF012
        narrow = 3 / KERNELS["biweight"].reach * 1.01

    fileset = written(tmp_path, {name: np.zeros(3) for name in "xyw"}, "s")
    with pytest.raises(errors.HistogramError, match="around the circular axis once"):  # noqa: SIM117
        with diffea.distribute(Wide(), fileset, schemaclass=BaseSchema) as templates:
            templates({"shift": 0.0})


def test_a_runner_fills_a_circle_alike(wrapped, tmp_path):
    class Two(Wrapped):
        channels = {"two": Wrapped.channels["two"]}  # noqa: RUF012

    templates, columns = wrapped
    params = {"bandwidth": 0.4, "shift": 0.37}
    runner = Runner(IterativeExecutor(status=False), schema=BaseSchema)
    (found,) = runner(written(tmp_path, columns, "s"), Two().at(params)).values()
    expected = templates(params)["two", "s"]
    np.testing.assert_allclose(found["two", "s"].flow_values, expected.flow_values, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found["two", "s"].flow_variances, expected.flow_variances, rtol=1e-12, atol=1e-14)
