"""Checkpoints: what a run needs to go on, as plain arrays, written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from diffea.errors import CheckpointError
from diffea.files import UNFINISHED, named, whole
from diffea.files.archives import read_npz
from diffea.optimise.result import Step

FORMAT = "diffea-checkpoint-2"
KEPT = 3
PARAMS = "params.npy"
NAME = re.compile(r"step-(\d{8})\.npz")
StateT = TypeVar("StateT")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after some steps.

    Attributes:
        arrays: the state, in an order that the optimiser knows.
        history: of all steps so far.
    """

    arrays: Sequence[np.ndarray]
    history: Sequence[Step]


def fingerprint(*parts: object) -> str:
    """A digest of what must be the same for a checkpoint to fit: names, shapes, starting values."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return digest.hexdigest()


def save(folder: Path, checkpoint: Checkpoint, run: str) -> None:
    """Write a checkpoint, and remove all but the last few.

    Args:
        folder: made if it is not there.
        checkpoint: the state.
        run: fingerprint of the run that it belongs to.

    Raises:
        OutputError: if it cannot be written; the ones before it stay.
    """
    step = len(checkpoint.history)
    notes = [dataclasses.asdict(note) for note in checkpoint.history]
    header = json.dumps({"format": FORMAT, "run": run, "step": step, "notes": notes})
    arrays = {f"array{index:05d}": np.asarray(array) for index, array in enumerate(checkpoint.arrays)}
    with whole(folder / f"step-{step:08d}.npz") as file:
        np.savez(file, header=np.asarray(header), **arrays)  # type: ignore[arg-type]
    with named(folder):
        for old in _paths(folder)[:-KEPT]:
            old.unlink()


def note_params(folder: Path, step: int, numbers: np.ndarray) -> None:
    """Write the parameters of a step as a row of ``params.npy``, which ends with it: so goes what a resumed run makes again.

    Args:
        folder: made if it is not there.
        step: counted from 1.
        numbers: shape ``(parameters,)``.

    Raises:
        OutputError: if it cannot be written.
    """
    path = folder / PARAMS
    shape = step, len(numbers)
    with named(path):
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "w+b") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
            file.seek((step - 1) * numbers.nbytes, 1)  # NumPy leaves room for any number of rows in the header
            file.write(np.ascontiguousarray(numbers, "<f8").tobytes())
            file.truncate()


def clear(folder: Path) -> None:
    """Remove the checkpoints of an earlier run."""
    with named(folder):
        for old in (*_paths(folder), *folder.glob(f"{UNFINISHED}*"), *folder.glob(PARAMS)):
            old.unlink()


def steps_done(folder: Path) -> int:
    """The step of the newest checkpoint in a folder, 0 without any."""
    return max(map(_step, _paths(folder)), default=0)


def newest(folder: Path, run: str, read: Callable[[Checkpoint], StateT]) -> StateT | None:
    """The state of the newest checkpoint that is whole and belongs to this run; none where the folder has no checkpoint.

    What a killed driver was writing is removed.

    Args:
        folder: of the checkpoints.
        run: fingerprint of the run.
        read: makes the state; raises CheckpointError for arrays that are none.

    Raises:
        CheckpointError: if there are checkpoints, but none that fits.
    """
    with named(folder):
        for unfinished in folder.glob(f"{UNFINISHED}*"):
            unfinished.unlink()
    refused = []
    for path in reversed(_paths(folder)):
        try:
            return read(_load(path, run))
        except CheckpointError as error:
            refused.append(f"checkpoint {path}: {error}")
            warnings.warn(f"{refused[-1]}; trying the one before it", stacklevel=2)
    if refused:
        msg = f"no checkpoint in {folder} fits this run: {'; '.join(refused)}. Start anew in another folder"
        raise CheckpointError(msg)
    return None


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*.npz") if NAME.fullmatch(path.name) and path.is_file())


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def _load(path: Path, run: str) -> Checkpoint:
    try:
        header, arrays = read_npz(path)
    except ValueError as error:
        msg = f"it is truncated or damaged ({error})"
        raise CheckpointError(msg) from error
    if header.get("format") != FORMAT:
        msg = "it was written by another version of diffea"
        raise CheckpointError(msg)
    if header.get("run") != run:
        msg = "it is of another run (other parameters, starting values, bounds or optimizer)"
        raise CheckpointError(msg)
    history = _history(header.get("notes"))
    if not len(history) == header.get("step") == _step(path):
        msg = f"it is damaged: expected {_step(path)} steps, got {len(history)}"
        raise CheckpointError(msg)
    return Checkpoint([arrays[name] for name in sorted(arrays)], history)


def _history(notes: Any) -> list[Step]:
    try:
        history = [Step(**note) for note in notes]
        numbers = np.asarray(
            [(s.step, s.steps, s.loss, s.gradient_norm or 0.0, s.seconds, s.validation or 0.0) for s in history]
        )
        if np.isfinite(numbers).all() and [step.step for step in history] == list(range(1, len(history) + 1)):
            return history
    except (TypeError, ValueError) as error:
        msg = f"it is damaged: its history is none ({error})"
        raise CheckpointError(msg) from error
    msg = "it is damaged: its history has gaps, or numbers that are none"
    raise CheckpointError(msg)
