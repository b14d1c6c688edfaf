"""Sphinx: the documentation site, from the Markdown beside this file. `make docs` builds it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generated

generated.write(Path(__file__).parent / "generated")

project = "clipbench"
author = "The clipbench authors"
project_copyright = "the clipbench authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "clipbench"
html_show_sphinx = False
myst_heading_anchors = 3
autodoc_typehints = "none"  # signatures have them
autodoc_member_order = "bysource"
suppress_warnings = ["myst.xref_missing"]  # links to files outside docs/; tests/test_documents.py follows every link
