"""dask-awkward collections: what ``NanoEventsFactory(mode="dask")`` makes, accepted where a fileset is.

A processor's ``columns`` is called once on the whole collection; what it returns is a task graph that reads only the branches
it needs. Each partition of that graph is a chunk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType

import awkward as ak
import numpy as np
from dask.base import is_dask_collection, optimize
from dask.highlevelgraph import HighLevelGraph
from dask.local import get_sync

from diffea.errors import ColumnError, FileReadError, FilesetError, MissingBranchError, MissingExtraError, SplitError
from diffea.events.failures import while_reading
from diffea.events.filesets import IS_DATA, Chunk, File, chosen, metadata_of
from diffea.events.inputs import Input, check_disjoint, inputs_of
from diffea.events.kinds import EventArray
from diffea.events.scalars import Static, plain
from diffea.events.splits import Split
from diffea.portable import Portable
from diffea.types import Events, Fileset, Map

IDENTITY = ("run", "luminosityBlock", "event")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Partition(Chunk):
    """A partition of a collection: a chunk that is read by running its part of the collection's graph.

    Attributes:
        graph: optimised, of all partitions.
        keys: of this partition's columns in the graph, by name.
        static: plain Python values among the columns.
    """

    graph: Portable
    keys: Mapping[str, tuple[str, int]]
    static: Mapping[str, Static] = dataclasses.field(default_factory=dict)

    def compute(self) -> dict[str, EventArray | Static]:
        """The columns, as ``columns`` of a processor returns them of a chunk.

        Raises:
            FileReadError: if a file behind the partition cannot be read.
            FilesetError: if it is an RNTuple.
        """
        try:
            keys = list(self.keys.values())
            arrays = get_sync(self.graph.value.cull(set(keys)), keys)
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("dask_awkward"):
                raise _missing_extra() from error
            if "RField" in str(error):
                msg = (
                    f"{self}: coffea's dask mode cannot read RNTuples ({error}); give the fileset itself, {{dataset: {{path: tree}}}}, in place "
                    "of the collection"
                )
                raise FilesetError(msg) from error
            if while_reading(error):
                msg = f"{self}: reading a branch failed: {type(error).__name__}: {error}"
                raise FileReadError(msg) from error
            error.add_note(f"computing {self}")
            raise
        return {**dict(zip(self.keys, arrays, strict=True)), **self.static}


def is_collection(fileset: Fileset) -> bool:
    """Whether this is a dask collection, or a dict of them by dataset, rather than a fileset."""
    if isinstance(fileset, Mapping):
        return bool(fileset) and all(is_dask_collection(value) for value in fileset.values())
    return is_dask_collection(fileset)


def plan_collections(
    collections: Events | Mapping[str, Events],
    columns: Callable[[Events], Mapping[str, object]],
    split: Split | None,
    map_chunks: Map = map,
    *,
    observed: bool = False,
) -> list[Chunk]:
    """The partitions of a collection, or of several by dataset, as chunks.

    Args:
        collections: a dask-awkward collection whose metadata name its dataset, or ``{dataset: collection}``; a
            ``metadata["sample"]`` names its template (default: the dataset's name).
        columns: of the processor.
        split: which events to keep, if not all.
        map_chunks: how to apply a function to all partitions (a cluster's ``map``).
        observed: take those that are marked as data, instead of those that are not.

    Raises:
        MissingExtraError: without dask-awkward.
        FilesetError: if it is another kind of dask collection, has no dataset's name, or no events, or partitions of one sample read
            the same entries.
        SplitError: if the events to divide have no run, luminosity block and event number.
        MissingBranchError: if ``columns`` asks for a branch that is not there.
        ColumnError: if ``columns`` returns what is no array of the collection.
    """
    given = list(collections.items()) if isinstance(collections, Mapping) else [(None, collections)]
    found = [(_dataset_of(_checked(collection), name), collection) for name, collection in given]
    marked = {name: bool(metadata_of(name, _metadata(collection)).get(IS_DATA, False)) for name, collection in found}
    names = chosen(marked, observed=observed)
    planned = [
        pair
        for dataset, collection in found
        if dataset in names
        for pair in _partitions(_checked(collection), dataset, columns, split, map_chunks)
    ]
    check_disjoint(planned)
    partitions = [partition for partition, _ in planned]
    if not partitions:
        msg = f"the collections have no events: {', '.join(collection.name for _, collection in found)}"
        raise FilesetError(msg)
    return partitions


def _metadata(collection: Events) -> object:
    return getattr(collection, "metadata", None)


def _dataset_of(collection: Events, dataset: str | None) -> str:
    dataset = dataset or dict(_metadata(collection) or {}).get("dataset")  # type: ignore[call-overload]
    if not dataset:
        msg = (
            "a dask-awkward collection needs the name of its dataset: give {'name': collection}, or make it with "
            "NanoEventsFactory.from_root(…, mode='dask', metadata={'dataset': 'name', 'sample': …})"
        )
        raise FilesetError(msg)
    return dataset


def _partitions(
    collection: Events,
    dataset: str,
    columns: Callable[[Events], Mapping[str, object]],
    split: Split | None,
    map_chunks: Map,
) -> list[tuple[Chunk, Input | None]]:
    metadata = metadata_of(dataset, _metadata(collection))
    where = f"dataset {dataset!r}, dask-awkward collection {collection.name}"
    lengths = _lengths(collection, map_chunks)
    wanted, static = _columns(collection if split is None else _part(collection, split, where), columns, where)
    for name, column in wanted.items():
        if getattr(column, "npartitions", None) != collection.npartitions or not hasattr(column, "_meta"):
            msg = (
                f"{where}: column {name!r} must be an array of the collection, one entry an event, "
                f"got {type(column).__name__}"
            )
            raise ColumnError(msg)
    graph, names = _optimised(wanted)
    return [
        (
            Partition(
                File(dataset, f"partition {number} of {collection.name}", "", metadata),
                0,
                rows,
                graph=graph,
                keys={name: (layer, number) for name, layer in names.items()},
                static=static,
            ),
            read,
        )
        for number, (rows, read) in enumerate(zip(lengths, inputs_of(collection), strict=True))
        if rows
    ]


def _columns(
    events: Events, columns: Callable[[Events], Mapping[str, object]], where: str
) -> tuple[dict[str, object], dict[str, Static]]:
    try:
        found = columns(events)
    except (AttributeError, ak.errors.FieldNotFoundError) as error:
        msg = f"{where}: there is no such branch (read by `columns`): {error}; there are: {', '.join(events.fields)}"
        raise MissingBranchError(msg) from error
    except Exception as error:
        error.add_note(f"in `columns`, which is called once on the whole of {where}: use awkward and NumPy's functions")
        raise
    if not isinstance(found, Mapping):
        msg = f"{where}: `columns` must return a dict of arrays, got {type(found).__name__}"
        raise ColumnError(msg)
    found = {name: plain(value) for name, value in found.items()}
    static = {name: value for name, value in found.items() if isinstance(value, Static)}
    return {name: value for name, value in found.items() if name not in static}, static


def _part(collection: Events, split: Split, where: str) -> Events:
    """The events of a part, chosen partition by partition."""
    missing = sorted(set(IDENTITY) - set(collection.fields))
    if missing:
        msg = f"{where}: to divide its events takes run, luminosityBlock and event, there is no {', '.join(missing)}"
        raise SplitError(msg)
    dak = _dask_awkward()
    return collection[dak.map_partitions(_mask, *(collection[name] for name in IDENTITY), split=split)]


def _mask(*identity: ak.Array, split: Split) -> ak.Array:
    if ak.backend(*identity) == "typetracer":
        for numbers in identity:
            ak.typetracer.touch_data(numbers)
        return ak.values_astype(identity[0], np.bool_)
    return ak.Array(split.mask(tuple(np.asarray(numbers) for numbers in identity)))


def _lengths(collection: Events, map_chunks: Map) -> list[int]:
    """Rows of each partition, which the collection knows, or which its files' headers tell."""
    if collection.known_divisions:
        return [int(rows) for rows in np.diff(collection.divisions)]
    graph, names = _optimised({"rows": _dask_awkward().map_partitions(_length, collection)})
    keys = [(names["rows"], number) for number in range(collection.npartitions)]
    return list(map_chunks(_Length(graph), keys))


@dataclasses.dataclass(frozen=True)
class _Length:
    graph: Portable

    def __call__(self, key: tuple[str, int]) -> int:
        return int(get_sync(self.graph.value.cull({key}), key)[0])


def _length(array: ak.Array) -> ak.Array:
    if ak.backend(array) == "typetracer":
        return ak.Array(ak.Array([0]).layout.to_typetracer(forget_length=True))
    return ak.Array([len(array)])


def _optimised(arrays: Mapping[str, object]) -> tuple[Portable, dict[str, str]]:
    """One graph of all arrays, which reads the branches that they need, and the name of each array's layer."""
    optimised = optimize(dict(arrays))[0]
    graph = HighLevelGraph.merge(*(array.__dask_graph__() for array in optimised.values()))
    return Portable(graph), {name: array.__dask_layers__()[0] for name, array in optimised.items()}


def _checked(collection: Events) -> Events:
    dak = _dask_awkward()
    if not isinstance(collection, dak.Array):
        msg = (
            "a dask collection of events is one of dask-awkward (NanoEventsFactory.from_root(…, mode='dask').events()), "
            f"got {type(collection).__module__}.{type(collection).__name__}"
        )
        raise FilesetError(msg)
    return collection


def _dask_awkward() -> ModuleType:
    try:
        import dask_awkward
    except ModuleNotFoundError as error:
        raise _missing_extra() from error
    return dask_awkward


def _missing_extra() -> MissingExtraError:
    return MissingExtraError(
        "dask collections of events need dask-awkward, here and on the workers: pip install 'diffea[dask-awkward]'"
    )
