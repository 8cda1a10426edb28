"""The code blocks of a page, and what the page's source says of them in HTML comments:

``<!-- setup … -->`` holds Python that runs before the next block and is not shown; ``<!-- into: FILE -->`` writes the next block to the end of a
file as well; ``<!-- not run: WHY -->`` leaves the next block out.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import click
from click.testing import CliRunner

from diffea.analysis import load_analysis
from diffea.cli import main

ROOT = Path(__file__).parents[2]
PIECE = re.compile(
    r"^<!-- setup\n(?P<setup>.*?)^-->|^<!-- (?P<word>not run|into): (?P<of>.*?) -->|^```(?P<language>\w+)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)
ELSEWHERE = {
    "demo"
}  # tests/test_demo.py runs it, and tests/test_scaffold.py runs `diffea run`: here the analysis is loaded


@dataclasses.dataclass(frozen=True)
class Block:
    """One block: its page and line, its language, its text, why it is not run, and the file that it is part of."""

    page: str
    line: int
    language: str
    code: str
    reason: str = ""
    into: str = ""


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text, found, said = page.read_text(encoding="utf-8"), [], {}
    for piece in PIECE.finditer(text):
        line = text[: piece.start()].count("\n") + 1
        if piece["word"]:
            said[piece["word"]] = piece["of"]
        elif piece["setup"]:
            found.append(Block(page.name, line, "python", piece["setup"]))
        else:
            reason, into = said.pop("not run", ""), said.pop("into", "")
            found.append(Block(page.name, line, piece["language"], piece["code"], reason, into))
    return found


def run(block: Block, names: dict) -> None:
    """Run a block of Python among `names`, or the commands of a block of shell, in the working directory."""
    if block.language == "python" and not block.reason:
        if block.into:
            with Path(block.into).open("a", encoding="utf-8") as file:
                file.write(block.code)
        exec(compile("\n" * block.line + block.code, block.page, "exec"), names)
    elif block.language in {"bash", "sh"}:
        for command in block.code.replace("\\\n", " ").splitlines():
            for part in command.split("&&"):
                call(shlex.split(part, comments=True), block)
    elif not block.reason:
        msg = f"{block.page}, line {block.line}: nothing knows how to run {block.language}"
        raise AssertionError(msg)


def call(words: list[str], block: Block) -> None:
    """Look at a command, and run those of ``diffea`` with few steps; those of a block that is not run have options that exist."""
    place = f"{block.page}, line {block.line}: {' '.join(words)}"
    match words:
        case [] | ["python", "-m", "pip" | "pytest", *_]:
            pass
        case ["python", script, *_]:
            assert block.reason or (ROOT / script).is_file(), f"{place}: there is no such script"
        case ["diffea", name, *arguments]:
            command = main.commands[name]
            command.make_parser(click.Context(command)).parse_args([*arguments])
            if name == "run" and not block.reason:
                assert load_analysis(Path(arguments[0])).variants, place
            elif name not in ELSEWHERE and not block.reason:
                result = CliRunner().invoke(main, [name, *arguments])
                assert result.exit_code == 0, f"{place}\n{result.output}"
        case _:
            assert block.reason, f"{place}: nothing knows how to run it"
