"""Damaged checkpoints are passed over for older good ones, or named; one run at a time writes them."""

from __future__ import annotations

import functools
import io
import json
import threading
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffea.errors import CheckpointError, LockedError
from diffea.optimise import Composite, optimise

START = {"x": -1.2, "y": 1.0}
BOUNDS = {"x": (-2.0, 2.0)}
VALLEY = Composite(
    lambda p: jnp.stack([3.0 * (p["y"] - p["x"] ** 2), 1.0 - p["x"]]), lambda residuals: jnp.sum(residuals**2)
)
OPTIMIZERS = {"adam": optax.adam(0.05), "l-bfgs-b": "l-bfgs-b", "gauss-newton": "gauss-newton"}


def rewritten(path: Path, change) -> None:
    """The same checkpoint with a changed header and arrays."""
    with np.load(path) as content:
        arrays = {name: content[name] for name in content.files}
    header = json.loads(str(arrays.pop("header")))
    change(header, arrays)
    np.savez(path, header=np.asarray(json.dumps(header)), **arrays)


def header(**changes):
    return lambda path: rewritten(path, lambda header, arrays: header.update(changes))


def every_array(change):
    """A change of the first array of floating-point numbers."""

    def damage(header, arrays):
        name = next(name for name in sorted(arrays) if arrays[name].dtype.kind == "f" and arrays[name].size)
        arrays[name] = change(arrays[name])

    return lambda path: rewritten(path, damage)


def compressed(path: Path) -> None:
    with np.load(path) as content:
        np.savez_compressed(path, **{name: content[name] for name in content.files})


def huge(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    parts["array00000.npy"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)


def unknown_compression(path: Path) -> None:
    """Another number in the fields of the directory that say how a part is stored."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 10] = 99
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "no notes": header(notes=None),
    "notes that are none": header(notes=[1, 2]),
    "notes of another step": lambda path: rewritten(path, lambda header, _: header["notes"].pop()),
    "another step": header(step=99),
    "other fields": lambda path: rewritten(path, lambda header, _: header["notes"][0].update(extra=1)),
    "no number": lambda path: rewritten(path, lambda header, _: header["notes"][0].update(loss="low")),
    "not a number": lambda path: rewritten(path, lambda header, _: header["notes"][0].update(loss=float("nan"))),
    "NaN": every_array(lambda array: array * np.nan),
    "out of bounds": every_array(lambda array: array + 1e6),
    "another shape": every_array(lambda array: np.stack([array] * 2)),
    "another type": every_array(lambda array: array.astype(np.int32)),
    "an array less": lambda path: rewritten(path, lambda _, arrays: arrays.pop("array00000")),
    "no arrays": lambda path: rewritten(path, lambda _, arrays: arrays.clear()),
    "compressed": compressed,
    "unknown compression": unknown_compression,
    "huge": huge,
}


@pytest.fixture(scope="module", params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def finished(request, tmp_path_factory: pytest.TempPathFactory):
    """How to run, the result, and the folder of its checkpoints."""
    run = functools.partial(optimise, VALLEY, START, optimizer=request.param, steps=6, bounds=BOUNDS)
    folder = tmp_path_factory.mktemp("whole")
    return run, run(checkpoint=folder), {path.name: path.read_bytes() for path in folder.iterdir()}


def copied(contents, folder: Path) -> Path:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(finished, damage, tmp_path: Path) -> None:
    run, whole, contents = finished
    newest = max(copied(contents, tmp_path).iterdir())
    damage(newest)
    with pytest.warns(UserWarning, match=r"checkpoint .*step-0000000\d.npz: .* the one before it"):
        resumed = run(checkpoint=tmp_path, resume=True)
    assert [step.loss for step in resumed.history] == [step.loss for step in whole.history]
    assert float(resumed.params["x"]) == float(whole.params["x"])


@pytest.mark.parametrize("damage", ["empty", "no notes", "NaN", "an array less", "unknown compression", "huge"])
def test_checkpoints_that_are_all_damaged_are_an_error(finished, damage, tmp_path: Path) -> None:
    run, _, contents = finished
    for path in copied(contents, tmp_path).iterdir():
        DAMAGES[damage](path)
    with (
        pytest.warns(UserWarning, match="the one before it"),
        pytest.raises(CheckpointError, match=r"fits this run: .*step-00000006.*step-00000004"),
    ):
        run(checkpoint=tmp_path, resume=True)


def test_two_runs_in_one_folder_do_not_delete_each_others_checkpoints(tmp_path: Path) -> None:
    run = functools.partial(optimise, VALLEY, START, optimizer=OPTIMIZERS["adam"], steps=4, checkpoint=tmp_path)
    told = []

    def second() -> None:
        try:
            run()
        except LockedError as error:
            told.append(str(error))

    def begin_another(step) -> None:
        if step.step == 3:
            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
            told.append(sorted(path.name for path in tmp_path.glob("step-*")))

    run(progress=begin_another)
    assert "in use by another run" in told[0]
    assert told[1] == ["step-00000001.npz", "step-00000002.npz"]
    assert len(list(tmp_path.iterdir())) == 3


def test_numbers_of_numpy_are_numbers_of_steps(tmp_path: Path) -> None:
    counts = {"steps": np.int64(3), "validate_every": np.int8(1), "patience": np.uint8(3)}
    run = functools.partial(optimise, VALLEY, START, optimizer=OPTIMIZERS["adam"], validate=VALLEY, checkpoint=tmp_path)
    assert len(run(**counts).history) == len(run(**counts, resume=True).history) == 3


def test_only_checkpoints_are_removed_from_a_folder(tmp_path: Path) -> None:
    others = {"step-first.npz", "step-00000001.txt", "notes.md"}
    for name in (*others, "step-00000001.npz"):
        (tmp_path / name).write_text("mine")
    optimise(VALLEY, START, optimizer=OPTIMIZERS["adam"], steps=2, checkpoint=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "step-00000001.npz", "step-00000002.npz"}
    assert all((tmp_path / name).read_text() == "mine" for name in others)


@pytest.mark.parametrize("killed_at", [6, 8])
def test_patience_goes_on_where_it_was(killed_at: int, tmp_path: Path) -> None:
    """The validation loss is lowest at the fourth step, x = 3/4 (by hand): five further steps end the run, resumed or not."""
    run = functools.partial(
        optimise,
        lambda x: x,
        0.0,
        optimizer=optax.sgd(0.25),
        steps=40,
        validate=lambda x: (x + 0.75) ** 2,
        patience=5,
        checkpoint=tmp_path,
    )
    run(steps=killed_at)
    resumed = run(resume=True)
    assert len(resumed.history) == 4 + 5
    assert float(resumed.params) == -0.75
    assert [step.validation for step in resumed.history] == [(0.25 * n - 0.75) ** 2 for n in range(9)]


@pytest.mark.parametrize("optimizer", ["adam", "l-bfgs-b"])
def test_parameters_too_many_to_be_told_are_a_row_a_step_that_a_resumed_run_writes_as_another(
    tmp_path: Path, optimizer: str
) -> None:
    start, target = {"w": np.zeros(70), "b": np.zeros(())}, jnp.linspace(-1.0, 1.0, 70)
    told: list[dict] = []

    def run(folder: Path, until: int, **options: object) -> None:
        def tell(step) -> None:
            told.append(step.params)
            if step.step == until:
                raise KeyboardInterrupt

        loss = Composite(lambda p: p["w"] - target + p["b"], lambda residuals: jnp.sum(residuals**2 + residuals**4))
        optimise(loss, start, optimizer=OPTIMIZERS[optimizer], steps=5, checkpoint=folder, progress=tell, **options)

    run(tmp_path / "whole", 99)
    norms = [step["|w|"] for step in told]
    whole = np.load(tmp_path / "whole" / "params.npy")
    np.testing.assert_allclose(np.linalg.norm(whole[:, 1:], axis=1), norms, rtol=1e-12)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 4)
    run(tmp_path / "parts", 99, resume=True)
    np.testing.assert_array_equal(np.load(tmp_path / "parts" / "params.npy"), whole)
    optimise(VALLEY, START, optimizer="l-bfgs-b", steps=2, checkpoint=tmp_path / "whole")
    assert not (tmp_path / "whole" / "params.npy").exists()
