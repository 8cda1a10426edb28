"""A search on invented NanoAOD-like data: the generator of the data, and the analysis that `diffea demo` runs on them."""

from __future__ import annotations

from diffea.demo.data import make_data
from diffea.demo.search import LUMINOSITY, DemoSchema, Search, analysis, fileset

__all__ = ["LUMINOSITY", "DemoSchema", "Search", "analysis", "fileset", "make_data"]
