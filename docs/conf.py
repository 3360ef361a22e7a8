"""The documentation site: `make docs` writes it to out/docs."""

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "src")]
from reference_pages import REPOSITORY, write_reference  # noqa: E402  (beside this file)

project = "maskmill"
copyright = "the authors of maskmill, Apache-2.0"  # noqa: A001  (Sphinx reads this name)
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The source folder is the repository, so that links between README.md and docs/ hold on the site
# as they do in a clone.
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/gpu/README.md",
    "docs/**",
]
SOURCES = {"docs", "benchmarks"}
exclude_patterns = [path.name for path in REPOSITORY.iterdir() if path.is_dir()]
exclude_patterns = [name for name in exclude_patterns if name not in SOURCES]

myst_heading_anchors = 4  # as GitHub makes them
default_role = "code"  # docstrings write `name` as Markdown does
nitpicky = False  # signatures name classes of other libraries

html_theme = "furo"
html_title = "maskmill"
html_show_sourcelink = False
# Summaries of results are fetched, which browsers refuse to pages that were opened as files.
html_show_search_summary = False
html_copy_source = False

napoleon_use_rtype = False  # `Returns: what it is: its form` is no type
napoleon_custom_sections = [("Keys", "params_style")]  # of batches and outputs
autodoc_inherit_docstrings = False  # those of torch and Lightning are not written for this site
autodoc_default_options = {"show-inheritance": True}

FIRST_PAGE = f'<meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
# What keyboards and screen readers need, and neither Sphinx nor the theme writes: (found, becomes).
WIDE = '<div class="table-wrapper colwidths-auto docutils container"'
REPAIRS = (
    ("<pre>", '<pre tabindex="0">'),  # it scrolls sideways
    (f"{WIDE}>", f'{WIDE} tabindex="0">'),
    ('role="heading">', 'role="heading" aria-level="2">'),
    ('<aside class="sidebar-drawer">', '<aside class="sidebar-drawer" aria-label="All pages">'),
    ('<aside class="toc-drawer">', '<aside class="toc-drawer" aria-label="On this page">'),
    ('<th class="head"><p></p></th>', "<td></td>"),
    ('\n<div id="search-results">', '\n<h1>Search</h1><div id="search-results">'),
)
LOADED = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="((?:https?:)?//[^"]+)"')


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Write index.html, repair the pages, and refuse one that would load from a network."""
    if exception is not None:
        return
    (Path(app.outdir) / "index.html").write_text(FIRST_PAGE)
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text()
        for address in LOADED.findall(text):
            raise ExtensionError(f"{page}: loads {address}; the site has to work offline")
        for found, becomes in REPAIRS:
            text = text.replace(found, becomes)
        page.write_text(text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the reference before the pages are read, and check the pages afterwards."""
    app.connect("config-inited", lambda *_: write_reference())
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
