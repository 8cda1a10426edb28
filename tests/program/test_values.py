"""Values that make no sense, and forms that do not fit: an error by name where the number would be wrong, in process and in ``optimise``."""

from __future__ import annotations

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from coffea.processor import IterativeExecutor, Runner

import diffea
from diffea import errors, soft

ROWS = 60
AXIS = hist.axis.Regular(4, 0, 8, name="x")
WIDE = hist.axis.Regular(4, 0, 8, name="x", label="another")
ANGLE = hist.axis.Regular(4, 0, 8, circular=True, name="x")
SORTS = hist.axis.IntCategory([0, 1, 2], name="sort")


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(0)
    counts, more = rng.integers(0, 4, ROWS), rng.integers(5, 9, ROWS)
    return {
        "x": rng.uniform(-1, 9, ROWS),
        "w": rng.normal(1.0, 0.3, ROWS),
        "n": rng.integers(0, 3, ROWS),
        "objects": ak.unflatten(rng.uniform(0, 8, counts.sum()), counts),
        "many": ak.unflatten(rng.uniform(0, 8, more.sum()), more),
    }


@pytest.fixture(scope="module")
def fileset(events, tmp_path_factory):
    path = tmp_path_factory.mktemp("values") / "events.root"
    with uproot.recreate(path) as file:
        file["Events"] = events
    return {"d": {"files": {str(path): "Events"}, "metadata": {"sample": "s"}}}


def processor(fill, channels=None, edges=None):
    """One whose ``fill`` (and ``edges``) are these functions."""

    class Made(diffea.DifferentiableProcessor):
        def columns(self, events):
            return {name: events[name] for name in ("x", "w", "n", "objects", "many")}

        def fill(self, params, columns):
            return fill(params, columns)

    Made.channels = {"c": AXIS, "angle": ANGLE, "two": (AXIS, SORTS)} if channels is None else channels
    if edges:
        Made.edges = lambda self, params: edges(params)
    return Made()


def distribute(made, fileset, **options):
    return diffea.distribute(made, fileset, schemaclass=BaseSchema, **options)


def smooth(params, columns):
    keep = soft.above(columns["x"], params["cut"], width=1.0)
    return [diffea.Fill("c", columns["x"], columns["w"] * keep, bandwidth=0.7)]


# ---------------------------------------------------------------------------------------------------------------------------
# Settings that come from a parameter.

SETTINGS = {
    "bandwidth": (lambda v, c: diffea.Fill("c", c["x"], c["w"], bandwidth=v), errors.HistogramError, "positive bandwidth"),
    "bandwidth of each bin": (
        lambda v, c: diffea.Fill("c", c["x"], c["w"], bandwidth=jnp.stack([v, 1.0, 1.0, 1.0])), errors.HistogramError, "positive bandwidth",
    ),
    "bandwidth on a circle": (lambda v, c: diffea.Fill("angle", c["x"], c["w"], bandwidth=v), errors.HistogramError, "bandwidth"),
    "bandwidth of one of two axes": (
        lambda v, c: diffea.Fill("two", (c["x"], c["n"]), c["w"], bandwidth=(v, None)), errors.HistogramError, "positive bandwidth",
    ),
    "width": (lambda v, c: diffea.Fill("c", c["x"], c["w"] * soft.above(c["x"], 4.0, width=v)), errors.WidthError, "positive width"),
    "width of a cut on objects": (
        lambda v, c: diffea.Fill("c", c["x"], soft.at_least(1, soft.below(c["objects"], 4.0, width=v, shape="polynomial"))),
        errors.WidthError, "positive width",
    ),
    "width between": (
        lambda v, c: diffea.Fill("c", c["x"], soft.between(c["x"], 2.0, 6.0, width=v, shape="normal")), errors.WidthError, "positive width",
    ),
    "temperature": (lambda v, c: diffea.Fill("c", soft.choice([0.1, 0.4], [c["x"], 8 - c["x"]], temperature=v)), errors.WidthError, "positive"),
    "temperature, straight through": (
        lambda v, c: diffea.Fill("c", c["x"], soft.choice([0.1, 0.4], [c["w"], c["x"]], temperature=v, straight_through=True)),
        errors.WidthError, "positive",
    ),
    "strength of a sort": (lambda v, c: diffea.Fill("c", soft.sort(c["objects"], strength=v)), errors.WidthError, "positive"),
    "strength of ranks": (lambda v, c: diffea.Fill("c", soft.rank(c["objects"], strength=v)), errors.WidthError, "positive"),
}  # fmt: skip


def sharpened(value, columns):
    with soft.sharpened(value):
        return diffea.Fill("c", columns["x"], soft.above(columns["x"], 4.0, width=1.0))


SETTINGS["scale of the widths"] = (sharpened, errors.WidthError, "positive scale")


@pytest.fixture(scope="module", params=SETTINGS)
def setting(request, fileset):
    """Templates of a fill with one setting, which is a parameter; what it must be."""
    fill, error, text = SETTINGS[request.param]
    with distribute(processor(lambda p, c: [fill(p["a"] - p["b"], c)]), fileset, gradient="vjp") as templates:
        yield templates, error, text


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.5), (1.0, 1.0), (1.0, 1.0 + 1e-300), (1.5e308, -1.5e308)])
def test_a_setting_that_makes_no_sense_is_named(setting, a, b):
    """Negative, zero, and infinite; nothing is wrong with either parameter alone."""
    templates, error, text = setting
    with pytest.raises(error, match=f"{text}.*(?s:.)*from dataset 'd'.*at the parameters"):
        templates({"a": a, "b": b})
    assert np.isfinite(templates({"a": 1.0, "b": 0.5}).values_flat).all()


@pytest.mark.parametrize("name", ["bandwidth", "width", "scale of the widths"])
def test_a_setting_that_is_no_number_is_named(fileset, name):
    fill, error, text = SETTINGS[name]
    with (
        distribute(processor(lambda p, c: [fill(jnp.sqrt(p["v"]), c)]), fileset) as templates,
        pytest.raises(error, match=text),
    ):
        templates({"v": -1.0})


def test_in_compiled_gradients_optimise_names_it(fileset):
    made = processor(lambda p, c: [diffea.Fill("c", c["x"], c["w"], bandwidth=p["h"])])
    with distribute(made, fileset) as templates:

        def loss(params):
            return jnp.sum(templates(params)["c", "s"].values ** 2)

        with pytest.raises(errors.HistogramError, match=r"positive bandwidth(?s:.)*dataset 'd'"):
            diffea.optimise(loss, {"h": -0.5}, optimizer=optax.sgd(1e-3), steps=1)
        with pytest.raises(jax.errors.JaxRuntimeError, match="positive bandwidth"):
            jax.jit(jax.grad(loss))({"h": -0.5})


# ---------------------------------------------------------------------------------------------------------------------------
# Learned edges.


@pytest.fixture(scope="module")
def learned(fileset):
    made = processor(smooth, edges=lambda params: {"c": 2 * params["edges"]})
    with distribute(made, fileset, gradient="vjp") as templates:
        yield templates


@pytest.mark.parametrize(
    "edges",
    [[0.0, 3.0, 2.0, 6.0, 8.0], [0.0, 2.0, 2.0, 6.0, 8.0], [8.0, 6.0, 4.0, 2.0, 0.0], [0.0, 2.0, 4.0, 6.0, 1.7e308]],
)
def test_learned_edges_that_cross_or_are_infinite_are_named_soft_and_hard(learned, edges):
    params = {"cut": 2.0, "edges": np.array(edges)}
    for use in (learned, learned.hard, learned.jacobian):
        with pytest.raises(errors.HistogramError, match="in ascending order"):
            use(params)


def test_learned_edges_that_ascend_are_those_of_hist(learned, events):
    edges = [0.0, 1.5, 2.0, 6.5, 7.0]
    found = learned.hard({"cut": 2.0, "edges": np.array(edges) / 2})["c", "s"].to_hist()
    oracle = hist.Hist(hist.axis.Variable(edges, name="x"), storage=hist.storage.Weight())
    oracle.fill(events["x"], weight=events["w"] * (events["x"] > 2.0))
    np.testing.assert_array_equal(found.axes[0].edges, edges)
    np.testing.assert_allclose(found.values(flow=True), oracle.values(flow=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("edges", "text"),
    [
        (lambda p: {"c": jnp.zeros(4)}, r"edges of shape \(4,\); its axis has 5"),
        (lambda p: {"c": p["cut"]}, r"edges of shape \(\); its axis has 5"),
        (lambda p: {"d": jnp.arange(5.0)}, "names the channel 'd'"),
        (lambda p: {"angle": jnp.arange(5.0)}, "cannot be learned"),
        (lambda p: {"two": jnp.arange(5.0)}, "cannot be learned"),
        (lambda p: [jnp.arange(5.0)], "must return a dict"),
        (lambda p: None, "must return a dict"),
    ],
)
def test_edges_that_fit_no_axis_are_named(fileset, edges, text):
    with distribute(processor(smooth, edges=edges), fileset) as templates, pytest.raises(errors.FillError, match=text):
        templates({"cut": 2.0})


# ---------------------------------------------------------------------------------------------------------------------------
# What ``fill`` gives.

FORMS = {
    "nothing returned": (lambda p, c: None, "must yield diffea.Fill.*got NoneType"),
    "one fill": (lambda p, c: diffea.Fill("c", c["x"]), "got one diffea.Fill"),
    "no fill": (lambda p, c: [], "yields no diffea.Fill"),
    "a text": (lambda p, c: "c", "got str"),
    "texts": (lambda p, c: ["c", "x"], "got str"),
    "arrays": (lambda p, c: [c["x"]], "must yield diffea.Fill"),
    "a dict": (lambda p, c: {"c": c["x"]}, "must yield diffea.Fill"),
    "a number": (lambda p, c: 3, "got int"),
    "sample 3": (lambda p, c: [diffea.Fill("c", c["x"], sample=3)], "sample=3: a sample is a text"),
    "no name of a sample": (lambda p, c: [diffea.Fill("c", c["x"], sample="")], "sample=''"),
    "variation None": (lambda p, c: [diffea.Fill("c", c["x"], variation=None)], "variation=None: a variation is a text"),
    "an unknown channel": (lambda p, c: [diffea.Fill("d", c["x"])], "'d'; `channels` has: c, angle, two"),
    "a weight for all but one": (lambda p, c: [diffea.Fill("c", c["x"], c["w"][1:])], "weight has shape"),
    "two weights": (lambda p, c: [diffea.Fill("c", c["x"], jnp.ones(2))], "weight has shape"),
    "weights in columns": (lambda p, c: [diffea.Fill("c", c["x"], c["w"][:, None])], "weight has shape"),
    "one observable for all": (lambda p, c: [diffea.Fill("c", p["cut"])], "observable has shape"),
    "an observable for all but one": (lambda p, c: [diffea.Fill("c", c["x"][:-1], c["w"][:-1])], "observable has shape"),
    "one observable of two": (lambda p, c: [diffea.Fill("two", c["x"])], "1 observables; it has 2 axes"),
    "two observables of one": (lambda p, c: [diffea.Fill("c", (c["x"], c["n"]))], "2 observables; it has 1 axes"),
    "complex weights": (lambda p, c: [diffea.Fill("c", c["x"], c["w"] * 1j)], "weight is of type complex128"),
    "complex observables": (lambda p, c: [diffea.Fill("c", c["x"] + 1j)], "observable is of type complex128"),
    "names as observables": (lambda p, c: [diffea.Fill("c", np.array(["a"] * 60))], "expected an array of numbers"),
    "names as weights": (lambda p, c: [diffea.Fill("c", c["x"], "w")], "expected an array of numbers"),
    "dates": (lambda p, c: [diffea.Fill("c", c["x"], np.array(["2020-01-01"], "M8[D]"))], "weight is"),
    "objects of two kinds": (lambda p, c: [diffea.Fill("c", c["objects"], c["many"])], "of unlike objects"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_fill_is_named(fileset, form):
    fill, text = FORMS[form]
    with distribute(processor(fill), fileset) as templates:
        with pytest.raises(errors.FillError, match=text):
            templates({"cut": 2.0})
        with pytest.raises(errors.FillError, match=text):
            templates.hard({"cut": 2.0})


def test_probabilities_of_other_categories_are_named(fileset):
    def fill(params, columns):
        yield diffea.Fill("two", (columns["x"], jnp.stack([columns["w"]] * 2, axis=1)))

    with distribute(processor(fill), fileset) as templates, pytest.raises(errors.DiffeaError, match="3 categories"):
        templates({"cut": 2.0})


@pytest.mark.parametrize("value", [1j, "2", np.datetime64("2020-01-01"), [1.0, "a"], object(), np.nan, np.inf, b"1"])
def test_a_parameter_that_is_no_real_number_is_named(fileset, value):
    with (
        distribute(processor(smooth), fileset) as templates,
        pytest.raises(errors.ParameterError, match=r"'cut'|numbers"),
    ):
        templates({"cut": value})


@pytest.mark.parametrize("channels", [{}, [AXIS], "c", None, 3])
def test_channels_that_are_none_are_named(fileset, channels):
    made = processor(smooth)
    type(made).channels = channels
    for attempt in (lambda: distribute(made, fileset), lambda: made.at({})):
        with pytest.raises(errors.FillError, match="channels must be a dict"):
            attempt()


@pytest.mark.parametrize("what", [lambda: type(processor(smooth)), lambda: "a processor", lambda: None, lambda: smooth])
def test_what_is_no_processor_is_named(fileset, what):
    with pytest.raises(errors.FillError, match="expected an object of a class derived from"):
        distribute(what(), fileset)


# ---------------------------------------------------------------------------------------------------------------------------
# What works, and in which derivatives it has none.


def test_many_fills_of_objects_of_unlike_number_are_those_of_awkward(events, fileset):
    """More of them into one channel than are written out one after the other."""

    def fill(params, columns):
        for place in range(12):
            yield diffea.Fill("c", columns["objects"] + 0.1 * place, columns["w"], bandwidth=1e-9)
            yield diffea.Fill("c", columns["many"] - 0.1 * place, columns["w"] * 2, bandwidth=1e-9)

    oracle = hist.Hist(AXIS, storage=hist.storage.Weight())
    for place in range(12):
        for name, shift, weight in (("objects", 0.1 * place, events["w"]), ("many", -0.1 * place, 2 * events["w"])):
            oracle.fill(ak.to_numpy(ak.flatten(events[name])) + shift, weight=np.repeat(weight, ak.num(events[name])))
    with distribute(processor(fill), fileset) as templates:
        for found in (templates({}), templates.hard({})):
            histogram = found["c", "s"].to_hist()
            np.testing.assert_allclose(histogram.values(flow=True), oracle.values(flow=True), rtol=1e-9)
            np.testing.assert_allclose(histogram.variances(flow=True), oracle.variances(flow=True), rtol=1e-9)


@pytest.mark.parametrize("categories", [3, 4], ids=["unlike the slots", "as many as slots"])
def test_objects_have_the_probabilities_of_their_event(events, fileset, categories):
    """Each object of an event in each category with the probability of the event, by a loop over both."""
    shares = np.random.default_rng(1).dirichlet(np.ones(categories), 3)
    sorts = hist.axis.IntCategory(range(categories), name="sort")

    def fill(params, columns):
        of_event = jnp.asarray(params["shares"])[columns["n"]]
        yield diffea.Fill("two", (columns["objects"], of_event), columns["w"], bandwidth=1e-9)

    oracle = hist.Hist(AXIS, sorts, storage=hist.storage.Weight())
    for n, weight, objects in zip(events["n"], events["w"], ak.to_list(events["objects"]), strict=True):
        for each in objects:
            for category in range(categories):
                oracle.fill(each, category, weight=weight * shares[n, category])
    chosen = hist.Hist(AXIS, sorts, storage=hist.storage.Weight()).fill(
        ak.to_numpy(ak.flatten(events["objects"])),
        np.repeat(events["n"], ak.num(events["objects"])),
        weight=np.repeat(events["w"], ak.num(events["objects"])),
    )
    with distribute(processor(fill, {"two": (AXIS, sorts)}), fileset) as templates:
        mixed = templates({"shares": shares})["two", "s"].to_hist()
        whole = templates.hard({"shares": np.eye(3, categories)})["two", "s"].to_hist()
    for found, expected in ((mixed, oracle), (whole, chosen)):
        np.testing.assert_allclose(found.values(), expected.values(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.variances(), expected.variances(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hard", [False, True])
def test_an_observable_of_several_numbers_an_event_is_named(fileset, hard):
    def fill(params, columns):
        yield diffea.Fill("c", jnp.stack([columns["x"]] * 2, axis=1), columns["w"])

    with (
        distribute(processor(fill), fileset) as templates,
        pytest.raises(errors.FillError, match="one number for each"),
    ):
        (templates.hard if hard else templates)({"cut": 2.0})


@pytest.mark.parametrize("options", [{}, {"hard": True}, {"jacobian": True}])
def test_a_fill_that_names_the_samples_own_name_adds_to_it(events, fileset, options):
    def fill(params, columns):
        yield diffea.Fill("c", columns["x"], columns["w"], bandwidth=1e-9)
        yield diffea.Fill("c", columns["x"], 2 * columns["w"], sample="s", bandwidth=1e-9)

    runner = Runner(IterativeExecutor(status=False), schema=BaseSchema)
    (found,) = runner(fileset, processor(fill).at({"cut": 2.0}, **options)).values()
    found = found["templates"] if "jacobian" in options else found
    assert list(found) == [("c", "s", "nominal")]
    oracle = hist.Hist(AXIS).fill(events["x"], weight=3 * events["w"])
    np.testing.assert_allclose(found["c", "s"].flow_values, oracle.values(flow=True), rtol=1e-9)


@pytest.fixture(scope="module", params=["jacobian", "vjp", "by-bin"])
def plain(request, fileset):
    with distribute(processor(smooth), fileset, gradient=request.param) as templates:
        yield templates


PARAMS = {"cut": 3.0}


def squares(templates):
    return lambda params: jnp.sum(templates(params).values_flat ** 2)


def test_within_hard_the_call_is_the_hard_one(plain):
    with soft.hard():
        found = plain(PARAMS)
        compiled = jax.jit(plain)(PARAMS)
        for derivative in (jax.grad(squares(plain)), jax.jit(jax.grad(squares(plain)))):
            with pytest.raises(errors.StrategyError, match="exact cuts have no derivative"):
                derivative(PARAMS)
    np.testing.assert_array_equal(compiled.values_flat, plain.hard(PARAMS).values_flat)
    np.testing.assert_array_equal(found.values_flat, plain.hard(PARAMS).values_flat)
    assert np.abs(found.values_flat - plain(PARAMS).values_flat).max() > 0.1


@pytest.mark.parametrize("second", [jax.hessian, lambda f: jax.jacfwd(jax.grad(f)), lambda f: jax.jacrev(jax.grad(f))])
def test_second_derivatives_are_refused(plain, second):
    for derivative in (second(squares(plain)), jax.jit(second(squares(plain)))):
        with pytest.raises(errors.StrategyError, match="first derivatives only"):
            derivative(PARAMS)


# ---------------------------------------------------------------------------------------------------------------------------
# Sums of templates.


def templates_on(axis, edges=None):
    layout = diffea.templates.Layout({"c": (axis,)}, (("c", "s", "nominal"),))
    bins = np.arange(1.0, len(axis) + 3)
    return diffea.TemplateSet(layout, bins, bins, {} if edges is None else {"c": edges})


LONG = np.linspace(0, 1, 2001)
MIDDLE = np.where(np.arange(2001) == 1000, LONG + 1e-4, LONG)
UNLIKE = {
    "the 12th digit": (hist.axis.Regular(4, 0, 8, name="x"), hist.axis.Regular(4, 0, 8.00000000001, name="x")),
    "the last digit": (hist.axis.Variable([0, 1, 2]), hist.axis.Variable([0, 1, np.nextafter(2, 3)])),
    "an edge in the middle": (hist.axis.Variable(LONG, name="x"), hist.axis.Variable(MIDDLE, name="x")),
    "the name": (AXIS, hist.axis.Regular(4, 0, 8, name="y")),
    "the underflow": (AXIS, hist.axis.Regular(4, 0, 8, name="x", underflow=False)),
    "the overflow": (AXIS, hist.axis.Regular(4, 0, 8, name="x", overflow=False)),
    "the circle": (AXIS, ANGLE),
    "the circle's edges": tuple(hist.axis.Variable([0, 1, edge, 4], circular=True) for edge in (2.5, 3)),
    "the categories": (hist.axis.IntCategory([1, 2, 3]), hist.axis.IntCategory([1, 3, 2])),
    "the names of categories": (hist.axis.StrCategory(["a", "b"]), hist.axis.StrCategory(["b", "a"])),
    "whole numbers and their bins": (hist.axis.Integer(0, 4, name="x"), hist.axis.Regular(4, 0, 4, name="x")),
    "the number of bins": (AXIS, hist.axis.Regular(5, 0, 8, name="x")),
}  # fmt: skip


@pytest.mark.parametrize("what", UNLIKE)
@pytest.mark.parametrize("transformed", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_templates_on_unlike_axes_do_not_add_up(what, transformed):
    one, other = map(templates_on, UNLIKE[what])
    with pytest.raises(errors.TemplateError, match="unlike axes in channel 'c'"):
        transformed(lambda a, b: (a + b).values_flat)(one, other)
    np.testing.assert_array_equal((one + one).values_flat, 2 * one.values_flat)


def test_labels_change_no_sum():
    assert np.all((templates_on(AXIS) + templates_on(WIDE)).values_flat == 2 * templates_on(AXIS).values_flat)


@pytest.mark.parametrize("other", [[0.0, 2.0, 4.0, 6.0, 9.0], None])
def test_templates_of_unlike_learned_edges_do_not_add_up(other):
    edges = jnp.array([0.0, 2.0, 4.0, 6.0, 8.0])
    here, there = templates_on(AXIS, edges), templates_on(AXIS, None if other is None else jnp.array(other))
    with pytest.raises(errors.TemplateError, match="unlike learned edges in channel 'c'"):
        here + there
    if other is None:
        with pytest.raises(errors.TemplateError, match="unlike learned edges in channel 'c'"):
            jax.jit(lambda a, b: a + b)(here, there)
    else:
        found = jax.jit(lambda a, b: a + b)(here, there)
        assert np.isnan(found.values_flat).all()
        assert np.isnan(found.variances_flat).all()
    np.testing.assert_array_equal(jax.jit(lambda a, b: a + b)(here, here).values_flat, 2 * here.values_flat)


def test_the_gradient_of_a_sum_of_two_is_that_of_finite_differences(fileset):
    def others(params, columns):
        keep = soft.below(columns["x"], params["cut"] + 1.0, width=0.5)
        yield diffea.Fill("c", columns["x"], columns["w"] * keep, bandwidth=0.7)
        yield diffea.Fill("c", columns["x"], keep, sample="t", bandwidth=0.7)

    with distribute(processor(smooth), fileset) as one, distribute(processor(others), fileset, gradient="vjp") as two:

        def loss(params):
            both = one(params) + two(params)
            return jnp.sum(both["c", "s"].values ** 2) + jnp.sum(both["c", "t"].variances ** 3)

        assert set(one(PARAMS) + two(PARAMS)) == {("c", "s", "nominal"), ("c", "t", "nominal")}
        step = 1e-4
        expected = (loss({"cut": 3.0 + step}) - loss({"cut": 3.0 - step})) / (2 * step)
        for gradient in (jax.grad(loss), jax.jit(jax.grad(loss))):
            assert float(gradient(PARAMS)["cut"]) == pytest.approx(float(expected), rel=1e-6)
