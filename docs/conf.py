"""Sphinx configuration: `nox -s docs` builds the pages into docs/_build."""

from __future__ import annotations

import importlib.metadata

project = "diffea"
author = copyright = "The diffea developers"
release = version = importlib.metadata.version("diffea")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

html_theme = "furo"
html_title = "diffea"
