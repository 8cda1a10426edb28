"""Two worker processes: the same numbers as in process, to the last bit."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.samples import PARAMS, QuietSchema, Search, write, write_fileset

from diffea import errors
from diffea.distributed import distribute as distribute_nano
from diffea.processor import DifferentiableProcessor, Fill
from diffea.program import Program

distribute = functools.partial(distribute_nano, schemaclass=QuietSchema, chunksize=700)


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


def loss(templates, params):
    return sum(
        jnp.sum(jnp.sqrt(50.0 + t.values)) + 1e-3 * jnp.sum(t.variances**1.5) for t in templates(params).values()
    )


@pytest.mark.parametrize("gradient", ["jacobian", "vjp", "by-bin"])
def test_value_and_gradient_are_those_of_one_process(fileset, client, gradient) -> None:
    found = []
    for where in (None, client):
        with distribute(Search(), fileset, client=where, gradient=gradient) as templates:
            value, grad = jax.jit(jax.value_and_grad(functools.partial(loss, templates)))(PARAMS)
            found.append((value, *jax.tree.leaves(grad)))
            assert templates.passes == (2 if gradient == "vjp" else 1)
    np.testing.assert_array_equal(*found)


def test_what_a_step_took_is_told(fileset, client) -> None:
    with distribute(Search(), fileset, client=client) as templates:
        templates.jacobian(PARAMS)
        before = templates.seconds.copy()
        names = client.run_on_scheduler(
            lambda dask_scheduler: {task.prefix.name for task in dask_scheduler.tasks.values()}
        )
        jacobian = templates.jacobian(PARAMS).flat
        spent = {stage: seconds - before[stage] for stage, seconds in templates.seconds.items()}
        assert templates.moved == 2 * 2 * (3 * 8 + jacobian.nbytes * (1 + 1 / 3))  # φ and (T, ∂T/∂φ) of two shards
    assert min(spent[stage] for stage in ("compute", "reduce")) > 0
    assert spent["compile"] == spent["read"] == 0
    assert max(spent["compute"] / 2, spent["reduce"]) < spent["wall"]
    assert templates.memory > 1e8
    assert "Search.read" in names


def test_no_group_of_tasks_grows(fileset, client) -> None:
    """Dask spreads the tasks of a large group without regard to where their shards are."""
    with distribute(Search(), fileset, client=client) as templates:
        templates.jacobian(PARAMS)
        sizes = client.run_on_scheduler(
            lambda dask_scheduler: [
                len(group)
                for group in dask_scheduler.task_groups.values()
                if str(group.name).startswith(("Search.jacobian", "Search.reduce"))
            ]
        )
    assert set(sizes) == {1}, sizes


def test_gradient_equals_finite_differences(fileset, client) -> None:
    with distribute(Search(), fileset, client=client) as templates:
        gradient = jax.grad(functools.partial(loss, templates))(PARAMS)
        for name, value in PARAMS.items():
            up, down = (loss(templates, {**PARAMS, name: value * (1 + sign * 1e-4)}) for sign in (1, -1))
            assert float(gradient[name]) == pytest.approx(float((up - down) / (2e-4 * value)), rel=1e-6), name


@pytest.mark.parametrize("gradient", ["jacobian", "vjp"])
def test_a_processor_by_value_compiles_each_shape_once_a_worker(tmp_path, client, gradient) -> None:
    """A class that workers cannot import, as from a notebook, is one object there however often it arrives."""

    class Local(DifferentiableProcessor):
        channels = Search.channels

        def columns(self, events):
            kind = events.metadata["filename"][-6]  # ``fill`` is compiled anew for each
            return {**Search.columns(self, events), "kind": kind}

        def fill(self, params, columns):
            yield Fill("few", columns["met"] + params["shift"] + int(columns["kind"]), columns["weight"])

    def compilations():
        from diffea.portable import _alive

        return {token: alive.compilations for token, alive in list(_alive.items()) if isinstance(alive, Program)}

    def since(before, after):  # what an earlier call left behind may go at any time
        return sum(count for where in after for token, count in after[where].items() if token not in before[where])

    for number in range(5):
        write(tmp_path / f"{number}.root", 500, number)
    fileset = {str(n): {"files": {str(tmp_path / f"{n}.root"): "Events"}} for n in range(5)}
    counts = [client.run(compilations)]
    with distribute(Local(), fileset, client=client, gradient=gradient) as templates:
        step = jax.jit(jax.value_and_grad(functools.partial(loss, templates)))
        for shift in np.linspace(0.0, 0.7, 8):
            step({**PARAMS, "shift": shift})
            counts.append(client.run(compilations))
        holders = [places for key, places in client.who_has().items() if "Local.read" in str(key)]
    assert since(counts[0], counts[1]) == 5 * {"jacobian": 1, "vjp": 2}[gradient]
    assert [since(counts[0], count) for count in counts[2:]] == [since(counts[0], counts[1])] * 7
    held = [len(places) for places in holders if places]  # what an earlier call let go of has none
    assert held == [1] * 5  # no shard was copied to where its step did not belong


def test_large_parameters_travel(fileset, client) -> None:
    class Wide(Search):
        def fill(self, params, columns):
            score = jnp.tanh(columns["met"][:, None] / 50.0 * params["w"]).mean(axis=1)
            yield Fill("few", 80.0 * (1 + score), columns["weight"])

    params = {"w": np.linspace(-1, 1.5, 20_000)}  # around 0 the derivative would be zero by symmetry
    with distribute(Wide(), fileset, client=client) as templates:
        gradient = jax.grad(functools.partial(loss, templates))(params)["w"]
        direction = 1.0 + np.cos(np.arange(20_000))
        up, down = (loss(templates, {"w": params["w"] + sign * 1e-4 * direction}) for sign in (1, -1))
        shards = [holders for key, holders in client.who_has().items() if "Wide.read" in str(key)]
    assert [len(holders) for holders in shards] == [1, 1]  # steps went to the shards, not the other way round
    assert float(gradient @ direction) == pytest.approx(float((up - down) / 2e-4), rel=1e-6)


def test_errors_of_workers_keep_their_names(tmp_path, client) -> None:
    write(tmp_path / "nan.root", 50, 0, genWeight=np.full(50, np.nan, np.float32))
    with pytest.raises(errors.NotFiniteError, match=r"'some', file .*nan.root, entries 0–50: column 'weight'"):
        distribute(Search(), {"some": {"files": {str(tmp_path / "nan.root"): "Events"}}}, client=client)


def test_a_worker_of_other_versions_is_refused(client) -> None:
    from diffea.runtime import check_worker, versions

    with pytest.raises(errors.WorkerMismatchError, match="jax is"):
        client.submit(check_worker, {**versions(), "jax": "0.0.1"}).result()


def test_a_worker_in_32_bit_mode_is_refused(fileset, client) -> None:
    """Before it reads, and before a step, since dask may bring shards to a worker that read none."""

    def switch(on):
        jax.config.update("jax_enable_x64", on)

    try:
        with distribute(Search(), fileset, client=client) as templates:
            client.run(switch, False)
            with pytest.raises(errors.WorkerMismatchError, match="32-bit mode"):
                templates.hard(PARAMS)
            with pytest.raises(errors.WorkerMismatchError, match="32-bit mode"):
                distribute(Search(), fileset, client=client)
    finally:
        client.run(switch, True)
