"""``diffea new``: a first draft of an analysis."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape

from diffea import scaffold

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PROCESSOR = "processor"
SOMEWHERE = Path("DIR")


@click.command(name="new")
@click.argument("name", type=FOLDER)
@click.argument("original", required=False, metavar="[MODULE:CLASS]")
@click.option("--data", type=EXISTING_FOLDER, help="Folder of ROOT files, one or more of each sample.")
@click.option(
    "--from",
    "kind",
    type=click.Choice(["flat", "nanoaod", PROCESSOR]),
    default="flat",
    show_default=True,
    help="What the files are; or `processor`, to divide an existing coffea processor, MODULE:CLASS.",
)
@click.option(
    "--signal", metavar="FILE", help="Which file is the signal (its name without .root).  [default: guessed by name]"
)
def new_command(name: Path, original: str | None, data: Path | None, kind: scaffold.Kind, signal: str | None) -> None:
    """Write a first draft of an analysis of your own files into the folder NAME: it runs as it is, and is yours to change.

    With --from processor MODULE:CLASS the text of that processor is kept, in two halves, and what remains to be done is said by name;
    --data may then come later.
    """
    if (kind == PROCESSOR) != (original is not None):
        msg = "--from processor is followed by its place, as in: diffea new NAME --from processor my_module:MyProcessor"
        raise click.UsageError(msg)
    if original is not None:
        read = scaffold.read_processor(original)
        found = scaffold.survey(data, signal=signal, flat=False) if data else None
        paths, to_do = scaffold.write_processor(name, read, found, data or SOMEWHERE)
        lines = [f"  {place}: {what}" for place, what in to_do.items()]
        _show(paths, ["what remains to be done:", *lines, "Next:", _command("check", name, data or SOMEWHERE)])
        return
    if data is None:
        msg = "--data DIR is missing: the folder of the files of which a draft is made"
        raise click.UsageError(msg)
    found = scaffold.survey(data, signal=signal, flat=kind == "flat")
    chosen = next(sample.name for sample in found.samples if sample.signal)
    first = f"signal: {chosen}; cross-sections are 1 pb until you give yours in samples.json. Next:"
    commands = [_command(command, name, data) for command in ("check", "run")]
    _show(scaffold.write(name, found, kind, data), [first, *commands])


def _command(what: str, name: Path, data: Path) -> str:
    return f"  {shlex.join(['diffea', what, str(name), '--data', str(data)])}"


def _show(paths: Sequence[Path], lines: Sequence[str]) -> None:
    text = "\n".join([*(f"written: {path}" for path in paths), "", *lines])
    Console().print(escape(text), soft_wrap=True, highlight=False)
