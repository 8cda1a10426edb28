"""distribute in process: sums against boost-histogram, gradients against finite differences, errors by name."""

from __future__ import annotations

import contextlib
import dataclasses
import functools

import awkward as ak
import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema
from tests.samples import PARAMS, QuietSchema, Search, write, write_fileset

from diffea import errors, soft
from diffea.distributed import distribute as distribute_nano
from diffea.events.minibatches import mini_batch
from diffea.events.splits import Split
from diffea.parameters import as_arrays
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import Program
from diffea.program.strategy import ONE_PASS, cheapest, exchange

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=["jacobian", "vjp", "by-bin"])
def templates(request, fileset):
    with distribute(Search(), fileset, chunksize=700, gradient=request.param) as templates:
        yield templates


def scalar(templates):
    """Depends on every template, unevenly."""
    return sum(
        jnp.sum(jnp.sqrt(50.0 + t.values) * jnp.arange(1, t.values.size + 1)) + 1e-3 * jnp.sum(t.variances**1.5)
        for t in templates.values()
    )


def test_templates_have_all_the_weight(templates, fileset) -> None:
    found = templates(PARAMS)
    assert set(found) == {
        (channel, sample, variation)
        for sample in ("signal", "bkg")
        for channel, variation in [("few", "nominal"), ("many", "nominal"), ("many", "met_up")]
    }
    nominal, up = found["many", "bkg"], found["many", "bkg", "met_up"]
    assert float(nominal.flow_values.sum()) == pytest.approx(float(up.flow_values.sum()), rel=1e-12)
    assert templates.events == {"signal": 900, "background": 4200}
    assert found["few", "signal"].to_hist().axes[0] == Search.channels["few"]


@pytest.mark.parametrize("jitted", [False, True])
def test_gradient_equals_finite_differences(templates, jitted) -> None:
    def loss(params):
        return scalar(templates(params))

    gradient = jax.grad(loss)
    gradient = (jax.jit(gradient) if jitted else gradient)(PARAMS)
    for name, value in PARAMS.items():
        step = 1e-4 * value
        up, down = (loss({**PARAMS, name: value + sign * step}) for sign in (1, -1))
        assert float(gradient[name]) == pytest.approx(float((up - down) / (2 * step)), rel=1e-6), name


@pytest.mark.parametrize("around", [contextlib.nullcontext, lambda: soft.sharpened(0.6), lambda: mini_batch(1, 3)])
def test_value_and_pull_are_those_of_jax(templates, around) -> None:
    with around():
        found, pull = templates.with_pull(PARAMS)
        expected, pull_of_jax = jax.vjp(templates, as_arrays(PARAMS))
    slope = jax.grad(scalar)(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    for ours, theirs in zip(*(jax.tree.leaves(of) for of in (pull(slope), pull_of_jax(slope)[0])), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("gradient", ["jacobian", "vjp", "by-bin"])
def test_the_pull_of_learned_edges_equals_finite_differences(fileset, gradient) -> None:
    class Learned(Search):
        channels = {"few": hist.axis.Variable([0, 20, 50, 100], name="met")}  # noqa: RUF012

        def edges(self, params):
            return {"few": params["edges"]}

        def fill(self, params, columns):
            yield Fill("few", columns["met"] * params["scale"], columns["weight"], bandwidth=4.0)

    def loss(found):
        return scalar(found) + jnp.sum(jnp.sin(found.edges["few"]))

    params = {"edges": np.array([0.0, 22.0, 55.0, 100.0]), "scale": np.array(1.1)}
    with distribute(Learned(), fileset, gradient=gradient) as templates:
        found, pull = templates.with_pull(params)
        gradient = pull(jax.grad(loss)(found))
        for name, place in (("edges", 1), ("edges", 3), ("scale", ())):
            up, down = ({name: params[name].copy()} for _ in range(2))
            up[name][place] += 1e-4
            down[name][place] -= 1e-4
            difference = loss(templates({**params, **up})) - loss(templates({**params, **down}))
            assert float(gradient[name][place]) == pytest.approx(float(difference / 2e-4), rel=1e-5), name


@pytest.mark.parametrize("gradient", ["jacobian", "by-bin"])
def test_jacobian_has_the_shape_of_template_and_parameter(fileset, gradient) -> None:
    class Shifted(Search):
        def fill(self, params, columns):
            yield Fill("few", columns["met"] * params["scale"][0] + params["scale"][1], columns["weight"])

    params = {"scale": np.array([1.1, 2.0])}
    with distribute(Shifted(), fileset, gradient=gradient) as templates:
        jacobian = templates.jacobian(params)["few", "bkg"].values["scale"]
        assert jacobian.shape == (8, 2)
        up, down = (templates({"scale": params["scale"] + [0, e]})["few", "bkg"].values for e in (1e-4, -1e-4))
        np.testing.assert_allclose(jacobian[:, 1], (up - down) / 2e-4, rtol=1e-6, atol=1e-7)


def test_the_three_ways_to_the_gradient_agree(fileset) -> None:
    found = []
    for gradient in ("jacobian", "vjp", "by-bin"):
        with distribute(Search(), fileset, gradient=gradient) as templates:
            found.append([*jax.tree.leaves(jax.grad(lambda p: scalar(templates(p)))(PARAMS))])
            assert templates.passes == (2 if gradient == "vjp" else 1)
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("parameters", "bins", "events", "operations", "best", "best_in_one_pass"),
    [
        (8, 22, 1_000_000, 84, "jacobian", "jacobian"),  # the cuts of benchmarks/distributed_steps.py
        (6, 30, 200_000, 871, "jacobian", "jacobian"),  # the demo
        (12, 30, 200_000, 871, "vjp", "jacobian"),
        (12, 30, 2_000, 871, "jacobian", "jacobian"),
        (200, 100, 200_000, 84, "vjp", "jacobian"),
        (1000, 3, 200_000, 871, "vjp", "by-bin"),
    ],
)
def test_the_way_to_the_gradient_is_chosen_by_cost(
    parameters, bins, events, operations, best, best_in_one_pass
) -> None:
    passing = exchange(events, operations)
    assert cheapest(parameters, bins, passing) == best
    assert cheapest(parameters, bins, passing, ONE_PASS) == best_in_one_pass


def test_operations_are_counted_by_the_event(fileset) -> None:
    class Twice(Search):
        def fill(self, params, columns):
            for fill in super().fill(params, columns):
                yield fill
                jax.debug.callback(lambda weight: None, fill.weight)
                yield dataclasses.replace(fill, weight=jnp.tanh(fill.weight), variation="other")

    counted = []
    for processor in (Search(), Twice()):
        with distribute(processor, fileset) as templates:
            (*_, (_, structure)) = sorted(templates.ledger.structures, key=repr)
            counted.append(Program(processor).operations(structure, jax.tree.map(jnp.asarray, PARAMS)))
    assert 1.2 * counted[0] < counted[1] < 3 * counted[0]


def test_an_unknown_way_to_the_gradient_is_named(fileset) -> None:
    with pytest.raises(errors.StrategyError, match="'by-bin', got 'reverse'"):
        distribute(Search(), fileset, gradient="reverse")


def test_hard_templates_equal_awkward_and_boost_histogram(templates, fileset) -> None:
    found = templates.hard(PARAMS)
    for sample, dataset in (("signal", "signal"), ("bkg", "background")):
        few, many = (hist.Hist(axis, storage=hist.storage.Weight()) for axis in Search.channels.values())
        for path in fileset[dataset]["files"]:
            tree = uproot.open(path)["Events"].arrays()
            keep = tree.MET_pt > PARAMS["mt"]
            jets = ak.sum(tree.Jet_pt > PARAMS["jet_pt"], axis=1) >= 2
            for histogram, selected in ((few, keep & ~jets), (many, keep & jets)):
                met = tree.MET_pt[selected].to_numpy().astype(float) + PARAMS["shift"]
                histogram.fill(met, weight=tree.genWeight[selected])
        for channel, expected in (("few", few), ("many", many)):
            got = found[channel, sample].to_hist()
            np.testing.assert_allclose(got.values(flow=True), expected.values(flow=True), rtol=1e-12)
            np.testing.assert_allclose(got.variances(flow=True), expected.variances(flow=True), rtol=1e-12)


@pytest.mark.parametrize("chunksize", [150, 100_000])
def test_chunk_size_does_not_matter(fileset, chunksize) -> None:
    split = Split(train=0.4, seed=3)
    with (
        distribute(Search(), fileset, split=split, chunksize=chunksize) as templates,
        distribute(Search(), fileset, split=split, chunksize=977) as other,
    ):
        assert templates.events == other.events
        for key, template in templates(PARAMS).items():
            np.testing.assert_allclose(template.flow_values, other(PARAMS)[key].flow_values, rtol=1e-12, atol=1e-9)


def test_split_parts_are_disjoint_complete_and_scaled(fileset) -> None:
    split = Split(train=0.5, validation=0.2, seed=1)
    hard = {}
    events = 0
    for part in ("train", "validation", "test"):
        with distribute(Search(), fileset, split=split.of(part)) as templates:
            events += sum(templates.events.values())
            hard[part] = templates.hard(PARAMS)["few", "bkg"].flow_values / split.of(part).scale
    with distribute(Search(), fileset) as templates:
        assert events == sum(templates.events.values())
        np.testing.assert_allclose(sum(hard.values()), templates.hard(PARAMS)["few", "bkg"].flow_values, rtol=1e-12)


def test_float32_columns_are_close_and_sums_are_float64(fileset) -> None:
    with distribute(Search(), fileset, precision="float32") as single, distribute(Search(), fileset) as double:
        a, b = single(PARAMS)["few", "bkg"].values, double(PARAMS)["few", "bkg"].values
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, rtol=1e-5)


class Missing(Search):
    def columns(self, events):
        return {"met": events.MET.ptt}


class Short(Search):
    def columns(self, events):
        return {"met": events.MET.pt, "weight": events.genWeight[:-1]}


class WrongChannel(Search):
    def fill(self, params, columns):
        yield Fill("fw", columns["met"])


class Slash(Search):
    channels = {"few/many": hist.axis.Regular(8, 0, 160, name="met")}  # noqa: RUF012

    def fill(self, params, columns):
        yield Fill("few/many", columns["met"])


class NotAFill(Search):
    def fill(self, params, columns):
        yield columns["met"]


class Singular(Search):
    def fill(self, params, columns):
        yield Fill("few", columns["met"], jnp.log(columns["met"] - params["mt"]))


class SingularGradient(Search):
    def fill(self, params, columns):
        yield Fill(
            "few", columns["met"], jnp.sqrt(jnp.maximum(columns["met"] - columns["met"] + params["mt"] - 45.0, 0))
        )


@pytest.mark.parametrize(
    ("processor", "error", "text"),
    [
        (Missing(), errors.MissingBranchError, r"dataset 'signal', file .*signal.root, entries 0–900.* 'ptt'.*MET.pt"),
        (Short(), errors.ColumnError, "'weight': 899"),
        (WrongChannel(), errors.FillError, "'fw'; `channels` has: few, many"),
        (Slash(), errors.FillError, "'few/many'.* have no '/' in their names"),
        (NotAFill(), errors.FillError, "must yield diffea.Fill"),
        (Singular(), errors.NotFiniteError, r"dataset '\w+', file .*\.root, entries .*event \d+ of"),
        (SingularGradient(), errors.NotFiniteError, "or its gradient is NaN or infinite from dataset 'signal'"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DifferentiableProcessor) else None,
)
def test_a_bad_processor_is_named(fileset, processor, error, text) -> None:
    from diffea.optimise import optimise

    def run():
        with distribute(processor, fileset) as templates:
            optimise(lambda p: jnp.sum(templates(p)["few", "bkg"].values), PARAMS, optimizer="l-bfgs-b", steps=1)

    with pytest.raises(error, match=text):
        run()


def test_bad_files_are_named(tmp_path) -> None:
    write(tmp_path / "nan.root", 50, 0, genWeight=np.full(50, np.nan, np.float32))
    write(tmp_path / "empty.root", 0, 0)
    (tmp_path / "garbage.root").write_bytes(b"no ROOT file at all")

    def read(name, tree="Events"):
        distribute(Search(), {"some": {"files": {str(tmp_path / name): tree}}})

    with pytest.raises(errors.NotFiniteError, match=r"'some', file .*nan.root, entries 0–50: column 'weight' has 50"):
        read("nan.root")
    with pytest.raises(errors.FilesetError, match="no events"):
        read("empty.root")
    with pytest.raises(errors.FileReadError, match=r"garbage.root cannot be read"):
        read("garbage.root")
    with pytest.raises(errors.FileReadError, match="no tree 'Eventz'; it has: Events"):
        read("nan.root", "Eventz")
    with pytest.raises(errors.FileReadError, match=r"missing.root"):
        read("missing.root")
    with pytest.raises(errors.FilesetError, match="a fileset is a dict"):
        distribute(Search(), {})


def test_unknown_templates_and_parameters_are_named(templates) -> None:
    with pytest.raises(errors.UnknownTemplateError, match="few/tt/nominal; there are: few/bkg/nominal"):
        templates(PARAMS)["few", "tt"]
    with pytest.raises(errors.ParameterError, match="'mt' must be finite"):
        templates({**PARAMS, "mt": np.inf})


@pytest.mark.parametrize("batches", ["one", "several"])
def test_plain_values_agree_within_a_dataset_however_large_it_is(fileset, monkeypatch, batches) -> None:
    class Unlike(Search):
        def columns(self, events):
            return {**super().columns(events), "name": events.metadata["filename"]}

    monkeypatch.setattr("diffea.events.batches.ROWS", {"one": 10_000, "several": 1}[batches])
    with pytest.raises(
        errors.ColumnError, match=r"background_0.root.* and .* from dataset 'background', file .*_1.root"
    ):
        distribute(Unlike(), fileset)


@pytest.mark.parametrize(
    ("option", "error", "text"),
    [
        ({"on_bad_file": "ignore"}, errors.OptionError, "on_bad_file is 'raise' or 'skip', got 'ignore'"),
        ({"precision": "float16"}, errors.OptionError, "precision is 'float64' or 'float32', got 'float16'"),
        ({"split": 0.5}, errors.SplitError, r"such as diffea.Split\(train=0.5\), got 0.5"),
    ],
)
def test_an_option_that_is_none_is_named(fileset, option, error, text) -> None:
    with pytest.raises(error, match=text):
        distribute(Search(), fileset, **option)


def test_a_plain_call_names_its_error(fileset) -> None:
    with (
        distribute(Singular(), fileset) as templates,
        pytest.raises(errors.NotFiniteError, match="selected there; look at"),
    ):
        templates(PARAMS)


def test_closed_templates_say_so(fileset) -> None:
    with distribute(Search(), fileset) as templates:
        pass
    for use in (templates, templates.jacobian, templates.hard):
        with pytest.raises(errors.ClosedError, match="within the `with` block"):
            use(PARAMS)


class Whole(DifferentiableProcessor):
    """Differences and upper cuts of unsigned integers."""

    channels = {"n": hist.axis.Regular(12, -6, 6, name="n")}  # noqa: RUF012

    def columns(self, events):
        return {"few": events.few, "many": events.many, "objects": events.objects}

    def fill(self, params, columns):
        below = soft.below(columns["many"], params["n"], width=0.01)
        yield Fill("n", columns["few"] - columns["many"] - 0.5, below, bandwidth=0.1)
        lowest = soft.min(columns["objects"], default=4)
        yield Fill("n", lowest - 4 - 0.5, below, sample="lowest", bandwidth=0.1)


def test_unsigned_integers_do_not_wrap_around(tmp_path) -> None:
    few, many = np.array([1, 0, 2, 0], np.uint8), np.array([2, 3, 1, 7], np.uint32)
    with uproot.recreate(tmp_path / "a.root") as file:
        objects = ak.values_astype(ak.Array([[3, 2], [], [1], [4]]), np.uint8)
        file.mktree("Events", {"few": few.dtype, "many": many.dtype, "objects": objects.type})
        file["Events"].extend({"few": few, "many": many, "objects": objects})
    counted = {"few": [-1, -3, 1], "lowest": [-2, 0, -3]}
    with distribute_nano(Whole(), {"few": {"files": {tmp_path / "a.root": "Events"}}}, schemaclass=BaseSchema) as t:
        for found in (t({"n": 5.0}), t.hard({"n": 5.0})):
            for sample, values in counted.items():
                expected = np.histogram(np.array(values) - 0.5, np.arange(-6, 7))[0]
                np.testing.assert_allclose(found["n", sample].values, expected, atol=1e-12)


class Shares(DifferentiableProcessor):
    """Quotients, roots and products of 32-bit whole numbers, on whose edges many of them lie."""

    channels = {name: hist.axis.Regular(10, 0, 1, name="x") for name in ("share", "root", "objects")}  # noqa: RUF012

    def columns(self, events):
        return {"passed": events.passed, "all": events.all, "objects": events.objects}

    def fill(self, params, columns):
        passed, objects = columns["passed"], columns["objects"]
        yield Fill("share", passed / columns["all"], params["weight"])
        yield Fill("root", jnp.sqrt(passed * passed * 10**10) / 10**6, params["weight"])
        yield Fill("objects", objects / 10, params["weight"])


@pytest.mark.parametrize("dtype", [np.int32, np.int16, np.uint8, np.int64])
def test_quotients_of_whole_numbers_are_those_of_numpy(tmp_path, dtype) -> None:
    """JAX takes those of 32 bits in 32 bits, where 7 / 10 is below 0.7."""
    rng = np.random.default_rng(0)
    passed, counts = rng.integers(0, 11, 500).astype(dtype), rng.integers(0, 4, 500)
    objects = ak.unflatten(rng.integers(0, 11, counts.sum()).astype(dtype), counts)
    columns = {"passed": passed, "all": np.full(500, 10, dtype), "objects": objects}
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("Events", {name: c.type if isinstance(c, ak.Array) else c.dtype for name, c in columns.items()})
        file["Events"].extend(columns)
    with distribute_nano(Shares(), {"s": {"files": {tmp_path / "a.root": "Events"}}}, schemaclass=BaseSchema) as t:
        found = t.hard({"weight": 1.0})
    wide = passed.astype(np.int64)
    expected = {
        "share": wide / 10,
        "root": np.sqrt(wide * wide * 10**10) / 10**6,
        "objects": ak.to_numpy(ak.flatten(objects)).astype(np.int64) / 10,
    }
    for name, values in expected.items():
        oracle = hist.Hist(Shares.channels[name]).fill(values)
        np.testing.assert_array_equal(found[name, "s"].flow_values, oracle.values(flow=True), err_msg=name)


def test_a_number_without_a_signed_place_is_refused(tmp_path) -> None:
    with uproot.recreate(tmp_path / "a.root") as file:
        file["Events"] = {"few": np.ones(2, np.uint8), "many": np.array([1, 2**63], np.uint64), "objects": np.ones(2)}
    with pytest.raises(errors.ColumnError, match=r"'many': expected whole numbers up to .* got 9223372036854775808"):
        distribute_nano(Whole(), {"few": {"files": {tmp_path / "a.root": "Events"}}}, schemaclass=BaseSchema)
