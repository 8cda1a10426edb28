"""Sphinx configuration: `nox -s docs` builds the pages into docs/_build."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

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


def typeset(_app: Any, _what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    """Formulae between dollars in docstrings, as in the pages, for docutils."""
    text = "\n".join(lines)
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: f"\n\n.. math:: {' '.join(m[1].split())}\n\n", text, flags=re.DOTALL)
    text = re.sub(r"\$(.+?)\$", lambda m: f":math:`{' '.join(m[1].split())}`", text, flags=re.DOTALL)
    lines[:] = text.splitlines()


def setup(app: Any) -> None:
    """Typeset docstrings, and draw the pictures of operations.md and of the gallery, which git does not hold, before the pages are read."""
    sys.path.insert(0, str(Path(__file__).parent))
    import gallery_pictures
    import operations_pictures

    app.connect("autodoc-process-docstring", typeset)
    app.connect("builder-inited", lambda _: operations_pictures.main(operations_pictures.FOLDER))
    app.connect("builder-inited", lambda _: gallery_pictures.main(gallery_pictures.FOLDER))
