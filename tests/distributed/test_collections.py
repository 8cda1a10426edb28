"""dask-awkward collections where a fileset is: the same numbers, only the needed branches, and errors by name."""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path

import awkward as ak
import dask.bag
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory
from distributed import Client, LocalCluster
from tests.samples import PARAMS, QuietSchema, Search, write_fileset

from diffea import errors
from diffea.distributed import distribute as distribute_nano
from diffea.distributed import lanes
from diffea.evaluate import evaluate
from diffea.events.splits import Split
from diffea.parameters import as_arrays
from diffea.processor import Fill
from diffea.statistics import HistFactory

dak = pytest.importorskip("dask_awkward", reason="dask-awkward is an optional extra, and this is its lane")
distribute = functools.partial(distribute_nano, schemaclass=QuietSchema)
MU = {"name": "mu", "type": "normfactor", "data": None}
SAMPLES = [{"name": "signal", "data": "signal", "modifiers": [MU]}, {"name": "bkg", "data": "bkg", "modifiers": []}]
MODEL = HistFactory({"channels": [{"name": "many", "samples": SAMPLES}]})


@pytest.fixture(scope="module")
def fileset(tmp_path_factory):
    return write_fileset(tmp_path_factory.mktemp("data"))


def collection(files, *steps, **metadata):
    """NanoEvents as coffea makes them in dask mode, a partition for each file or step."""
    files = {path: {"object_path": tree, "steps": list(steps)} if steps else tree for path, tree in files.items()}
    return NanoEventsFactory.from_root(files, mode="dask", schemaclass=QuietSchema, metadata=metadata).events()


@pytest.fixture(scope="module")
def collections(fileset):
    return {
        "signal": collection(fileset["signal"]["files"], [0, 500], [500, 900]),
        "background": collection(fileset["background"]["files"], sample="bkg"),
    }


def loss(templates, params):
    return sum(jnp.sum(jnp.sqrt(50.0 + t.values) + 1e-3 * t.variances) for t in templates(params).values())


def test_value_and_gradient_are_those_of_the_fileset(fileset, collections) -> None:
    found = []
    for source in (fileset, collections):
        with distribute(Search(), source) as templates:
            value, gradient = jax.value_and_grad(functools.partial(loss, templates))(PARAMS)
            found.append(
                (templates.events, templates.layout(as_arrays(PARAMS)), np.array([value, *jax.tree.leaves(gradient)]))
            )
    (events, layout, numbers), (others, other_layout, other_numbers) = found
    assert others == events
    assert other_layout == layout
    np.testing.assert_allclose(other_numbers, numbers, rtol=1e-12)


def test_a_split_takes_the_same_events(fileset, collections) -> None:
    found = []
    for source in (fileset, collections):
        with distribute(Search(), source, split=Split(train=0.4, seed=3)) as templates:
            found.append((templates.events, templates.hard(PARAMS)))
    assert found[0][0] == found[1][0]
    for key, template in found[0][1].items():
        np.testing.assert_allclose(found[1][1][key].flow_values, template.flow_values, rtol=1e-12)


def test_workers_compute_the_same_bits_and_the_hard_truth_agrees(fileset, collections, monkeypatch) -> None:
    monkeypatch.setattr(lanes, "FAN_IN", 2)  # four shards: two levels of sums
    with (
        LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        distribute(Search(), collections, client=client) as remote,
        distribute(Search(), collections) as local,
    ):
        for key, template in remote(PARAMS).items():
            np.testing.assert_array_equal(template.flow_values, local(PARAMS)[key].flow_values)
    found, expected = (
        evaluate(Search(), source, PARAMS, MODEL, schemaclass=QuietSchema) for source in (collections, fileset)
    )
    for key in expected.hists:
        np.testing.assert_allclose(found.hists[key].values(), expected.hists[key].values(), rtol=1e-12)


def test_only_the_needed_branches_are_read(collections, monkeypatch) -> None:
    read = []
    arrays = uproot.TTree.arrays

    def watched(tree, names, *args, **kwargs):
        read.append(set(names))
        return arrays(tree, names, *args, **kwargs)

    monkeypatch.setattr(uproot.TTree, "arrays", watched)
    with distribute(Search(), collections):
        assert sorted(map(len, read)) == [0, 0, 4, 4, 4, 4]  # lengths of two files from headers; then four partitions
        assert set().union(*read) == {"MET_pt", "nJet", "Jet_pt", "genWeight"}


class Selecting(Search):
    """A hard selection of events and of jets, and a value that ``fill`` branches on."""

    def columns(self, events):
        events = events[events.MET.pt > 20]
        jets = events.Jet[events.Jet.pt > 25]
        return {**super().columns(events), "jet_pt": jets.pt, "ht": ak.sum(jets.pt, axis=1), "factor": 2}

    def fill(self, params, columns):
        yield from super().fill(params, columns)
        if columns["factor"] == 2:
            yield Fill("few", columns["ht"] / columns["factor"] + params["shift"], columns["weight"], variation="ht")


def test_selections_and_plain_values(fileset, collections) -> None:
    with distribute(Selecting(), collections) as lazy, distribute(Selecting(), fileset) as eager:
        assert lazy.events == eager.events
        assert ("few", "bkg", "ht") in lazy(PARAMS)
        for key, template in eager(PARAMS).items():
            np.testing.assert_allclose(lazy(PARAMS)[key].flow_values, template.flow_values, rtol=1e-12, atol=1e-9)


def test_one_collection_names_its_dataset_in_its_metadata(fileset) -> None:
    files = fileset["background"]["files"]
    with distribute(Search(), collection(files, dataset="background", sample="bkg")) as templates:
        assert templates.events == {"background": 4200}
        assert ("few", "bkg") in templates(PARAMS)
    with pytest.raises(errors.FilesetError, match="needs the name of its dataset"):
        distribute(Search(), collection(files))


class Missing(Search):
    def columns(self, events):
        return {"met": events.METT.pt}


class Eager(Search):
    def columns(self, events):
        return {"met": events.MET.pt, "ones": np.ones(3)}


class Short(Search):
    def columns(self, events):
        return {"met": events.MET.pt[events.MET.pt > 30], "weight": events.genWeight}


@pytest.mark.parametrize(
    ("processor", "error", "text"),
    [
        (Missing(), errors.MissingBranchError, "dataset 'background', .*no such branch.*METT"),
        (Eager(), errors.ColumnError, "'ones' must be an array of the collection.*got ndarray"),
        (Short(), errors.ColumnError, "partition 0 of .*one entry for each"),
    ],
)
def test_a_bad_processor_is_named(collections, processor, error, text) -> None:
    with pytest.raises(error, match=text):
        distribute(processor, {"background": collections["background"]})


def test_what_is_no_collection_of_events_is_named(collections, tmp_path, monkeypatch) -> None:
    with pytest.raises(errors.FilesetError, match="one of dask-awkward"):
        distribute(Search(), dask.bag.from_sequence([1, 2]))
    identified = collections["background"][["MET", "Jet", "genWeight"]]
    with pytest.raises(errors.SplitError, match="there is no event, luminosityBlock, run"):
        distribute(Search(), {"background": identified}, split=Split())
    monkeypatch.setitem(sys.modules, "dask_awkward", None)
    with pytest.raises(errors.MissingExtraError, match=r"pip install 'diffea\[dask-awkward\]'"):
        distribute(Search(), collections)


def test_a_file_that_went_away_is_named(fileset, tmp_path) -> None:
    (path,) = fileset["signal"]["files"]
    copy = tmp_path / "copy.root"
    shutil.copy(path, copy)
    lost = collection({str(copy): "Events"}, [0, 900])
    copy.unlink()
    with pytest.raises(errors.FileReadError, match=r"dataset 'signal', file partition 0 of .*copy.root"):
        distribute(Search(), {"signal": lost})


@pytest.fixture(scope="module")
def link(fileset):
    (path,) = fileset["signal"]["files"]
    link = Path(path.replace("signal", "link"))
    link.symlink_to(path)
    return str(link)


@pytest.mark.parametrize(
    "twice",
    {
        "overlapping steps": lambda signal, link: {"d": collection(signal, [0, 500], [400, 900])},
        "the same steps": lambda signal, link: {"d": collection(signal, [0, 900], [0, 900])},
        "two datasets": lambda signal, link: dict.fromkeys("de", collection(signal, sample="s")),
        "two collections": lambda signal, link: {name: collection(signal, dataset=name, sample="s") for name in "de"},
        "steps and the whole": lambda signal, link: {
            "d": collection(signal, [0, 500], sample="s"),
            "e": collection(signal, sample="s"),
        },
        "a link": lambda signal, link: {"d": collection({**signal, link: "Events"})},
        "joined": lambda signal, link: {"d": dak.concatenate([collection(signal), collection(signal)])},
        "a part again": lambda signal, link: {
            "d": collection(signal, [0, 500], [500, 900], sample="s"),
            "e": collection(signal, [0, 500], [500, 900], sample="s").partitions[1:],
        },
    }.items(),
    ids=lambda item: item[0],
)
def test_entries_that_two_partitions_of_a_sample_read_are_named(fileset, link, twice) -> None:
    with pytest.raises(errors.FilesetError, match=r"would count events of .*\.root, tree 'Events', twice: dataset"):
        distribute(Search(), twice[1](fileset["signal"]["files"], link))


def test_unlike_partitions_and_samples_may_share_files(fileset) -> None:
    (path,) = fileset["signal"]["files"]
    halves = NanoEventsFactory.from_root(
        {path: "Events"}, mode="dask", schemaclass=QuietSchema, steps_per_file=2
    ).events()
    found = {
        "first": collection(fileset["signal"]["files"], [0, 500], sample="s"),
        "second": collection(fileset["signal"]["files"], [500, 900], sample="s"),
        "other": collection(fileset["signal"]["files"]),
        "halves": halves,
    }
    with distribute(Search(), found) as templates:
        assert templates.events == {"first": 500, "second": 400, "other": 900, "halves": 900}


def test_the_sample_of_a_collection_is_a_name(fileset) -> None:
    with pytest.raises(
        errors.FilesetError, match=r"dataset 'd': metadata\['sample'\] is the name of a template, got 3"
    ):
        distribute(Search(), {"d": collection(fileset["signal"]["files"], sample=3)})
