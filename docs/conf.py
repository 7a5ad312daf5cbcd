"""The documentation as a site: `make docs`."""

import os
import sys
from importlib import metadata
from pathlib import Path

project = "tiem"
release = metadata.version("tiem")
html_title = f"tiem {release}"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#8a4700", "color-brand-content": "#8a4700"},
    "dark_css_variables": {"color-brand-primary": "#ffb454", "color-brand-content": "#ffb454"},
}

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.programoutput"]
myst_enable_extensions = ["attrs_inline"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
python_maximum_signature_line_length = 88
highlight_language = "none"
autodoc_member_order = "bysource"

# `tiem --help` is that of the Python that builds, at one width.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
os.environ["COLUMNS"] = "100"
