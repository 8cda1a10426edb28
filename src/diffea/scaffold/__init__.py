"""Scaffold: a folder with an analysis that runs on the user's files, to be changed into the user's analysis."""

from __future__ import annotations

from diffea.scaffold.survey import Cut, Sample, Survey, survey
from diffea.scaffold.write import Kind, write

__all__ = ["Cut", "Kind", "Sample", "Survey", "survey", "write"]
