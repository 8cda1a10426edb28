"""Scaffold: a folder with an analysis that runs on the user's files, to be changed into the user's analysis."""

from __future__ import annotations

from diffea.scaffold.processors import Original, read_processor
from diffea.scaffold.survey import Cut, Sample, Survey, survey
from diffea.scaffold.write import Kind, unfinished, write, write_processor

__all__ = [
    "Cut", "Kind", "Original", "Sample", "Survey", "read_processor", "survey", "unfinished", "write", "write_processor",
]  # fmt: skip
