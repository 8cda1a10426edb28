"""Sphinx configuration: `nox -s docs` builds the pages into docs/_build."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import subprocess
import sys
import tempfile
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
import notebook_pages

os.environ["DIFFEA_DATA"] = str(notebook_pages.data())  # for the notebooks, which run elsewhere
nb_execution_mode = "force"
nb_execution_excludepatterns = [f"notebooks/generated/{name}/*" for name in notebook_pages.lacking()]
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_output_stderr = "remove"  # progress of fits, and warnings that the pages tell of
logging.getLogger("traitlets").setLevel(logging.WARNING)  # says which notebook is run
quiet = Path(tempfile.mkdtemp()) / "profile_default" / "ipython_kernel_config.py"
quiet.parent.mkdir()
quiet.write_text(
    "c.IPKernelApp.log_level = 40\n", encoding="utf-8"
)  # kernels warn that they talk over TCP, within this machine
os.environ["IPYTHONDIR"] = str(quiet.parents[1])

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


def make(_app: Any) -> None:
    """What git does not hold: copies of notebooks, and pictures, whose scripts run side by side and apart from Sphinx, which may fork."""
    notebook_pages.main(notebook_pages.FOLDER)
    scripts = [Path(__file__).with_name(f"{name}_pictures.py") for name in ("operations", "gallery")]
    running = [subprocess.Popen([sys.executable, str(script)]) for script in scripts]
    for script, process in zip(scripts, running, strict=True):
        if process.wait():
            msg = f"{script} failed"
            raise RuntimeError(msg)


def setup(app: Any) -> None:
    """Typeset docstrings; before the pages are read, make what they show."""
    app.connect("autodoc-process-docstring", typeset)
    app.connect("builder-inited", make)
