"""How the documentation is built: `sphinx-build -W --keep-going docs docs/_build`."""

import collections
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

project = "lthjax"
author = "the lthjax authors"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "lthjax"
default_role = "literal"  # a name in single backticks is code
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False

_SECTION = re.compile(r"[A-Z][a-z]+:$")
_FIELD = type(collections.namedtuple("_Pair", "field").field)


def _skipped(*event):
    """Leaves out the fields of a NamedTuple: `Attributes` says what they are."""
    obj, skip = event[3:5]
    return True if isinstance(obj, _FIELD) else skip


def _displayed(*event):
    """Shows what a docstring sets apart by four spaces, formulas and code, as it is."""
    lines = event[5]
    shown, text = [], ""
    for at, line in enumerate(lines):
        if _SECTION.match(line):
            lines[:] = shown + lines[at:]
            return
        begins = line.startswith("    ") and shown and not shown[-1].strip()
        if begins and not text.startswith(" ") and not text.endswith("::"):
            shown += ["::", ""]
        text = line if line.strip() else text
        shown.append(line)
    lines[:] = shown


# Pages that are made of files of the tree, to which the guides' links lead as they are.
_MADE = {
    "](../../lthjax/program/config/defaults.py)": "](keys.md)",
    "](../../experiments/results/index.md)": "](../results/index.md)",
}


def _linked(*event):
    """Turns the links of a guide to such a file into those to its page."""
    source = event[2]
    for file, page in _MADE.items():
        source[0] = source[0].replace(file, page)


def setup(app):
    """Writes the pages that follow the sources, and leaves out what says nothing."""
    reference.write(HERE)
    app.connect("autodoc-process-docstring", _displayed, priority=400)
    app.connect("autodoc-skip-member", _skipped)
    app.connect("source-read", _linked)
