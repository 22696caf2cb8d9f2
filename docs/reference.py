"""The pages that follow other files: the API, all keys, the results, the project."""

import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "lthjax"
CHAPTERS = (
    "pruning",
    "training",
    "tickets",
    "models",
    "data",
    "dynamic",
    "gates",
    "retraining",
    "channels",
    "forward_selection",
    "federated",
    "analysis",
    "saving",
    "devices",
)
# Of the program: what reads and checks a config, builds from it, keeps and shows.
PROGRAM = ("config", "build", "run", "workdir", "report", "sweep", "federated")
RESULTS = ROOT / "experiments" / "results"
MARKS = ("lthjax/moved.py -->\n", "<!-- end -->")  # around the table of the changelog
PROJECT = {"PAPERS.md": "papers", "CHANGELOG.md": "changelog"}
PROJECT |= {"CONTRIBUTING.md": "contributing"}
COMMANDS = ("__main__", "main", "sweep", "report", "compare", "export")
COMMANDS += ("bound", "federate")


def write(folder: pathlib.Path) -> None:
    """Writes the pages, those alone that have changed.

    Args:
      folder: Where the documentation lies.
    """
    pages = {f"api/{name}.md": chapter(name) for name in CHAPTERS}
    pages |= {"api/callables.md": callables()}
    pages |= {"api/program.md": program(), "guides/keys.md": keys()}
    pages |= results()
    pages |= {f"{page}.md": project(name) for name, page in PROJECT.items()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in RESULTS.glob("*.png"):
        shutil.copy2(path, folder / "results")


def chapter(name: str) -> str:
    """Returns the page of one chapter: what it is for, and each of its modules."""
    parts = [f"# lthjax.{name}", _module(f"lthjax.{name}", members=False)]
    return "\n\n".join(parts + _modules(PACKAGE / name)) + "\n"


def callables() -> str:
    """Returns the page of the names for functions that are handed around."""
    return f"# lthjax.callables\n\n{_module('lthjax.callables')}\n"


def program() -> str:
    """Returns the page of the program: its commands, its config, its records."""
    parts = ["# The program", _module("lthjax.program", members=False)]
    parts += ["## Commands"]
    for name in COMMANDS:
        parts += [f"### lthjax.{name}", _module(f"lthjax.{name}", members=False)]
    parts += ["## What they share", *_modules(PACKAGE / "program", "###")]
    for name in PROGRAM:
        parts += [f"## lthjax.program.{name}"]
        parts += [_module(f"lthjax.program.{name}", members=False)]
        parts += _modules(PACKAGE / "program" / name, "###")
    studies = PACKAGE / "program" / "report" / "studies"
    parts += ["## lthjax.program.report.studies", *_modules(studies, "###")]
    return "\n\n".join(parts) + "\n"


def keys() -> str:
    """Returns the page of all config keys, by what `defaults.py` says beside each."""
    sys.path.insert(0, str(ROOT))
    from lthjax.program.config import entries

    rows = [
        f"| `{e.key}` | {e.kind} | `{e.default}` | {_plain(e.said)}{_choices(e)} |"
        for e in entries.entries()
    ]
    head = [
        "# All keys of a config",
        "From `lthjax/program/config/defaults.py`, where each has its default and a "
        "word on what it is, and `choices.py` beside it, which has the names that are "
        "ours; [What can be chosen](choose.md) says more of those, and "
        "`lthjax/program/config/ranges.py` has the range of each.",
    ]
    table = "\n".join(["| key | type | default | |", "|---|---|---|---|", *rows])
    return "\n\n".join([*head, table]) + "\n"


def _choices(entry):
    names = ", ".join(f"`{name}`" for name in entry.choices)
    return f" ({names})" if names else ""


def _plain(said):
    return said.replace("|", "\\|")


def results() -> dict[str, str]:
    """Returns {page: text} of what the experiments left, a figure below each table."""
    pages, names = {}, []
    for path in sorted(RESULTS.glob("*.md")):
        text, figure = path.read_text(encoding="utf-8"), path.with_suffix(".png")
        text = text if text.startswith("# ") else f"# {path.stem}\n\n{text}"
        if figure.exists() and f"({figure.name})" not in text:
            text += f"\n![{path.stem}]({figure.name})\n"
        pages[f"results/{path.name}"] = text
        names += [path.stem] * (path.stem != "index")
    listed = "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"])
    pages["results/index.md"] += f"\n## Tables and figures\n\n{listed}\n"
    return pages


def project(name: str) -> str:
    """Returns a file of the project as a page, its links those of the documentation.

    Args:
      name: Of the file, in the root.
    """
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](experiments/results/", "](results/").replace("](docs/", "](")


def moved() -> str:
    """Returns the changelog with the table of what moved, by `lthjax/moved.py`."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(MARKS[0])
    rows = [f"| `{old}` | `{new}` |" for old, new in places().items()]
    table = "\n".join(["", "| before | now |", "|---|---|", *rows, "", ""])
    return head + MARKS[0] + table + MARKS[1] + rest.partition(MARKS[1])[2]


def places() -> dict[str, str]:
    """Returns {old name: new name} of all that moved."""
    sys.path.insert(0, str(ROOT))
    from lthjax import moved as names

    found = dict(getattr(names, "SHOWN", {}))
    for chapter, rows in names.PLACES.items():
        found |= {f"{chapter}.{old}": new for old, new in rows.items()}
    return {old: new.replace(":", ".") for old, new in sorted(found.items())}


def _modules(folder, mark="##"):
    """Returns a heading and the members of every module of a folder."""
    parts = []
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            parts += [f"{mark} {name}", _module(name)]
    return parts


def _module(name, members=True):
    """Returns the directive that puts a module's docstrings here."""
    options = "   :members:\n" if members else "   :no-members:\n"
    return f"```{{eval-rst}}\n.. automodule:: {name}\n{options}```"


if __name__ == "__main__":
    (ROOT / "CHANGELOG.md").write_text(moved(), encoding="utf-8")
