"""Sphinx: the documentation site. ``python -m sphinx -W -E -q -b html docs docs/_build`` builds it."""

import logging
import sys
from pathlib import Path

import popinfer

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

for chatty in ("jax", "arviz.preview"):  # tell at import what is not there, and not needed
    logging.getLogger(chatty).setLevel(logging.ERROR)

project = "popinfer"
author = "The popinfer developers"
version = release = popinfer.__version__
html_title = f"popinfer {version}"

extensions = ["myst_parser", "generated", "notebooks"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}  # _ext/notebooks.py makes the second the first
exclude_patterns = ["_build", "paper"]  # the paper is a document of its own
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
smartquotes = False  # "--out" has to stay as it is typed
suppress_warnings = ["misc.highlighting_failure"]  # shell and YAML fragments

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css", "notebooks.css"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}
