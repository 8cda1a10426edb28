"""Standing: what a folder of results holds before a run, and what is there to go on from after Ctrl-C."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from diffea.files.locks import LOCK
from diffea.optimise.checkpoints import steps_done

COMMAND = "diffea.command"
OURS = {
    "checkpoint", "data", "export", "figures", "performance-report.html", "report.html", "result.json", "seeds", "templates.json",
    "workspace.json", "workspace-observed.json", LOCK,
}  # fmt: skip


def command() -> str | None:
    """What was typed, where it was."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.meta.get(COMMAND)


def note_command(context: click.Context, arguments: list[str]) -> None:
    """Remember what was typed."""
    context.meta[COMMAND] = shlex.join(["diffea", *arguments])


def before(out: Path, places: Mapping[str, Path], *, resume: bool) -> Iterator[str]:
    """What there is to know before a run: what it replaces, what it finds, and what it does not.

    Args:
        out: the folder of results.
        places: the folders in it that the run writes to, by variant.
        resume: whether it goes on from checkpoints.
    """
    for name, place in places.items():
        of = f" of {name}" if name else ""
        steps, finished = _steps(place), (place / "result.json").is_file()
        if resume and not steps:
            yield f"nothing to resume{of}: there is no checkpoint in {place}, so that it begins at the first step"
        elif not resume and finished:
            yield f"{place} holds the results{of} of {_earlier(place)}, which this one replaces"
        elif not resume and steps:
            yield f"{place} holds {steps} steps{of} of a run that did not end: this one begins anew, --resume would have gone on"
    others = sorted(path.name for path in out.glob("*") if path.name not in OURS and path.name not in places)
    if others:
        shown = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
        yield f"{out} is not empty: it holds {shown} as well, which stay as they are"


def interrupted(out: Path, places: Mapping[str, Path]) -> Iterator[str]:
    """Two lines after Ctrl-C: what is saved, and how to go on."""
    steps = {name: found for name, place in places.items() if (found := _steps(place))}
    kept = ", ".join(f"{found} steps{f' of {name}' if name else ''}" for name, found in steps.items())
    yield f"saved in {out}: {kept}" if kept else f"no step was finished: nothing is saved in {out}"
    typed = command() or "diffea run"
    resumed = typed if not kept or "--resume" in typed.split() else f"{typed} --resume"
    yield f"{'go on' if kept else 'begin again'} with: {resumed}"


def _steps(place: Path) -> int:
    """Of the newest checkpoint, of whatever stage and fold."""
    folder = place / "checkpoint"
    stages = [folder, *(path for path in folder.glob("**/*") if path.is_dir())]
    return max(map(steps_done, stages), default=0)


def _earlier(place: Path) -> str:
    """The run that left its results there, as far as they tell."""
    try:
        when = json.loads((place / "result.json").read_text(encoding="utf-8")).get("when")
    except (OSError, ValueError, AttributeError):
        when = None
    return f"a run that ended at {when}" if when else "an earlier run"
