"""How Sphinx makes a static site of these documents; `make docs` runs it.

The documents are written to be read on GitHub too. So there is nothing of Sphinx in them, and this file does what it
needs: the table of contents is made from README.md, and links that lead out of docs/ go to the repository.
"""

import os
import posixpath
import re
import shutil
from pathlib import Path

project = "prefect-northflank"
author = "Northflank"
html_title = project

extensions = ["myst_parser"]
root_doc = "README"
exclude_patterns = ["site"]
myst_heading_anchors = 3  # levels of headings that have the anchors that GitHub gives them
suppress_warnings = ["myst.header"]  # a page may begin with a comment

html_theme = "furo"  # light and dark; it loads nothing from elsewhere
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "sphinx", "monokai"
html_theme_options = {
    "source_repository": "https://github.com/northflank/prefect-northflank/",
    "source_branch": "main",
    "source_directory": "docs/",
}

DOCS = Path(__file__).resolve().parent.parent
REPOSITORY = "https://github.com/northflank/prefect-northflank/blob/main/"

# Code first, so that what looks like a link in it is passed over.
CODE_OR_LINK = re.compile(
    r"(?ms)^[ \t]*```.*?^[ \t]*```|`[^`\n]*`|\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)"
)


def turn_links(app, page, source):
    """Turns links for the site: out of docs/ to the repository, to a folder of docs/ to its part of the contents."""

    def turn(match):
        if match[1] is None:
            return match[0]
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), match[1]))
        if not target.startswith("docs/"):
            return f"]({REPOSITORY}{target}{match[2] or ''})"
        if (DOCS.parent / target).is_dir():
            return f"]({posixpath.relpath('README.md', posixpath.dirname(page) or '.')}#{posixpath.basename(target)})"
        return match[0]

    source[0] = CODE_OR_LINK.sub(turn, source[0])
    if page == root_doc:
        source[0] += contents(source[0])


def contents(text):
    """Makes the table of contents from the sections of README.md and the pages that each links to."""
    trees = ""
    for section in re.split(r"(?m)^## ", text)[1:]:
        pages = "\n".join(dict.fromkeys(re.findall(r"\]\(([\w./-]+)\.md\)", section)))
        trees += (
            f"\n\n```{{toctree}}\n:hidden:\n:caption: {section.splitlines()[0]}\n\n{pages}\n```"
        )
    return trees


def add_index(app, error):
    """Copies the first page to where servers look for it."""
    if error is None and app.builder.name == "html":
        shutil.copy(os.path.join(app.outdir, "README.html"), os.path.join(app.outdir, "index.html"))


def setup(app):
    app.connect("source-read", turn_links)
    app.connect("build-finished", add_index)
