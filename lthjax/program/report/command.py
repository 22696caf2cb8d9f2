"""The commands that draw and print the reports of runs again, and compare runs."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from lthjax.devices import processes
from lthjax.program import command_line
from lthjax.program.report import page, run_report
from lthjax.program.workdir import results, runs, text_files

COMPARED = "compare.html"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws and prints the report of each workdir; what is wrong is said at the end."""
    form = argparse.RawDescriptionHelpFormatter
    about = "The table and the figures of runs, again, from what is recorded of them."
    parser = argparse.ArgumentParser(description=about, formatter_class=form)
    parser.add_argument("workdir", nargs="+", type=command_line.folder)
    processes.print_utf8()
    command_line.leave_accelerators()
    found = [_again(root) for root in parser.parse_args(arguments).workdir]
    if any(found):
        sys.exit("\n".join(f"error: {text}" for text in found if text))


def compare(arguments: Sequence[str] | None = None) -> None:
    """Writes one page of several runs, and prints the table of each."""
    form = argparse.RawDescriptionHelpFormatter
    about = "One page of several runs, for a browser: their tickets in one figure."
    parser = argparse.ArgumentParser(description=about, formatter_class=form)
    parser.add_argument("workdir", nargs="+", type=command_line.folder)
    parser.add_argument("--page", type=pathlib.Path, default=pathlib.Path(COMPARED))
    processes.print_utf8()
    command_line.leave_accelerators()
    options = parser.parse_args(arguments)
    roots = runs.once(path.absolute() for path in options.workdir)
    if len(roots) < 2:
        given = " ".join(map(str, options.workdir))
        parser.error(f"there must be two different runs or more, got {given}")
    try:
        command_line.check_target("page", options.page)
        shown = [page.read(root) for root in roots]
        text_files.write(options.page, page.of(shown))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    for run in shown:
        run_report.show(run.root, run.rows)
    _say_page(options.page)


def _say_page(path):
    if processes.first():
        print(f"page: {path}")


def _again(root):
    """Draws and prints a run's report; returns what went wrong, if anything did."""
    failed = ""
    try:
        rows = run_report.write(root)
    except ValueError as error:
        return str(error)
    except OSError as error:
        rows = _readable(root)
        failed = (
            f"a workdir must be readable, and writable for its figures, got {root} "
            f"({error})"
        )
    if rows:
        runs.warn_of_lacking(root, rows)
        run_report.show(root, rows)
    if rows and not failed:
        try:
            _say_page(page.write(root))
        except (ValueError, OSError) as error:
            return str(error)
    return failed or ("" if rows else _without_records(root))


def _readable(root):
    try:
        return results.read(root / results.RESULTS)
    except OSError:
        return []


def _without_records(root):
    return (
        f"a workdir must hold the records of a run, got {root} without a whole line of "
        f"{results.RESULTS}{_meant(root)}"
    )


def _meant(root):
    """Returns which folders near by hold records, or when there will be some."""
    places = (root, "*/"), (root.parent, ""), (root.parent, "*/")
    found = [
        path.parent
        for folder, below in places
        for path in sorted(folder.glob(f"{below}{results.RESULTS}"))
    ]
    near = [folder for folder in dict.fromkeys(found) if folder != root]
    names = ", ".join(str(folder) for folder in near[:5])
    if names:
        return f"; near it there are records in {names}"
    return "; the first is written when a level has been trained"
