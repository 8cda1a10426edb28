"""The default optimizer on a cluster: the same search, the same bits, after lost and resumed passes as well."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tests.optimise import two_basins

from diffea import optimise


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return two_basins.write(tmp_path_factory.mktemp("data"))


def search(fileset, client, **options):
    templates, loss = two_basins.composite(fileset, client)
    with templates:
        found = optimise(loss, two_basins.START, bounds=two_basins.BOUNDS, **options)
        return found, templates.passes


def test_two_workers_find_what_one_process_finds(fileset, client, tmp_path):
    class Lost(Exception):
        pass

    def lose(step):
        if step.step == 5:
            raise Lost

    here, passes = search(fileset, None)
    there, remotely = search(fileset, client)
    with pytest.raises(Lost):
        search(fileset, client, checkpoint=tmp_path, progress=lose)
    resumed, _ = search(fileset, client, checkpoint=tmp_path, resume=True)
    assert passes == remotely == here.passes
    for other in (there, resumed):
        assert other.hard == here.hard
        jax.tree.map(np.testing.assert_array_equal, other.params, here.params)
        assert [step.loss for step in other.history] == [step.loss for step in here.history]
