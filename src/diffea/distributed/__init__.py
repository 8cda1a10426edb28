"""Distributed gradients: events stay where they are, histograms and gradients are summed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Literal

from coffea.nanoevents import BaseSchema, NanoAODSchema
from distributed import Client

from diffea.distributed.cluster import OnCluster
from diffea.distributed.function import Templates
from diffea.distributed.lanes import InProcess, Lane
from diffea.distributed.ledger import Ledger
from diffea.distributed.shards import Skipped, Source
from diffea.distributed.storage import budget_of
from diffea.errors import OptionError, SplitError
from diffea.events.batches import batches_of
from diffea.events.blocks import block_rows
from diffea.events.collections import is_collection, plan_collections
from diffea.events.plan import plan
from diffea.events.servers import check_options
from diffea.events.splits import Split
from diffea.portable import Portable
from diffea.processor import DifferentiableProcessor
from diffea.program import Program
from diffea.program.strategy import Gradient, check
from diffea.runtime import versions
from diffea.types import Fileset

__all__ = ["Templates", "distribute"]


def distribute(
    processor: DifferentiableProcessor | Program,
    fileset: Fileset,
    *,
    client: Client | None = None,
    schemaclass: type = NanoAODSchema,
    chunksize: int = 100_000,
    split: Split | None = None,
    precision: Literal["float64", "float32"] = "float64",
    on_bad_file: Literal["raise", "skip"] = "raise",
    memory: int | str = "auto",
    gradient: Gradient = "auto",
    identify: bool = False,
    observed: bool = False,
    timeout: float | None = None,
    uproot_options: Mapping[str, object] | None = None,
) -> Templates:
    """Read the columns of all events once, and make them a JAX function of the parameters.

    Args:
        processor: whose ``columns`` are read and whose ``fill`` is run at every step; a copy is taken, code included, so that one
            that changes later is for the next ``distribute``. A ``Program`` is shared with others that were given it.
        fileset: coffea's own: ``{dataset: {"files": {path: tree}, "metadata": {"sample": …}}}``. Or a dask-awkward collection
            (``NanoEventsFactory.from_root(…, mode="dask").events()``) whose metadata name its dataset, or
            ``{dataset: collection}``; its partitions then stand in for chunks.
        client: a ``dask.distributed.Client``; without one everything stays in this process.
        schemaclass: of NanoEvents.
        chunksize: entries that are read at once.
        split: keep its train part only (or the part that it names), weights scaled to the full yield.
        precision: of columns and parameters inside ``fill``; templates and their forward derivatives are summed in float64 either
            way, derivatives in reverse mode within a block of events in this precision.
        on_bad_file: whether a file that stays bad stops the run, or is left out of values and gradients (its ``ledger``
            then lists it). A passing read error is tried again either way.
        memory: bytes of columns that a worker may hold (or ``"4 GB"``); by default half of its memory limit. Beyond that, they
            are kept on its local disk, and if that is full, read from the files again at every step.
        gradient: ``"jacobian"`` (one pass, few parameters), ``"vjp"`` (two passes, any number), ``"by-bin"`` (one pass, few
            bins), or what ``diffea.program.strategy`` takes for the fastest.
        identify: keep what identifies each event, 8 bytes, which ``Templates.replicas`` needs.
        observed: read the datasets that are marked as data (``metadata["is_data"]``), and these only; by default they are left alone.
        timeout: seconds for which the cluster may be without a worker, here and at every step; by default one is waited for as long
            as it takes, which the log tells.
        uproot_options: what ``uproot.open`` and fsspec take, such as credentials; ``"timeout"`` is how many seconds a server may
            take for an answer (60 by default). They travel to the workers.

    Returns:
        the function, also a context manager that frees the workers' memory at its end.

    Raises:
        BudgetError: if ``memory`` is no number of bytes.
        StrategyError, OptionError, SplitError: if ``gradient``, ``precision``, ``on_bad_file``, ``uproot_options`` or ``split`` is
            none of these.
        FilesetError: if the fileset is malformed or has no events.
        ObservationError: if observed data are asked for, and nothing is marked as such.
        FileReadError, MissingBranchError, ColumnError, NotFiniteError: naming dataset, file and entries.
        FillError, HistogramError: if the processor cannot be copied, or templates on its axes would not add up.
        MissingPackageError: if a kind of address needs a package that is not installed.
        WorkerMismatchError: if a worker's versions differ from the driver's, or it lacks a package.
        ClusterError: if there was no worker for longer than ``timeout``, or the scheduler is lost.
    """
    check(gradient)
    _check_options(client, schemaclass, split, precision, on_bad_file)
    _check_timeout(timeout)
    options = check_options(uproot_options)
    if options and is_collection(fileset):
        msg = "a dask-awkward collection has its own uproot_options: give them to NanoEventsFactory.from_root"
        raise OptionError(msg)
    budget = budget_of(memory)
    program = processor if isinstance(processor, Program) else Program(processor, precision)
    lane: Lane = InProcess() if client is None else OnCluster(client, program.name, timeout)
    with contextlib.ExitStack() as unread:
        unread.callback(lane.close)
        skip = on_bad_file == "skip"
        chunks, left_out = (
            (plan_collections(fileset, program.processor.columns, split, lane.map, observed=observed), [])
            if is_collection(fileset)
            else plan(fileset, chunksize, lane.map, skip=skip, observed=observed, options=options)
        )
        batches = batches_of(chunks)
        fraction = 1.0 if split is None else split.share
        block = block_rows(int(batch.rows * fraction) for batch in batches)
        source = Source(program, Portable(schemaclass), split, block, len(batches), skip, budget, versions(), identify)
        skipped = [Skipped(file.dataset, file.path, None, reason) for file, reason in left_out]
        templates = Templates(program, lane, Ledger.of(chunks, lane.load(source, batches), skipped), gradient)
        unread.pop_all()
        return templates


def _check_options(client: object, schemaclass: object, split: object, precision: str, on_bad_file: str) -> None:
    if client is not None and not isinstance(client, Client):
        msg = f"client is a dask.distributed.Client (for an address, Client(address)), got {client!r}"
        raise OptionError(msg)
    if client is not None and client.asynchronous:
        msg = (
            "client is asynchronous: a step waits for its sums, so that it takes a synchronous dask.distributed.Client"
        )
        raise OptionError(msg)
    if not (isinstance(schemaclass, type) and issubclass(schemaclass, BaseSchema)):
        msg = f"schemaclass is a class of coffea.nanoevents, such as NanoAODSchema or BaseSchema, got {schemaclass!r}"
        raise OptionError(msg)
    if split is not None and not isinstance(split, Split):
        msg = f"split is a diffea.Split, such as diffea.Split(train=0.5), got {split!r}"
        raise SplitError(msg)
    options = {"precision": (precision, ("float64", "float32")), "on_bad_file": (on_bad_file, ("raise", "skip"))}
    for name, (given, known) in options.items():
        if given not in known:
            msg = f"{name} is {' or '.join(map(repr, known))}, got {given!r}"
            raise OptionError(msg)


def _check_timeout(timeout: float | None) -> None:
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout > 0):
        msg = f"timeout is a number of seconds to wait for workers, above 0, or None for as long as it takes, got {timeout!r}"
        raise OptionError(msg)
