"""Mini-batches: parts of all events whose sums add up to the whole, with the gradient of what they are."""

from __future__ import annotations

import functools

import hist
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import DifferentiableProcessor, Fill, distribute, errors
from diffea.events.blocks import Blocks
from diffea.events.minibatches import Part

PARTS = 7


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module", params=["jacobian", "vjp"])
def templates(request, fileset):
    with distribute(Search(), fileset, schemaclass=QuietSchema, chunksize=700, gradient=request.param) as templates:
        yield templates


def sums(found):
    return np.stack([found.values_flat, found.variances_flat])


@pytest.mark.parametrize("seed", [0, 3])
def test_the_mean_over_all_parts_is_the_whole(templates, seed):
    parts = [sums(templates.batch(number, of=PARTS, seed=seed)(PARAMS)) for number in range(PARTS)]
    np.testing.assert_allclose(np.mean(parts, axis=0), sums(templates(PARAMS)), rtol=1e-12, atol=1e-12)
    assert not any(np.array_equal(part, other) for part in parts for other in parts if part is not other)
    hard = [sums(templates.batch(number, of=PARTS, seed=seed).hard(PARAMS)) for number in range(PARTS)]
    np.testing.assert_allclose(np.mean(hard, axis=0), sums(templates.hard(PARAMS)), rtol=1e-12, atol=1e-12)


def test_another_seed_divides_otherwise(templates):
    first, other = (sums(templates.batch(0, of=PARTS, seed=seed).hard(PARAMS)) for seed in (0, 1))
    assert not np.array_equal(first, other)


class Count(DifferentiableProcessor):
    """How many events there are, and how many in each tenth of the files."""

    channels = {"entry": hist.axis.Regular(10, 0, 1, name="entry")}  # noqa: RUF012

    def columns(self, events):
        return {"entry": events.event / 2500.0}

    def fill(self, params, columns):
        yield Fill("entry", columns["entry"])


def test_a_part_has_its_share_of_every_dataset_and_comes_from_all_of_a_file(fileset):
    with distribute(Count(), fileset, schemaclass=QuietSchema, chunksize=700) as templates:
        for number in range(PARTS):
            part = templates.batch(number, of=PARTS).hard({})
            for sample, events in (("signal", 900), ("bkg", 4200)):
                assert abs(part["entry", sample].values.sum() / PARTS - events / PARTS) < 1.0
            every_tenth = part["entry", "signal"].values[:3] / PARTS
            assert np.all(np.abs(every_tenth - 250 / PARTS) < 4 * np.sqrt(250 / PARTS))


@pytest.mark.parametrize("rows", [0, 1, 3, 40])
@pytest.mark.parametrize("parts", [1, 2, 7, 50])
def test_every_row_is_in_one_part(rows, parts):
    pieces = [rows // 2, rows - rows // 2]
    for seed in range(3):
        windows = [Part(number, parts, seed).windows(pieces, 11) for number in range(parts)]
        held = [(piece, row) for part in windows for piece, start, stop in part for row in range(start, stop)]
        assert sorted(held) == [(piece, row) for piece, count in enumerate(pieces) for row in range(count)]
        sizes = [sum(stop - start for _, start, stop in part) for part in windows]
        assert max(sizes) - min(sizes) <= 1


def loss(templates, params):
    return sum(
        jnp.sum(jnp.sqrt(50.0 + t.values)) + 1e-3 * jnp.sum(t.variances**1.5) for t in templates(params).values()
    )


def test_gradient_against_differences(templates):
    part = functools.partial(loss, templates.batch(2, of=PARTS))
    whole = functools.partial(loss, templates)
    gradient = jax.jit(jax.grad(part))(PARAMS)
    for name, step in (("mt", 1e-3), ("jet_pt", 1e-3), ("shift", 1e-4)):
        up, down = ({**PARAMS, name: PARAMS[name] + side * step} for side in (1, -1))
        assert float(gradient[name]) == pytest.approx(float(part(up) - part(down)) / (2 * step), rel=1e-5)
        assert float(gradient[name]) != pytest.approx(float(jax.grad(whole)(PARAMS)[name]), rel=1e-3)
    derivative = templates.batch(2, of=PARTS).jacobian(PARAMS)
    up, down = (sums(templates.batch(2, of=PARTS)({**PARAMS, "mt": 45.0 + side * 1e-3})) for side in (1, -1))
    order = sorted(PARAMS).index("mt")
    np.testing.assert_allclose(derivative.flat[..., order], (up - down) / 2e-3, rtol=1e-4, atol=1e-5)


def test_one_compilation_for_all_parts_and_no_more_than_for_the_whole(templates):
    value = jax.jit(jax.value_and_grad(lambda p, number: loss(templates.batch(number, of=PARTS), p)))
    found = [value(PARAMS, 0)[0]]
    compiled = templates._program.compilations
    found += [value(PARAMS, number)[0] for number in range(1, PARTS)]
    assert value._cache_size() == 1
    assert templates._program.compilations == compiled
    for number, one in enumerate(found):
        assert float(one) == pytest.approx(float(loss(templates.batch(number, of=PARTS), PARAMS)), rel=1e-13)


def test_many_parts_in_one_pass(templates):
    before = templates.passes, templates.fills
    many = jax.vmap(lambda number: templates.batch(number, of=PARTS)(PARAMS))(jnp.arange(PARTS))
    assert templates.passes - before[0] == 1
    assert templates.fills - before[1] == pytest.approx(1.0)
    for number in range(PARTS):
        np.testing.assert_array_equal(sums(many)[:, number], sums(templates.batch(number, of=PARTS)(PARAMS)))


@pytest.mark.parametrize(
    "wrong",
    [{"number": 7}, {"number": -1}, {"number": 0.5}, {"of": 0}, {"of": True}, {"seed": -1}, {"of": 2.0}],
)
def test_a_part_that_is_none_is_refused(templates, wrong):
    given = {"number": 0, "of": PARTS, **wrong}
    with pytest.raises(errors.OptionError, match="0 ≤ number < of"):
        templates.batch(given.pop("number"), **given)


def test_a_part_that_turns_out_to_be_none_is_refused(templates):
    with pytest.raises(errors.OptionError, match="number=7"):
        jax.vmap(lambda number: templates.batch(number, of=PARTS)(PARAMS))(jnp.array([1, 7]))


def test_a_part_that_loses_events_is_found_out(templates, monkeypatch):
    """One whose windows end an event too early."""
    monkeypatch.setattr(
        "diffea.events.blocks.Blocks.window",
        lambda blocks, start, stop: Blocks(blocks.arrays, jnp.asarray(max(stop - 1, start)), jnp.asarray(start)),
    )
    with pytest.raises(errors.LedgerError, match="of 5100"):
        templates.batch(1, of=PARTS)(PARAMS)
