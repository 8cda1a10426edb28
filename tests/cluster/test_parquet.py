"""Parquet on two workers: the bits of one process in ROOT, and a file that goes bad is named."""

from __future__ import annotations

import functools

import awkward as ak
import numpy as np
import pytest
import uproot
from tests.samples import PARAMS, QuietSchema, Search, write

from diffea.distributed import distribute as distribute_nano
from diffea.errors import FileReadError
from diffea.program import Program

distribute = functools.partial(distribute_nano, Program(Search()), schemaclass=QuietSchema, chunksize=500)


def test_two_workers_give_the_bits_of_one_process_in_root(client, tmp_path) -> None:
    filesets: dict[str, dict] = {"root": {}, "parquet": {}}
    for seed, (dataset, events) in enumerate([("signal", 1000), ("background", 3000)]):
        path = tmp_path / f"{dataset}.root"
        write(path, events, seed)
        ak.to_parquet(uproot.open(path)["Events"].arrays(), path.with_suffix(".parquet"), row_group_size=250)
        for kind, fileset in filesets.items():
            fileset[dataset] = {"files": [str(path.with_suffix(f".{kind}"))]}
    found = []
    for kind, where in (("root", None), ("parquet", None), ("parquet", client)):
        with distribute(filesets[kind], client=where) as templates:
            found.append(templates.jacobian(PARAMS).flat)
            assert templates.chunks == 8
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    bad = tmp_path / "background.parquet"
    bad.write_bytes(bad.read_bytes()[:-100])
    with pytest.raises(FileReadError, match=r"'background': .*background.parquet cannot be read as a Parquet file"):
        distribute(filesets["parquet"], client=client)
