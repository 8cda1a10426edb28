"""Sphinx configuration: `nox -s docs` builds the pages into docs/_build."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import Any

project = "diffea"
author = copyright = "The diffea developers"
release = version = importlib.metadata.version("diffea")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "notebooks/*.ipynb"]

sys.path.insert(0, str(Path(__file__).parent))
import gallery_pictures
import notebook_pages
import operations_pictures

os.environ["DIFFEA_DATA"] = str(notebook_pages.data())  # for the notebooks, which run elsewhere
nb_execution_mode = "force"
nb_execution_excludepatterns = [f"notebooks/generated/{name}/*" for name in notebook_pages.lacking()]
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_output_stderr = "remove"  # progress of fits, and warnings that the pages tell of

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True

html_theme = "furo"
html_title = "diffea"
html_static_path = ["_static"]
html_css_files = ["pages.css"]


def typeset(_app: Any, _what: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    """Formulae between dollars in docstrings, as in the pages, for docutils."""
    text = "\n".join(lines)
    text = re.sub(r"\$\$(.+?)\$\$", lambda m: f"\n\n.. math:: {' '.join(m[1].split())}\n\n", text, flags=re.DOTALL)
    text = re.sub(r"\$(.+?)\$", lambda m: f":math:`{' '.join(m[1].split())}`", text, flags=re.DOTALL)
    lines[:] = text.splitlines()


def setup(app: Any) -> None:
    """Typeset docstrings; before the pages are read, make what git does not hold: pictures, and copies of notebooks."""
    app.connect("autodoc-process-docstring", typeset)
    for made in (operations_pictures, gallery_pictures, notebook_pages):
        app.connect("builder-inited", lambda _, made=made: made.main(made.FOLDER))
