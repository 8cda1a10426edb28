"""Checkpoints: what a run needs to go on, as plain arrays, written whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffea.errors import CheckpointError
from diffea.files import UNFINISHED, read_npz, whole

FORMAT = "diffea-checkpoint-2"
KEPT = 3


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a run after some steps.

    Attributes:
        step: steps done.
        arrays: the state, in an order that the optimiser knows.
        notes: JSON values, such as the history.
    """

    step: int
    arrays: Sequence[np.ndarray]
    notes: Any


def fingerprint(*parts: Any) -> str:
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
    """
    header = json.dumps({"format": FORMAT, "run": run, "step": checkpoint.step, "notes": checkpoint.notes})
    arrays = {f"array{index:05d}": np.asarray(array) for index, array in enumerate(checkpoint.arrays)}
    with whole(folder / f"step-{checkpoint.step:08d}.npz") as file:
        np.savez(file, header=np.asarray(header), **arrays)  # type: ignore[arg-type]
    for old in sorted(folder.glob("step-*.npz"))[:-KEPT]:
        old.unlink()


def clear(folder: Path) -> None:
    """Remove the checkpoints of an earlier run."""
    for old in (*folder.glob("step-*.npz"), *folder.glob(f"{UNFINISHED}*")):
        old.unlink()


def steps_done(folder: Path) -> int:
    """The step of the newest checkpoint in a folder, 0 without any."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.npz")), default=0)


def newest(folder: Path, run: str) -> Checkpoint | None:
    """The newest checkpoint that is whole and belongs to this run; none where the folder has no checkpoint.

    What a killed driver was writing is removed.

    Raises:
        CheckpointError: if there are checkpoints, but none that fits.
    """
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        unfinished.unlink()
    refused = []
    for path in sorted(folder.glob("step-*.npz"), reverse=True):
        try:
            return _load(path, run)
        except CheckpointError as error:
            refused.append(str(error))
            warnings.warn(f"{error}; trying the one before it", stacklevel=2)
    if refused:
        msg = f"no checkpoint in {folder} fits this run: {'; '.join(refused)}. Start anew in another folder"
        raise CheckpointError(msg)
    return None


def _load(path: Path, run: str) -> Checkpoint:
    try:
        header, arrays = read_npz(path)
    except ValueError as error:
        msg = f"checkpoint {path} is truncated or damaged ({error})"
        raise CheckpointError(msg) from error
    if header.get("format") != FORMAT:
        msg = f"checkpoint {path} was written by another version of diffea"
        raise CheckpointError(msg)
    if header.get("run") != run:
        msg = f"checkpoint {path} is of another run (other parameters, starting values, bounds or optimizer)"
        raise CheckpointError(msg)
    return Checkpoint(header["step"], [arrays[name] for name in sorted(arrays)], header["notes"])
