"""Analysis: all that a run needs to know, in one object of a Python file."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

import cloudpickle
import optax
from coffea.nanoevents import NanoAODSchema

from diffea.errors import AnalysisError
from diffea.events.splits import Split
from diffea.fetch import RemoteFile
from diffea.files.names import unfit
from diffea.optimise import Schedule, check_count
from diffea.processor import DifferentiableProcessor
from diffea.statistics import HistFactory
from diffea.statistics.bound import BoundModel
from diffea.templates import TemplateSet
from diffea.types import JSONMapping, Params, PyTree, Scalar

TAKEN = ("checkpoint", "data", "seeds")  # folders among the results
_beside: dict[str, ModuleType] = {}  # what analyses imported from their own folders


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A first stage on an objective of the templates alone, such as a cross-entropy that a fill sums up.

    Attributes:
        objective: a function of the TemplateSet, minimised.
        optimizer: of optax, ``"l-bfgs-b"`` or ``"gauss-newton"``.
        steps: how many at most.
        batches: how many mini-batches the events are divided into, see ``diffea.optimise``.

    Raises:
        ParameterError: if that is no such number.
    """

    objective: Callable[[TemplateSet], Scalar]
    optimizer: optax.GradientTransformation | str
    steps: int
    batches: int = 1

    def __post_init__(self) -> None:
        check_count("steps", self.steps, 0)
        check_count("batches", self.batches, 1, "mini-batches")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to do an analysis: what is tuned, and for what.

    Attributes:
        processor: the differentiable processor.
        spec: of the HistFactory model, template names in place of numbers; or the model, if it needs more than that.
        params: where to start.
        objective: a function of the bound model, minimised.
        optimizer: see ``diffea.optimise``.
        steps: how many at most; 0 to evaluate only. ``"auto"`` ends by itself.
        bounds: pytree like the parameters with (low, high) as leaves.
        batches: how many mini-batches the events are divided into, see ``diffea.optimise``.
        widths: what the widths of soft cuts are multiplied by in the course of the run.
        schedules: parameters that are set instead of optimised.
        pretraining: a stage before, if any.
        validate_every: steps between validations, where the split has a validation part.
        patience: stop after so many validations without improvement.
        limit: whether to quote the expected 95 % CL limit.
        baseline: what the result is compared with, if something else than this variant at the parameters it starts from.

    Raises:
        ParameterError: if a number of steps or validations is none.
    """

    processor: DifferentiableProcessor
    spec: JSONMapping | HistFactory
    params: Params
    objective: Callable[[BoundModel], Scalar]
    optimizer: optax.GradientTransformation | str = "auto"
    steps: int | None = None
    bounds: PyTree = None
    batches: int = 1
    widths: Schedule | None = None
    schedules: Mapping[str, Schedule] = dataclasses.field(default_factory=dict)
    pretraining: Pretraining | None = None
    validate_every: int = 1
    patience: int | None = None
    limit: bool = True
    baseline: Variant | None = None

    def __post_init__(self) -> None:
        if self.steps is not None or self.optimizer != "auto":
            check_count("steps", self.steps, 0)
        check_count("batches", self.batches, 1, "mini-batches")
        check_count("validate_every", self.validate_every, 1)
        if self.patience is not None:
            check_count("patience", self.patience, 1, "validations")

    @functools.cached_property
    def model(self) -> HistFactory:
        """The HistFactory model: one object, so that what is compiled for it serves every use of the variant."""
        return self.spec if isinstance(self.spec, HistFactory) else HistFactory(self.spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Analysis:
    """What ``diffea run`` runs.

    Attributes:
        name: of folders and files.
        title: in words, for the report.
        fileset: makes coffea's fileset from the folder of the data.
        variants: by name; one named ``""`` where there are no variants.
        schemaclass: of NanoEvents.
        split: into folds, or into training, validation and test events; by default into two folds.
        chunksize: entries that are read at once.
        on_bad_file: ``"raise"``, or ``"skip"`` to leave out files that stay bad, which result.json then lists.
        memory: bytes of columns that a worker may hold, see ``diffea.distribute``.
        uproot_options: by which files on servers are opened, likewise.
        replicas: of the events that are judged, from which limits and gains have their errors; 0 for none.
        fetch: where the data come from.
        default_data: makes the data in a folder, for an analysis that needs no ``--data``.
        seeds: how many initialisations ``diffea run --all`` takes.
        reseeded: the same analysis from another initialisation (first weights, or split of the events), given its number.
        figures: what is drawn, in the folder of the results, when every variant has run; gives the files it wrote.

    Raises:
        AnalysisError: if its name or that of a variant cannot be one of a folder within the results.
    """

    name: str
    title: str
    fileset: Callable[[Path], Mapping[str, object]]
    variants: Mapping[str, Variant]
    schemaclass: type = NanoAODSchema
    split: Split | None = dataclasses.field(default_factory=lambda: Split(folds=2))
    chunksize: int = 100_000
    on_bad_file: Literal["raise", "skip"] = "raise"
    memory: int | str = "auto"
    uproot_options: Mapping[str, object] | None = None
    replicas: int = 100
    fetch: Sequence[RemoteFile] = ()
    default_data: Callable[[Path], object] | None = None
    seeds: int = 1
    reseeded: Callable[[int], Analysis] | None = None
    figures: Callable[[Path], Sequence[Path]] | None = None

    def __post_init__(self) -> None:
        if reason := unfit(self.name):
            msg = f"an analysis's name is one of files and folders, got {self.name!r}: {reason}"
            raise AnalysisError(msg)
        check_variant_names(self.variants)


def check_variant_names(names: Iterable[str]) -> None:
    """See that each variant of an analysis can have a folder of its own among the results.

    Raises:
        AnalysisError: naming the variant that cannot.
    """
    names = list(names)
    if names == [""]:
        return
    for name in names:
        reason = f"the results have {name!r} for something else" if name in TAKEN else unfit(name)
        if reason:
            msg = f"a variant's name is that of its folder (or '' for a single one), got {name!r}: {reason}"
            raise AnalysisError(msg)


def load_analysis(place: Path) -> Analysis:
    """The ``analysis`` object of a Python file, or of the ``analysis.py`` in a folder.

    It may import the files beside it, as a script may; each analysis gets its own, as they are now.

    Raises:
        AnalysisError: if there is no such file, if it fails, or if it has no such object.
    """
    path = place / "analysis.py" if place.is_dir() else place
    if not path.is_file():
        msg = f"an analysis is a Python file with an object named `analysis`, or a folder with analysis.py; got {place}"
        raise AnalysisError(msg)
    name = f"diffea_analysis_{path.resolve().parent.name}_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        msg = f"{path} is not a Python file"
        raise AnalysisError(msg)
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        with _importing_beside(path.resolve()):
            module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        place_of_error = traceback.extract_tb(error.__traceback__)[-1]
        msg = f"{path} fails: {type(error).__name__}: {error} ({place_of_error.filename}, line {place_of_error.lineno})"
        raise AnalysisError(msg) from error
    cloudpickle.register_pickle_by_value(module)
    analysis = getattr(module, "analysis", None)
    if not isinstance(analysis, Analysis):
        msg = f"{path} has no object named `analysis` that is a diffea.Analysis, got {type(analysis).__name__}"
        raise AnalysisError(msg)
    return analysis


@contextlib.contextmanager
def _importing_beside(path: Path) -> Iterator[None]:
    """Let a file import those of its folder first, and none of their names that another analysis left, or an earlier look at this one."""
    beside = {other.stem for other in path.parent.glob("*.py") if other != path}
    for name in beside & _beside.keys():
        if sys.modules.get(name) is _beside[name]:
            del sys.modules[name]
    before = {name: sys.modules.get(name) for name in beside}
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.path.remove(str(path.parent))
        new = {name: sys.modules[name] for name in beside if name in sys.modules}
        _beside.update({name: module for name, module in new.items() if module is not before[name]})
